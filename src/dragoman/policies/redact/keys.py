"""What the secret key of redaction is used for: placeholders, digests, and the sealed map.

Every worker that serves one sidecar has the same key, so that any of them can open what another
sealed. Nothing that was found is in a log, a store or Envoy's metadata but under it.
"""

from __future__ import annotations

import binascii
import hmac
import importlib
import os
from base64 import b32encode, b64decode, b64encode
from collections.abc import Mapping
from typing import Any

import msgspec

from dragoman.errors import ServiceUnavailable

_NONCE_BYTES = 12
_TAG_BYTES = 5
_MAX_TAGS = 6
_read_map = msgspec.json.Decoder(dict[str, str]).decode


class Keys:
    """Three keys derived from one."""

    def __init__(self, secret: bytes) -> None:
        self._tags = hmac.digest(secret, b"dragoman placeholder", "sha256")
        self._digests = hmac.digest(secret, b"dragoman digest", "sha256")
        sealing = hmac.digest(secret, b"dragoman seal", "sha256")
        aead: Any = importlib.import_module("cryptography.hazmat.primitives.ciphers.aead")
        self._cipher: Any = aead.AESGCM(sealing)

    def tags(self, caller: str, entity: str, text: str) -> list[str]:
        """Names for `text`, the first to be taken that stands for nothing else: the same for one
        caller in every turn, and telling nothing of it without the key."""
        said = msgspec.json.encode([caller, entity, text])
        raw = hmac.digest(self._tags, said, "sha256")
        parts = [raw[i * _TAG_BYTES : (i + 1) * _TAG_BYTES] for i in range(_MAX_TAGS)]
        return [b32encode(part).decode().lower() for part in parts]

    def digest(self, entity: str, text: str) -> str:
        """Sixteen hexadecimal digits, the same for every caller."""
        said = msgspec.json.encode([entity, text])
        return hmac.digest(self._digests, said, "sha256")[:8].hex()

    def seal(self, originals: Mapping[str, str], caller: str) -> str:
        """The map as text that only who has the key can read, and for this caller only."""
        nonce = os.urandom(_NONCE_BYTES)
        plain = msgspec.json.encode(originals)
        sealed: bytes = self._cipher.encrypt(nonce, plain, caller.encode())
        return b64encode(nonce + sealed).decode()

    def open(self, sealed: str, caller: str) -> dict[str, str]:
        """The map. Raises `ServiceUnavailable` where it was not sealed with this key."""
        exceptions: Any = importlib.import_module("cryptography.exceptions")
        try:
            raw = b64decode(sealed, validate=True)
            plain = self._cipher.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], caller.encode())
        except (exceptions.InvalidTag, binascii.Error, ValueError) as error:
            raise ServiceUnavailable(
                "What was hidden in the request cannot be put back into its answer."
            ) from error
        return _read_map(plain)
