"""Wire to meaning: requests, answers and their content blocks."""

from __future__ import annotations

from typing import Any, cast

import msgspec

from dragoman.dialects.anthropic_messages.errors import stream_error
from dragoman.dialects.anthropic_messages.names import (
    FINISH,
    HEAD,
    NAME,
    UNSIGNED,
    VERSION,
    WHOLE,
    decode_usage,
    json_object,
    own_reason,
)
from dragoman.dialects.call_ids import answer_ids, fill_id
from dragoman.dialects.carrying import decode_signature
from dragoman.dialects.documents import joined_texts, write_document
from dragoman.dialects.residues import pack
from dragoman.errors import InvalidRequest, UpstreamProtocolError
from dragoman.ir import (
    Blob,
    Choice,
    Effort,
    File,
    Json,
    Message,
    Modality,
    Opaque,
    OpaqueTool,
    Part,
    Reasoning,
    ReasoningConfig,
    Request,
    Residue,
    Response,
    ResponseFormat,
    Role,
    Text,
    Tool,
    ToolCall,
    ToolCallResponse,
    ToolChoice,
    Uri,
)
from dragoman.wire.fields import Fields

_EFFORTS: dict[str, Effort] = {
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "xhigh",
    "max": "max",
}
_MODES = {"auto": "auto", "any": "required", "tool": "tool", "none": "none"}
_THINKING = ("enabled", "disabled", "adaptive")
_MEDIA: dict[str, Modality] = {"image": "image", "document": "document"}
_SAYS_SO = {"type": "message", "role": "assistant"}
"""What every answer says of itself."""
Inner = Text | Uri | Blob | File | Opaque


def decode_request(body: Json) -> Request:
    """A whole request. Raises `InvalidRequest` naming the JSON path."""
    top = Fields(body, "$")
    messages = [_message(value, path) for path, value in top.items("messages")]
    if "system" in top:
        messages.insert(0, _system(top))
    choice, parallel = _tool_choice(top)
    user, metadata = _user(top)
    reasoning, response_format, config = _output_config(top)
    stream = top.take_optional("stream", bool)
    version = top.take_optional(VERSION, str)
    fields: dict[str, Any] = {
        "model": _model(top, version),
        "max_tokens": top.take("max_tokens", int),
        "temperature": top.take_optional("temperature", float),
        "top_p": top.take_optional("top_p", float),
        "top_k": top.take_optional("top_k", int),
        "stop_sequences": top.strings("stop_sequences"),
        "service_tier": top.take_optional("service_tier", str),
        "stream": stream or False,
        "tools": tuple(_tool(value, path) for path, value in top.items("tools")),
    }
    rest = top.rest(NAME)
    left = {**(rest.fields if rest else {}), **metadata, **config}
    return Request(
        **fields,
        messages=tuple(messages),
        tool_choice=choice,
        parallel_tool_calls=parallel,
        reasoning=reasoning,
        response_format=response_format,
        user=user,
        paths=_PATHS,
        residue=Residue(dialect=NAME, fields=left, form=_request_form(stream, version)),
    )


def _model(top: Fields, version: str | None) -> str:
    """Where the body says a version, the path says the model."""
    return top.take("model", str) if version is None or "model" in top else ""


def _request_form(stream: bool | None, version: str | None) -> tuple[str, ...]:  # noqa: FBT001
    """What only tells how the request came: a version in the body, as elsewhere in a header."""
    streams = () if stream is None else ("stream",)
    return streams if version is None else (*streams, VERSION, version)


_PATHS = {
    "user": "$.metadata.user_id",
    "parallel_tool_calls": "$.tool_choice.disable_parallel_tool_use",
    "effort": "$.output_config.effort",
}


def _system(top: Fields) -> Message:
    is_string = isinstance(top.peek("system"), str)
    parts = _content(top, "system")
    return Message(role="system", parts=parts, at="$.system", residue=_form(None, is_string))


def _form(rest: Residue | None, is_string: bool) -> Residue | None:  # noqa: FBT001
    if not is_string:
        return rest
    return Residue(dialect=NAME, fields=rest.fields if rest else {}, form=("string",))


def _message(value: Any, path: str) -> Message:
    fields = Fields(value, path)
    role = fields.word("role", ("user", "assistant", "system"))
    if role is None:
        raise InvalidRequest(f"{path}.role", "user or assistant")
    if "content" not in value:
        raise InvalidRequest(f"{path}.content", "a string or an array of blocks")
    is_string = isinstance(fields.peek("content"), str)
    parts = _content(fields, "content")
    residue = _form(fields.rest(NAME), is_string)
    return Message(role=cast("Role", role), parts=parts, at=path, residue=residue)


def _content(owner: Fields, name: str) -> tuple[Part, ...]:
    whole = owner.at(name)
    return tuple(
        Text(content=item, at=path)
        if isinstance(item, str) and path == whole
        else decode_block(item, path)
        for path, item in owner.one_or_many(name)
    )


def decode_block(value: Any, path: str) -> Part:
    """One content block. A type this code does not know is kept whole, as `Opaque`."""
    fields = Fields(value, path)
    kind = fields.take("type", str)
    reader = _BLOCKS.get(kind)
    if reader is not None:
        return reader(fields, path)
    if kind in _ABOUT and (words := _words(kind, fields)) is not None:
        return _in_words(value, fields, words)
    if kind in _MEDIA:
        return _media(value, fields, kind, path)
    return Opaque(dialect=NAME, kind=kind, value=value, at=path)


def _text(fields: Fields, path: str) -> Part:
    content, mark = fields.take("text", str), fields.json("cache_control")
    residue = fields.rest(NAME) or Residue(dialect=NAME, fields={})
    return Text(content=content, cache_control=mark, at=path, residue=residue)


def _thinking(fields: Fields, path: str) -> Part:
    content = fields.take_optional("thinking", str) or ""
    signature = fields.peek("signature")
    carried = decode_signature(signature) if isinstance(signature, str) else None
    residue = carried or fields.rest(NAME) or Residue(dialect=NAME, fields={}, form=(UNSIGNED,))
    return Reasoning(content=content, at=path, residue=residue)


def _redacted(fields: Fields, path: str) -> Part:
    data = {"data": fields.take("data", str)}
    rest = fields.rest(NAME)
    left = data | (rest.fields if rest else {})
    return Reasoning(content="", at=path, residue=Residue(dialect=NAME, fields=left))


def _tool_use(fields: Fields, path: str) -> Part:
    arguments = msgspec.json.encode(fields.json("input") or {}).decode()
    return ToolCall(
        id=fields.take("id", str),
        name=fields.take("name", str),
        arguments=arguments,
        cache_control=fields.json("cache_control"),
        at=path,
        residue=fields.rest(NAME),
    )


def _tool_result(fields: Fields, path: str) -> Part:
    is_string = isinstance(fields.peek("content"), str)
    parts = _content(fields, "content")
    return ToolCallResponse(
        id=fields.take("tool_use_id", str),
        parts=cast("tuple[Inner, ...]", parts),
        is_error=fields.take_optional("is_error", bool),
        error_at=fields.at("is_error"),
        cache_control=fields.json("cache_control"),
        at=path,
        residue=_form(fields.rest(NAME), is_string),
    )


_ABOUT = {"document": ("title", "context"), "search_result": ("source", "title")}
"""What is known about a text from elsewhere, besides its words."""


def _words(kind: str, fields: Fields) -> str | None:
    """The words of a document or of a search result that is nothing but text."""
    about = [fields.peek(name) for name in _ABOUT[kind]]
    if not all(isinstance(said, str | None) for said in about):
        return None
    if kind == "search_result":
        return joined_texts(fields.peek("content"))
    match fields.peek("source"):
        case {"type": "text", "media_type": "text/plain", "data": str(words), **more} if not more:
            return words
        case {"type": "content", "content": str(words), **more} if not more:
            return words
        case {"type": "content", "content": blocks, **more} if not more:
            return joined_texts(blocks)
        case _:
            return None


def _in_words(value: Json, fields: Fields, words: str) -> Part:
    """The text that says the block. To its own dialect it is that block again."""
    kind = value["type"]
    about = {name: fields.take_optional(name, str) for name in _ABOUT[kind]}
    fields.take_optional("content" if kind == "search_result" else "source", object)
    mark, rest = fields.json("cache_control"), fields.rest(NAME)
    return Text(
        content=write_document(kind, about, words),
        cache_control=mark,
        at=fields.path,
        residue=Residue(dialect=NAME, fields=rest.fields if rest else {}, form=pack(WHOLE, value)),
    )


_BLOCKS = {
    "text": _text,
    "thinking": _thinking,
    "redacted_thinking": _redacted,
    "tool_use": _tool_use,
    "tool_result": _tool_result,
}


def _media(value: Json, fields: Fields, kind: str, path: str) -> Part:
    source = fields.object("source")
    shared: dict[str, Any] = {"cache_control": fields.json("cache_control"), "at": path}
    modality = _MEDIA[kind]
    match source.take("type", str):
        case "url":
            uri = source.take("url", str)
            return Uri(modality=modality, uri=uri, residue=_around(fields, source), **shared)
        case "base64":
            return Blob(
                modality=modality,
                mime_type=source.take("media_type", str),
                content=source.take("data", str),
                filename=fields.take_optional("title", str) if kind == "document" else None,
                filename_at=fields.at("title"),
                residue=_around(fields, source),
                **shared,
            )
        case "file":
            file_id = source.take("file_id", str)
            residue = _around(fields, source)
            return File(modality=modality, file_id=file_id, residue=residue, **shared)
        case _:
            return Opaque(dialect=NAME, kind=kind, value=value, at=path)


def _around(fields: Fields, source: Fields) -> Residue | None:
    """What was said of a medium and of its source besides."""
    rest, inner = fields.rest(NAME), source.rest(NAME)
    if inner is None:
        return rest
    return Residue(dialect=NAME, fields={**(rest.fields if rest else {}), "source": inner.fields})


def _tool(value: Any, path: str) -> Tool | OpaqueTool:
    fields = Fields(value, path)
    kind = fields.take_optional("type", str)
    if kind not in (None, "custom"):
        return OpaqueTool(dialect=NAME, kind=kind, value=value, at=path)
    tool: dict[str, Any] = {
        "name": fields.take("name", str),
        "description": fields.take_optional("description", str),
        "parameters": fields.json("input_schema"),
        "strict": fields.take_optional("strict", bool),
        "strict_at": fields.at("strict"),
        "parameters_at": fields.at("input_schema"),
        "cache_control": fields.json("cache_control"),
    }
    rest = fields.rest(NAME)
    form = () if kind is None else ("typed",)
    residue = Residue(dialect=NAME, fields=rest.fields if rest else {}, form=form)
    return Tool(**tool, at=path, residue=residue)


def _tool_choice(top: Fields) -> tuple[ToolChoice | None, bool | None]:
    fields = top.object_optional("tool_choice")
    if fields is None:
        return None, None
    word = fields.word("type", tuple(_MODES))
    if word is None:
        raise InvalidRequest("$.tool_choice.type", "one of " + ", ".join(_MODES))
    disabled = fields.take_optional("disable_parallel_tool_use", bool)
    name = fields.take("name", str) if word == "tool" else None
    mode = cast("Any", _MODES[word])
    choice = ToolChoice(mode=mode, name=name, at="$.tool_choice", residue=fields.rest(NAME))
    return choice, None if disabled is None else not disabled


def _user(top: Fields) -> tuple[str | None, Json]:
    metadata = top.json("metadata")
    if metadata is None:
        return None, {}
    fields = Fields(metadata, "$.metadata")
    user = fields.take_optional("user_id", str)
    rest = fields.rest(NAME)
    return user, {"metadata": rest.fields if rest else {}}


def _output_config(top: Fields) -> tuple[ReasoningConfig | None, ResponseFormat | None, Json]:
    """Thinking and output format, and what of `output_config` has no name here."""
    config = top.object_optional("output_config")
    effort = config.word("effort", tuple(_EFFORTS)) if config else None
    response_format = _format(config, "format") if config else None
    response_format = response_format or _format(top, "output_format")
    rest = config.rest(NAME) if config else None
    reasoning = _reasoning(top, _EFFORTS[effort] if effort else None)
    kept = {} if config is None else {"output_config": rest.fields if rest else {}}
    return reasoning, response_format, kept


def _format(owner: Fields, name: str) -> ResponseFormat | None:
    """The format asked for; `output_format` at the top is the name it had at first."""
    fields = owner.object_optional(name)
    if fields is None:
        return None
    fields.word("type", ("json_schema",))
    schema, rest = fields.json("schema"), fields.rest(NAME)
    if name == "output_format":
        rest = Residue(dialect=NAME, fields=rest.fields if rest else {}, form=(name,))
    at, schema_at = fields.path, fields.at("schema")
    return ResponseFormat(
        kind="json_schema", schema=schema, at=at, schema_at=schema_at, residue=rest
    )


def _reasoning(top: Fields, effort: Effort | None) -> ReasoningConfig | None:
    fields = top.object_optional("thinking")
    if fields is None:
        if effort is None:
            return None
        form = Residue(dialect=NAME, fields={}, form=("output_config",))
        return ReasoningConfig(effort=effort, at="$.output_config.effort", residue=form)
    kind = fields.word("type", _THINKING)
    if kind is None:
        raise InvalidRequest("$.thinking.type", "one of " + ", ".join(_THINKING))
    return ReasoningConfig(
        effort="none" if kind == "disabled" else effort,
        budget_tokens=fields.take_optional("budget_tokens", int),
        adaptive=kind == "adaptive",
        at="$.thinking",
        residue=fields.rest(NAME),
    )


def decode_response(body: Json) -> Response:
    """A whole answer. Raises `UpstreamError` where it says that it failed, whatever its status,
    `UpstreamProtocolError` if it is no answer."""
    if "content" not in body and body.get("error"):
        raise stream_error(body["error"])
    if not isinstance(body.get("content"), list):
        raise UpstreamProtocolError("the upstream's answer: $.content: expected an array of blocks")
    try:
        fields = Fields({**body, "content": _with_ids(body)}, "$")
        parts = tuple(decode_block(item, path) for path, item in fields.items("content"))
        word = fields.take_optional("stop_reason", str)
        reason = "end_turn" if word is None else word
        head: dict[str, Any] = {
            name: fields.take_optional(name, str) or "" for name in ("id", "model")
        }
        stop = fields.take_optional("stop_sequence", str)
        usage = fields.json("usage")
    except InvalidRequest as error:
        raise UpstreamProtocolError(f"the upstream's answer: {error}") from error
    rest = fields.rest(NAME)
    left = dict(rest.fields) if rest else {}
    for name, word in _SAYS_SO.items():
        if left.get(name) == word:
            del left[name]
    choice = Choice(
        parts=tuple(msgspec.structs.replace(part, at="") for part in parts),
        finish_reason=FINISH.get(reason, "stop"),
        stop_sequence=stop,
        residue=own_reason(reason, stop),
    )
    absent = tuple(name for name in HEAD if name not in body)
    return Response(
        **head,
        choices=(choice,),
        usage=None if usage is None else decode_usage(usage),
        residue=Residue(dialect=NAME, fields=left, form=absent),
    )


def _with_ids(body: Json) -> list[Any]:
    """The answer's blocks, each call with an id."""
    ids = answer_ids(body.get("id"))
    return [
        fill_id(ids, block, "id") if json_object(block).get("type") == "tool_use" else block
        for block in body["content"]
    ]
