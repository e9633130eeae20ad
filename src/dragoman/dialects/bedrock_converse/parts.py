"""Content blocks: between wire and meaning."""

from __future__ import annotations

import re
from typing import Any, cast

import msgspec

from dragoman.dialects.bedrock_converse.names import (
    ANTHROPIC,
    FORMATS,
    MEDIA,
    MIMES,
    NAME,
    is_own,
    json_object,
    own,
    pack,
    packed,
)
from dragoman.dialects.carrying import decode_signature, encode_signature
from dragoman.dialects.documents import joined_texts, write_document
from dragoman.errors import InvalidRequest
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
    ToolCallResponse,
    Uri,
)
from dragoman.ir.losses import Losses
from dragoman.wire.fields import Fields

CACHE = "cachePoint"
_NO_INPUT = "no input"
_WHOLE = "whole"
_ABOUT = {"title": "name", "format": "format", "context": "context"}
"""What is known about a document besides its words: the field that says it."""
_NOT_IN_NAMES = re.compile(r"[^0-9A-Za-z \-()\[\]]+")
_STATUS = {"error": True, "success": None}


# --- read -------------------------------------------------------------------------------------


def decode_blocks(fields: Fields, name: str) -> tuple[Part, ...]:
    """The blocks of a list; a cache point is a mark on the block before it."""
    parts: list[Part] = []
    for path, value in fields.items(name):
        mark = mark_of(value)
        if mark is not None and parts and isinstance(parts[-1], Markable):
            at = f"{path}.{CACHE}"
            marked = msgspec.structs.replace(parts[-1], cache_control=mark, mark_at=at)
            parts[-1] = cast("Part", marked)
        else:
            parts.append(decode_block(value, path))
    return tuple(parts)


def mark_of(value: Any) -> Json | None:
    """The mark that a cache point is; None for any other block, or one that says more."""
    point = json_object(json_object(value).get(CACHE))
    if point.get("type") != "default" or set(point) - {"type", "ttl"}:
        return None
    return {"type": "ephemeral", **({"ttl": point["ttl"]} if "ttl" in point else {})}


def decode_block(value: Any, path: str) -> Part:
    """One block. What this code does not know is kept whole."""
    fields = Fields(value, path)
    whole = json_object(value)
    first = next(iter(whole), "")
    if len(whole) > 1 and first != "text":
        return Opaque(dialect=NAME, kind=first, value=whole, at=path)
    match first:
        case "text":
            text = fields.take("text", str)
            residue = fields.rest(NAME) or Residue(dialect=NAME, fields={})
            return Text(content=text, at=path, residue=residue)
        case "toolUse":
            return _call(fields.object("toolUse"), path)
        case "toolResult":
            return _result(fields.object("toolResult"), path)
        case "reasoningContent":
            return _reasoning(whole, path)
        case "document" if (words := _words(json_object(whole["document"]))) is not None:
            return _in_words(whole, fields.object("document"), words)
        case kind if kind in MEDIA:
            return _media(fields.object(kind), kind, whole, path)
        case kind:
            return Opaque(dialect=NAME, kind=kind or "empty", value=whole, at=path)


def _call(inner: Fields, path: str) -> Part:
    form = () if "input" in inner else (_NO_INPUT,)
    arguments = inner.take_optional("input", object)
    ident, name = inner.take("toolUseId", str), inner.take("name", str)
    rest = _within("toolUse", inner)
    return ToolCall(
        id=ident,
        name=name,
        arguments=msgspec.json.encode(arguments if arguments is not None else {}).decode(),
        at=path,
        residue=Residue(dialect=NAME, fields=rest.fields if rest else {}, form=form),
    )


def _result(inner: Fields, path: str) -> Part:
    parts: list[Any] = []
    for at, value in inner.items("content"):
        block = json_object(value)
        if set(block) == {"json"}:
            text = msgspec.json.encode(block["json"]).decode()
            form = pack("json", block["json"])
            residue = Residue(dialect=NAME, fields={}, form=form)
            parts.append(Text(content=text, at=f"{at}.json", residue=residue))
        else:
            parts.append(decode_block(value, at))
    status = inner.word("status", tuple(_STATUS))
    return ToolCallResponse(
        id=inner.take("toolUseId", str),
        parts=tuple(parts),
        is_error=_STATUS[status] if status else None,
        error_at=inner.at("status"),
        at=path,
        residue=_status_kept(_within("toolResult", inner), status),
    )


def _status_kept(rest: Residue | None, status: str | None) -> Residue | None:
    """`success` says what saying nothing says, and comes back all the same."""
    if status != "success":
        return rest
    return Residue(dialect=NAME, fields=rest.fields if rest else {}, form=("success",))


def _reasoning(whole: Json, path: str) -> Part:
    """Claude's thinking is signed as on Anthropic's own API."""
    inner = json_object(whole["reasoningContent"])
    match inner:
        case {"redactedContent": str(data)} if len(inner) == 1:
            residue = Residue(dialect=ANTHROPIC, fields={"data": data})
            return Reasoning(content="", at=path, residue=residue)
        case {"reasoningText": {"text": str(text), **others}} if len(inner) == 1:
            return Reasoning(content=text, at=path, residue=_signed(cast("Json", others)))
        case _:
            return Opaque(dialect=NAME, kind="reasoningContent", value=whole, at=path)


def _signed(others: Json) -> Residue | None:
    signature = others.get("signature")
    if not others:
        return None
    if set(others) != {"signature"} or not isinstance(signature, str) or not signature:
        return Residue(dialect=NAME, fields=others)
    carried = decode_signature(signature)
    return carried or Residue(dialect=ANTHROPIC, fields={"signature": signature})


def signed(signature: str) -> Residue:
    """The residue that a signature alone makes."""
    carried = decode_signature(signature)
    return carried or Residue(dialect=ANTHROPIC, fields={"signature": signature})


def _words(document: Json) -> str | None:
    """The words of a document that is nothing but text."""
    about = [document.get(name) for name in _ABOUT.values()]
    if not all(isinstance(said, str | None) for said in about):
        return None
    match document.get("source"):
        case {"text": str(words), **more} if not more:
            return words
        case {"content": blocks, **more} if not more:
            return joined_texts(blocks)
        case _:
            return None


def _in_words(whole: Json, inner: Fields, words: str) -> Part:
    """The text that says a document. To its own dialect it is that document again."""
    about = {said: inner.take_optional(name, str) for said, name in _ABOUT.items()}
    if about["format"] == "txt":
        about["format"] = None
    inner.take("source", dict)
    rest = _within("document", inner)
    form = pack(_WHOLE, whole)
    return Text(
        content=write_document("document", about, words),
        at=inner.path.removesuffix(".document"),
        residue=Residue(dialect=NAME, fields=rest.fields if rest else {}, form=form),
    )


def _media(inner: Fields, kind: str, whole: Json, path: str) -> Part:
    """A file inline or in S3; a document of blocks that are not all text is kept whole."""
    source = json_object(json_object(whole[kind]).get("source"))
    word = json_object(whole[kind]).get("format")
    mime = MIMES.get(word) if isinstance(word, str) else None
    known = set(source) in ({"bytes"}, {"s3Location"}) and mime is not None
    location = json_object(source.get("s3Location"))
    if not known or ("s3Location" in source and set(location) != {"uri"}):
        return Opaque(dialect=NAME, kind=kind, value=whole, at=path)
    inner.take("source", dict)
    inner.take("format", str)
    if location:
        uri, residue = str(location["uri"]), _within(kind, inner)
        return Uri(modality=MEDIA[kind], uri=uri, mime_type=mime, at=path, residue=residue)
    return Blob(
        modality=MEDIA[kind],
        mime_type=mime or "",
        content=str(source["bytes"]),
        filename=inner.take_optional("name", str),
        filename_at=inner.at("name"),
        at=path,
        residue=_within(kind, inner),
    )


def _within(kind: str, inner: Fields) -> Residue | None:
    """What is left of the object in a block, in its place."""
    rest = inner.rest(NAME)
    return Residue(dialect=NAME, fields={kind: rest.fields}) if rest else None


# --- write ------------------------------------------------------------------------------------


def encode_blocks(parts: tuple[Part, ...] | list[Part], losses: Losses) -> list[Json]:
    """The blocks, a cache point behind each that is marked."""
    blocks: list[Json] = []
    for part in parts:
        block = encode_block(part, losses)
        if block is None:
            continue
        blocks.append(block)
        if (mark := getattr(part, "cache_control", None)) is not None:
            blocks.append(cache_point(mark, cast("Markable", part).mark_path, losses))
    return blocks


def cache_point(mark: Json, path: str, losses: Losses) -> Json:
    """The inverse; a point says its time to live, and nothing else."""
    for name in mark.keys() - {"type", "ttl"}:
        losses.omit("cache_control", f"{path}.{name}")
    ttl = {"ttl": mark["ttl"]} if "ttl" in mark else {}
    return {CACHE: {"type": "default", **ttl}}


def encode_block(part: Part, losses: Losses) -> Json | None:
    """One block; None for what says nothing here or was reported."""
    match part:
        case Opaque() if part.dialect == NAME:
            return part.value
        case Opaque():
            losses.omit("parts", part.at, f"it has no {part.kind} block")
            return None
        case Reasoning():
            return _thought(part, losses)
        case Text() | Refusal():
            extra = losses.residue(part.residue, part.at)
            if (document := packed(part.residue, _WHOLE)) is not None:
                return cast("Json", document)
            given = packed(part.residue, "json")
            if given is not None:
                return {"json": given}
            return {"text": part.content, **extra} if part.content or is_own(part.residue) else None
        case ToolCall():
            extra = losses.residue(part.residue, part.at)
            inner = {"toolUseId": part.id, "name": part.name, "input": arguments_of(part)}
            if part.residue is not None and is_own(part.residue) and _NO_INPUT in part.residue.form:
                del inner["input"]
            return {"toolUse": {**inner, **json_object(extra.get("toolUse"))}}
        case ToolCallResponse():
            return {"toolResult": _result_out(part, losses)}
        case Uri() | Blob() | File():
            return _media_out(part, losses)


def arguments_of(call: ToolCall) -> Any:
    """Arguments as the value they must be here. Raises `InvalidRequest`."""
    try:
        found = msgspec.json.decode(call.arguments or "{}")
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"{call.at}", "a call whose arguments are JSON") from error
    return {} if found is None else found


def _thought(part: Reasoning, losses: Losses) -> Json | None:
    """Thinking needs the signature its author gave it."""
    fields = state_of(part)
    if "data" in fields and not part.content:
        return {"reasoningContent": {"redactedContent": fields["data"]}}
    if part.residue is not None and part.residue.dialect not in (NAME, ANTHROPIC):
        losses.omit("reasoning", part.at)
        return None
    return {"reasoningContent": {"reasoningText": {"text": part.content, **fields}}}


def state_of(part: Reasoning) -> Json:
    """What its author signed it with, or hid in it; empty where it is nobody's, or another's."""
    if part.residue is not None and part.residue.dialect == ANTHROPIC:
        return {name: value for name, value in part.residue.fields.items() if value}
    return own(part.residue)


def thought_for_client(part: Reasoning) -> Json:
    """The same in an answer: another dialect's state travels as the signature."""
    fields = state_of(part)
    if "data" in fields and not part.content:
        return {"reasoningContent": {"redactedContent": fields["data"]}}
    if not fields and (state := encode_signature(part.residue)):
        fields = {"signature": state}
    return {"reasoningContent": {"reasoningText": {"text": part.content, **fields}}}


def _result_out(part: ToolCallResponse, losses: Losses) -> Json:
    extra = losses.residue(part.residue, part.at)
    wire: Json = {"toolUseId": part.id, "content": encode_blocks(list(part.parts), losses)}
    if part.is_error is not None:
        wire["status"] = "error" if part.is_error else "success"
    elif is_own(part.residue) and part.residue and "success" in part.residue.form:
        wire["status"] = "success"
    return {**wire, **json_object(extra.get("toolResult"))}


def _media_out(part: Uri | Blob | File, losses: Losses) -> Json | None:
    extra = json_object(losses.residue(part.residue, part.at).get(part.modality))
    mime = None if isinstance(part, File) else part.mime_type
    word = FORMATS.get(mime or "")
    if isinstance(part, Uri) and not part.uri.startswith("s3://"):
        losses.omit("parts", part.at or "$.messages", "it takes no address but S3's")
    if isinstance(part, File) or word is None:
        what = "another provider's file id" if isinstance(part, File) else f"the format {mime}"
        losses.omit("parts", part.at or "$.messages", what)
        return None
    if isinstance(part, Uri):
        source: Json = {"s3Location": {"uri": part.uri}}
        return {part.modality: {"format": word, "source": source, **extra}}
    inner: Json = {"format": word, "source": {"bytes": part.content}, **extra}
    if part.modality == "document":
        inner["name"] = _document_name(part, losses)
    elif part.filename is not None:
        losses.omit("filename", part.filename_at)
    return {part.modality: inner}


def _document_name(part: Blob, losses: Losses) -> str:
    """A name made of what the API allows in one; what had to go is reported."""
    if part.filename is None:
        return "document"
    name = re.sub(r" {2,}", " ", _NOT_IN_NAMES.sub(" ", part.filename)).strip() or "document"
    if name != part.filename and not is_own(part.residue):
        losses.omit("filename", part.filename_at)
        return name
    return part.filename
