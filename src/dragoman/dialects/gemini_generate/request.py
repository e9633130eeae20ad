"""Requests of the dialect. The path names the model and whether to stream; the body does not."""

from __future__ import annotations

import re
from typing import Any, TypeGuard, cast

from dragoman.dialects.call_ids import CallIds
from dragoman.dialects.efforts import BUDGETS, effort_of, says_level
from dragoman.dialects.gemini_generate.names import (
    LEVELS,
    MAX_BUDGET,
    NAME,
    Cursor,
    Quirks,
    has_form,
    is_own,
    json_object,
    pack,
    packed,
    spelled,
)
from dragoman.dialects.gemini_generate.parts import (
    decode_parts,
    encode_part,
    encode_parts,
    sign_calls,
    wrapped,
)
from dragoman.dialects.gemini_generate.pieces import join_pieces
from dragoman.dialects.gemini_generate.schemas import spellings, to_json_schema
from dragoman.dialects.schema_subsets import GEMINI
from dragoman.dialects.schemas import fit_response
from dragoman.dialects.tiers import tier_of
from dragoman.errors import InvalidRequest
from dragoman.ir import (
    Effort,
    Json,
    Message,
    OpaqueTool,
    OutputModalities,
    ReasoningConfig,
    Request,
    Residue,
    ResponseFormat,
    Role,
    Tool,
    ToolCall,
    ToolChoice,
)
from dragoman.ir.losses import Losses
from dragoman.ir.turns import join_turns, refuse_continued
from dragoman.wire.fields import as_list

_CONFIG = "generationConfig"
_STRING = "string"
_UNTYPED = "no_role"
_ONE, _ONE_TOOL, _NO_CONTENTS = "one", "one tool", "no contents"
_NO_PARTS = "no parts"
_MAX_STOPS = 5
_MODALITIES = "responseModalities"
_ROLES: dict[str, Role] = {"user": "user", "model": "assistant", "function": "user", "tool": "user"}
_PLAIN: dict[str, tuple[str, type]] = {
    "max_tokens": ("maxOutputTokens", int),
    "temperature": ("temperature", float),
    "top_p": ("topP", float),
    "top_k": ("topK", float),
    "choice_count": ("candidateCount", int),
    "seed": ("seed", int),
    "presence_penalty": ("presencePenalty", float),
    "frequency_penalty": ("frequencyPenalty", float),
    "logprobs": ("responseLogprobs", bool),
    "top_logprobs": ("logprobs", int),
}
"""Fields of the configuration that need no thought: their names and types on the wire."""
_VALIDATED = "VALIDATED"
"""The mode that leaves the choice to the model, and holds a call to its schema."""
_MODES = {"AUTO": "auto", "ANY": "required", "NONE": "none", _VALIDATED: "auto"}
_MODES_OUT = {"auto": "AUTO", "required": "ANY", "none": "NONE", "tool": "ANY"}
_EFFORTS: tuple[Effort, ...] = ("minimal", "low", "medium", "high")
UNSIGNED = re.compile(r"gemini-[12](?:\D|$)")
"""Models that look for no signature on a call."""
_LEVELLED = re.compile(r"gemini-(?:[3-9]|\d\d)")


def decode_request(body: Json) -> Request:
    """A whole request, without what the path says. Raises `InvalidRequest` naming the JSON path."""
    top = Cursor(body, "$")
    ids = CallIds()
    messages = _system(top, ids)
    is_one = isinstance(top.peek("contents"), dict)
    tools_are_one = isinstance(top.peek("tools"), dict)
    contents: list[tuple[str, Any]] = []
    if is_one:
        contents.append((top.at("contents"), top.json("contents")))
    contents += top.items("contents")
    messages += join_pieces(_content(value, path, ids) for path, value in contents)
    tools = _tools(top)
    choice = _tool_choice(top, tools)
    state = _state(top)
    tier, tier_form = _tier(top)
    config = top.object_optional(_CONFIG)
    fields, opaque = _configuration(config) if config else ({}, [])
    forms = {_NO_CONTENTS: "contents" not in body, _ONE: is_one, _ONE_TOOL: tools_are_one}
    fields["paths"] = {**fields.get("paths", {}), "service_tier": top.at("serviceTier")}
    form = [*top.form, *tier_form, *(word for word, holds in forms.items() if holds)]
    left = top.rest(NAME)
    kept = dict(left.fields) if left else {}
    if config is not None:
        rest = config.rest(NAME)
        kept[top.at(_CONFIG).removeprefix("$.")] = rest.fields if rest else {}
        form += config.form
    more = [choice] if isinstance(choice, OpaqueTool) else []
    return Request(
        model="",
        messages=tuple(messages),
        tools=(*tools, *opaque, *more, *state),
        tool_choice=choice if isinstance(choice, ToolChoice) else None,
        service_tier=tier,
        residue=Residue(dialect=NAME, fields=kept, form=tuple(form)),
        **fields,
    )


def _system(top: Cursor, ids: CallIds) -> list[Message]:
    value = top.peek("systemInstruction")
    if value is None:
        return []
    at = top.at("systemInstruction")
    top.take("systemInstruction", object)
    form: tuple[str, ...] = ()
    if isinstance(value, str):
        value, form = {"parts": [{"text": value}]}, (_STRING,)
    fields = Cursor(value, at)
    role = fields.take_optional("role", str)
    found = fields.items("parts")
    parts = tuple(part for path, one in found for part in decode_parts(one, path, ids))
    if "parts" not in json_object(value):
        form = (*form, _NO_PARTS)
    words = (*form, *pack("role", role)) if role else form
    return [Message(role="system", parts=parts, at=at, residue=_residue(fields, *words))]


def _residue(fields: Cursor, *form: str) -> Residue:
    return fields.residue(*form) or Residue(dialect=NAME, fields={})


def _content(value: Any, path: str, ids: CallIds) -> Message:
    fields = Cursor(value, path)
    word = fields.word("role", tuple(_ROLES))
    form = pack("role", word) if word in ("function", "tool") else () if word else (_UNTYPED,)
    if "parts" not in fields and fields.peek("parts") != []:
        form = (*form, _NO_PARTS)
    if isinstance(fields.peek("parts"), dict):
        form = (*form, _ONE)
        found: list[tuple[str, Any]] = [(fields.at("parts"), fields.take("parts", dict))]
    else:
        found = fields.items("parts")
    parts = tuple(part for at, one in found for part in decode_parts(one, at, ids))
    role = _ROLES[word or "user"]
    return Message(role=role, parts=parts, at=path, residue=_residue(fields, *form))


def _tools(top: Cursor) -> list[Tool | OpaqueTool]:
    tools: list[Tool | OpaqueTool] = []
    value = top.peek("tools")
    is_one = isinstance(value, dict)
    found = [(top.at("tools"), top.json("tools"))] if is_one else top.items("tools")
    for path, item in found:
        fields = Cursor(item, path)
        tools += [_declaration(one, at) for at, one in fields.items("functionDeclarations")]
        left = fields.rest(NAME)
        rest: Json = left.fields if left else {}
        tools += [
            OpaqueTool(dialect=NAME, kind=name, value={name: inner}, at=f"{path}.{name}")
            for name, inner in rest.items()
        ]
    return tools


def _declaration(value: Any, path: str) -> Tool:
    fields = Cursor(value, path)
    named = (path.rpartition(".")[2].partition("[")[0],)
    form = [word for word in named if "_" in word]
    parameters, at = fields.json("parametersJsonSchema"), fields.at("parametersJsonSchema")
    if parameters is None and (given := fields.json("parameters")) is not None:
        parameters, at = to_json_schema(given), fields.at("parameters")
        form += pack("parameters", given)
    return Tool(
        name=fields.take("name", str),
        description=fields.take_optional("description", str),
        parameters=parameters,
        parameters_at=at,
        at=path,
        residue=_residue(fields, *form),
    )


def _tool_choice(top: Cursor, tools: list[Tool | OpaqueTool]) -> ToolChoice | OpaqueTool | None:
    """A mode, and the functions it is about: several yet not all of them only Gemini can say."""
    whole, at = top.peek("toolConfig"), top.at("toolConfig")
    outer = top.object_optional("toolConfig")
    if outer is None:
        return None
    opaque = OpaqueTool(dialect=NAME, kind="toolConfig", value=whole, at=at)
    inner = outer.object_optional("functionCallingConfig")
    if inner is None:
        return opaque
    mode = inner.take_optional("mode", str)
    allowed = inner.strings("allowedFunctionNames")
    kept: Json = {inner.given("mode"): mode} if mode == _VALIDATED else {}
    if len(allowed) > 1 and set(allowed) >= {tool.name for tool in tools if isinstance(tool, Tool)}:
        kept[inner.given("allowedFunctionNames")] = list(allowed)  # all of them: it limits nothing
        allowed = ()
    if mode not in _MODES or len(allowed) > 1 or (allowed and mode != "ANY"):
        return opaque
    residue = _rest_of_choice(outer, inner, kept)
    if allowed:
        return ToolChoice(mode="tool", name=allowed[0], at=at, residue=residue)
    return ToolChoice(mode=cast("Any", _MODES[mode]), at=at, residue=residue)


def _rest_of_choice(outer: Cursor, inner: Cursor, kept: Json) -> Residue:
    """What else stands in the objects of a choice; `kept` of what was taken."""
    beside, within = outer.rest(NAME), inner.rest(NAME)
    fields = dict(beside.fields) if beside else {}
    if within or kept:
        fields[outer.given("functionCallingConfig")] = {**(within.fields if within else {}), **kept}
    return Residue(dialect=NAME, fields=fields, form=(*outer.form, *inner.form))


def _state(top: Cursor) -> list[OpaqueTool]:
    """A prompt kept at the provider: it means nothing anywhere else."""
    if "cachedContent" not in top:
        return []
    at = top.at("cachedContent")
    value = {at.removeprefix("$."): top.take("cachedContent", str)}
    return [OpaqueTool(dialect=NAME, kind="cachedContent", value=value, at=at)]


def _tier(top: Cursor) -> tuple[str | None, tuple[str, ...]]:
    """The tier in lower case, and as it stood: its enumeration's long names are taken too."""
    if not isinstance(top.peek("serviceTier"), str):
        return None, ()
    word = top.take("serviceTier", str)
    return word.lower().removeprefix("service_tier_"), pack("tier", word)


def _configuration(config: Cursor) -> tuple[dict[str, Any], list[OpaqueTool]]:
    paths = {name: config.at(wire) for name, (wire, _) in _PLAIN.items()}
    paths |= {"stop_sequences": config.at("stopSequences")}
    fields: dict[str, Any] = {
        name: config.take_optional(wire, kind) for name, (wire, kind) in _PLAIN.items()
    }
    if (top_k := fields["top_k"]) is not None and float(top_k).is_integer():
        fields["top_k"] = int(top_k)
    shape = _format(config)
    opaque = [shape] if isinstance(shape, OpaqueTool) else []
    wanted = as_list(config.peek(_MODALITIES))
    if any(str(word).upper() != "TEXT" for word in wanted):
        at = config.at(_MODALITIES)
        config.take(_MODALITIES, list)
        value: Json = {at.rpartition(".")[2]: wanted}
        words = tuple(str(word).lower() for word in wanted)
        opaque.append(
            OutputModalities(dialect=NAME, kind=_MODALITIES, value=value, at=at, wanted=words)
        )
    fields |= {
        "stop_sequences": config.strings("stopSequences"),
        "response_format": shape if isinstance(shape, ResponseFormat) else None,
        "reasoning": _reasoning(config),
        "paths": paths,
    }
    return fields, opaque


def _format(config: Cursor) -> ResponseFormat | OpaqueTool | None:
    mime = config.peek("responseMimeType")
    at = config.at("responseMimeType")
    if mime != "application/json":
        if mime in (None, "text/plain"):
            return None  # plain text is what comes unasked
        value = {at.rpartition(".")[2]: config.take("responseMimeType", str)}
        return OpaqueTool(dialect=NAME, kind="responseMimeType", value=value, at=at)
    config.take("responseMimeType", str)
    for name in ("responseJsonSchema", "responseSchema"):
        if (schema := config.json(name)) is not None:
            form, words = pack(name, schema), dict[str, str]()
            if name == "responseSchema":
                schema, words = to_json_schema(schema), spellings(form[1])
            residue = Residue(dialect=NAME, fields={}, form=form)
            return ResponseFormat(
                kind="json_schema",
                schema=schema,
                at=at,
                fields_at=at,
                schema_at=config.at(name),
                schema_words=words,
                residue=residue,
            )
    return ResponseFormat(kind="json_object", at=at)


def _reasoning(config: Cursor) -> ReasoningConfig | None:
    """By level or by budget: -1 leaves it to the model, 0 switches it off."""
    fields = config.object_optional("thinkingConfig")
    if fields is None:
        return None
    at = fields.path
    level = fields.peek("thinkingLevel")
    if isinstance(level, str) and level.lower() in _EFFORTS:
        fields.take("thinkingLevel", str)
        form = pack("level", level)
        effort = cast("Effort", level.lower())
        return ReasoningConfig(effort=effort, at=at, residue=_residue(fields, *form))
    match fields.take_optional("thinkingBudget", int):
        case None:
            return ReasoningConfig(at=at, residue=_residue(fields))
        case -1:
            return ReasoningConfig(adaptive=True, at=at, residue=_residue(fields))
        case 0:
            return ReasoningConfig(effort="none", at=at, residue=_residue(fields))
        case budget:
            return ReasoningConfig(budget_tokens=budget, at=at, residue=_residue(fields))


# --- write ------------------------------------------------------------------------------------


def encode_request(request: Request, losses: Losses, quirks: Quirks) -> Json:
    """The body of `generateContent`."""
    refuse_continued(request.messages, losses)
    own = is_own(request.residue)
    body: Json = {}
    names = {
        part.id: part.name
        for message in request.messages
        for part in message.parts
        if isinstance(part, ToolCall)
    }
    contents = _contents(request, losses, names, body)
    if not quirks.call_ids and not own:
        _drop_ids(contents)
    if not contents and not own:
        problem = "a message beside the system's that says something"
        raise InvalidRequest(request.path("messages"), problem)
    if contents or (own and not has_form(request.residue, _NO_CONTENTS)):
        body["contents"] = contents[0] if has_form(request.residue, _ONE) else contents
    _tools_out(request, losses, body)
    if (tier := tier_of(request, losses)) is not None:
        body["serviceTier"] = packed(request.residue, "tier") or tier
    _omit_unsaid(request, losses)
    config = _config_out(request, losses)
    extra = losses.residue(request.residue, "$")
    beside = json_object(extra.get(_CONFIG)) or json_object(extra.get("generation_config"))
    given = isinstance(extra.get(_CONFIG, extra.get("generation_config")), dict)
    if config or given:
        body[_CONFIG] = spelled({**beside, **config}, request.residue)
    given_name = _CONFIG if _CONFIG in extra else "generation_config"
    left = {name: v for name, v in extra.items() if name != given_name or not given}
    return spelled({**body, **left}, request.residue)


def _omit_unsaid(request: Request, losses: Losses) -> None:
    for name in ("user", "parallel_tool_calls"):
        value = getattr(request, name)
        if value is not None and not (name == "parallel_tool_calls" and value is True):
            losses.omit(name, request.path(name))


def _contents(request: Request, losses: Losses, names: dict[str, str], body: Json) -> list[Json]:
    own = is_own(request.residue)
    contents: list[Json] = []
    for message in request.messages if own else join_turns(request.messages, losses):
        if message.name is not None:
            losses.omit("name", f"{message.at}.name")
        parts = encode_parts(message.parts, losses, lambda part: encode_part(part, losses, names))
        extra = losses.residue(message.residue, message.at)
        if message.role in ("system", "developer"):
            if own or not contents:
                _system_out(message, parts, extra, body)
                continue
            losses.omit("role", f"{message.at}.role")
            parts = [{"text": "<system>\n"}, *parts, {"text": "\n</system>"}]
        role = "model" if message.role == "assistant" else "user"
        if own:
            contents.append(_own_content(message, role, parts, extra))
        elif contents and contents[-1]["role"] == role:
            contents[-1]["parts"] += parts
        elif parts:
            contents.append({"role": role, "parts": parts})
    if not own and not UNSIGNED.search(request.model):
        for content in contents:
            if content["role"] == "model":
                sign_calls(content["parts"])
    return contents


def _own_content(message: Message, role: str, parts: list[Json], extra: Json) -> Json:
    word = packed(message.residue, "role") or role
    said = {} if has_form(message.residue, _UNTYPED) else {"role": word}
    if has_form(message.residue, _NO_PARTS):
        return spelled({**said, **extra}, message.residue)
    whole = parts[0] if has_form(message.residue, _ONE) else parts
    return spelled({**said, "parts": whole, **extra}, message.residue)


def _system_out(message: Message, parts: list[Json], extra: Json, body: Json) -> None:
    """All that the system says before the first turn; further down it has no place."""
    if has_form(message.residue, _STRING):
        body["systemInstruction"] = parts[0]["text"]
    elif "systemInstruction" in body:
        body["systemInstruction"]["parts"] += parts
    elif parts or is_own(message.residue):
        role = packed(message.residue, "role")
        said: Json = {} if role is None else {"role": role}
        if not has_form(message.residue, _NO_PARTS):
            said["parts"] = parts
        whole = spelled({**said, **extra}, message.residue)
        body["systemInstruction"] = whole


def _drop_ids(contents: list[Json]) -> None:
    for content in contents:
        for part in content["parts"]:
            for name in ("functionCall", "functionResponse"):
                json_object(part.get(name)).pop("id", None)


def _tools_out(request: Request, losses: Losses, body: Json) -> None:
    groups: dict[str, Json] = {}
    for tool in request.tools:
        if isinstance(tool, Tool):
            wire = _tool_out(tool, losses)
            name = (
                "function_declarations"
                if has_form(tool.residue, "function_declarations")
                else ("functionDeclarations")
            )
            groups.setdefault(_group(tool), {}).setdefault(name, []).append(wire)
        elif tool.dialect != NAME:
            if not _asks_for_images(tool):
                losses.omit("tools", tool.at, f"it has no tool of type {tool.kind}")
        elif tool.kind == "toolConfig":
            body["toolConfig"] = tool.value
        elif tool.kind == "cachedContent":
            body |= tool.value
        elif tool.at.startswith(("$.tools[", "$.tools.")):
            groups.setdefault(_group(tool), {}).update(tool.value)
    if groups:
        objects = list(groups.values())
        body["tools"] = objects[0] if has_form(request.residue, _ONE_TOOL) else objects
    choice = request.tool_choice
    if choice is None:
        return
    extra = losses.residue(choice.residue, choice.at)
    inner: Json = {"mode": _MODES_OUT[choice.mode]}
    if choice.name is not None:
        inner["allowedFunctionNames"] = [choice.name]
    body["toolConfig"] = wrapped("functionCallingConfig", inner, extra, choice.residue)


def _asks_for_images(tool: Tool | OpaqueTool) -> TypeGuard[OutputModalities]:
    return isinstance(tool, OutputModalities) and tool.is_of_images


def _group(tool: Tool | OpaqueTool) -> str:
    """Tools of this dialect keep the object they stood in; others share one."""
    own = isinstance(tool, OpaqueTool) or is_own(tool.residue)
    if not own:
        return ""
    return tool.at.partition("]")[0] if tool.at.startswith("$.tools[") else "$.tools"


def _tool_out(tool: Tool, losses: Losses) -> Json:
    extra = losses.residue(tool.residue, tool.at)
    if tool.cache_control is not None:
        losses.omit("cache_control", tool.mark_path)
    if tool.strict is not None:
        losses.omit("strict", tool.strict_at)
    wire: Json = {**extra, "name": tool.name}
    if tool.description is not None:
        wire["description"] = tool.description
    if (given := packed(tool.residue, "parameters")) is not None:
        wire["parameters"] = given
    elif tool.parameters is not None:
        wire["parametersJsonSchema"] = tool.parameters
    return spelled(wire, tool.residue)


def _config_out(request: Request, losses: Losses) -> Json:
    out: Json = {}
    for name, (wire, _) in _PLAIN.items():
        value = getattr(request, name)
        if value is not None:
            out[wire] = value
    if request.temperature is not None:
        at = request.path("temperature")
        out["temperature"] = losses.bound("temperature", at, request.temperature, 0, 2)
    if request.stop_sequences:
        if len(request.stop_sequences) > _MAX_STOPS and not is_own(request.residue):
            at = request.path("stop_sequences")
            losses.omit("stop_sequences", at, f"it takes {_MAX_STOPS}")
        out["stopSequences"] = list(request.stop_sequences)
    for tool in request.tools:
        if isinstance(tool, OpaqueTool) and tool.kind in ("responseMimeType", _MODALITIES):
            out |= tool.value if tool.dialect == NAME else {}
        elif _asks_for_images(tool):
            out[_MODALITIES] = [word.upper() for word in tool.wanted]
    _format_out(request, losses, out)
    _reasoning_out(request, losses, out)
    return out


def _format_out(request: Request, losses: Losses, out: Json) -> None:
    shape = request.response_format
    if shape is None:
        return
    for name in ("name", "strict", "description"):
        if getattr(shape, name) is not None:
            weight = "strict" if name == "strict" else "name"
            losses.omit(weight, f"{shape.fields_at}.{name}")
    extra = losses.residue(shape.residue, shape.at)
    out["responseMimeType"] = "text/plain" if shape.kind == "text" else "application/json"
    if shape.kind == "json_schema":
        given = packed(shape.residue, "responseSchema")
        name = "responseJsonSchema" if given is None else "responseSchema"
        fitting = fit_response(shape, request.residue, GEMINI, losses)
        out[name] = given if given is not None else fitting
    out |= extra


def _reasoning_out(request: Request, losses: Losses, out: Json) -> None:
    config = request.reasoning
    if config is None:
        return
    extra = losses.residue(config.residue, config.at)
    own, effort = is_own(config.residue), effort_of(request)
    wire: Json = {**extra} if own else {"includeThoughts": True}
    if (level := packed(config.residue, "level")) is not None:
        wire["thinkingLevel"] = level
    elif not is_own(request.residue) and _LEVELLED.search(request.model) and effort is not None:
        wire["thinkingLevel"] = LEVELS[effort]
        if config.budget_tokens is not None and not says_level(config, effort):
            losses.omit("reasoning_config", config.at or request.path("reasoning"))
    elif config.budget_tokens is not None:
        wire["thinkingBudget"] = config.budget_tokens
    elif config.effort is not None:
        wire["thinkingBudget"] = min(BUDGETS.get(config.effort, 0), MAX_BUDGET)
    elif config.adaptive:
        wire["thinkingBudget"] = -1
    out["thinkingConfig"] = spelled(wire, config.residue)
