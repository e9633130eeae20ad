"""Messages: between wire and meaning.

A message is a string, with images, reasoning and calls in fields beside it. A call need have no id:
it gets one by its place, and results find theirs by the tool's name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import msgspec

from dragoman.dialects.call_ids import CallIds
from dragoman.dialects.documents import document_as_text
from dragoman.dialects.ollama_chat.names import NAME
from dragoman.dialects.residues import (
    is_own,
    json_object,
    keep,
    lose_state,
    nest,
    pack,
    packed,
    says,
)
from dragoman.errors import InvalidRequest
from dragoman.ir import (
    Blob,
    File,
    Json,
    Markable,
    Message,
    Opaque,
    Part,
    Reasoning,
    Refusal,
    Residue,
    Role,
    Text,
    ToolCall,
    ToolCallResponse,
    Uri,
)
from dragoman.ir.losses import Losses
from dragoman.wire.fields import Fields

_ROLES = ("system", "user", "assistant", "tool")
_NO_ID, _NO_CONTENT, _NO_THINKING, _NO_ARGUMENTS, _UNTYPED = (
    "no_id",
    "no_content",
    "empty_thinking",
    "no_arguments",
    "untyped",
)
_SIGNS = {
    "iVBORw0KGgo": "image/png",
    "/9j/": "image/jpeg",
    "R0lGOD": "image/gif",
    "UklGR": "image/webp",
}
"""How the formats begin, in base64: the message does not say which an image is in."""
_UNKNOWN = "application/octet-stream"


# --- read -------------------------------------------------------------------------------------


def decode_message(value: Any, path: str, ids: CallIds) -> Message:
    """One message."""
    fields = Fields(value, path)
    role = fields.word("role", _ROLES)
    if role is None:
        raise InvalidRequest(fields.at("role"), "one of " + ", ".join(_ROLES))
    if role == "tool":
        return _tool_message(fields, ids)
    parts, form = decode_turn(fields, ids)
    residue = _residue(fields, *form)
    return Message(role=cast("Role", role), parts=parts, at=path, residue=residue)


def decode_turn(fields: Fields, ids: CallIds) -> tuple[tuple[Part, ...], tuple[str, ...]]:
    """What a message says: its reasoning, its text, its images, its calls."""
    thinking = fields.take_optional("thinking", str)
    said, form = _said(fields)
    parts: list[Part] = []
    if thinking:
        parts.append(Reasoning(content=thinking, at=fields.at("thinking")))
    parts += said
    parts += [_call(value, path, ids) for path, value in fields.items("tool_calls")]
    return tuple(parts), (*form, *((_NO_THINKING,) if thinking == "" else ()))


def _said(fields: Fields) -> tuple[list[Text | Blob], tuple[str, ...]]:
    """Text and images. An empty text is no part."""
    content = fields.take_optional("content", str)
    parts: list[Text | Blob] = []
    if content:
        parts.append(Text(content=content, at=fields.at("content")))
    parts += [_image(value, path) for path, value in fields.items("images")]
    return parts, (_NO_CONTENT,) if content is None else ()


def _image(value: Any, path: str) -> Blob:
    if not isinstance(value, str):
        raise InvalidRequest(path, "an image in base64")
    mime = next((mime for sign, mime in _SIGNS.items() if value.startswith(sign)), _UNKNOWN)
    return Blob(modality="image", mime_type=mime, content=value, at=path)


def _call(value: Any, path: str, ids: CallIds) -> ToolCall:
    fields = Fields(value, path)
    given = fields.take_optional("id", str)
    kind = fields.word("type", ("function",))
    function = fields.object("function")
    name = function.take("name", str)
    arguments = function.json("arguments")
    form = (
        *((_NO_ID,) if not given else ()),
        *((_UNTYPED,) if kind is None else ()),
        *((_NO_ARGUMENTS,) if arguments is None else ()),
    )
    place = function.take_optional("index", int)
    spelled = (*form, *(pack("index", place) if place is not None else ()))
    residue = nest(keep(fields, NAME, *spelled), "function", function.rest(NAME))
    return ToolCall(
        id=ids.of_call(given, name),
        name=name,
        arguments=msgspec.json.encode(arguments).decode() if arguments is not None else "",
        at=path,
        residue=residue or Residue(dialect=NAME, fields={}),
    )


def _tool_message(fields: Fields, ids: CallIds) -> Message:
    """The tool's name is the call's; one that is not stays in the residue, to be reported."""
    given, name = fields.take_optional("tool_call_id", str), fields.peek("tool_name")
    ident, called = ids.of_answer(given, name if isinstance(name, str) else None)
    form = (_NO_ID,) if not given else ()
    if called is not None and called == name:
        form = (*form, *pack("tool_name", fields.take("tool_name", str)))
    parts, spelled = _said(fields)
    one = ToolCallResponse(id=ident, parts=tuple(parts), at=fields.path)
    residue = _residue(fields, *form, *spelled)
    return Message(role="tool", parts=(one,), at=fields.path, residue=residue)


def _residue(fields: Fields, *form: str) -> Residue:
    """What is left of a message. Never None: it tells that the message was this dialect's."""
    left = fields.rest(NAME)
    return Residue(dialect=NAME, fields=left.fields if left else {}, form=form)


# --- write ------------------------------------------------------------------------------------


def encode_message(message: Message, names: dict[str, str], losses: Losses) -> list[Json]:
    """The messages that say `message`: each tool's result is one of its own, and comes first.

    `names` are the tools' by the ids of calls, which this adds those of `message` to.
    """
    if message.name is not None:
        losses.omit("name", f"{message.at}.name")
    extra = losses.residue(message.residue, message.at)
    names |= {part.id: part.name for part in message.parts if isinstance(part, ToolCall)}
    residue = message.residue
    results = [part for part in message.parts if isinstance(part, ToolCallResponse)]
    out = [{**extra, **_result_out(part, names, residue, losses)} for part in results]
    rest = [part for part in message.parts if not isinstance(part, ToolCallResponse)]
    if results and not rest:
        return out
    own = is_own(residue, NAME)
    turn = encode_turn(rest, losses, residue, "\n\n")
    if not own and message.role == "assistant" and turn == {"content": ""}:
        return out
    role = "system" if message.role == "developer" else message.role
    return [*out, {**extra, "role": role, **turn}]


def encode_turn(parts: Sequence[Part], losses: Losses, residue: Residue | None, gap: str) -> Json:
    """The fields that say `parts`; `gap` stands between two texts, which are one here."""
    said = [part for part in parts if not isinstance(part, Reasoning | ToolCall)]
    wire = _said_out(said, losses, residue, gap)
    thoughts = [part for part in parts if isinstance(part, Reasoning)]
    for part in thoughts:
        lose_state(part, losses)
    thinking = "".join(part.content for part in thoughts)
    if thinking or says(residue, NAME, _NO_THINKING):
        wire["thinking"] = thinking
    calls = [encode_call(part, losses) for part in parts if isinstance(part, ToolCall)]
    if calls:
        wire["tool_calls"] = calls
    return wire


def _said_out(parts: Sequence[Part], losses: Losses, residue: Residue | None, gap: str) -> Json:
    texts: list[str] = []
    images: list[str] = []
    for part in parts:
        _unmark(part, losses)
        if isinstance(part, Text | Refusal):
            losses.residue(part.residue, part.at)
            texts += [part.content] if part.content else []
        elif isinstance(part, Blob) and part.modality == "image":
            images.append(_image_out(part, losses))
        elif isinstance(part, Blob) and (words := document_as_text(part)) is not None:
            losses.residue(part.residue, part.at)
            texts.append(words)
        else:
            losses.omit("parts", part.at or "$.messages", _why(part))
    wire: Json = {"content": gap.join(texts)}
    if not texts and says(residue, NAME, _NO_CONTENT):
        wire = {}
    return {**wire, "images": images} if images else wire


def _unmark(part: Part, losses: Losses) -> None:
    """Reports a prompt-cache mark: the provider caches by itself."""
    if isinstance(part, Markable) and part.cache_control is not None:
        losses.omit("cache_control", part.mark_path)


def _image_out(part: Blob, losses: Losses) -> str:
    losses.residue(part.residue, part.at)
    if part.filename is not None:
        losses.omit("filename", part.filename_at)
    return part.content


def _why(part: Part) -> str:
    match part:
        case Uri():
            return f"it takes no address of {part.modality}"
        case File():
            return "another provider's file id"
        case Blob():
            return f"it takes no {part.modality}"
        case Opaque():
            return f"it has no {part.kind} part"
        case _:
            return f"{type(part).__name__} in a content"


def encode_call(call: ToolCall, losses: Losses) -> Json:
    """One call. Raises `InvalidRequest` where its arguments are no object."""
    _unmark(call, losses)
    extra = losses.residue(call.residue, call.at)
    function: Json = {"name": call.name, **json_object(extra.get("function"))}
    if (place := packed(call.residue, NAME, "index")) is not None:
        function["index"] = place
    if not says(call.residue, NAME, _NO_ARGUMENTS):
        function["arguments"] = arguments_of(call)
    ident = {} if says(call.residue, NAME, _NO_ID) else {"id": call.id}
    untyped = not is_own(call.residue, NAME) or says(call.residue, NAME, _UNTYPED)
    kind = {} if untyped else {"type": "function"}
    return {**extra, **ident, **kind, "function": function}


def arguments_of(call: ToolCall) -> Json:
    """Arguments as the object they must be here. Raises `InvalidRequest`."""
    try:
        return msgspec.json.decode(call.arguments or "{}", type=Json)
    except msgspec.DecodeError as error:
        raise InvalidRequest(call.at, "a call whose arguments are a JSON object") from error


def _result_out(
    part: ToolCallResponse, names: dict[str, str], residue: Residue | None, losses: Losses
) -> Json:
    _unmark(part, losses)
    losses.residue(part.residue, part.at)
    if part.is_error is not None:
        losses.omit("is_error", part.error_at)
    wire: Json = {"role": "tool", **_said_out(part.parts, losses, residue, "\n\n")}
    if not says(residue, NAME, _NO_ID):
        wire["tool_call_id"] = part.id
    name = packed(residue, NAME, "tool_name") if is_own(residue, NAME) else names.get(part.id)
    return {**wire, "tool_name": name} if name is not None else wire
