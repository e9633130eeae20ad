"""Content parts: text, refusals, and media by address, inline or by file id.

Beside OpenAI's own `image_url`, `input_audio` and `file` it reads what others added: `video_url`
and `audio_url` (vLLM, OpenRouter), `document_url`, addresses as bare strings and `thinking`
(Mistral, whose audio and file ids are bare strings too). Parts of a type unknown here are kept
whole for this dialect alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from dragoman.dialects.carrying import decode_signature, encode_signature, join_thoughts
from dragoman.dialects.openai_chat.spelling import (
    NAME,
    Encoding,
    cache_mark,
    is_own,
    merge,
    nest,
    rest,
    says,
)
from dragoman.dialects.residues import pack, packed
from dragoman.ir import (
    Blob,
    File,
    Json,
    Modality,
    Opaque,
    Part,
    Reasoning,
    Refusal,
    Residue,
    Text,
    Uri,
)
from dragoman.wire.data_url import read_data_url, write_data_url
from dragoman.wire.fields import Fields

_PART = "part"
"""Spelling of a text or refusal that came as a content part and not as a plain string."""
_BARE = "bare"
"""Spelling of media whose address stood where an object usually does."""
THINKING, SIGNATURE = "thinking", "signature"
_TEXTS, _CLOSED = "texts", "closed"
"""Of a `thinking` part: its texts unless it is one, and its field of that name."""
_URL_KINDS: dict[str, Modality] = {
    "image_url": "image",
    "video_url": "video",
    "audio_url": "audio",
    "document_url": "document",
}
_KINDS = (*_URL_KINDS, "input_audio", "file")
_MEDIA: dict[str, Modality] = {"image": "image", "audio": "audio", "video": "video"}
_HOW = {Uri: "by address", Blob: "inline", File: "by another provider's file id"}
_AUDIO_MIME = {"mp3": "audio/mpeg"}
_AUDIO_FORMAT = {
    "audio/mpeg": "mp3",
    "audio/mp3": "mp3",
    "audio/wav": "wav",
    "audio/x-wav": "wav",
    "audio/wave": "wav",
}


_AUDIO_STARTS = {
    "UklGR": "audio/wav",
    "SUQz": "audio/mpeg",
    "//s": "audio/mpeg",
    "//N": "audio/mpeg",
    "ZkxhQ": "audio/flac",
    "T2dnUw": "audio/ogg",
}
"""How audio of a media type begins in base64: RIFF, ID3, an MPEG frame, fLaC, OggS."""


def decode_content(fields: Fields, name: str = "content") -> list[Part]:
    """The parts of a field that is a string, an array of parts, or absent."""
    parts = (
        Text(content=item, at=path)
        if isinstance(item, str) and path == fields.at(name)
        else decode_part(item, path)
        for path, item in fields.one_or_many(name)
    )
    return join_thoughts(parts, NAME)


def decode_part(value: object, path: str) -> Part:
    """One item of an array of parts."""
    fields = Fields(value, path)
    kind = fields.take("type", str)
    whole = cast("Json", value)
    if kind in _URL_KINDS:
        return decode_url(fields, whole, kind)
    decoder = _DECODERS.get(kind)
    part = decoder(fields) if decoder else None
    return part or Opaque(dialect=NAME, kind=kind, value=whole, at=path)


def _decode_text(fields: Fields) -> Part:
    return Text(
        content=fields.take("text", str),
        cache_control=fields.json("cache_control"),
        at=fields.path,
        residue=rest(fields, _PART),
    )


def _decode_refusal(fields: Fields) -> Part:
    content = fields.take("refusal", str)
    return Refusal(content=content, at=fields.path, residue=rest(fields, _PART))


def _decode_thinking(fields: Fields) -> Part | None:
    """Mistral's reasoning: texts within. None for any other shape, which is kept whole.

    That it is `closed` says nothing to other dialects, nor does how it was cut into texts.
    """
    given = [item for _, item in fields.items(THINKING)]
    texts = [item["text"] for item in given if _is_plain_text(item)]
    signature = fields.peek(SIGNATURE)
    carried = decode_signature(signature) if isinstance(signature, str) else None
    if len(texts) != len(given) or not (texts or signature):
        return None
    if carried is not None:
        return Reasoning(content="".join(texts), at=fields.path, residue=carried)
    form = [THINKING]
    if len(texts) != 1:
        form += pack(_TEXTS, texts)
    if isinstance(fields.peek(_CLOSED), bool):
        form += pack(_CLOSED, fields.take(_CLOSED, bool))
    return Reasoning(content="".join(texts), at=fields.path, residue=rest(fields, *form))


def _is_plain_text(item: Any) -> bool:
    match item:
        case {"type": "text", "text": str(), **others}:
            return not others
        case _:
            return False


def _encode_thinking(part: Reasoning) -> Json:
    texts: list[str] | None = packed(part.residue, NAME, _TEXTS, list[str])
    closed = packed(part.residue, NAME, _CLOSED, bool)
    known = thinking_part(*([part.content] if texts is None else texts))
    return known if closed is None else {**known, _CLOSED: closed}


def thinking_part(*texts: str) -> Json:
    """A part of content that is reasoning, as Mistral has it."""
    return {"type": THINKING, THINKING: [{"type": "text", "text": text} for text in texts]}


def signed_part(part: Reasoning) -> Json:
    """Reasoning for Mistral's clients, with the state that its author must see again."""
    known = thinking_part(*([part.content] if part.content else []))
    if part.residue is not None and says(part.residue, THINKING):
        return merge(part.residue.fields, known)
    state = encode_signature(part.residue)
    return {**known, SIGNATURE: state} if state else known


def decode_url(fields: Fields, whole: Json, kind: str) -> Uri | Blob:
    """Media in the field `kind` of `whole`, the rest of which is in `fields`."""
    inner = None
    form: tuple[str, ...] = (kind,)
    if isinstance(whole.get(kind), str):
        url, form = fields.take(kind, str), (kind, _BARE)
    else:
        inner = fields.object(kind)
        url = inner.take("url", str)
    mark = fields.json("cache_control")
    residue = nest(rest(fields, *form), kind, inner.rest(NAME) if inner else None)
    modality = _URL_KINDS[kind]
    if data := read_data_url(url):
        mime, content = data
        return Blob(
            modality=modality,
            mime_type=mime,
            content=content,
            cache_control=mark,
            at=fields.path,
            residue=residue,
        )
    return Uri(modality=modality, uri=url, cache_control=mark, at=fields.path, residue=residue)


def _decode_audio(fields: Fields) -> Part | None:
    given = fields.peek("input_audio")
    if isinstance(given, str):
        return _decode_bare_audio(fields, given)
    audio = fields.object("input_audio")
    form = audio.take("format", str)
    return Blob(
        modality="audio",
        mime_type=_AUDIO_MIME.get(form, f"audio/{form}"),
        content=audio.take("data", str),
        cache_control=fields.json("cache_control"),
        at=fields.path,
        residue=nest(rest(fields, "input_audio"), "input_audio", audio.rest(NAME)),
    )


def _decode_bare_audio(fields: Fields, given: str) -> Part | None:
    """Mistral's: an address, or data that must tell its own type. None where it does not."""
    if given.startswith(("http://", "https://")):
        uri, residue = fields.take("input_audio", str), rest(fields, "input_audio", _BARE)
        return Uri(modality="audio", uri=uri, at=fields.path, residue=residue)
    mime = next((_AUDIO_STARTS[start] for start in _AUDIO_STARTS if given.startswith(start)), None)
    if mime is None:
        return None
    data, residue = fields.take("input_audio", str), rest(fields, "input_audio", _BARE)
    return Blob(modality="audio", mime_type=mime, content=data, at=fields.path, residue=residue)


def _decode_file(fields: Fields) -> Part | None:
    """A file inline, by address (OpenRouter) or by id. None for any other shape."""
    if "file" not in fields and "file_id" in fields:  # Mistral
        file_id, residue = fields.take("file_id", str), rest(fields, "file", _BARE)
        return File(modality="document", file_id=file_id, at=fields.path, residue=residue)
    file = fields.object("file")
    data = file.take_optional("file_data", str)
    address = read_data_url(data) if data else None
    if address:
        mime, content = address
        return Blob(
            modality=_MEDIA.get(mime.partition("/")[0], "document"),
            mime_type=mime,
            content=content,
            filename=file.take_optional("filename", str),
            filename_at=file.at("filename"),
            cache_control=fields.json("cache_control"),
            at=fields.path,
            residue=_file_residue(fields, file),
        )
    if data and data.startswith(("http://", "https://")):
        mark = fields.json("cache_control")
        residue = _file_residue(fields, file)
        return Uri(
            modality="document", uri=data, cache_control=mark, at=fields.path, residue=residue
        )
    if data is None and "file_id" in file:
        file_id, mark = file.take("file_id", str), fields.json("cache_control")
        residue = _file_residue(fields, file)
        return File(
            modality="document",
            file_id=file_id,
            cache_control=mark,
            at=fields.path,
            residue=residue,
        )
    return None


def _file_residue(fields: Fields, file: Fields) -> Residue | None:
    return nest(rest(fields, "file"), "file", file.rest(NAME))


_DECODERS: dict[str, Callable[[Fields], Part | None]] = {
    "text": _decode_text,
    "refusal": _decode_refusal,
    "thinking": _decode_thinking,
    "input_audio": _decode_audio,
    "file": _decode_file,
}


def encode_content(parts: list[Part], encoding: Encoding) -> str | list[Json]:
    """A string where one plain text is all there is, else an array of parts."""
    items = [encode_part(part, encoding) for part in parts]
    texts = [cast("str", item["text"]) for item in items if _is_plain(item)]
    if len(texts) != len(items) or encoding.own:
        is_string = len(texts) == len(items) == 1 and not says(parts[0].residue, _PART)
        return texts[0] if is_string else items
    if len(texts) > 1 and encoding.quirks.text_array:
        return items
    return "\n\n".join(texts)


def _is_plain(item: Json) -> bool:
    return item.keys() == {"type", "text"} and item["type"] == "text"


def encode_part(part: Part, encoding: Encoding) -> Json:
    """One item of an array of parts. Raises `Unrepresentable` for what none can say."""
    extra = {} if isinstance(part, Opaque) else encoding.losses.residue(part.residue, part.at)
    known: Json = {}
    match part:
        case Text():
            known = {"type": "text", "text": part.content, **cache_mark(part, encoding)}
        case Refusal():
            known = {"type": "refusal", "refusal": part.content}
        case Reasoning():
            known = _encode_thinking(part)
        case Opaque() if part.dialect == NAME:
            known = part.value
        case Uri() | Blob() | File():
            known = {**_encode_media(part, encoding), **cache_mark(part, encoding)}
        case _:
            kind = part.kind if isinstance(part, Opaque) else type(part).__name__
            encoding.losses.omit("parts", part.at, f"{kind} in a message's content")
    return merge(extra, known)


def is_refusal_part(part: Refusal) -> bool:
    """Whether a refusal came as a content part rather than as the message's `refusal`."""
    return says(part.residue, _PART)


def _encode_media(part: Uri | Blob | File, encoding: Encoding) -> Json:
    bare = encoding.quirks.bare_media and not is_own(part.residue)
    kind = _media_kind(part, bare)
    if kind is None:
        encoding.losses.omit("parts", part.at, f"{part.modality} {_HOW[type(part)]}")
        return {}
    bare = bare or says(part.residue, _BARE)
    if isinstance(part, File) and bare:
        return {"type": kind, "file_id": part.file_id}
    return {"type": kind, kind: _media_value(part, kind, bare)}


def _media_value(part: Uri | Blob | File, kind: str, bare: bool) -> Any:  # noqa: FBT001
    if isinstance(part, File) or kind == "file":
        return _file_fields(part)
    if kind == "input_audio" and isinstance(part, Blob):
        sound = {"data": part.content, "format": _audio_format(part)}
        return part.content if bare else sound
    url = part.uri if isinstance(part, Uri) else _data_url(part)
    return url if bare else {"url": url}


def _audio_format(part: Blob) -> str | None:
    """OpenAI's word for the media type; the client's own where it was this dialect's."""
    word = _AUDIO_FORMAT.get(part.mime_type)
    if is_own(part.residue) and word != "mp3":
        return part.mime_type.removeprefix("audio/")
    return word


def _media_kind(part: Uri | Blob | File, bare: bool) -> str | None:  # noqa: FBT001
    """The part's type on the wire: as it came, or the one that can say it, if any."""
    if part.residue is not None and is_own(part.residue):
        return next((word for word in part.residue.form if word in _KINDS), None)
    match part:
        case Uri() | Blob() if part.modality == "image":
            return "image_url"
        case Blob(modality="audio") if part.mime_type in _AUDIO_FORMAT:
            return "input_audio"
        case Uri(modality="audio") if bare:
            return "input_audio"
        case Uri() | Blob() if part.modality == "document" and bare:
            return "document_url"
        case Blob(modality="document"):
            return "file"
        case _:
            return None


def _data_url(part: Blob) -> str:
    return write_data_url(part.mime_type, part.content)


def _file_fields(part: Uri | Blob | File) -> Json:
    if isinstance(part, File):
        return {"file_id": part.file_id}
    if isinstance(part, Uri):
        return {"file_data": part.uri}
    data = {"file_data": _data_url(part)}
    if part.filename is not None:
        return {**data, "filename": part.filename}
    # OpenAI refuses inline data without a name; one that came without has none to give back.
    return data if is_own(part.residue) else {**data, "filename": "document.pdf"}
