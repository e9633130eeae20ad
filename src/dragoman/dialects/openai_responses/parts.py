"""Content parts, function calls, their outputs and reasoning: between wire and meaning."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from dragoman.dialects.carrying import decode_signature, encode_signature
from dragoman.dialects.openai_responses.names import (
    NAME,
    STRING,
    has_form,
    json_object,
    own,
    residue_of,
)
from dragoman.ir import (
    Blob,
    File,
    Json,
    Markable,
    Modality,
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
from dragoman.wire.fields import Fields, as_list

Inner = Text | Uri | Blob | File | Opaque
_AUDIO_MIME = {"mp3": "audio/mpeg", "wav": "audio/wav"}
_AUDIO_FORMAT = {mime: word for word, mime in _AUDIO_MIME.items()} | {"audio/mp3": "mp3"}
_MEDIA: dict[str, Modality] = {"image": "image", "audio": "audio", "video": "video"}


def _residue(fields: Fields, *form: str) -> Residue | None:
    left = fields.rest(NAME)
    return residue_of(left.fields if left else {}, *form)


def _own(fields: Fields, *form: str) -> Residue:
    """As above, and there even where it says nothing but whose the object is."""
    return _residue(fields, *form) or Residue(dialect=NAME, fields={})


# --- read -------------------------------------------------------------------------------------


def decode_part(value: Any, path: str) -> Part:
    """One content part. A type this code does not know is kept whole."""
    fields = Fields(value, path)
    kind = fields.take("type", str)
    reader = _READERS.get(kind)
    part = reader(fields, kind) if reader else None
    return part or Opaque(dialect=NAME, kind=kind, value=cast("Json", value), at=path)


def _text(fields: Fields, kind: str) -> Part:
    content = fields.take("text", str)
    return Text(content=content, at=fields.path, residue=_residue(fields, kind))


def _refusal(fields: Fields, kind: str) -> Part:
    content = fields.take("refusal", str)
    return Refusal(content=content, at=fields.path, residue=_residue(fields, kind))


def _image(fields: Fields, kind: str) -> Part | None:
    del kind
    return _address(fields, "image", "image_url") or _file(fields, "image")


def _address(fields: Fields, modality: Modality, name: str) -> Part | None:
    url = fields.take_optional(name, str)
    if url is None:
        return None
    head, comma, content = url.partition(";base64,")
    if comma and head.startswith("data:") and len(head) > len("data:"):
        mime = head.removeprefix("data:")
        return Blob(
            modality=_MEDIA.get(mime.partition("/")[0], modality),
            mime_type=mime,
            content=content,
            filename=fields.take_optional("filename", str),
            filename_at=fields.at("filename"),
            at=fields.path,
            residue=_residue(fields, name),
        )
    return Uri(modality=modality, uri=url, at=fields.path, residue=_residue(fields, name))


def _file(fields: Fields, modality: Modality) -> Part | None:
    file_id = fields.take_optional("file_id", str)
    if file_id is None:
        return None
    return File(modality=modality, file_id=file_id, at=fields.path, residue=_own(fields))


def _document(fields: Fields, kind: str) -> Part | None:
    """A file inline, by address or by id; one that says it in two ways is kept whole."""
    del kind
    given = [name for name in ("file_data", "file_url", "file_id") if name in fields]
    if len(given) != 1:
        return None
    if given[0] == "file_id":
        return _file(fields, "document")
    if given[0] == "file_data" and ";base64," not in str(fields.peek("file_data")):
        return None
    return _address(fields, "document", given[0])


def _audio(fields: Fields, kind: str) -> Part:
    audio = fields.object(kind)
    word = audio.take("format", str)
    return Blob(
        modality="audio",
        mime_type=_AUDIO_MIME.get(word, f"audio/{word}"),
        content=audio.take("data", str),
        at=fields.path,
        residue=_residue(fields),
    )


_READERS: dict[str, Callable[[Fields, str], Part | None]] = {
    "input_text": _text,
    "output_text": _text,
    "text": _text,
    "refusal": _refusal,
    "input_image": _image,
    "input_file": _document,
    "input_audio": _audio,
}


def decode_call(fields: Fields) -> ToolCall:
    """An item `function_call`."""
    return ToolCall(
        id=fields.take("call_id", str),
        name=fields.take("name", str),
        arguments=fields.take_optional("arguments", str) or "",
        at=fields.path,
        residue=_own(fields),
    )


def decode_output(fields: Fields) -> ToolCallResponse:
    """An item `function_call_output`."""
    is_string = isinstance(fields.peek("output"), str)
    parts = tuple(
        Text(content=item, at=path) if isinstance(item, str) else decode_part(item, path)
        for path, item in fields.one_or_many("output")
    )
    call_id = fields.take("call_id", str)
    return ToolCallResponse(
        id=call_id,
        parts=cast("tuple[Inner, ...]", parts),
        at=fields.path,
        residue=_own(fields, *((STRING,) if is_string else ())),
    )


def decode_reasoning(value: Json, path: str) -> Reasoning:
    """An item `reasoning`: its words are the summary's, else the content's."""
    kept = {name: item for name, item in value.items() if name != "type"}
    state = value.get("encrypted_content")
    carried = decode_signature(state) if isinstance(state, str) else None
    residue = carried or Residue(dialect=NAME, fields=kept)
    return Reasoning(content=reasoning_words(value), at=path, residue=residue)


def reasoning_words(item: Json) -> str:
    """What an item `reasoning` says in plain text."""
    return "\n\n".join(_words(item.get("summary")) or _words(item.get("content")))


def _words(found: Any) -> list[str]:
    texts = [json_object(part).get("text") for part in as_list(found)]
    return [text for text in texts if isinstance(text, str)]


# --- write ------------------------------------------------------------------------------------


def encode_input(part: Part, losses: Losses) -> Json:
    """A content part of a message that is not the model's, or of a function's output."""
    _lose_mark(part, losses)
    match part:
        case Opaque() if part.dialect == NAME:
            return part.value
        case Text():
            kind = _kind(part, "input_text")
            return {**losses.residue(part.residue, part.at), "type": kind, "text": part.content}
        case Uri() | Blob() | File():
            return {**losses.residue(part.residue, part.at), **_media(part, losses)}
        case _:
            kind = part.kind if isinstance(part, Opaque) else type(part).__name__
            losses.omit("parts", part.at, f"{kind} in a message's content")
            return {}


def _kind(part: Text | Refusal, default: str) -> str:
    form = part.residue.form if part.residue and part.residue.dialect == NAME else ()
    return form[0] if form else default


def _lose_mark(part: Part, losses: Losses) -> None:
    if isinstance(part, Markable) and part.cache_control is not None:
        losses.omit("cache_control", part.mark_path)


def _media(part: Uri | Blob | File, losses: Losses) -> Json:
    kind = {"image": "input_image", "document": "input_file"}.get(part.modality)
    if isinstance(part, Blob) and part.modality == "audio" and part.mime_type in _AUDIO_FORMAT:
        sound = {"data": part.content, "format": _AUDIO_FORMAT[part.mime_type]}
        return {"type": "input_audio", "input_audio": sound}
    if kind is None:
        losses.omit("parts", part.at, f"it takes no {part.modality} so")
    if isinstance(part, File):
        if part.residue is None or part.residue.dialect != NAME:
            losses.omit("parts", part.at, "another provider's file id")
        return {"type": kind, "file_id": part.file_id}
    if isinstance(part, Uri):
        name = "image_url" if kind == "input_image" else "file_url"
        return {"type": kind, name: part.uri}
    data = f"data:{part.mime_type};base64,{part.content}"
    if kind == "input_image":
        named = {} if part.filename is None else {"filename": part.filename}
        return {"type": kind, "image_url": data, **named}
    name = part.filename or ("" if own(part.residue) or part.residue else "document.pdf")
    return {"type": kind, "file_data": data, **({"filename": name} if name else {})}


def encode_said(part: Text | Refusal) -> Json:
    """A content part of the model's own message."""
    if isinstance(part, Refusal):
        return {**own(part.residue), "type": _kind(part, "refusal"), "refusal": part.content}
    is_own = part.residue is not None and part.residue.dialect == NAME
    extra: Json = own(part.residue) if is_own else {"annotations": []}
    return {**extra, "type": _kind(part, "output_text"), "text": part.content}


def encode_call(call: ToolCall, losses: Losses) -> Json:
    """An item `function_call`."""
    _lose_mark(call, losses)
    extra = losses.residue(call.residue, call.at)
    is_own = call.residue is not None and call.residue.dialect == NAME
    arguments = call.arguments if is_own else call.arguments or "{}"
    item = {
        "type": "function_call",
        "call_id": call.id,
        "name": call.name,
        "arguments": arguments,
    }
    return {**item, **extra}


def encode_output(answer: ToolCallResponse, losses: Losses) -> Json:
    """An item `function_call_output`: text as a string, else a list of parts."""
    _lose_mark(answer, losses)
    if answer.is_error is not None:
        losses.omit("is_error", answer.error_at)
    extra = losses.residue(answer.residue, answer.at)
    is_own = answer.residue is not None and answer.residue.dialect == NAME
    texts = [part.content for part in answer.parts if isinstance(part, Text)]
    if has_form(answer.residue, STRING) or (not is_own and len(texts) == len(answer.parts)):
        for part in answer.parts:
            losses.residue(part.residue, part.at)
            _lose_mark(part, losses)
        said: str | list[Json] = "\n\n".join(texts)
    else:
        said = [encode_input(part, losses) for part in answer.parts]
    item = {"type": "function_call_output", "call_id": answer.id, "output": said}
    return {**item, **extra}


def encode_reasoning(part: Reasoning) -> Json:
    """An item `reasoning` of an answer; another dialect's state travels as the encrypted one."""
    fields = own(part.residue)
    if fields:
        return {"type": "reasoning", **fields}
    summary = [{"type": "summary_text", "text": part.content}] if part.content else []
    state = encode_signature(part.residue)
    item: Json = {"type": "reasoning", "summary": summary}
    return {**item, "encrypted_content": state} if state else item
