"""Who calls: the owner of the key a request carries."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Protocol
from urllib.parse import unquote

from dragoman.config.policy import Caller
from dragoman.errors import Unauthenticated

_BEARER = "bearer "
_HEADERS = ("x-api-key", "api-key", "x-goog-api-key")


class Head(Protocol):
    """What identifies a caller: the request's headers, and the path with its query."""

    @property
    def path(self) -> str: ...
    @property
    def headers(self) -> Mapping[str, str]: ...


def identify(head: Head, callers: Mapping[str, Caller]) -> Caller:
    """The caller whose key stands in `authorization` (Bearer), in another dialect's header for it
    (`x-api-key`, `api-key`, `x-goog-api-key`) or in the query's `key`.

    `callers` is keyed by SHA-256 digest, so that neither the policy nor the memory of a worker
    holds a key. Raises `Unauthenticated`; its words never repeat what was sent.
    """
    key = _key(head)
    if not key:
        message = "No API key given: send it as 'Authorization: Bearer KEY' or as 'x-api-key: KEY'."
        raise Unauthenticated(message)
    caller = callers.get(hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest())
    if caller is None:
        raise Unauthenticated("The API key given is not known here.")
    return caller


def _key(head: Head) -> str:
    authorization = head.headers.get("authorization", "")
    if authorization[: len(_BEARER)].lower() == _BEARER:
        return authorization[len(_BEARER) :].strip()
    for name in _HEADERS:
        if key := head.headers.get(name, "").strip():
            return key
    pairs = head.path.partition("?")[2].split("&")
    return next((unquote(pair[4:]) for pair in pairs if pair.startswith("key=")), "")
