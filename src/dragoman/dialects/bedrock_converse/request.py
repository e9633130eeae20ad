"""Requests of the dialect. The path names the model and whether to stream; the body does not."""

from __future__ import annotations

from typing import Any, cast

import msgspec

from dragoman.dialects.bedrock_converse.names import (
    NAME,
    Quirks,
    has_form,
    is_own,
    json_object,
    pack,
    packed,
)
from dragoman.dialects.bedrock_converse.parts import (
    cache_point,
    decode_blocks,
    encode_blocks,
    mark_of,
    state_of,
)
from dragoman.dialects.efforts import BUDGETS, budget_of, effort_of, wants_adaptive
from dragoman.dialects.schema_subsets import CLAUDE
from dragoman.dialects.schemas import fit_response, fit_tool
from dragoman.dialects.tiers import tier_of
from dragoman.errors import DragomanError, InvalidRequest
from dragoman.ir import (
    Effort,
    Json,
    Message,
    OpaqueTool,
    ReasoningConfig,
    Request,
    Residue,
    ResponseFormat,
    Role,
    Tool,
    ToolChoice,
)
from dragoman.ir.losses import Losses
from dragoman.ir.turns import lacks_thought, without_tools
from dragoman.wire.fields import Fields
from dragoman.wire.json import decode

_TOOLS = "toolConfig"
_MORE = "additionalModelRequestFields"
_CONFIG = "inferenceConfig"
_FORMAT = "$.outputConfig.textFormat"
_PLAIN: dict[str, tuple[str, type]] = {
    "max_tokens": ("maxTokens", int),
    "temperature": ("temperature", float),
    "top_p": ("topP", float),
}
_UNSAID = (
    "seed",
    "frequency_penalty",
    "presence_penalty",
    "logprobs",
    "top_logprobs",
    "user",
    "parallel_tool_calls",
)
_PATHS = {name: f"$.inferenceConfig.{wire}" for name, (wire, _) in _PLAIN.items()} | {
    "stop_sequences": "$.inferenceConfig.stopSequences",
    "top_k": f"$.{_MORE}.top_k",
    "service_tier": "$.serviceTier.type",
}
_TIER = "serviceTier"
_ROLES = {"assistant": "assistant", "system": "system", "developer": "system"}
_NO_MESSAGES, _NO_CONTENT = "no messages", "no content"
_MIN_BUDGET = 1024
_DEFAULT_MAX_TOKENS = 4096


def decode_request(body: Json) -> Request:
    """A whole request, without what the path says. Raises `InvalidRequest` naming the JSON path."""
    top = Fields(body, "$")
    messages = [_message(value, path) for path, value in top.items("messages")]
    if "system" in top:
        parts = decode_blocks(top, "system")
        residue = Residue(dialect=NAME, fields={})
        messages.insert(0, Message(role="system", parts=parts, at="$.system", residue=residue))
    kept: Json = {}
    fields = _inference(top, kept)
    tools, choice = _tools(top, kept)
    shape = _format(top)
    reasoning, top_k = _additional(top, kept)
    tier = json_object(top.peek(_TIER))
    if set(tier) == {"type"} and isinstance(tier["type"], str):
        fields["service_tier"] = top.take(_TIER, dict)["type"]
    left = top.rest(NAME)
    opaque = [node for node in (choice, shape) if isinstance(node, OpaqueTool)]
    return Request(
        model="",
        messages=tuple(messages),
        tools=(*tools, *opaque),
        tool_choice=choice if isinstance(choice, ToolChoice) else None,
        response_format=shape if isinstance(shape, ResponseFormat) else None,
        reasoning=reasoning,
        top_k=top_k,
        paths=_PATHS,
        residue=Residue(
            dialect=NAME,
            fields={**(left.fields if left else {}), **kept},
            form=() if "messages" in body else (_NO_MESSAGES,),
        ),
        **fields,
    )


def _message(value: Any, path: str) -> Message:
    fields = Fields(value, path)
    role = fields.word("role", ("user", "assistant", "system"))
    if role is None:
        raise InvalidRequest(fields.at("role"), "user or assistant")
    parts = decode_blocks(fields, "content")
    left = fields.rest(NAME)
    form = () if parts or fields.peek("content") == [] else (_NO_CONTENT,)
    residue = Residue(dialect=NAME, fields=left.fields if left else {}, form=form)
    return Message(role=cast("Role", role), parts=parts, at=path, residue=residue)


def _inference(top: Fields, kept: Json) -> dict[str, Any]:
    config = top.object_optional(_CONFIG)
    if config is None:
        return {}
    found: dict[str, Any] = {
        name: config.take_optional(wire, kind) for name, (wire, kind) in _PLAIN.items()
    }
    found["stop_sequences"] = config.strings("stopSequences")
    rest = config.rest(NAME)
    kept[_CONFIG] = rest.fields if rest else {}
    return found


def _tools(
    top: Fields, kept: Json
) -> tuple[list[Tool | OpaqueTool], ToolChoice | OpaqueTool | None]:
    config = top.object_optional("toolConfig")
    if config is None:
        return [], None
    tools: list[Tool | OpaqueTool] = []
    for path, value in config.items("tools"):
        whole = json_object(value)
        mark = mark_of(value)
        if mark is not None and tools and isinstance(tools[-1], Tool):
            at = f"{path}.cachePoint"
            tools[-1] = msgspec.structs.replace(tools[-1], cache_control=mark, mark_at=at)
        elif set(whole) == {"toolSpec"}:
            tools.append(_tool(Fields(whole["toolSpec"], f"{path}.toolSpec")))
        else:
            kind = next(iter(whole), "tool")
            tools.append(OpaqueTool(dialect=NAME, kind=kind, value=whole, at=path))
    choice = config.json("toolChoice")
    rest = config.rest(NAME)
    kept[_TOOLS] = rest.fields if rest else {}
    return tools, None if choice is None else _choice(choice, config.at("toolChoice"))


def _tool(fields: Fields) -> Tool:
    schema = fields.object_optional("inputSchema")
    found: dict[str, Any] = {
        "name": fields.take("name", str),
        "description": fields.take_optional("description", str),
        "parameters": schema.json("json") if schema else None,
        "strict": fields.take_optional("strict", bool),
        "strict_at": fields.at("strict"),
        "parameters_at": f"{fields.at('inputSchema')}.json",
    }
    if schema is not None and (left := schema.rest(NAME)):
        fields.put("inputSchema", left.fields)
    residue = fields.rest(NAME) or Residue(dialect=NAME, fields={})
    return Tool(**found, at=fields.path, residue=residue)


def _choice(choice: Json, at: str) -> ToolChoice | OpaqueTool:
    match choice:
        case {"auto": {}} if choice == {"auto": {}}:
            return ToolChoice(mode="auto", at=at)
        case {"any": {}} if choice == {"any": {}}:
            return ToolChoice(mode="required", at=at)
        case {"tool": {"name": str(name)}} if choice == {"tool": {"name": name}}:
            return ToolChoice(mode="tool", name=name, at=at)
        case _:
            return OpaqueTool(dialect=NAME, kind="toolChoice", value=choice, at=at)


def _format(top: Fields) -> ResponseFormat | OpaqueTool | None:
    """A schema stands as JSON text within; any other form is kept whole."""
    whole = top.json("outputConfig")
    if whole is None:
        return None
    opaque = OpaqueTool(dialect=NAME, kind="outputConfig", value=whole, at="$.outputConfig")
    match whole:
        case {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": {**inner}}}}:
            text = inner.get("schema")
            if set(inner) - {"schema", "name", "description"} or not isinstance(text, str):
                return opaque
            if whole != _as_text_format(cast("Json", inner)):
                return opaque
        case _:
            return opaque
    where = f"{_FORMAT}.structure.jsonSchema.schema"
    try:
        schema = decode(text.encode())
    except DragomanError as error:
        raise InvalidRequest(where, "a JSON object as text") from error
    return ResponseFormat(
        kind="json_schema",
        name=cast("str | None", inner.get("name")),
        description=cast("str | None", inner.get("description")),
        schema=schema,
        at=_FORMAT,
        fields_at=f"{_FORMAT}.structure.jsonSchema",
        schema_at=where,
        residue=Residue(dialect=NAME, fields={}, form=pack("schema", text)),
    )


def _additional(top: Fields, kept: Json) -> tuple[ReasoningConfig | None, int | None]:
    """What Claude's own API has among its parameters stands here in an object of its own."""
    fields = top.object_optional(_MORE)
    if fields is None:
        return None, None
    reasoning = None
    thinking = json_object(fields.peek("thinking"))
    budget = thinking.get("budget_tokens")
    if thinking == {"type": "enabled", "budget_tokens": budget} and isinstance(budget, int):
        fields.take("thinking", dict)
        reasoning = ReasoningConfig(budget_tokens=budget, at=fields.at("thinking"))
    elif thinking in ({"type": "disabled"}, {"type": "adaptive"}):
        fields.take("thinking", dict)
        is_off = thinking["type"] == "disabled"
        effort: Effort | None = "none" if is_off else None
        at = fields.at("thinking")
        reasoning = ReasoningConfig(effort=effort, adaptive=not is_off, at=at)
    top_k = fields.take_optional("top_k", int)
    rest = fields.rest(NAME)
    kept[_MORE] = rest.fields if rest else {}
    return reasoning, top_k


# --- write ------------------------------------------------------------------------------------


def encode_request(request: Request, losses: Losses, quirks: Quirks) -> Json:
    """The body of `converse`."""
    request = without_tools(request, losses)
    extra = dict(losses.residue(request.residue, "$"))
    given = {name for name in (_CONFIG, _MORE, _TOOLS) if isinstance(extra.get(name), dict)}
    held: dict[str, Json] = {name: dict(extra.pop(name)) for name in given}
    config, more = held.get(_CONFIG, {}), held.get(_MORE, {})
    body: Json = {}
    _conversation(request, losses, body)
    for name in _UNSAID:
        value = getattr(request, name)
        asks = value is False if name == "parallel_tool_calls" else value not in (None, False)
        if asks:
            losses.omit(name, request.path(name))
    if (tier := tier_of(request, losses)) is not None:
        body[_TIER] = {"type": tier}
    if request.choice_count not in (None, 1):
        losses.omit("choice_count", request.path("choice_count"), "it gives one answer")
    config |= _inference_out(request, losses)
    _reasoning_out(request, losses, quirks, config, more)
    if request.top_k is not None:
        more["top_k"] = request.top_k
    if config or _CONFIG in given:
        body[_CONFIG] = config
    if more or _MORE in given:
        body[_MORE] = more
    _tools_out(request, losses, body)
    if _TOOLS in given:
        body[_TOOLS] = {**body.get(_TOOLS, {}), **held[_TOOLS]}
    _format_out(request, losses, body)
    return {**body, **extra}


def _conversation(request: Request, losses: Losses, body: Json) -> None:
    system: list[Json] = []
    messages: list[Json] = []
    same = is_own(request.residue)
    for message in request.messages:
        if message.name is not None:
            losses.omit("name", f"{message.at}.name")
        blocks = encode_blocks(message.parts, losses)
        extra = losses.residue(message.residue, message.at)
        leads = message.at == "$.system" if same else not messages
        if message.role in ("system", "developer") and leads:
            system += blocks
            continue
        role = message.role if same else _ROLES.get(message.role, "user")
        if not same and messages and messages[-1]["role"] == role:
            messages[-1]["content"] += blocks
        elif blocks or same:
            said = {} if has_form(message.residue, _NO_CONTENT) else {"content": blocks}
            messages.append({"role": role, **said, **extra})
    if not messages and not same:
        problem = "a message beside the system's that says something"
        raise InvalidRequest(request.path("messages"), problem)
    if system or any(message.at == "$.system" for message in request.messages if same):
        body["system"] = system
    if messages or not has_form(request.residue, _NO_MESSAGES):
        body["messages"] = messages


def _inference_out(request: Request, losses: Losses) -> Json:
    out: Json = {}
    for name, (wire, _) in _PLAIN.items():
        value = getattr(request, name)
        if value is not None:
            out[wire] = value
    if request.temperature is not None:
        at = request.path("temperature")
        out["temperature"] = losses.bound("temperature", at, request.temperature, 0, 1)
    if request.stop_sequences:
        out["stopSequences"] = list(request.stop_sequences)
    return out


def _reasoning_out(
    request: Request, losses: Losses, quirks: Quirks, config: Json, more: Json
) -> None:
    """A budget, given or for the effort; it must lie below the limit of the answer."""
    wanted = request.reasoning
    if wanted is None:
        return
    losses.residue(wanted.residue, wanted.at)
    at = wanted.at or request.path("reasoning")
    if not quirks.thinking:
        losses.omit("reasoning_config", at)
        return
    if wanted.effort == "none":
        more["thinking"] = {"type": "disabled"}
        return
    if wanted.adaptive:
        more["thinking"] = {"type": "adaptive"}
        if wanted.effort is not None:
            more["output_config"] = {"effort": wanted.effort}
        return
    if wants_adaptive(request):
        _adapt(request, config, more)
        return
    if lacks_thought(request, lambda part: bool(state_of(part))):
        losses.omit("reasoning_config", at)
        return
    _budget_for(request, losses, config, more)


def _budget_for(request: Request, losses: Losses, config: Json, more: Json) -> None:
    """Claude's: it takes no budget under the least, and wants it below the limit."""
    wanted = request.reasoning or ReasoningConfig()
    asked = budget_of(wanted)
    if request.residue is not None and request.residue.dialect == NAME:
        more["thinking"] = {"type": "enabled", "budget_tokens": asked}
        return
    if asked == 0:
        more["thinking"] = {"type": "disabled"}
        return
    budget = max(asked, _MIN_BUDGET)
    if request.max_tokens is None:
        config["maxTokens"] = _DEFAULT_MAX_TOKENS + budget
    budget = min(budget, config["maxTokens"] - 1)
    if budget != asked and (wanted.budget_tokens is not None or budget < _MIN_BUDGET):
        losses.omit("reasoning_config", wanted.at or request.path("reasoning"))
    if budget >= _MIN_BUDGET:
        more["thinking"] = {"type": "enabled", "budget_tokens": budget}


def _adapt(request: Request, config: Json, more: Json) -> None:
    """Claude's newer models take a level of effort, and no number of tokens.

    Source: https://docs.aws.amazon.com/bedrock/latest/userguide/claude-messages-adaptive-thinking.html,
    November 2026.
    """
    effort = effort_of(request)
    more["thinking"] = {"type": "adaptive"}
    if effort is not None:
        more["output_config"] = {"effort": effort}
    if request.max_tokens is None:
        config["maxTokens"] = _DEFAULT_MAX_TOKENS + BUDGETS[effort or "medium"]


def _tools_out(request: Request, losses: Losses, body: Json) -> None:
    config: Json = {}
    tools: list[Json] = []
    for tool in request.tools:
        if isinstance(tool, Tool):
            tools += _tool_out(tool, request.residue, losses)
        elif tool.dialect != NAME:
            losses.omit("tools", tool.at, f"it has no tool of type {tool.kind}")
        elif tool.kind == "outputConfig":
            body["outputConfig"] = tool.value
        elif tool.kind == "toolChoice":
            config["toolChoice"] = tool.value
        else:
            tools.append(tool.value)
    _choice_out(request, losses, config, has_tools=bool(tools))
    if tools:
        body["toolConfig"] = {"tools": tools, **config}


def _choice_out(request: Request, losses: Losses, config: Json, *, has_tools: bool) -> None:
    choice = request.tool_choice
    if choice is None:
        return
    losses.residue(choice.residue, choice.at)
    match choice.mode:
        case "tool":
            config["toolChoice"] = {"tool": {"name": choice.name}}
        case "required":
            config["toolChoice"] = {"any": {}}
        case "auto":
            config["toolChoice"] = {"auto": {}}
        case "none":
            at = choice.at or request.path("tool_choice")
            losses.omit("tool_choice", at, "a conversation that calls tools cannot leave them out")
    if not has_tools:
        at = choice.at or request.path("tool_choice")
        if choice.mode != "auto":
            losses.omit("tool_choice", at, "there are no tools to choose from")
        elif not is_own(request.residue):
            losses.paths.append(at)


def _tool_out(tool: Tool, source: Residue | None, losses: Losses) -> list[Json]:
    extra = losses.residue(tool.residue, tool.at)
    spec: Json = {**extra, "name": tool.name}
    if tool.description is not None:
        spec["description"] = tool.description
    parameters, strict = fit_tool(tool, source, CLAUDE, losses)
    given = parameters if is_own(tool.residue) else parameters or None
    default: Json = {"type": "object", "properties": {}}
    spec["inputSchema"] = {"json": default if given is None else given}
    spec["inputSchema"] |= json_object(extra.get("inputSchema"))
    if strict is not None:
        spec["strict"] = strict
    marked = tool.cache_control
    mark = [] if marked is None else [cache_point(marked, tool.mark_path, losses)]
    return [{"toolSpec": spec}, *mark]


def _format_out(request: Request, losses: Losses, body: Json) -> None:
    shape = request.response_format
    if shape is None or shape.kind == "text":
        return
    if shape.kind == "json_object":
        at = shape.at or request.path("response_format")
        losses.omit("response_format", at, "ask for a json_schema instead")
    if shape.strict is not None:
        losses.omit("strict", f"{shape.fields_at}.strict")
    losses.residue(shape.residue, shape.at)
    text = packed(shape.residue, "schema")
    schema = fit_response(shape, request.residue, CLAUDE, losses)
    inner: Json = {"schema": text or msgspec.json.encode(schema).decode()}
    for name in ("name", "description"):
        if getattr(shape, name) is not None:
            inner[name] = getattr(shape, name)
    body["outputConfig"] = _as_text_format(inner)


def _as_text_format(schema: Json) -> Json:
    return {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": schema}}}
