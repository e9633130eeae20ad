"""The request: everything beside its messages is a top-level field."""

from __future__ import annotations

from typing import Any, cast

from dragoman.dialects.openai_chat.messages import decode_message, encode_message
from dragoman.dialects.openai_chat.spelling import (
    NAME,
    UNTYPED,
    Encoding,
    cache_mark,
    merge,
    nest,
    rest,
    says,
    typed,
)
from dragoman.dialects.openai_chat.thinking import decode_thinking, encode_thinking
from dragoman.dialects.schema_subsets import OPENAI
from dragoman.dialects.schemas import fit_tool
from dragoman.dialects.tiers import tier_of
from dragoman.ir import (
    Json,
    OpaqueTool,
    OutputModalities,
    Request,
    Residue,
    ResponseFormat,
    Tool,
    ToolChoice,
)
from dragoman.ir.turns import join_turns
from dragoman.wire.fields import Fields

_PATHS = {
    "stop_sequences": "$.stop",
    "choice_count": "$.n",
    "reasoning": "$.reasoning_effort",
    "include_usage": "$.stream_options.include_usage",
}
_NEW_LIMIT = "max_completion_tokens"
_OLD_LIMIT = "max_tokens"
_ONE_STOP = "stop"
_NOT_STREAMED = "stream"
_UNNAMED = "model"
"""Spelling of a request whose model the provider's path names, as Azure's does."""
_CHOICE = "tool_choice"
_FORMAT = "response_format"
_MODALITIES = "modalities"
# Forms of these three that only this dialect has travel as an opaque tool: no dialect drops one.
_LEGACY_TOOLS = "functions"
_GUARDS: dict[str, type] = {"guardrails": list, "safe_prompt": bool}
"""Mistral's: what is to be guarded must not be answered unguarded."""
_WHOLE = (_CHOICE, _FORMAT, _MODALITIES, *_GUARDS)
_SEED = "seed"
_RANDOM_SEED = "random_seed"
_PLAIN = {
    "temperature": "temperature",
    "top_p": "top_p",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
    "choice_count": "n",
    "logprobs": "logprobs",
    "top_logprobs": "top_logprobs",
    "parallel_tool_calls": "parallel_tool_calls",
    "user": "user",
}
"""Fields that both sides have and that need no thought: their names here and on the wire."""


_KINDS: dict[str, type] = {
    "choice_count": int,
    "top_logprobs": int,
    "logprobs": bool,
    "parallel_tool_calls": bool,
    "user": str,
}
"""What the fields of `_PLAIN` are; the others are numbers."""


def decode_request(body: Json) -> Request:
    """The request in `body`. Raises `InvalidRequest` with the place of what is wrong."""
    top = Fields(body, "$")
    limit = _NEW_LIMIT if _NEW_LIMIT in top else _OLD_LIMIT
    model = top.take_optional("model", str)
    top.take("messages", list)
    messages = [decode_message(item, f"$.messages[{i}]") for i, item in enumerate(body["messages"])]
    options = top.object_optional("stream_options")
    include_usage = options.take_optional("include_usage", bool) if options else None
    stream = top.take_optional("stream", bool)
    tools = _decode_tools(top)
    choice = _decode_tool_choice(top, body)
    shape = _decode_response_format(top, body)
    seed = _RANDOM_SEED if _RANDOM_SEED in top and _SEED not in top else _SEED
    plain: dict[str, Any] = {
        name: top.take_optional(wire, _KINDS.get(name, float))
        for name, wire in _PLAIN.items()
        if wire in body
    }
    spoken = _decode_modalities(top, body)
    opaque = [node for node in (choice, shape, spoken) if isinstance(node, OpaqueTool)]
    return Request(
        model=model or "",
        messages=tuple(messages),
        tools=(*tools, *opaque, *_decode_guards(top)),
        tool_choice=choice if isinstance(choice, ToolChoice) else None,
        response_format=shape if isinstance(shape, ResponseFormat) else None,
        max_tokens=top.take_optional(limit, int),
        top_k=top.take_optional("top_k", int),
        seed=top.take_optional(seed, int),
        stop_sequences=top.strings("stop"),
        reasoning=decode_thinking(top, body),
        service_tier=top.take_optional("service_tier", str),
        stream=stream or False,
        include_usage=include_usage,
        paths=_PATHS | {"max_tokens": f"$.{limit}", "seed": f"$.{seed}"},
        residue=_residue(top, body, options),
        **plain,
    )


def _residue(top: Fields, body: Json, options: Fields | None) -> Residue:
    """What is left once all else was taken. Never None: it tells that the source was this one."""
    words: list[str] = []
    if isinstance(body.get("stop"), str):
        words.append(_ONE_STOP)
    if body.get("stream") is False:
        words.append(_NOT_STREAMED)
    if body.get("model") is None:
        words.append(_UNNAMED)
    left = top.rest(NAME)
    residue = Residue(dialect=NAME, fields=left.fields if left else {}, form=tuple(words))
    if options is None:
        return residue
    inner = options.rest(NAME)
    fields = {**residue.fields, "stream_options": inner.fields if inner else {}}
    return Residue(dialect=NAME, fields=fields, form=residue.form)


def _decode_modalities(top: Fields, body: Json) -> OutputModalities | None:
    """An answer in more than text."""
    if body.get(_MODALITIES) in (None, [], ["text"]):
        return None
    found: Json = {_MODALITIES: top.take(_MODALITIES, list)}
    words = tuple(str(word).lower() for word in found[_MODALITIES])
    return OutputModalities(
        dialect=NAME, kind=_MODALITIES, value=found, at=f"$.{_MODALITIES}", wanted=words
    )


def _decode_tools(top: Fields) -> list[Tool | OpaqueTool]:
    tools = [_decode_tool(tool, path) for path, tool in top.items("tools")]
    legacy = [
        OpaqueTool(dialect=NAME, kind=_LEGACY_TOOLS, value=tool, at=path)
        for path, tool in top.items(_LEGACY_TOOLS)
    ]
    return [*tools, *legacy]


def _decode_guards(top: Fields) -> list[OpaqueTool]:
    """Those that are on; one that is off says nothing."""
    return [
        OpaqueTool(dialect=NAME, kind=name, value={name: top.take(name, kind)}, at=top.at(name))
        for name, kind in _GUARDS.items()
        if top.peek(name)
    ]


def _decode_tool(value: object, path: str) -> Tool | OpaqueTool:
    fields = Fields(value, path)
    kind = fields.take_optional("type", str)
    if kind not in (None, "function"):
        return OpaqueTool(dialect=NAME, kind=kind, value=cast("Json", value), at=path)
    function = fields.object("function")
    mark = fields.json("cache_control")
    return Tool(
        name=function.take("name", str),
        description=function.take_optional("description", str),
        parameters=function.json("parameters"),
        strict=function.take_optional("strict", bool),
        strict_at=function.at("strict"),
        parameters_at=function.at("parameters"),
        cache_control=mark,
        at=path,
        residue=nest(_rest_of_function(fields, kind), "function", function.rest(NAME)),
    )


def _rest_of_function(fields: Fields, kind: str | None) -> Residue | None:
    return rest(fields, UNTYPED) if kind is None else rest(fields)


def _decode_tool_choice(top: Fields, body: Json) -> ToolChoice | OpaqueTool | None:
    """`any` and a function without `type` are Mistral's spellings."""
    choice, at = body.get("tool_choice"), top.at("tool_choice")
    if isinstance(choice, dict):
        return _decode_named_choice(top.object("tool_choice"), cast("Json", choice))
    match top.take_optional("tool_choice", str):
        case None:
            return None
        case "any":
            residue = Residue(dialect=NAME, fields={}, form=("any",))
            return ToolChoice(mode="required", at=at, residue=residue)
        case "auto" | "none" | "required" as word:
            return ToolChoice(mode=word, at=at)
        case word:  # a server's own: a name (Together), `validated` (Fireworks)
            return OpaqueTool(dialect=NAME, kind=_CHOICE, value={_CHOICE: word}, at=at)


def _decode_named_choice(fields: Fields, choice: Json) -> ToolChoice | OpaqueTool:
    kind = fields.take_optional("type", str)
    if kind not in (None, "function") or not isinstance(fields.peek("function"), dict):
        return OpaqueTool(dialect=NAME, kind=_CHOICE, value={_CHOICE: choice}, at=fields.path)
    function = fields.object("function")
    name = function.take("name", str)
    residue = nest(_rest_of_function(fields, kind), "function", function.rest(NAME))
    return ToolChoice(mode="tool", name=name, at=fields.path, residue=residue)


def _decode_response_format(top: Fields, body: Json) -> ResponseFormat | OpaqueTool | None:
    fields = top.object_optional("response_format")
    if fields is None:
        return None
    match fields.take("type", str):
        case "text":
            return ResponseFormat(kind="text", at=fields.path, residue=rest(fields))
        case "json_object":
            return ResponseFormat(kind="json_object", at=fields.path, residue=rest(fields))
        case "json_schema":
            return _decode_schema(fields)
        case _:
            whole = {_FORMAT: body[_FORMAT]}
            return OpaqueTool(dialect=NAME, kind=_FORMAT, value=whole, at=fields.path)


def _decode_schema(fields: Fields) -> ResponseFormat:
    inner = fields.object("json_schema")
    return ResponseFormat(
        kind="json_schema",
        name=inner.take_optional("name", str),
        description=inner.take_optional("description", str),
        schema=inner.json("schema"),
        strict=inner.take_optional("strict", bool),
        at=fields.path,
        fields_at=inner.path,
        schema_at=inner.at("schema"),
        residue=nest(rest(fields), "json_schema", inner.rest(NAME)),
    )


def encode_request(request: Request, encoding: Encoding) -> Json:
    """The body for a provider. Raises `Unrepresentable` for what this dialect cannot say."""
    is_named = request.model or not says(request.residue, _UNNAMED)
    body: Json = {"model": request.model} if is_named else {}
    turns = request.messages if encoding.own else join_turns(request.messages, encoding.losses)
    messages = [encode_message(message, encoding) for message in turns]
    body["messages"] = [item for group in messages for item in group]
    body |= _encode_tools(request, encoding)
    body |= _encode_limits(request, encoding)
    for name, wire in _PLAIN.items():
        value = getattr(request, name)
        if value is not None:
            body[wire] = value
    if request.response_format is not None:
        body["response_format"] = _encode_response_format(request.response_format, encoding)
    body |= _encode_hints(request, encoding)
    body |= _encode_stream(request, encoding)
    return merge(encoding.losses.residue(request.residue, "$"), body)


def _encode_tools(request: Request, encoding: Encoding) -> Json:
    out: Json = {}
    tools: list[Json] = []
    for tool in request.tools:
        if isinstance(tool, Tool):
            tools.append(_encode_tool(tool, request.residue, encoding))
        elif tool.dialect != NAME:
            out |= _encode_foreign_tool(tool, encoding)
        elif tool.kind in _WHOLE and tool.at == f"$.{tool.kind}":
            out |= tool.value
        elif tool.kind == _LEGACY_TOOLS:
            out.setdefault(_LEGACY_TOOLS, []).append(tool.value)
        else:
            tools.append(tool.value)
    if tools:
        out["tools"] = tools
    if request.tool_choice is not None:
        out["tool_choice"] = _encode_tool_choice(request.tool_choice, encoding)
    return out


def _encode_foreign_tool(tool: OpaqueTool, encoding: Encoding) -> Json:
    """The wish for images, where the provider makes them; what else there is has no place here."""
    if isinstance(tool, OutputModalities) and tool.is_of_images and encoding.quirks.images:
        return {_MODALITIES: list(tool.wanted)}
    encoding.losses.omit("tools", tool.at, f"{tool.kind} is run by another provider")
    return {}


def _encode_tool(tool: Tool, source: Residue | None, encoding: Encoding) -> Json:
    parameters, strict = fit_tool(tool, source, OPENAI, encoding.losses)
    known = {
        "name": tool.name,
        "description": tool.description,
        "parameters": parameters,
        "strict": strict,
    }
    function = {name: value for name, value in known.items() if value is not None}
    extra = encoding.losses.residue(tool.residue, tool.at)
    mark = cache_mark(tool, encoding)
    return merge(extra, {**typed(tool.residue), "function": function, **mark})


def _encode_tool_choice(choice: ToolChoice, encoding: Encoding) -> str | Json:
    extra = encoding.losses.residue(choice.residue, choice.at)
    if choice.mode != "tool":
        return "any" if says(choice.residue, "any") else choice.mode
    return merge(extra, {**typed(choice.residue), "function": {"name": choice.name}})


def _encode_response_format(shape: ResponseFormat, encoding: Encoding) -> Json:
    extra = encoding.losses.residue(shape.residue, shape.at)
    if shape.kind != "json_schema":
        return merge(extra, {"type": shape.kind})
    name = shape.name if encoding.own else shape.name or "response"
    known = {
        "name": name,
        "description": shape.description,
        "schema": shape.schema,
        "strict": shape.strict,
    }
    inner = {name: value for name, value in known.items() if value is not None}
    return merge(extra, {"type": "json_schema", "json_schema": inner})


def _encode_limits(request: Request, encoding: Encoding) -> Json:
    out: Json = {}
    if request.max_tokens is not None:
        as_sent = request.path("max_tokens").removeprefix("$.") if encoding.own else _NEW_LIMIT
        out[encoding.quirks.max_tokens_field or as_sent] = request.max_tokens
    if request.stop_sequences:
        one = says(request.residue, _ONE_STOP)
        out["stop"] = request.stop_sequences[0] if one else list(request.stop_sequences)
    if request.seed is not None:
        as_sent = request.path("seed").removeprefix("$.")
        out[as_sent if encoding.own else encoding.quirks.seed_field] = request.seed
    if request.top_k is not None:
        if encoding.own or encoding.quirks.top_k:
            out["top_k"] = request.top_k
        else:
            encoding.losses.omit("top_k", request.path("top_k"))
    return out


def _encode_hints(request: Request, encoding: Encoding) -> Json:
    out = encode_thinking(request, encoding)
    if (tier := tier_of(request, encoding.losses)) is not None:
        out["service_tier"] = tier
    return out


def _encode_stream(request: Request, encoding: Encoding) -> Json:
    """Usage is asked for whether or not the client did: every call is metered."""
    if not request.stream:
        not_streamed = {"stream": False} if says(request.residue, _NOT_STREAMED) else {}
        return {**not_streamed, **_asked(request)}
    if encoding.own:
        return {"stream": True, **_asked(request)}
    if not encoding.quirks.include_usage:
        return {"stream": True}
    return {"stream": True, "stream_options": {"include_usage": True}}


def _asked(request: Request) -> Json:
    if request.include_usage is None:
        return {}
    return {"stream_options": {"include_usage": request.include_usage}}
