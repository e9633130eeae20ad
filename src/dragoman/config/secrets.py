"""Secrets of the service's own, from where the policy file says; never a provider's."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Mapping
from pathlib import Path

from dragoman.config.patterns import Refuse
from dragoman.config.section import KeySource

_MIN_BYTES = 16
_ENCODED = b"whsec_"


def read_secret(
    source: KeySource | None, path: str, environment: Mapping[str, str], refuse: Refuse
) -> bytes | None:
    """What `source`, which stands at `path` of the file, names. Raises what `refuse` makes."""
    if source is None:
        return None
    if (source.env is None) == (source.file is None):
        raise refuse(path, "give either env or file")
    try:
        read = (
            environment.get(source.env, "").encode()
            if source.env is not None
            else Path(source.file or "").read_bytes().strip()
        )
    except OSError as error:
        raise refuse(f"{path}.file", f"cannot be read: {error.strerror}") from error
    if len(read) < _MIN_BYTES:
        raise refuse(path, f"needs at least {_MIN_BYTES} bytes")
    return read


def signing_key(secret: bytes | None) -> bytes | None:
    """The key in `secret`, which may be written as Standard Webhooks has it. Raises
    `ValueError`."""
    if secret is None or not secret.startswith(_ENCODED):
        return secret
    return b64decode(secret.removeprefix(_ENCODED), validate=True)
