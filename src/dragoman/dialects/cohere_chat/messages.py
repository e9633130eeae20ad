"""Messages: between wire and meaning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from dragoman.dialects.cohere_chat.names import NAME
from dragoman.dialects.cohere_chat.parts import (
    ONE,
    PLAN,
    STRING,
    decode_block,
    decode_call,
    decode_content,
    decode_plan,
    encode_blocks,
    encode_call,
    encode_content,
    is_plan,
    plain,
    unmark,
)
from dragoman.dialects.residues import is_own, lose_state
from dragoman.errors import InvalidRequest
from dragoman.ir import (
    Blob,
    File,
    Json,
    Message,
    Opaque,
    Part,
    Reasoning,
    Residue,
    Role,
    ToolCall,
    ToolCallResponse,
    Uri,
)
from dragoman.ir.losses import Losses
from dragoman.wire.fields import Fields

_ROLES = ("system", "user", "assistant", "tool")


# --- read -------------------------------------------------------------------------------------


def decode_message(value: Any, path: str) -> Message:
    """One message."""
    fields = Fields(value, path)
    role = fields.word("role", _ROLES)
    if role is None:
        raise InvalidRequest(fields.at("role"), "one of " + ", ".join(_ROLES))
    if role == "tool":
        return _tool_message(fields)
    parts, form = decode_turn(fields)
    residue = _residue(fields, *form)
    return Message(role=cast("Role", role), parts=parts, at=path, residue=residue)


def decode_turn(fields: Fields) -> tuple[tuple[Part, ...], tuple[str, ...]]:
    """What a message says, its plan first and its calls last, and how its content was spelled."""
    plan = decode_plan(fields)
    content, form = decode_content(fields)
    calls = [decode_call(value, path) for path, value in fields.items("tool_calls")]
    return (*plan, *content, *calls), form


def _tool_message(fields: Fields) -> Message:
    if isinstance(fields.peek("content"), str):
        parts, form = decode_content(fields)
    else:
        parts = [_result_block(value, at) for at, value in fields.items("content")]
        form = ()
    one = ToolCallResponse(
        id=fields.take("tool_call_id", str),
        parts=cast("Any", tuple(parts)),
        at=fields.path,
        residue=Residue(dialect=NAME, fields={}, form=form),
    )
    return Message(role="tool", parts=(one,), at=fields.path, residue=_residue(fields))


def _result_block(value: Any, path: str) -> Part:
    part = decode_block(value, path)
    if isinstance(part, Reasoning):
        return Opaque(dialect=NAME, kind="thinking", value=cast("Json", value), at=path)
    return part


def _residue(fields: Fields, *form: str) -> Residue:
    """What is left of a message. Never None: it tells that the message was this dialect's."""
    left = fields.rest(NAME)
    return Residue(dialect=NAME, fields=left.fields if left else {}, form=form)


# --- write ------------------------------------------------------------------------------------


def encode_message(message: Message, losses: Losses) -> list[Json]:
    """The messages that say `message`: each tool's result is one of its own, and comes first."""
    if message.name is not None:
        losses.omit("name", f"{message.at}.name")
    extra = losses.residue(message.residue, message.at)
    results = [part for part in message.parts if isinstance(part, ToolCallResponse)]
    out = [{**extra, **_result_out(part, losses)} for part in results]
    rest = [part for part in message.parts if not isinstance(part, ToolCallResponse)]
    own = is_own(message.residue, NAME)
    if own and not results:
        form = message.residue.form if message.residue else ()
        return [{**extra, "role": message.role, **encode_turn(rest, losses, *form)}]
    if rest or not results:
        out += _foreign(message.role, rest, losses)
    return out


def encode_turn(parts: Sequence[Part], losses: Losses, *form: str) -> Json:
    """The fields of a message of this dialect that hold `parts`."""
    plans = [part for part in parts if is_plan(part)]
    calls = [part for part in parts if isinstance(part, ToolCall)]
    others = [part for part in parts if not is_plan(part) and not isinstance(part, ToolCall)]
    blocks = encode_blocks(others, losses)
    wire: Json = _plan_out(plans)
    if blocks or STRING in form or ONE in form:
        wire["content"] = encode_content(blocks, *form)
    if calls:
        wire["tool_calls"] = [encode_call(call, losses) for call in calls]
    return wire


def _plan_out(plans: Sequence[Part]) -> Json:
    text = "".join(part.content for part in plans if isinstance(part, Reasoning))
    return {PLAN: text} if plans else {}


def _foreign(role: Role, parts: Sequence[Part], losses: Losses) -> list[Json]:
    """A message that came in another dialect. What led to calls is their plan here."""
    calls = [part for part in parts if isinstance(part, ToolCall)]
    plans = [part for part in parts if isinstance(part, Reasoning)] if calls else []
    for part in plans:
        lose_state(part, losses)
    apart = (ToolCall, Reasoning) if calls else (ToolCall,)
    others = [part for part in parts if not isinstance(part, apart)]
    blocks = encode_blocks(others, losses)
    wire: Json = {"role": "system" if role == "developer" else role}
    if any(part.content for part in plans):
        wire |= _plan_out(plans)
    if calls:
        wire["tool_calls"] = [encode_call(call, losses) for call in calls]
    if blocks:
        wire["content"] = plain(blocks)
    elif not calls and role == "assistant":
        return []
    elif not calls:
        wire["content"] = ""
    return [wire]


def _result_out(part: ToolCallResponse, losses: Losses) -> Json:
    unmark(part, losses)
    losses.residue(part.residue, part.at)
    if part.is_error is not None:
        losses.omit("is_error", part.error_at)
    for inner in part.parts:
        if isinstance(inner, Uri | Blob | File) and not is_own(part.residue, NAME):
            losses.omit(
                "parts", inner.at or "$.messages", f"a tool's result has no {inner.modality}"
            )
    blocks = encode_blocks(part.parts, losses)
    own = is_own(part.residue, NAME)
    form = part.residue.form if own and part.residue else ()
    content = encode_content(blocks, *form) if own else plain(blocks) or ""
    head = {"role": "tool", "tool_call_id": part.id}
    return {**head, "content": content} if blocks or form or not own else head
