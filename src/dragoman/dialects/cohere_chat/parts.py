"""Content blocks and tool calls: between wire and meaning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from dragoman.dialects.carrying import decode_signature
from dragoman.dialects.cohere_chat.names import NAME
from dragoman.dialects.documents import document_as_text
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
from dragoman.ir import (
    Blob,
    File,
    Json,
    Markable,
    Opaque,
    Part,
    Reasoning,
    Refusal,
    Residue,
    Text,
    ToolCall,
    Uri,
)
from dragoman.ir.losses import Losses
from dragoman.wire.fields import Fields

STRING, ONE = "string", "one"
"""Spellings of a content: plain text, or a block that stands in no list."""
PLAN = "tool_plan"
SIGNATURE = "signature"
"""Where a client keeps another dialect's reasoning state: the API has no such field, and the SDKs
send back what they got."""
_DOCUMENT = "document"
_UNTYPED, _NO_ARGUMENTS = "untyped", "no_arguments"


# --- read -------------------------------------------------------------------------------------


def decode_content(fields: Fields) -> tuple[list[Part], tuple[str, ...]]:
    """The parts of `content`, and how it was spelled. An empty string is no part."""
    match fields.peek("content"):
        case str():
            text = fields.take("content", str)
            return [Text(content=text, at=fields.at("content"))] if text else [], (STRING,)
        case dict():
            block = fields.json("content")
            return [decode_block(block, fields.at("content"))], (ONE,)
        case _:
            return [decode_block(value, path) for path, value in fields.items("content")], ()


def decode_block(value: Any, path: str) -> Part:
    """One block. What this code does not know is kept whole."""
    fields = Fields(value, path)
    kind = fields.peek("type")
    match kind:
        case "text":
            fields.take("type", str)
            text = fields.take("text", str)
            return Text(content=text, at=path, residue=_rest(fields, text))
        case "thinking":
            fields.take("type", str)
            return _thought(fields)
        case "image_url" if isinstance(fields.peek("image_url"), dict):
            return _image(fields)
        case "document" if _DOCUMENT in fields:
            return _document(fields)
        case _:
            word = kind if isinstance(kind, str) else "untyped"
            return Opaque(dialect=NAME, kind=word, value=json_object(value), at=path)


def _thought(fields: Fields) -> Reasoning:
    content = fields.take("thinking", str)
    signature = fields.peek(SIGNATURE)
    carried = decode_signature(signature) if isinstance(signature, str) else None
    residue = carried or _rest(fields, content)
    return Reasoning(content=content, at=fields.path, residue=residue)


def _rest(fields: Fields, content: str) -> Residue | None:
    """What is left of a block. Where it says nothing else, that it was there at all is kept."""
    return fields.rest(NAME) or (None if content else Residue(dialect=NAME, fields={}))


def _image(fields: Fields) -> Part:
    fields.take("type", str)
    inner = fields.object("image_url")
    url = inner.take("url", str)
    residue = nest(fields.rest(NAME), "image_url", inner.rest(NAME))
    head, comma, content = url.partition(",")
    mime = head.removeprefix("data:").removesuffix(";base64")
    if comma and mime and head == f"data:{mime};base64":
        return Blob(
            modality="image", mime_type=mime, content=content, at=fields.path, residue=residue
        )
    return Uri(modality="image", uri=url, at=fields.path, residue=residue)


def _document(fields: Fields) -> Text:
    """A document says what its data says, as text."""
    fields.take("type", str)
    inner = fields.object(_DOCUMENT)
    data = inner.take("data", object)
    text = data if isinstance(data, str) else msgspec.json.encode(data).decode()
    left = keep(fields, NAME, *pack(_DOCUMENT, data))
    return Text(content=text, at=fields.path, residue=nest(left, _DOCUMENT, inner.rest(NAME)))


def decode_call(value: Any, path: str) -> ToolCall:
    """One tool call."""
    fields = Fields(value, path)
    kind = fields.word("type", ("function",))
    function = fields.object("function")
    arguments = function.take_optional("arguments", str)
    form = (
        *((_UNTYPED,) if kind is None else ()),
        *((_NO_ARGUMENTS,) if arguments is None else ()),
    )
    ident, name = fields.take("id", str), function.take("name", str)
    residue = nest(keep(fields, NAME, *form), "function", function.rest(NAME))
    return ToolCall(id=ident, name=name, arguments=arguments or "", at=path, residue=residue)


# --- write ------------------------------------------------------------------------------------


def encode_content(blocks: list[Json], *form: str) -> Any:
    """The blocks, in the spelling they came in; one plain text from elsewhere is a string."""
    if STRING in form:
        return "".join(str(block["text"]) for block in blocks)
    return blocks[0] if ONE in form else blocks


def plain(blocks: list[Json]) -> Any:
    """A string where one text is all there is."""
    is_text = len(blocks) == 1 and blocks[0].keys() == {"type", "text"}
    return blocks[0]["text"] if is_text else blocks


def encode_blocks(parts: Sequence[Part], losses: Losses) -> list[Json]:
    """The blocks of a content, without those that say nothing here or were reported."""
    found = [encode_block(part, losses) for part in parts]
    return [block for block in found if block is not None]


def encode_block(part: Part, losses: Losses) -> Json | None:
    """One block; None for what says nothing here or was reported."""
    if isinstance(part, Opaque):
        if part.dialect != NAME:
            losses.omit("parts", part.at or "$.messages", f"it has no {part.kind} block")
        return part.value
    if isinstance(part, Reasoning):
        return _thought_out(part, losses)
    unmark(part, losses)
    extra = losses.residue(part.residue, part.at)
    match part:
        case Text() | Refusal():
            return _text_out(part, extra)
        case Uri() | Blob() if part.modality == "image":
            return _image_out(part, extra, losses)
        case File():
            losses.omit("parts", part.at or "$.messages", "another provider's file id")
        case Blob() if (words := document_as_text(part)) is not None:
            return {"type": "text", "text": words}
        case Uri() | Blob():
            losses.omit("parts", part.at or "$.messages", f"it takes no {part.modality}")
        case _:
            losses.omit("parts", part.at or "$.messages", f"{type(part).__name__} in a content")
    return None


def unmark(part: Any, losses: Losses) -> None:
    """Reports a prompt-cache mark: the provider caches by itself."""
    if isinstance(part, Markable) and part.cache_control is not None:
        losses.omit("cache_control", part.mark_path)


def _thought_out(part: Reasoning, losses: Losses) -> Json | None:
    lose_state(part, losses)
    known: Json = {"type": "thinking", "thinking": part.content}
    if is_own(part.residue, NAME):
        return {**known, **losses.residue(part.residue, part.at)}
    return known if part.content else None


def _text_out(part: Text | Refusal, extra: Json) -> Json | None:
    if says(part.residue, NAME, _DOCUMENT):
        inner = {"data": packed(part.residue, NAME, _DOCUMENT), **json_object(extra.get(_DOCUMENT))}
        return {**extra, "type": _DOCUMENT, _DOCUMENT: inner}
    known: Json = {"type": "text", "text": part.content}
    return {**known, **extra} if part.content or is_own(part.residue, NAME) else None


def _image_out(part: Uri | Blob, extra: Json, losses: Losses) -> Json:
    if isinstance(part, Blob) and part.filename is not None:
        losses.omit("filename", part.filename_at)
    url = part.uri if isinstance(part, Uri) else f"data:{part.mime_type};base64,{part.content}"
    inner = {"url": url, **json_object(extra.get("image_url"))}
    return {**extra, "type": "image_url", "image_url": inner}


def encode_call(call: ToolCall, losses: Losses) -> Json:
    """One tool call."""
    unmark(call, losses)
    extra = losses.residue(call.residue, call.at)
    function: Json = {"name": call.name, **json_object(extra.get("function"))}
    if not says(call.residue, NAME, _NO_ARGUMENTS):
        is_as_sent = is_own(call.residue, NAME) or call.arguments
        function["arguments"] = call.arguments if is_as_sent else "{}"
    kind = {} if says(call.residue, NAME, _UNTYPED) else {"type": "function"}
    return {**extra, "id": call.id, **kind, "function": function}


def is_plan(part: Part) -> bool:
    """Whether a reasoning came as the message's `tool_plan`."""
    return isinstance(part, Reasoning) and says(part.residue, NAME, PLAN)


def decode_plan(fields: Fields) -> list[Part]:
    """What the model said it would do with its tools; an empty plan stays in `fields`."""
    if not fields.peek(PLAN):
        return []
    content, at = fields.take(PLAN, str), fields.at(PLAN)
    return [Reasoning(content=content, at=at, residue=keep(Fields({}, at), NAME, PLAN))]
