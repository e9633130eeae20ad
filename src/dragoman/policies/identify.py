"""Who calls: the owner of the key a request carries."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from dragoman.config.policy import Caller
from dragoman.errors import Unauthenticated

_BEARER = "bearer "


def identify(headers: Mapping[str, str], callers: Mapping[str, Caller]) -> Caller:
    """The caller whose key stands in `authorization` (Bearer) or `x-api-key`.

    `callers` is keyed by SHA-256 digest, so that neither the policy nor the memory of a worker
    holds a key. Raises `Unauthenticated`; its words never repeat what was sent.
    """
    key = _key(headers)
    if not key:
        message = "No API key given: send it as 'Authorization: Bearer KEY' or as 'x-api-key: KEY'."
        raise Unauthenticated(message)
    caller = callers.get(hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest())
    if caller is None:
        raise Unauthenticated("The API key given is not known here.")
    return caller


def _key(headers: Mapping[str, str]) -> str:
    authorization = headers.get("authorization", "")
    if authorization[: len(_BEARER)].lower() == _BEARER:
        return authorization[len(_BEARER) :].strip()
    return headers.get("x-api-key", "").strip()
