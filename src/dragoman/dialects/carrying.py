"""One dialect's reasoning state, carried through a client of another.

Clients send reasoning back just as they got it, signature or encrypted state and all. So what
another provider must see again travels in that place: a prefix no provider uses, then base64url of
JSON.
"""

from __future__ import annotations

import base64
import binascii

import msgspec

from dragoman.ir import Residue

_PREFIX = "dragoman.v1."


def encode_signature(residue: Residue | None) -> str:
    """A signature that holds `residue`; empty where there is nothing to hold."""
    if residue is None or not residue.fields:
        return ""
    raw = msgspec.json.encode(residue)
    return _PREFIX + base64.urlsafe_b64encode(raw).decode()


def decode_signature(signature: str) -> Residue | None:
    """What a signature of ours holds; None for one that is a provider's own."""
    if not signature.startswith(_PREFIX):
        return None
    try:
        raw = base64.urlsafe_b64decode(signature.removeprefix(_PREFIX))
        return msgspec.json.decode(raw, type=Residue)
    except (binascii.Error, ValueError, msgspec.DecodeError):
        return None
