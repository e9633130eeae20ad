"""Requests of the dialect."""

from __future__ import annotations

from typing import Any

from dragoman.dialects.cohere_chat.messages import decode_message, encode_message
from dragoman.dialects.cohere_chat.names import NAME
from dragoman.dialects.cohere_chat.parts import unmark
from dragoman.dialects.efforts import BUDGETS
from dragoman.dialects.residues import is_own, json_object, keep, nest, pack, packed, says
from dragoman.errors import InvalidRequest
from dragoman.ir import (
    Json,
    OpaqueTool,
    ReasoningConfig,
    Request,
    Residue,
    ResponseFormat,
    Tool,
    ToolChoice,
)
from dragoman.ir.losses import Losses
from dragoman.ir.turns import join_turns, refuse_continued
from dragoman.wire.fields import Fields

_PLAIN: dict[str, tuple[str, type]] = {
    "max_tokens": ("max_tokens", int),
    "temperature": ("temperature", float),
    "top_p": ("p", float),
    "top_k": ("k", int),
    "seed": ("seed", int),
    "frequency_penalty": ("frequency_penalty", float),
    "presence_penalty": ("presence_penalty", float),
    "logprobs": ("logprobs", bool),
}
"""Names here, names on the wire, and what they hold."""
_PATHS = {name: f"$.{wire}" for name, (wire, _) in _PLAIN.items()} | {"reasoning": "$.thinking"}
_BOUNDS = {"frequency_penalty": (0, 1), "presence_penalty": (0, 1), "top_k": (0, 500)}
"""Of hints: outside of them they are left out."""
_LEAST_P, _MOST_P = 0.01, 0.99
_MAX_STOPS = 5
_CHOICES = ("REQUIRED", "NONE")
_DOCUMENTS = "documents"
_ONE_STOP, _NOT_STREAMED, _STRICT, _SCHEMA, _UNTYPED = (
    "one_stop",
    "not_streamed",
    "strict_tools",
    "schema",
    "untyped",
)


def decode_request(body: Json) -> Request:
    """A whole request. Raises `InvalidRequest` naming the JSON path."""
    top = Fields(body, "$")
    model = top.take("model", str)
    messages = [decode_message(value, path) for path, value in top.items("messages")]
    if not messages:
        raise InvalidRequest("$.messages", "an array of at least one message")
    stream = top.take_optional("stream", bool)
    strict = top.take_optional("strict_tools", bool)
    plain: dict[str, Any] = {
        name: top.take_optional(wire, kind) for name, (wire, kind) in _PLAIN.items()
    }
    form: list[str] = [
        *([_ONE_STOP] if isinstance(body.get("stop_sequences"), str) else []),
        *([_NOT_STREAMED] if stream is False else []),
        *(pack(_STRICT, strict) if strict is not None else []),
    ]
    return Request(
        model=model,
        messages=tuple(messages),
        tools=(*_tools(top, strict), *_documents(top)),
        tool_choice=_choice(top),
        stop_sequences=top.strings("stop_sequences"),
        response_format=_format(top),
        reasoning=_reasoning(top),
        stream=stream or False,
        paths=_PATHS,
        residue=keep(top, NAME, *form) or Residue(dialect=NAME, fields={}),
        **plain,
    )


def _tools(top: Fields, strict: bool | None) -> list[Tool | OpaqueTool]:  # noqa: FBT001 - the client's own value
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
        tools.append(_tool(fields, strict, *form))
    return tools


def _tool(fields: Fields, strict: bool | None, *form: str) -> Tool:  # noqa: FBT001 - as above
    function = fields.object("function")
    return Tool(
        name=function.take("name", str),
        description=function.take_optional("description", str),
        parameters=function.json("parameters"),
        strict=strict,
        strict_at="$.strict_tools",
        parameters_at=function.at("parameters"),
        at=function.path,
        residue=nest(keep(fields, NAME, *form), "function", function.rest(NAME)),
    )


def _documents(top: Fields) -> list[OpaqueTool]:
    """What the answer is to be drawn from. It has meaning, so that no other dialect drops it."""
    found = top.items(_DOCUMENTS)
    if not found:
        return []
    values = [value for _, value in found]
    value: Json = {_DOCUMENTS: values}
    return [OpaqueTool(dialect=NAME, kind=_DOCUMENTS, value=value, at=f"$.{_DOCUMENTS}")]


def _choice(top: Fields) -> ToolChoice | None:
    word = top.word("tool_choice", _CHOICES)
    if word is None:
        return None
    return ToolChoice(mode="required" if word == "REQUIRED" else "none", at="$.tool_choice")


def _format(top: Fields) -> ResponseFormat | None:
    """A schema stands in `json_schema`, in older guides in `schema`."""
    fields = top.object_optional("response_format")
    if fields is None:
        return None
    kind = fields.word("type", ("text", "json_object"))
    if kind is None:
        raise InvalidRequest(fields.at("type"), "text or json_object")
    name = _SCHEMA if _SCHEMA in fields and "json_schema" not in fields else "json_schema"
    schema = fields.json(name) if kind == "json_object" else None
    form = (_SCHEMA,) if schema is not None and name == _SCHEMA else ()
    return ResponseFormat(
        kind="text" if kind == "text" else "json_object" if schema is None else "json_schema",
        schema=schema,
        at=fields.path,
        fields_at=fields.path,
        schema_at=fields.at(name),
        residue=keep(fields, NAME, *form),
    )


def _reasoning(top: Fields) -> ReasoningConfig | None:
    fields = top.object_optional("thinking")
    if fields is None:
        return None
    kind = fields.word("type", ("enabled", "disabled"))
    if kind is None:
        raise InvalidRequest(fields.at("type"), "enabled or disabled")
    if kind == "disabled":
        return ReasoningConfig(effort="none", at=fields.path, residue=fields.rest(NAME))
    budget = fields.take_optional("token_budget", int)
    return ReasoningConfig(
        budget_tokens=budget,
        adaptive=budget is None,
        at=fields.path,
        residue=fields.rest(NAME),
    )


# --- write ------------------------------------------------------------------------------------


def encode_request(request: Request, losses: Losses) -> Json:
    """The body of `/v2/chat`."""
    refuse_continued(request.messages, losses)
    extra = losses.residue(request.residue, "$")
    body: Json = {"model": request.model, "messages": _conversation(request, losses)}
    _omit_unsaid(request, losses)
    if request.stream or says(request.residue, NAME, _NOT_STREAMED):
        body["stream"] = request.stream
    _sampling_out(request, losses, body)
    _tools_out(request, losses, body)
    _choice_out(request, losses, body)
    _format_out(request, losses, body)
    _reasoning_out(request, losses, body)
    return {**extra, **body}


def _conversation(request: Request, losses: Losses) -> list[Json]:
    same = is_own(request.residue, NAME)
    turns = request.messages if same else join_turns(request.messages, losses)
    messages = [wire for message in turns for wire in encode_message(message, losses)]
    if not messages:
        raise InvalidRequest(request.path("messages"), "a message that says something")
    return messages


def _omit_unsaid(request: Request, losses: Losses) -> None:
    for name in ("user", "service_tier"):
        if getattr(request, name) is not None:
            losses.omit(name, request.path(name))
    if request.parallel_tool_calls is False:
        losses.omit("parallel_tool_calls", request.path("parallel_tool_calls"))
    if request.top_logprobs:
        at = request.path("top_logprobs")
        losses.omit("top_logprobs", at, "it tells how likely the chosen tokens were, no others")
    if request.choice_count not in (None, 1):
        losses.omit("choice_count", request.path("choice_count"), "it gives one answer")


def _sampling_out(request: Request, losses: Losses, body: Json) -> None:
    same = is_own(request.residue, NAME)
    for name, (wire, _) in _PLAIN.items():
        value = getattr(request, name)
        if value is None:
            continue
        low, high = _BOUNDS.get(name, (value, value))
        if same or low <= value <= high:
            body[wire] = value
        else:
            losses.omit(name, request.path(name))
    if request.top_p is not None and not same:
        at = request.path("top_p")
        body["p"] = losses.bound("top_p", at, request.top_p, _LEAST_P, _MOST_P)
    if says(request.residue, NAME, _ONE_STOP):
        body["stop_sequences"] = request.stop_sequences[0]
    elif request.stop_sequences:
        if len(request.stop_sequences) > _MAX_STOPS and not same:
            losses.omit("stop_sequences", request.path("stop_sequences"), f"it takes {_MAX_STOPS}")
        body["stop_sequences"] = list(request.stop_sequences)


def _tools_out(request: Request, losses: Losses, body: Json) -> None:
    tools: list[Json] = []
    functions = [tool for tool in request.tools if isinstance(tool, Tool)]
    strict = bool(functions) and all(tool.strict for tool in functions)
    same = is_own(request.residue, NAME)
    choice = request.tool_choice
    forced = choice.name if choice is not None and choice.mode == "tool" else None
    for tool in request.tools:
        if isinstance(tool, Tool) and forced not in (None, tool.name):
            losses.paths.append(tool.at)
        elif isinstance(tool, Tool):
            if tool.strict and not strict:
                losses.omit("strict", tool.strict_at)
            tools.append(_tool_out(tool, losses))
        elif tool.dialect != NAME:
            losses.omit("tools", tool.at, f"it has no tool of type {tool.kind}")
        elif tool.kind == _DOCUMENTS:
            body[_DOCUMENTS] = tool.value[_DOCUMENTS]
        else:
            tools.append(tool.value)
    if tools:
        body["tools"] = tools
    if same and says(request.residue, NAME, _STRICT):
        body["strict_tools"] = packed(request.residue, NAME, _STRICT)
    elif strict:
        body["strict_tools"] = True


def _tool_out(tool: Tool, losses: Losses) -> Json:
    unmark(tool, losses)
    extra = losses.residue(tool.residue, tool.at)
    function: Json = {**json_object(extra.get("function")), "name": tool.name}
    if tool.description is not None:
        function["description"] = tool.description
    if tool.parameters is not None:
        function["parameters"] = tool.parameters
    elif not is_own(tool.residue, NAME):
        function["parameters"] = {"type": "object", "properties": {}}
    kind = {} if says(tool.residue, NAME, _UNTYPED) else {"type": "function"}
    return {**extra, **kind, "function": function}


def _choice_out(request: Request, losses: Losses, body: Json) -> None:
    """`_tools_out` left no other tool than the one that is named."""
    choice = request.tool_choice
    if choice is None:
        return
    losses.residue(choice.residue, choice.at)
    at = choice.at or request.path("tool_choice")
    if choice.mode == "none":
        body["tool_choice"] = "NONE"
    elif choice.mode == "tool" and not body.get("tools"):
        losses.omit("tool_choice", at, "there is no such tool")
    elif choice.mode != "auto":
        body["tool_choice"] = "REQUIRED"


def _format_out(request: Request, losses: Losses, body: Json) -> None:
    shape = request.response_format
    if shape is None:
        return
    extra = losses.residue(shape.residue, shape.at)
    if shape.kind == "text":
        body["response_format"] = {"type": "text", **extra}
        return
    if not is_own(request.residue, NAME) and body.get("tools"):
        at = shape.at or request.path("response_format")
        losses.omit("response_format", at, "it takes no form of answer beside tools")
    for name, weight in (("name", "name"), ("description", "name"), ("strict", "strict")):
        if getattr(shape, name) is not None:
            losses.omit(weight, f"{shape.fields_at}.{name}")
    wire: Json = {"type": "json_object", **extra}
    if shape.kind == "json_schema":
        name = _SCHEMA if says(shape.residue, NAME, _SCHEMA) else "json_schema"
        wire[name] = shape.schema or {}
    body["response_format"] = wire


def _reasoning_out(request: Request, losses: Losses, body: Json) -> None:
    """A budget, given or for the effort; that leaves half of the limit for what is said."""
    wanted = request.reasoning
    if wanted is None:
        return
    extra = losses.residue(wanted.residue, wanted.at)
    if wanted.effort == "none":
        body["thinking"] = {"type": "disabled", **extra}
        return
    budget = wanted.budget_tokens
    if budget is None and wanted.effort is not None:
        budget = BUDGETS[wanted.effort]
        if request.max_tokens is not None:
            budget = min(budget, max(1, request.max_tokens // 2))
    known: Json = {"type": "enabled"} if budget is None else _budget(budget)
    body["thinking"] = {**known, **extra}


def _budget(tokens: int) -> Json:
    return {"type": "enabled", "token_budget": tokens}
