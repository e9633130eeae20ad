"""Parts of a content: between wire and meaning."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from dragoman.dialects.call_ids import CallIds
from dragoman.dialects.gemini_generate.names import (
    BARE,
    NAME,
    NEXT,
    NO_SIGNATURE,
    PREVIOUS,
    SIGNATURE,
    TEXT,
    Cursor,
    carried,
    carry,
    has_form,
    is_own,
    json_object,
    modality_of,
    own,
    pack,
    packed,
    place_of,
    snake,
    spelled,
    state,
)
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
from dragoman.wire.base64_text import from_standard, to_standard

_NO_ID = "no_id"
_NO_ARGS = "no_args"
_RESPONSE = "response"


# --- read -------------------------------------------------------------------------------------


def decode_parts(value: Any, path: str, ids: CallIds) -> list[Part]:
    """One part, and beside it the signature it bears if it is no thought."""
    fields = Cursor(value, path)
    signature = fields.peek(SIGNATURE)
    if not isinstance(signature, str) or fields.peek("thought") is True:
        return [decode_part(value, path, ids)]
    rest = {k: v for k, v in json_object(value).items() if k not in (SIGNATURE, snake(SIGNATURE))}
    form = (snake(SIGNATURE),) if fields.given(SIGNATURE) == snake(SIGNATURE) else ()
    place = _place(rest)
    if place is None:
        return [decode_part(value, path, ids)]
    signed = carried(signature)
    one = state(signature, place, fields.at(SIGNATURE), *form)
    if signed is not None:
        one = Reasoning(content="", at=one.at, residue=signed)
    if place in (TEXT, BARE):
        return [one]
    part = decode_part(rest, path, ids)
    return [part, one] if place == PREVIOUS else [one, part]


def _place(part: Json) -> str | None:
    """Where in `part` a signature stands; None where the part is kept whole, signature and all."""
    match part:
        case {"text": ""} if len(part) == 1:
            return TEXT
        case {"text": str()}:
            return PREVIOUS
        case {"fileData": _} | {"file_data": _} if _is_kept_by_google(part):
            return None
        case {}:
            known = any(name in part or snake(name) in part for name in _SIGNED)
            return NEXT if known else None if part else BARE
        case _:
            return None


_SIGNED = ("functionCall", "functionResponse", "inlineData", "fileData")


def decode_part(value: Any, path: str, ids: CallIds) -> Part:
    """One part. What this code does not know is kept whole."""
    fields = Cursor(value, path)
    if "text" in fields or fields.peek("text") == "":
        return _text(fields)
    if "functionCall" in fields:
        return _call(fields, ids)
    if "functionResponse" in fields:
        return _answer(fields, ids)
    if "inlineData" in fields:
        return _inline(fields)
    if "fileData" in fields and not _is_kept_by_google(value):
        return _file(fields)
    kind = next((name for name in json_object(value) if name not in (SIGNATURE, "thought")), "part")
    return Opaque(dialect=NAME, kind=kind, value=value, at=path)


def _text(fields: Cursor) -> Part:
    content = fields.take("text", str)
    if fields.peek("thought") is True:
        fields.take("thought", bool)
        state = carried(fields.peek(SIGNATURE))
        return Reasoning(content=content, at=fields.path, residue=state or fields.residue())
    return Text(content=content, at=fields.path, residue=fields.residue())


def _call(fields: Cursor, ids: CallIds) -> Part:
    inner = fields.object("functionCall")
    name = inner.take("name", str)
    given = inner.take_optional("id", str) if inner.peek("id") else None
    args = inner.json("args")
    form = [*([] if given else [_NO_ID]), *([] if args is not None else [_NO_ARGS])]
    return ToolCall(
        id=ids.of_call(given, name),
        name=name,
        arguments=msgspec.json.encode(args or {}).decode(),
        at=fields.path,
        residue=_nested(fields, "functionCall", inner, *form),
    )


def _nested(fields: Cursor, name: str, inner: Cursor, *form: str) -> Residue:
    """What is left of a part and of the object in it."""
    left, within = fields.rest(NAME), inner.rest(NAME)
    extra = {fields.given(name): within.fields} if within else {}
    words = (*form, *fields.form, *inner.form)
    return Residue(dialect=NAME, fields={**(left.fields if left else {}), **extra}, form=words)


def _answer(fields: Cursor, ids: CallIds) -> Part:
    inner = fields.object("functionResponse")
    name = inner.take("name", str)
    given = inner.take_optional("id", str) if inner.peek("id") else None
    response = inner.json("response") or {}
    text, is_error = _said(response)
    found = [decode_part(item, at, ids) for at, item in inner.items("parts")]
    media = [part for part in found if isinstance(part, Uri | Blob | Opaque)]
    form = (*(() if given else (_NO_ID,)), *pack(_RESPONSE, response), *pack("name", name))
    return ToolCallResponse(
        id=ids.of_answer(given, name)[0],
        parts=(Text(content=text, at=f"{inner.path}.response"), *media),
        is_error=is_error,
        error_at=f"{inner.path}.response.error",
        at=fields.path,
        residue=_nested(fields, "functionResponse", inner, *form),
    )


def _said(response: Json) -> tuple[str, bool | None]:
    """The text of a function's response, and whether it tells of an error."""
    match response:
        case {"error": str(text)} if len(response) == 1:
            return text, True
        case {"output": str(text)} | {"result": str(text)} if len(response) == 1:
            return text, None
        case _:
            return msgspec.json.encode(response).decode(), None


def _inline(fields: Cursor) -> Part:
    inner = fields.object("inlineData")
    mime = inner.take("mimeType", str)
    content, form = to_standard(inner.take("data", str))
    return Blob(
        modality=modality_of(mime),
        mime_type=mime,
        content=content,
        filename=inner.take_optional("displayName", str),
        filename_at=inner.at("displayName"),
        at=fields.path,
        residue=_nested(fields, "inlineData", inner, *form),
    )


def _is_kept_by_google(part: Json) -> bool:
    """Whether a file lies where only Google can read it: in its Files API or in Cloud Storage."""
    file = json_object(part.get("fileData") or part.get("file_data"))
    uri = str(file.get("fileUri") or file.get("file_uri") or _WEB)
    return not uri.startswith(("http://", _WEB)) or uri.startswith(_FILES)


_WEB = "https://"
_FILES = "https://generativelanguage.googleapis.com/"


def _file(fields: Cursor) -> Part:
    inner = fields.object("fileData")
    mime = inner.peek("mimeType")  # it stays in the residue: few others say it of an address
    if not isinstance(mime, str | None):
        raise InvalidRequest(inner.at("mimeType"), "a string")
    return Uri(
        modality=modality_of(mime or "application/pdf"),
        uri=inner.take("fileUri", str),
        mime_type=mime,
        at=fields.path,
        residue=_nested(fields, "fileData", inner),
    )


# --- write ------------------------------------------------------------------------------------


def encode_part(part: Part, losses: Losses, names: dict[str, str]) -> Json | None:
    """One part; None for what says nothing here or was reported. `names`: of calls, by id."""
    if isinstance(part, Markable) and part.cache_control is not None:
        losses.omit("cache_control", part.mark_path)
    match part:
        case Opaque() if part.dialect == NAME:
            return part.value
        case Reasoning():
            return _thought(part, losses)
        case Text() | Refusal():
            extra = losses.residue(part.residue, part.at)
            return spelled({"text": part.content, **extra}, part.residue)
        case ToolCall():
            return _call_out(part, losses)
        case ToolCallResponse():
            return _answer_out(part, losses, names)
        case Uri() | Blob() | File():
            return _media(part, losses)
        case _:
            losses.omit("parts", part.at, f"it has no {part.kind} part")
            return None


def encode_parts(
    parts: Iterable[Part], losses: Losses, write: Callable[[Part], Json | None]
) -> list[Json]:
    """Parts as `write` writes them, each signature back where it stood."""
    out: list[Json] = []
    waiting: Reasoning | None = None
    on_text = False
    for part in parts:
        place = place_of(part)
        if place == NEXT and isinstance(part, Reasoning):
            _lose(waiting, losses)
            waiting = part
        elif place is not None and isinstance(part, Reasoning):
            if place == PREVIOUS and on_text:
                out[-1] = _sign(out[-1], part)
            else:
                out.append(_sign({} if place == BARE else {"text": ""}, part))
            on_text = False
        elif (wire := write(part)) is not None:
            if waiting is not None and not isinstance(part, Text | Reasoning | Refusal):
                wire, waiting = _sign(wire, waiting), None
            out.append(wire)
            on_text = isinstance(part, Text)
    _lose(waiting, losses)
    return out


def _lose(waiting: Reasoning | None, losses: Losses) -> None:
    """A signature whose part is gone says nothing any more."""
    if waiting is not None:
        losses.omit("reasoning", waiting.at)


def _sign(wire: Json, part: Reasoning) -> Json:
    return {**wire, **spelled(own(part.residue), part.residue)}


def _thought(part: Reasoning, losses: Losses) -> Json | None:
    """Another model's thoughts are of no use to this one."""
    if part.residue is not None and not is_own(part.residue):
        losses.omit("reasoning", part.at)
        return None
    return spelled({"text": part.content, "thought": True, **own(part.residue)}, part.residue)


def thought_for_client(part: Reasoning) -> Json:
    """The same in an answer: another dialect's state travels as the signature."""
    wire: Json = {"text": part.content, "thought": True}
    if is_own(part.residue):
        return {**wire, **own(part.residue)}
    state = carry(part.residue)
    return {**wire, SIGNATURE: state} if state else wire


def arguments_of(call: ToolCall) -> Json:
    """Arguments as the object they must be here. Raises `InvalidRequest`."""
    try:
        return msgspec.json.decode(call.arguments or "{}", type=Json | None) or {}
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"{call.at}", "a call whose arguments are a JSON object") from error


def _call_out(call: ToolCall, losses: Losses) -> Json:
    extra = losses.residue(call.residue, call.at)
    inner: Json = {"name": call.name}
    if not has_form(call.residue, _NO_ID):
        inner["id"] = call.id
    arguments = arguments_of(call)
    if arguments or not has_form(call.residue, _NO_ARGS):
        inner["args"] = arguments
    return wrapped("functionCall", inner, extra, call.residue)


def wrapped(name: str, inner: Json, extra: Json, residue: Residue | None) -> Json:
    """`{name: inner}` beside what is left of both objects, in the client's spelling."""
    beside = {key: value for key, value in extra.items() if key not in (name, snake(name))}
    within = json_object(extra.get(name)) or json_object(extra.get(snake(name)))
    whole = spelled({**inner, **within}, residue)
    return spelled({**beside, name: whole}, residue)


def _answer_out(part: ToolCallResponse, losses: Losses, names: dict[str, str]) -> Json:
    extra = losses.residue(part.residue, part.at)
    response = packed(part.residue, _RESPONSE)
    if response is not None:
        inner: Json = {"name": packed(part.residue, "name"), "response": response}
    else:
        if part.id not in names:
            raise InvalidRequest(part.at, "an answer to a call made before it")
        inner = {"name": names[part.id], "response": _response(part, losses)}
    media = [encode_part(one, losses, names) for one in part.parts if not isinstance(one, Text)]
    if media:
        inner["parts"] = media
    if not has_form(part.residue, _NO_ID):
        inner["id"] = part.id
    return wrapped("functionResponse", inner, extra, part.residue)


def _response(part: ToolCallResponse, losses: Losses) -> Json:
    texts: list[str] = []
    for inner in part.parts:
        if not isinstance(inner, Text):
            continue
        losses.residue(inner.residue, inner.at)
        if inner.cache_control is not None:
            losses.omit("cache_control", inner.mark_path)
        texts.append(inner.content)
    return {"error" if part.is_error else "output": "\n\n".join(texts)}


def _media(part: Uri | Blob | File, losses: Losses) -> Json:
    extra = losses.residue(part.residue, part.at)
    match part:
        case Blob():
            form = part.residue.form if is_own(part.residue) and part.residue else ()
            data = from_standard(part.content, form)
            inner: Json = {"mimeType": part.mime_type, "data": data}
            if part.filename is not None:
                inner["displayName"] = part.filename
            return wrapped("inlineData", inner, extra, part.residue)
        case Uri():
            inner = {"fileUri": part.uri}
            if part.mime_type is not None:
                inner["mimeType"] = part.mime_type
            return wrapped("fileData", inner, extra, part.residue)
        case File():
            losses.omit("parts", part.at, "another provider's file id")
            return {}


def sign_calls(parts: list[Json]) -> None:
    """The first call of a turn must have a signature, if only the one that says there is none."""
    first = next((part for part in parts if "functionCall" in part), None)
    if first is not None and not any(SIGNATURE in part for part in parts):
        first[SIGNATURE] = NO_SIGNATURE
