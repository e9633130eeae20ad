"""Requests: `input` as items, each a message of its own in the intermediate representation."""

from __future__ import annotations

from typing import Any, cast

from dragoman.dialects.efforts import level_of, says_level
from dragoman.dialects.openai_responses.names import (
    EFFORTS,
    LOGPROBS,
    NAME,
    STATE_FIELDS,
    STRING,
    UNTYPED,
    Quirks,
    has_form,
    own,
    residue_of,
)
from dragoman.dialects.openai_responses.parts import (
    decode_call,
    decode_output,
    decode_part,
    decode_reasoning,
    encode_call,
    encode_input,
    encode_output,
    encode_said,
)
from dragoman.dialects.schema_subsets import OPENAI
from dragoman.dialects.schemas import fit_tool
from dragoman.dialects.tiers import tier_of
from dragoman.errors import InvalidRequest
from dragoman.ir import (
    Effort,
    Json,
    Message,
    Opaque,
    OpaqueTool,
    Part,
    Reasoning,
    ReasoningConfig,
    Refusal,
    Request,
    Residue,
    ResponseFormat,
    Role,
    Text,
    Tool,
    ToolCall,
    ToolCallResponse,
    ToolChoice,
)
from dragoman.ir.losses import Losses
from dragoman.ir.turns import refuse_continued
from dragoman.wire.fields import Fields

_NO_INPUT, _NO_CONTENT = "no_input", "no_content"
_CHOICE, _FORMAT = "tool_choice", "text.format"
_ROLES = ("user", "assistant", "system", "developer")
_PATHS = {
    "max_tokens": "$.max_output_tokens",
    "response_format": "$.text.format",
    "messages": "$.input",
}
_PLAIN: dict[str, tuple[str, type]] = {
    "max_tokens": ("max_output_tokens", int),
    "temperature": ("temperature", float),
    "top_p": ("top_p", float),
    "top_logprobs": ("top_logprobs", int),
    "parallel_tool_calls": ("parallel_tool_calls", bool),
    "user": ("user", str),
    "service_tier": ("service_tier", str),
}
"""Fields that need no thought: their names and types on the wire."""
_UNSAID = ("seed", "frequency_penalty", "presence_penalty", "top_k", "stop_sequences")


def decode_request(body: Json) -> Request:
    """A whole request. Raises `InvalidRequest` naming the JSON path."""
    top = Fields(body, "$")
    model = top.take("model", str)
    form: list[str] = []
    messages = _instructions(top)
    if isinstance(top.peek("input"), str):
        form.append(STRING)
    if body.get("input") is None:
        form.append(_NO_INPUT)
    for path, item in top.one_or_many("input"):
        if isinstance(item, str) and STRING in form:
            messages.append(Message(role="user", parts=(Text(content=item, at=path),), at=path))
        else:
            messages.append(_item(item, path))
    state = [
        OpaqueTool(dialect=NAME, kind=name, value={name: body[name]}, at=top.at(name))
        for name in STATE_FIELDS
        if name in top
    ]
    for name in STATE_FIELDS:
        if name in top:
            top.take(name, object)
    tools = [_tool(value, path) for path, value in top.items("tools")]
    choice = _tool_choice(top, body)
    shape = _format(top)
    stream = top.take_optional("stream", bool)
    if stream is False:
        form.append("not_streamed")
    opaque = [node for node in (choice, shape) if isinstance(node, OpaqueTool)]
    reasoning = _reasoning(top)
    plain: dict[str, Any] = {
        name: top.take_optional(wire, kind) for name, (wire, kind) in _PLAIN.items()
    }
    include = top.peek("include")
    left = top.rest(NAME)
    return Request(
        model=model,
        messages=tuple(messages),
        tools=(*tools, *opaque, *state),
        tool_choice=choice if isinstance(choice, ToolChoice) else None,
        response_format=shape if isinstance(shape, ResponseFormat) else None,
        logprobs=True if isinstance(include, list) and LOGPROBS in include else None,
        reasoning=reasoning,
        stream=stream or False,
        paths=_PATHS | {"logprobs": "$.include"},
        residue=Residue(dialect=NAME, fields=left.fields if left else {}, form=tuple(form)),
        **plain,
    )


def _instructions(top: Fields) -> list[Message]:
    words = top.peek("instructions")
    if not isinstance(words, str):
        return []
    top.take("instructions", str)
    at = top.at("instructions")
    residue = residue_of({}, "instructions")
    return [Message(role="developer", parts=(Text(content=words, at=at),), at=at, residue=residue)]


def _item(value: Any, path: str) -> Message:
    fields = Fields(value, path)
    kind = fields.take_optional("type", str)
    match kind:
        case None | "message":
            return _message(fields, kind)
        case "function_call":
            return Message(role="assistant", parts=(decode_call(fields),), at=path)
        case "function_call_output":
            return Message(role="tool", parts=(decode_output(fields),), at=path)
        case "reasoning":
            return Message(role="assistant", parts=(decode_reasoning(value, path),), at=path)
        case _:
            part = Opaque(dialect=NAME, kind=kind, value=value, at=path)
            return Message(role="assistant", parts=(part,), at=path)


def _message(fields: Fields, kind: str | None) -> Message:
    role = fields.word("role", _ROLES)
    if role is None:
        raise InvalidRequest(fields.at("role"), "one of " + ", ".join(_ROLES))
    form = [] if kind else [UNTYPED]
    if "content" not in fields:
        form.append(_NO_CONTENT)
    if isinstance(fields.peek("content"), str):
        form.append(STRING)
    parts = tuple(
        Text(content=item, at=path) if isinstance(item, str) else decode_part(item, path)
        for path, item in fields.one_or_many("content")
    )
    left = fields.rest(NAME)
    residue = Residue(dialect=NAME, fields=left.fields if left else {}, form=tuple(form))
    return Message(role=cast("Role", role), parts=parts, at=fields.path, residue=residue)


def _tool(value: Any, path: str) -> Tool | OpaqueTool:
    fields = Fields(value, path)
    kind = fields.take("type", str)
    if kind != "function":
        return OpaqueTool(dialect=NAME, kind=kind, value=value, at=path)
    return Tool(
        name=fields.take("name", str),
        description=fields.take_optional("description", str),
        parameters=fields.json("parameters"),
        strict=fields.take_optional("strict", bool),
        strict_at=fields.at("strict"),
        parameters_at=fields.at("parameters"),
        at=path,
        residue=fields.rest(NAME),
    )


def _tool_choice(top: Fields, body: Json) -> ToolChoice | OpaqueTool | None:
    at = top.at(_CHOICE)
    if not isinstance(body.get(_CHOICE), dict):
        mode = top.word(_CHOICE, ("auto", "none", "required"))
        return ToolChoice(mode=cast("Any", mode), at=at) if mode else None
    fields = top.object(_CHOICE)
    if fields.take("type", str) != "function":
        return OpaqueTool(dialect=NAME, kind=_CHOICE, value=body[_CHOICE], at=at)
    name = fields.take("name", str)
    return ToolChoice(mode="tool", name=name, at=at, residue=fields.rest(NAME))


def _format(top: Fields) -> ResponseFormat | OpaqueTool | None:
    """`text.format`; what stands beside it (`verbosity`) stays in the request's residue."""
    text = top.peek("text")
    whole = cast("Json", text) if isinstance(text, dict) else {}
    if whole.get("format") is None:
        return None
    fields = top.object("text")
    inner = fields.object("format")
    left = fields.rest(NAME)
    beside = left.fields if left else {}
    kind = inner.take("type", str)
    if kind not in ("text", "json_object", "json_schema"):
        return OpaqueTool(dialect=NAME, kind=_FORMAT, value=whole, at=inner.path)
    found = ResponseFormat(
        kind=cast("Any", kind),
        name=inner.take_optional("name", str),
        description=inner.take_optional("description", str),
        schema=inner.json("schema"),
        strict=inner.take_optional("strict", bool),
        at=inner.path,
        fields_at=inner.path,
        schema_at=inner.at("schema"),
        residue=inner.rest(NAME),
    )
    top.put("text", beside)
    return found


def _reasoning(top: Fields) -> ReasoningConfig | None:
    """By effort. Without a known one nothing is read of it: it stays in the residue."""
    found = top.peek("reasoning")
    if not isinstance(found, dict) or cast("Json", found).get("effort") not in EFFORTS:
        return None
    fields = top.object("reasoning")
    effort = cast("Effort", fields.take("effort", str))
    return ReasoningConfig(effort=effort, at=fields.path, residue=fields.rest(NAME))


# --- write ------------------------------------------------------------------------------------


def encode_request(request: Request, losses: Losses, quirks: Quirks) -> Json:
    """The request as `/v1/responses` takes it."""
    refuse_continued(request.messages, losses)
    body: Json = losses.residue(request.residue, "$") | {"model": request.model}
    _omit_unsaid(request, losses)
    items: list[Json] = []
    for message in request.messages:
        if has_form(message.residue, "instructions"):
            body["instructions"] = cast("Text", message.parts[0]).content
        else:
            items += _items(message, losses, quirks)
    if has_form(request.residue, STRING):
        body["input"] = items[0]["content"]
    elif items or not has_form(request.residue, _NO_INPUT):
        body["input"] = items
    for name, (wire, _) in _PLAIN.items():
        value = getattr(request, name) if name != "service_tier" else tier_of(request, losses)
        if value is not None:
            body[wire] = value
    _tools_out(request, losses, body)
    _format_out(request, losses, body)
    _reasoning_out(request, losses, body)
    if request.logprobs and LOGPROBS not in (body.get("include") or ()):
        body["include"] = [*(body.get("include") or ()), LOGPROBS]
    if request.stream or has_form(request.residue, "not_streamed"):
        body["stream"] = request.stream
    return body


def _omit_unsaid(request: Request, losses: Losses) -> None:
    for name in _UNSAID:
        if getattr(request, name) not in (None, ()):
            losses.omit(name, request.path(name), "it has no such parameter")
    if request.choice_count not in (None, 1):
        losses.omit("choice_count", request.path("choice_count"), "it gives one answer")


def _items(message: Message, losses: Losses, quirks: Quirks) -> list[Json]:
    """The items of one message: its texts in one, each call, output and thought in its own."""
    items: list[Json] = []
    said: list[Part] = []
    if message.name is not None:
        losses.omit("name", f"{message.at}.name")
    is_own = message.residue is not None and message.residue.dialect == NAME
    for part in message.parts:
        item = None if is_own else _own_item(part, losses)
        if item is None and not (isinstance(part, Reasoning) and not is_own):
            said.append(part)
        elif item is not None:
            items += _said(message, said, losses, quirks)
            said = []
            items.append(item)
    if said or is_own:
        items += _said(message, said, losses, quirks)
    else:
        losses.residue(message.residue, message.at)
    return items


def _own_item(part: Part, losses: Losses) -> Json | None:
    """The item that the part is by itself, if it is one."""
    match part:
        case ToolCall():
            return encode_call(part, losses)
        case ToolCallResponse():
            return encode_output(part, losses)
        case Reasoning():
            if fields := own(part.residue):
                return {"type": "reasoning", **fields}
            losses.omit("reasoning", part.at)
            return None
        case Opaque() if part.dialect == NAME and _is_item(part):
            return part.value
        case _:
            return None


def _is_item(part: Opaque) -> bool:
    """An item stands in `input` itself, a content part in a message's `content`."""
    return part.at.startswith("$.input[") and part.at.count("[") == 1


def _said(message: Message, parts: list[Part], losses: Losses, quirks: Quirks) -> list[Json]:
    is_own = message.residue is not None and message.residue.dialect == NAME
    if not parts and not is_own:
        return []
    extra = losses.residue(message.residue, message.at)
    role = message.role
    if role == "tool" or (role == "developer" and not quirks.roles):
        role = "user" if role == "tool" else "system"
    kind = {} if has_form(message.residue, UNTYPED) or not is_own else {"type": "message"}
    head: Json = {**extra, **kind, "role": role}
    first = parts[0] if len(parts) == 1 else None
    if is_own:
        if has_form(message.residue, _NO_CONTENT):
            return [head]
        if has_form(message.residue, STRING) and isinstance(first, Text):
            return [{**head, "content": first.content}]
        return [{**head, "content": [_content(part, role, losses) for part in parts]}]
    if role == "assistant":
        return [{**head, **_spoken(part, losses)} for part in parts]
    if isinstance(first, Text):
        losses.residue(first.residue, first.at)
        encode_input(first, losses)
        return [{**head, "content": first.content}]
    return [{**head, "content": [encode_input(part, losses) for part in parts]}]


def _content(part: Part, role: str, losses: Losses) -> Json:
    if role == "assistant" and isinstance(part, Text | Refusal):
        kind = part.residue.form[0] if part.residue and part.residue.form else "output_text"
        name = "refusal" if isinstance(part, Refusal) else "text"
        return {**own(part.residue), "type": kind, name: part.content}
    return encode_input(part, losses)


def _spoken(part: Part, losses: Losses) -> Json:
    """What the model said, as an input: a plain text, or a refusal."""
    if isinstance(part, Text):
        losses.residue(part.residue, part.at)
        if part.cache_control is not None:
            losses.omit("cache_control", part.mark_path)
        return {"content": part.content}
    if isinstance(part, Refusal):
        losses.residue(part.residue, part.at)
        return {"type": "message", "content": [encode_said(Refusal(content=part.content))]}
    return {"content": [encode_input(part, losses)]}


def _tools_out(request: Request, losses: Losses, body: Json) -> None:
    tools: list[Json] = []
    for tool in request.tools:
        if isinstance(tool, Tool):
            tools.append(_tool_out(tool, request.residue, losses))
        elif tool.dialect != NAME:
            losses.omit("tools", tool.at, f"it has no tool of type {tool.kind}")
        elif tool.kind == _CHOICE and tool.at == f"$.{_CHOICE}":
            body[_CHOICE] = tool.value
        elif tool.kind == _FORMAT and tool.at == f"$.{_FORMAT}":
            body["text"] = tool.value
        elif tool.kind in STATE_FIELDS and tool.at == f"$.{tool.kind}":
            body |= tool.value
        else:
            tools.append(tool.value)
    if tools:
        body["tools"] = tools
    choice = request.tool_choice
    if choice is not None:
        extra = losses.residue(choice.residue, choice.at)
        named = {**extra, "type": "function", "name": choice.name}
        body[_CHOICE] = named if choice.mode == "tool" else choice.mode


def _tool_out(tool: Tool, source: Residue | None, losses: Losses) -> Json:
    """`parameters` and `strict` must be there, if only as null, for this API."""
    extra = losses.residue(tool.residue, tool.at)
    if tool.cache_control is not None:
        losses.omit("cache_control", tool.mark_path)
    wire: Json = {**extra, "type": "function", "name": tool.name}
    if tool.description is not None:
        wire["description"] = tool.description
    is_own = source is not None and source.dialect == NAME
    parameters, strict = fit_tool(tool, source, OPENAI, losses)
    if parameters is not None or not is_own:
        default: Json = {} if is_own else {"type": "object", "properties": {}}
        wire["parameters"] = parameters or default
    if strict is not None:
        wire["strict"] = strict
    elif not is_own:
        wire["strict"] = False
    return wire


def _format_out(request: Request, losses: Losses, body: Json) -> None:
    shape = request.response_format
    if shape is None:
        return
    extra = losses.residue(shape.residue, shape.at)
    is_own = request.residue is not None and request.residue.dialect == NAME
    wire: Json = {**extra, "type": shape.kind}
    if shape.kind == "json_schema":
        name = shape.name if is_own else shape.name or "response"
        known = {"name": name, "description": shape.description, "schema": shape.schema}
        wire |= {key: value for key, value in known.items() if value is not None}
        if shape.strict is not None:
            wire["strict"] = shape.strict
    body["text"] = {**body.get("text", {}), "format": wire}


def _reasoning_out(request: Request, losses: Losses, body: Json) -> None:
    config = request.reasoning
    if config is None:
        return
    extra = losses.residue(config.residue, config.at)
    level = level_of(config)
    effort = "xhigh" if level == "max" else level  # the most it takes
    says_all = says_level(config, effort)
    if effort in EFFORTS:
        body["reasoning"] = {**extra, "effort": effort}
    if effort not in EFFORTS or not says_all:
        losses.omit("reasoning_config", config.at or request.path("reasoning"))
