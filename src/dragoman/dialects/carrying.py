"""One dialect's reasoning state, carried through a client of another.

Clients send reasoning back just as they got it, signature or encrypted state and all. So what
another provider must see again travels in that place: a prefix no provider uses, then base64url of
JSON.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from typing import TypeGuard

import msgspec

from dragoman.ir import Part, Reasoning, Residue

_PREFIX = "dragoman.v1."
_REDACTED = "data"
"""The state of a thought that only its author can read, in Anthropic's word: it has no words."""


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


def join_thoughts(parts: Iterable[Part], own: str) -> list[Part]:
    """`parts` of a message that a client of the dialect `own` sends, in which thoughts are one with
    the wordless one behind them that carries their author's state: pieces of a stream, each kept
    as the part it came as."""
    out: list[Part] = []
    for part in parts:
        if not _ends_pieces(part, own):
            out.append(part)
            continue
        said: list[str] = []
        while out and _is_piece(before := out[-1]):
            said.append(before.content)
            out.pop()
        out.append(msgspec.structs.replace(part, content="".join(reversed(said))))
    return out


def _ends_pieces(part: Part, own: str) -> TypeGuard[Reasoning]:
    residue = part.residue if isinstance(part, Reasoning) and not part.content else None
    return residue is not None and residue.dialect != own and _REDACTED not in residue.fields


def _is_piece(part: Part) -> TypeGuard[Reasoning]:
    return isinstance(part, Reasoning) and (part.residue is None or not part.residue.fields)
