"""Messages of a request, and the message of an answer: the two have one shape."""

from __future__ import annotations

from typing import Any, cast

import msgspec

from dragoman.dialects.carrying import is_carried
from dragoman.dialects.openai_chat import reasoning
from dragoman.dialects.openai_chat.images import (
    IMAGES,
    decode_images,
    encode_image,
    is_image,
    stood_here,
)
from dragoman.dialects.openai_chat.parts import (
    SIGNATURE,
    THINKING,
    decode_content,
    encode_content,
    is_refusal_part,
)
from dragoman.dialects.openai_chat.spelling import (
    NAME,
    UNTYPED,
    Encoding,
    merge,
    nest,
    rest,
    says,
    typed,
)
from dragoman.dialects.residues import json_object
from dragoman.errors import InvalidRequest
from dragoman.ir import (
    Blob,
    File,
    Json,
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
from dragoman.wire.fields import Fields, as_list

_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "developer",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
}
_LEGACY_ROLE = "function"
_PREFIX = "prefix"
"""Mistral's and DeepSeek's: the answer goes on with this turn."""
AS_FIELD = "field"
"""Spelling of a call that stood in `function_call`, and of parts that are fields of a message."""
LEGACY_CALL = "function_call"
_MESSAGE_FIELDS = ("audio", LEGACY_CALL)
"""Objects of an assistant message that no other dialect has."""
_AS_CALL = "call"


def decode_message(value: object, path: str) -> Message:
    """One message. Raises `InvalidRequest` with the place of what is wrong."""
    fields = Fields(value, path)
    message = cast("Json", value)
    role = fields.take("role", str)
    if role == _LEGACY_ROLE:
        legacy = Opaque(dialect=NAME, kind=role, value=message, at=path)
        return Message(role="tool", parts=(legacy,), at=path)
    if role not in _ROLES:
        raise InvalidRequest(fields.at("role"), "one of " + ", ".join(_ROLES))
    name = fields.take_optional("name", str)
    form: tuple[str, ...] = ()
    continued_at = ""
    if role == "assistant":
        if message.get(_PREFIX) is True:
            fields.take(_PREFIX, bool)
            continued_at = fields.at(_PREFIX)
        parts, form = _decode_answer(fields, message)
    elif role == "tool":
        parts = [_decode_result(fields)]
    else:
        parts = decode_content(fields)
    return Message(
        role=_ROLES[role],
        parts=tuple(parts),
        name=name,
        continued_at=continued_at,
        at=path,
        residue=rest(fields, *form),
    )


def _decode_answer(fields: Fields, message: Json) -> tuple[list[Part], tuple[str, ...]]:
    thoughts, form = reasoning.decode_reasoning(fields, message)
    content = decode_content(fields)
    place = reasoning.ON_TEXT if content else reasoning.ALONE
    parts: list[Part] = [*thoughts, *content, *reasoning.take_signature(fields, place)]
    if images := decode_images(fields.peek(IMAGES), fields.at(IMAGES)):
        fields.take(IMAGES, list)
        parts += images
    refusal = fields.take_optional("refusal", str)
    if refusal is not None:
        parts.append(Refusal(content=refusal, at=fields.at("refusal")))
    for path, call in fields.items("tool_calls"):
        parts += _decode_call(call, path)
    for kind in _MESSAGE_FIELDS:
        own = fields.json(kind)
        if own is not None:
            parts.append(_opaque(kind, own, fields.at(kind), AS_FIELD))
    return parts, form


def _decode_call(value: object, path: str) -> list[Part]:
    """A call, and before it the signature that stands on it. Moonshot's built-in functions are
    called like any other, in a type of their own."""
    fields = Fields(value, path)
    kind = fields.peek("type")
    if kind in (None, "function") or not isinstance(fields.peek("function"), dict):
        kind = fields.take_optional("type", str)
    if kind not in (None, "function") and "type" not in fields:
        return [_opaque(kind, cast("Json", value), path, _AS_CALL)]
    signature = reasoning.take_signature(fields, reasoning.ON_CALL)
    function = fields.object("function")
    call_id, name = fields.take("id", str), function.take("name", str)
    arguments = function.take("arguments", str)
    outer = rest(fields, UNTYPED) if kind is None else rest(fields)
    residue = nest(outer, "function", function.rest(NAME))
    call = ToolCall(id=call_id, name=name, arguments=arguments, at=path, residue=residue)
    return [*signature, call]


def _opaque(kind: str, value: Json, path: str, place: str) -> Opaque:
    residue = Residue(dialect=NAME, fields={}, form=(place,))
    return Opaque(dialect=NAME, kind=kind, value=value, at=path, residue=residue)


def _decode_result(fields: Fields) -> ToolCallResponse:
    parts = [_result_part(part) for part in decode_content(fields)]
    return ToolCallResponse(id=fields.take("tool_call_id", str), parts=tuple(parts), at=fields.path)


def _result_part(part: Part) -> Text | Uri | Blob | File | Opaque:
    """`part`, if a tool may answer with it."""
    if isinstance(part, Text | Uri | Blob | File | Opaque):
        return part
    raise InvalidRequest(f"{part.at}.type", "text or media in a tool's answer")


def says_thoughts(message: Any) -> bool:
    """Whether a message has reasoning that not every provider takes: in its content, or with
    another dialect's state."""
    given = json_object(message)
    if given.get("role") != "assistant":
        return False
    kinds = [json_object(part).get("type") for part in as_list(given.get("content"))]
    return THINKING in kinds or any(map(reasoning.is_ours, as_list(given.get(reasoning.DETAILS))))


def own_turn(message: Any, path: str, encoding: Encoding) -> Any:
    """`message`, its reasoning in the fields that the provider takes; itself where it is there."""
    if not says_thoughts(message):
        return message
    given = cast("Json", message)
    parts = [json_object(part) for part in as_list(given.get("content"))]
    states = [part.get(SIGNATURE) for part in parts if part.get("type") == THINKING]
    is_own = encoding.quirks.thinking_parts and not any(map(is_carried, states))
    if is_own and not any(map(reasoning.is_ours, as_list(given.get(reasoning.DETAILS)))):
        return given
    read = decode_message(given, path)
    left = Residue(dialect=NAME, fields=read.residue.fields) if read.residue else None
    [told] = encode_message(msgspec.structs.replace(read, residue=left), encoding)
    return told


def encode_message(message: Message, encoding: Encoding) -> list[Json]:
    """The message; tool results that share it with other parts become messages before it."""
    common = _common(message, encoding)
    out: list[Json] = []
    turn: list[Part] = []
    for part in message.parts:
        if isinstance(part, ToolCallResponse):
            out.append(_encode_result(part, common if message.role == "tool" else {}, encoding))
        elif isinstance(part, Opaque) and part.dialect == NAME and part.kind == _LEGACY_ROLE:
            out.append(part.value)
        else:
            turn.append(part)
    if turn or not out:
        role = message.role
        if role == "developer" and not encoding.quirks.developer_role:
            role = "system"
        fields = encode_turn(message, turn, encoding)
        out.append(merge(common, {"role": role, **fields}))
    return out


def _common(message: Message, encoding: Encoding) -> Json:
    extra = encoding.losses.residue(message.residue, message.at)
    extra = {**extra, _PREFIX: True} if message.continued_at else extra
    return extra if message.name is None else {**extra, "name": message.name}


def _encode_result(part: ToolCallResponse, common: Json, encoding: Encoding) -> Json:
    losses = encoding.losses
    extra = losses.residue(part.residue, part.at)
    if part.is_error is not None:
        losses.omit("is_error", part.error_at)
    if part.cache_control is not None:
        losses.omit("cache_control", part.mark_path)
    for item in part.parts:
        if not isinstance(item, Text) and not encoding.own:
            losses.omit("parts", item.at, "only text in a tool's answer")
    known: Json = {"role": "tool", "tool_call_id": part.id}
    if part.parts or not encoding.own:
        known["content"] = encode_content(list(part.parts), encoding)
    return merge({**common, **extra}, known)


def encode_turn(message: Message, parts: list[Part], encoding: Encoding) -> Json:
    """The fields of `message` that hold `parts`."""
    content: list[Part] = []
    thoughts: list[Reasoning] = []
    refusals: list[str] = []
    calls: list[Json] = []
    images: list[Json] = []
    out: Json = {}
    signatures = _Signatures(encoding)
    for part in parts:
        match part:
            case ToolCall() if says(part.residue, AS_FIELD):
                out[LEGACY_CALL] = {"name": part.name, "arguments": part.arguments}
            case ToolCall():
                calls.append(signatures.on_call(_encode_call(part, encoding)))
            case Reasoning() if place := reasoning.place_of(part):
                out |= signatures.take(part, place)
            case Reasoning() if not _is_in_content(part, encoding):
                thoughts.append(part)
            case Refusal() if not is_refusal_part(part):
                refusals.append(part.content)
            case Uri() | Blob() if _is_beside(part, message, encoding):
                images.append(signatures.on_call(encode_image(part, encoding)))
            case Opaque() if says(part.residue, _AS_CALL):
                calls.append(part.value)
            case Opaque() if says(part.residue, AS_FIELD):
                out[part.kind] = part.value
            case _:
                _check_place(part, message, encoding)
                content.append(part)
    signatures.close()
    out |= _content_field(content, bool(calls or refusals or images), encoding)
    if thoughts or encoding.own:
        out |= _encode_thoughts(thoughts, message, encoding)
    if refusals:
        out["refusal"] = "".join(refusals)
    lists = {IMAGES: images, "tool_calls": calls}
    return out | {name: items for name, items in lists.items() if items}


def _is_in_content(part: Reasoning, encoding: Encoding) -> bool:
    """Whether a thought stays a part of the content, as Mistral has it and nobody else takes it."""
    return says(part.residue, THINKING) and (encoding.own or encoding.quirks.thinking_parts)


def _is_beside(part: Uri | Blob, message: Message, encoding: Encoding) -> bool:
    """Whether an image stands in the message's `images`."""
    if encoding.own:
        return stood_here(part)
    return encoding.quirks.images and message.role == "assistant" and is_image(part)


class _Signatures:
    """Gemini's signatures of one message: each on the call or the image behind it, one on the
    message."""

    def __init__(self, encoding: Encoding) -> None:
        self._losses = encoding.losses
        self._takes = encoding.own or encoding.quirks.extra_content
        self._waiting: Reasoning | None = None
        self._is_signed = False

    def take(self, part: Reasoning, place: str) -> Json:
        """The message's field for `part`; empty where it waits for what it signs, or is lost."""
        if self._takes and place == reasoning.ON_CALL:
            self.close()
            self._waiting = part
            return {}
        if self._takes and not self._is_signed:
            self._is_signed = True
            return reasoning.extra_content(part.residue)
        self._losses.omit("reasoning", part.at)
        return {}

    def on_call(self, call: Json) -> Json:
        """The call (or image), and the signature that waits for it."""
        part, self._waiting = self._waiting, None
        return call if part is None else {**call, **reasoning.extra_content(part.residue)}

    def close(self) -> None:
        """No call comes any more."""
        if self._waiting is not None:
            self._losses.omit("reasoning", self._waiting.at)
            self._waiting = None


def _check_place(part: Part, message: Message, encoding: Encoding) -> None:
    """Media of another dialect stand in user messages only."""
    if message.role != "user" and isinstance(part, Uri | Blob | File) and not encoding.own:
        encoding.losses.omit("parts", part.at, f"media in a {message.role} message")


def _content_field(content: list[Part], has_others: bool, encoding: Encoding) -> Json:  # noqa: FBT001
    if content:
        return {"content": encode_content(content, encoding)}
    if encoding.own:
        return {}
    return {"content": None if has_others else ""}


def _encode_thoughts(thoughts: list[Reasoning], message: Message, encoding: Encoding) -> Json:
    own = reasoning.encode_own(thoughts, message.residue)
    return own or (reasoning.encode_history(thoughts, encoding) if thoughts else {})


def _encode_call(call: ToolCall, encoding: Encoding) -> Json:
    extra = encoding.losses.residue(call.residue, call.at)
    if call.cache_control is not None:
        encoding.losses.omit("cache_control", call.mark_path)
    arguments = call.arguments if encoding.own else call.arguments or "{}"
    function: dict[str, Any] = {"name": call.name, "arguments": arguments}
    return merge(extra, {"id": call.id, **typed(call.residue), "function": function})
