"""One dialect's reasoning state, carried through a client of another.

Clients send reasoning back just as they got it, signature or encrypted state and all. So what
another provider must see again travels in that place: a prefix no provider uses, then base64url of
JSON.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection, Iterable
from typing import TypeGuard

import msgspec

from dragoman.ir import Message, Part, Reasoning, Request, Residue
from dragoman.ir.losses import Losses

_PREFIX = "dragoman.v1."
PREFIX_BASE64 = base64.b64encode(_PREFIX.encode()).decode()
_REDACTED = "data"
"""The state of a thought that only its author can read, in Anthropic's word: it has no words."""


def encode_signature(residue: Residue | None) -> str:
    """A signature that holds `residue`; empty where there is nothing to hold."""
    if residue is None or not residue.fields:
        return ""
    raw = msgspec.json.encode(residue)
    return _PREFIX + base64.urlsafe_b64encode(raw).decode()


def is_carried(signature: object) -> bool:
    """Whether it is one of `encode_signature`'s."""
    return isinstance(signature, str) and signature.startswith(_PREFIX)


def without_states(request: Request, readable: Collection[str], losses: Losses) -> Request:
    """`request` without the reasoning whose state is of no dialect that is `readable`; reported."""
    messages: list[Message] = []
    for message in request.messages:
        parts: list[Part] = []
        for part in message.parts:
            residue = part.residue if isinstance(part, Reasoning) else None
            if residue is None or residue.dialect in readable:
                parts.append(part)
            else:
                losses.omit("reasoning", part.at)
        if parts or not message.parts:
            messages.append(msgspec.structs.replace(message, parts=tuple(parts)))
    return msgspec.structs.replace(request, messages=tuple(messages))


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
