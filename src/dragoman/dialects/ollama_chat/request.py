"""Requests of the dialect."""

from __future__ import annotations

from typing import Any, cast

from dragoman.dialects.call_ids import CallIds
from dragoman.dialects.efforts import level_of, says_level
from dragoman.dialects.ollama_chat.messages import decode_message, encode_message
from dragoman.dialects.ollama_chat.names import LEVELS, NAME
from dragoman.dialects.residues import is_own, json_object, keep, nest, pack, packed, says
from dragoman.errors import InvalidRequest
from dragoman.ir import (
    Effort,
    Json,
    OpaqueTool,
    ReasoningConfig,
    Request,
    Residue,
    ResponseFormat,
    Tool,
)
from dragoman.ir.losses import Losses
from dragoman.ir.turns import join_turns, without_tools
from dragoman.wire.fields import Fields

_OPTIONS: dict[str, tuple[str, type]] = {
    "max_tokens": ("num_predict", int),
    "temperature": ("temperature", float),
    "top_p": ("top_p", float),
    "top_k": ("top_k", int),
    "seed": ("seed", int),
    "frequency_penalty": ("frequency_penalty", float),
    "presence_penalty": ("presence_penalty", float),
}
"""Names here, names among the `options`, and what they hold."""
_PATHS = {name: f"$.options.{wire}" for name, (wire, _) in _OPTIONS.items()} | {
    "stop_sequences": "$.options.stop",
    "response_format": "$.format",
    "reasoning": "$.think",
}
_HINTS = ("user", "service_tier")
_NO_STREAM, _ONE_STOP, _UNTYPED, _FORMAT, _BUDGET = (
    "no_stream",
    "one_stop",
    "untyped",
    "format",
    "options",
)
_EFFORTS = ("low", "medium", "high", "max")


def decode_request(body: Json) -> Request:
    """A whole request. Raises `InvalidRequest` naming the JSON path."""
    top = Fields(body, "$")
    ids = CallIds()
    model = top.take("model", str)
    messages = [decode_message(value, path, ids) for path, value in top.items("messages")]
    if not messages:
        raise InvalidRequest("$.messages", "an array of at least one message")
    stream = top.take_optional("stream", bool)
    form = () if stream is not None else (_NO_STREAM,)
    options = top.object_optional("options")
    sampling, spelled = _sampling(options) if options is not None else ({}, ())
    shape, shape_form = _format(top)
    tools = _tools(top)
    reasoning = _reasoning(top)
    logprobs = top.take_optional("logprobs", bool)
    top_logprobs = top.take_optional("top_logprobs", int)
    residue = keep(top, NAME, *form, *spelled, *shape_form) or Residue(dialect=NAME, fields={})
    if options is not None:
        left = options.rest(NAME)
        fields = {**residue.fields, "options": left.fields if left else {}}
        residue = Residue(dialect=NAME, fields=fields, form=residue.form)
    return Request(
        model=model,
        messages=tuple(messages),
        tools=tuple(tools),
        response_format=shape,
        reasoning=reasoning,
        logprobs=logprobs,
        top_logprobs=top_logprobs,
        stream=stream is not False,
        paths=_PATHS,
        residue=residue,
        **sampling,
    )


def _sampling(options: Fields) -> tuple[dict[str, Any], tuple[str, ...]]:
    """A limit below none means no limit: it stays among the options."""
    limit = options.peek("num_predict")
    unlimited = isinstance(limit, int) and limit < 0
    found: dict[str, Any] = {
        name: options.take_optional(wire, kind)
        for name, (wire, kind) in _OPTIONS.items()
        if not (unlimited and name == "max_tokens")
    }
    form = (_ONE_STOP,) if isinstance(options.peek("stop"), str) else ()
    return found | {"stop_sequences": options.strings("stop")}, form


def _format(top: Fields) -> tuple[ResponseFormat | None, tuple[str, ...]]:
    """`json`, a schema, or nothing; an empty string says nothing as well."""
    given = top.peek("format")
    at = top.at("format")
    if given == "":
        top.take("format", str)
        return None, pack(_FORMAT, "")
    if isinstance(given, dict):
        schema = top.json("format")
        found = ResponseFormat(kind="json_schema", schema=schema, at=at, fields_at=at, schema_at=at)
        return found, ()
    word = top.word("format", ("json",))
    return ResponseFormat(kind="json_object", at=at) if word else None, ()


def _tools(top: Fields) -> list[Tool | OpaqueTool]:
    tools: list[Tool | OpaqueTool] = []
    for path, value in top.items("tools"):
        fields = Fields(value, path)
        kind = fields.peek("type")
        if kind not in (None, "function"):
            word = kind if isinstance(kind, str) else "unknown"
            whole = json_object(value)
            tools.append(OpaqueTool(dialect=NAME, kind=word, value=whole, at=path))
            continue
        form = () if fields.take_optional("type", str) else (_UNTYPED,)
        tools.append(_tool(fields, *form))
    return tools


def _tool(fields: Fields, *form: str) -> Tool:
    function = fields.object("function")
    return Tool(
        name=function.take("name", str),
        description=function.take_optional("description", str),
        parameters=function.json("parameters"),
        at=function.path,
        residue=nest(keep(fields, NAME, *form), "function", function.rest(NAME)),
    )


def _reasoning(top: Fields) -> ReasoningConfig | None:
    """On, off, or how much."""
    at = top.at("think")
    if isinstance(top.peek("think"), bool):
        is_on = top.take("think", bool)
        return ReasoningConfig(effort=None if is_on else "none", adaptive=is_on, at=at)
    level = top.word("think", _EFFORTS)
    return ReasoningConfig(effort=cast("Effort", level), at=at) if level else None


# --- write ------------------------------------------------------------------------------------


def encode_request(request: Request, losses: Losses) -> Json:
    """The body of `/api/chat`."""
    request = without_tools(request, losses)
    extra = dict(losses.residue(request.residue, "$"))
    given = is_own(request.residue, NAME) and "options" in extra
    options = {**json_object(extra.pop("options", None)), **_options_out(request)}
    body: Json = {"model": request.model, "messages": _conversation(request, losses)}
    _omit_unsaid(request, losses)
    if not says(request.residue, NAME, _NO_STREAM):
        body["stream"] = request.stream
    if options or given:
        body["options"] = options
    tools = [tool for one in request.tools for tool in _tool_out(one, losses)]
    if tools:
        body["tools"] = tools
    for name in ("logprobs", "top_logprobs"):
        if getattr(request, name) is not None:
            body[name] = getattr(request, name)
    _format_out(request, losses, body)
    _reasoning_out(request, losses, body)
    return {**extra, **body}


def _conversation(request: Request, losses: Losses) -> list[Json]:
    same = is_own(request.residue, NAME)
    turns = request.messages if same else join_turns(request.messages, losses)
    names: dict[str, str] = {}
    messages = [wire for message in turns for wire in encode_message(message, names, losses)]
    if not messages:
        raise InvalidRequest(request.path("messages"), "a message that says something")
    return messages


def _options_out(request: Request) -> Json:
    out: Json = {}
    for name, (wire, _) in _OPTIONS.items():
        if (value := getattr(request, name)) is not None:
            out[wire] = value
    stops = list(request.stop_sequences)
    if says(request.residue, NAME, _ONE_STOP):
        return {**out, "stop": stops[0]}
    return {**out, "stop": stops} if stops else out


def _omit_unsaid(request: Request, losses: Losses) -> None:
    for name in _HINTS:
        if getattr(request, name) is not None:
            losses.omit(name, request.path(name))
    if request.parallel_tool_calls is False:
        losses.omit("parallel_tool_calls", request.path("parallel_tool_calls"))
    if request.choice_count not in (None, 1):
        losses.omit("choice_count", request.path("choice_count"), "it gives one answer")
    choice = request.tool_choice
    if choice is not None:
        losses.residue(choice.residue, choice.at)
    if choice is not None and choice.mode != "auto":
        at = choice.at or request.path("tool_choice")
        losses.omit("tool_choice", at, "the model alone decides whether to call tools")


def _tool_out(tool: Tool | OpaqueTool, losses: Losses) -> list[Json]:
    if isinstance(tool, OpaqueTool):
        if tool.dialect != NAME:
            losses.omit("tools", tool.at, f"it has no tool of type {tool.kind}")
        return [tool.value]
    if tool.cache_control is not None:
        losses.omit("cache_control", tool.mark_path)
    if tool.strict is not None:
        losses.omit("strict", tool.strict_at)
    extra = losses.residue(tool.residue, tool.at)
    function: Json = {**json_object(extra.get("function")), "name": tool.name}
    if tool.description is not None:
        function["description"] = tool.description
    if tool.parameters is not None:
        function["parameters"] = tool.parameters
    elif not is_own(tool.residue, NAME):
        function["parameters"] = {"type": "object", "properties": {}}
    kind = {} if says(tool.residue, NAME, _UNTYPED) else {"type": "function"}
    return [{**extra, **kind, "function": function}]


def _format_out(request: Request, losses: Losses, body: Json) -> None:
    shape = request.response_format
    if shape is None:
        if (empty := packed(request.residue, NAME, _FORMAT)) is not None:
            body["format"] = empty
        return
    losses.residue(shape.residue, shape.at)
    for name, weight in (("name", "name"), ("description", "name"), ("strict", "strict")):
        if getattr(shape, name) is not None:
            losses.omit(weight, f"{shape.fields_at}.{name}")
    if shape.kind == "json_object":
        body["format"] = "json"
    elif shape.kind == "json_schema":
        body["format"] = shape.schema or {}


def _reasoning_out(request: Request, losses: Losses, body: Json) -> None:
    """A budget as the level it stands for."""
    wanted = request.reasoning
    if wanted is None:
        return
    losses.residue(wanted.residue, wanted.at)
    level = level_of(wanted)
    if wanted.budget_tokens is not None and not says_level(wanted, level):
        losses.omit("reasoning_config", wanted.at or request.path("reasoning"))
    if level is None:
        body["think"] = True
    elif level == "none":
        body["think"] = False
    else:
        body["think"] = level if is_own(request.residue, NAME) else LEVELS[level]
