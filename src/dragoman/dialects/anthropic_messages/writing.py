"""Meaning to wire: requests, answers and their content blocks.

What the API has no word for goes to `Losses`, which knows what that weighs. System messages that
lead the conversation become `system`; later ones stay where they are, with the role `system`.
"""

from __future__ import annotations

from typing import Any

import msgspec

from dragoman.dialects.anthropic_messages.names import (
    MIN_BUDGET,
    NAME,
    UNSIGNED,
    VERSION,
    WHOLE,
    Quirks,
    encode_usage,
    finish_word,
    has_form,
    own,
)
from dragoman.dialects.carrying import encode_signature
from dragoman.dialects.documents import words_of_document
from dragoman.dialects.efforts import BUDGETS, budget_of, effort_of, wants_adaptive
from dragoman.dialects.residues import packed
from dragoman.dialects.schema_subsets import CLAUDE
from dragoman.dialects.schemas import fit_response, fit_tool
from dragoman.dialects.tiers import tier_of
from dragoman.errors import InvalidRequest, Unrepresentable, UpstreamProtocolError
from dragoman.ir import (
    Blob,
    File,
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
    Response,
    Text,
    Tool,
    ToolCall,
    ToolCallResponse,
    Uri,
    Usage,
)
from dragoman.ir.losses import Losses
from dragoman.ir.turns import join_turns, lacks_thought

_MODES = {"auto": "auto", "required": "any", "tool": "tool", "none": "none"}
_ROLES = {"assistant": "assistant"}
_UNSAID = ("seed", "frequency_penalty", "presence_penalty", "logprobs", "top_logprobs")
"""Request fields this dialect has no word for at all."""


def encode_request(request: Request, losses: Losses, quirks: Quirks) -> Json:
    """The request as `/v1/messages` takes it."""
    _omit_unsaid(request, losses)
    body: Json = losses.residue(request.residue, "$") | _head(request, quirks)
    system, messages = _conversation(request, losses)
    if system is not None:
        body["system"] = system
    body["messages"] = messages
    asked = request.max_tokens
    body["max_tokens"] = quirks.default_max_tokens if asked is None else asked
    _sampling(request, losses, body)
    if request.tools:
        body["tools"] = [encode_tool(tool, request.residue, losses) for tool in request.tools]
    _tool_choice(request, losses, body)
    _reasoning(request, losses, body)
    _format(request, losses, body)
    if request.user is not None:
        body["metadata"] = {**body.get("metadata", {}), "user_id": request.user}
    if not quirks.invoke_model and (request.stream or has_form(request.residue, "stream")):
        body["stream"] = request.stream
    return body


def _head(request: Request, quirks: Quirks) -> Json:
    """The model, or the version where the path says the model."""
    given = _given_version(request.residue)
    if quirks.version is not None:
        return {VERSION: version(given, quirks.version)}
    if given is None:
        return {"model": request.model}
    return {VERSION: given, **({"model": request.model} if request.model else {})}


def _given_version(residue: Residue | None) -> str | None:
    if residue is None or not has_form(residue, VERSION):
        return None
    return residue.form[residue.form.index(VERSION) + 1]


def version(given: Any, own: str) -> str:
    """The client's version where it is not another platform's, whose name begins it."""
    if not isinstance(given, str) or not given:
        return own
    platform = own.partition("-")[0]
    return given if given[0].isdigit() or given.partition("-")[0] == platform else own


def _omit_unsaid(request: Request, losses: Losses) -> None:
    for name in _UNSAID:
        value = getattr(request, name)
        if value is not None and value is not False:
            losses.omit(name, request.path(name))
    if request.choice_count not in (None, 1):
        losses.omit("choice_count", request.path("choice_count"), "it gives one answer")


def _sampling(request: Request, losses: Losses, body: Json) -> None:
    if request.temperature is not None:
        path = request.path("temperature")
        body["temperature"] = losses.bound("temperature", path, request.temperature, 0, 1)
    for name in ("top_p", "top_k"):
        if getattr(request, name) is not None:
            body[name] = getattr(request, name)
    if request.stop_sequences:
        for word in request.stop_sequences:
            if not word.strip():
                why = "it must hold more than white space"
                losses.omit("stop_sequences", request.path("stop_sequences"), why)
        body["stop_sequences"] = list(request.stop_sequences)
    if (tier := tier_of(request, losses)) is not None:
        body["service_tier"] = tier


def _tool_choice(request: Request, losses: Losses, body: Json) -> None:
    choice, parallel = request.tool_choice, request.parallel_tool_calls
    if choice is None and (parallel is not False or not request.tools):
        if parallel is True and request.tools:
            return  # what it does unasked
        if parallel is not None:
            losses.omit("parallel_tool_calls", request.path("parallel_tool_calls"))
        return
    wire: Json = {"type": _MODES[choice.mode if choice else "auto"]}
    if choice is not None:
        wire |= losses.residue(choice.residue, choice.at)
        if choice.name is not None:
            wire["name"] = choice.name
    if parallel is not None and wire["type"] != "none":
        wire["disable_parallel_tool_use"] = not parallel
    body["tool_choice"] = wire


def _reasoning(request: Request, losses: Losses, body: Json) -> None:
    config = request.reasoning
    if config is None:
        return
    extra = losses.residue(config.residue, config.at)
    if config.effort is not None and (config.adaptive or has_form(config.residue, "output_config")):
        output: Json = body.setdefault("output_config", {})
        body["output_config"] = {**output, "effort": config.effort}
    if config.adaptive:
        body["thinking"] = {"type": "adaptive", **extra}
    elif config.effort == "none":
        body["thinking"] = {"type": "disabled", **extra}
    elif wants_adaptive(request) and not has_form(config.residue, "output_config"):
        _adapt(request, body)
    elif not has_form(config.residue, "output_config") and lacks_thought(request, _is_signed):
        losses.omit("reasoning_config", config.at or request.path("reasoning"))
    elif config.budget_tokens is not None and _is_own(request):
        budget = config.budget_tokens
        body["thinking"] = {"type": "enabled", "budget_tokens": budget, **extra}
    elif not has_form(config.residue, "output_config"):
        _budget_for(request, config, losses, body)


def _is_signed(part: Reasoning) -> bool:
    fields = own(part.residue)
    return bool(fields.get("signature") or fields.get("data"))


def _is_own(request: Request) -> bool:
    return request.residue is not None and request.residue.dialect == NAME


def _adapt(request: Request, body: Json) -> None:
    """Thinking as much as the model sees fit, for another dialect's effort or budget."""
    effort = effort_of(request)
    body["thinking"] = {"type": "adaptive"}
    if effort is not None:
        body["output_config"] = {**body.get("output_config", {}), "effort": effort}
    if request.max_tokens is None:
        body["max_tokens"] += BUDGETS[effort or "medium"]


def _budget_for(request: Request, config: ReasoningConfig, losses: Losses, body: Json) -> None:
    """A budget for another dialect's wish: of the least the API takes, and below `max_tokens`."""
    wanted = budget_of(config)
    if wanted == 0:
        body["thinking"] = {"type": "disabled"}
        return
    budget = max(wanted, MIN_BUDGET)
    if request.max_tokens is None:
        body["max_tokens"] += budget
    budget = min(budget, body["max_tokens"] - 1)
    if budget != wanted and (config.budget_tokens is not None or budget < MIN_BUDGET):
        losses.omit("reasoning_config", config.at or request.path("reasoning"))
    if budget >= MIN_BUDGET:
        body["thinking"] = {"type": "enabled", "budget_tokens": budget}


def _format(request: Request, losses: Losses, body: Json) -> None:
    wanted = request.response_format
    if wanted is None or wanted.kind == "text":
        return
    at = wanted.at or request.path("response_format")
    if wanted.kind == "json_object":
        losses.omit("response_format", at, "ask for a json_schema instead")
    for name in ("name", "strict"):
        if getattr(wanted, name) is not None:
            losses.omit(name, f"{wanted.fields_at}.{name}")
    if wanted.description is not None:
        losses.omit("name", f"{wanted.fields_at}.description")
    schema = fit_response(wanted, request.residue, CLAUDE, losses)
    found: Json = {"type": "json_schema", "schema": schema}
    found |= losses.residue(wanted.residue, at)
    if has_form(wanted.residue, "output_format"):
        body["output_format"] = found
    else:
        body["output_config"] = {**body.get("output_config", {}), "format": found}


def _conversation(request: Request, losses: Losses) -> tuple[str | list[Json] | None, list[Json]]:
    """`system` and `messages`. Results of tools stand together in one user turn."""
    system: list[Json] = []
    messages: list[Json] = []
    string: str | None = None
    answers_tools = False
    is_own = request.residue is not None and request.residue.dialect == NAME
    turns = request.messages if is_own else join_turns(request.messages, losses)
    for message in turns:
        content = _content(message, losses)
        if message.name is not None:
            losses.omit("name", f"{message.at}.name")
        is_system = message.role in ("system", "developer")
        is_head = not is_own or message.at == "$.system"
        if is_system and is_head and not messages:
            losses.residue(message.residue, message.at)
            string = _as_string(message) if not system else None
            system += content
            continue
        extra = losses.residue(message.residue, message.at)
        role = "system" if is_system else _ROLES.get(message.role, "user")
        if answers_tools and role == "user":
            messages[-1]["content"] += content
        elif content or is_own or has_form(message.residue, "string"):
            text = _as_string(message)
            messages.append({"role": role, "content": content if text is None else text, **extra})
        answers_tools = message.role == "tool"
    if not messages and not is_own:
        raise InvalidRequest("$.messages", "a message beside the system's that says something")
    if not system and not (is_own and any(message.at == "$.system" for message in turns)):
        return None, messages
    return string if string is not None else system, messages


def _as_string(message: Message) -> str | None:
    """The content as the plain string it came as."""
    if not has_form(message.residue, "string") or len(message.parts) != 1:
        return None
    part = message.parts[0]
    return part.content if isinstance(part, Text) else None


def _content(message: Message, losses: Losses) -> list[Json]:
    blocks = (encode_part(part, losses) for part in message.parts)
    return [block for block in blocks if block is not None]


def encode_part(part: Part, losses: Losses) -> Json | None:
    """One content block; None for what says nothing (an empty text) or was reported as lost."""
    if isinstance(part, Reasoning):
        return _encode_reasoning(part, losses)
    if isinstance(part, Opaque):
        if part.dialect != NAME:
            losses.omit("parts", part.at, f"it has no {part.kind} part")
        return part.value
    block = _encode_known(part, losses)
    mark = getattr(part, "cache_control", None)
    if mark is not None and block is not None:
        block["cache_control"] = mark
    elif isinstance(part, Text) and mark is not None:
        losses.omit("cache_control", part.mark_path)
    return block


def _encode_known(
    part: Text | Refusal | ToolCall | ToolCallResponse | Uri | Blob | File, losses: Losses
) -> Json | None:
    extra = losses.residue(part.residue, part.at)
    match part:
        case Text() if whole := packed(part.residue, NAME, WHOLE):
            return dict(whole)
        case Text() | Refusal():
            is_own = part.residue is not None and part.residue.dialect == NAME
            if not part.content and not is_own:
                return None
            return {**extra, "type": "text", "text": part.content}
        case ToolCall():
            given = _arguments(part)
            call = {"type": "tool_use", "id": part.id, "name": part.name, "input": given}
            return {**call, **extra}
        case ToolCallResponse():
            return {**extra, **_tool_result(part, losses)}
        case _:
            block = _media(part, losses)
            block["source"] |= own(part.residue).get("source", {})
            return {**extra, **block}


def _encode_reasoning(part: Reasoning, losses: Losses) -> Json | None:
    """Thinking needs the signature its author gave it; what has none is refused by the API."""
    fields = own(part.residue)
    if "data" in fields and not part.content:
        return {"type": "redacted_thinking", **fields}
    if not _is_signed(part) and not has_form(part.residue, UNSIGNED):
        losses.omit("reasoning", part.at)
        return None
    return {"type": "thinking", "thinking": part.content, **fields}


def _arguments(call: ToolCall) -> Json:
    try:
        return msgspec.json.decode(call.arguments or "{}", type=Json | None) or {}
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"{call.at}.function.arguments", "a JSON object as text") from error


def _tool_result(part: ToolCallResponse, losses: Losses) -> Json:
    wire: Json = {"type": "tool_result", "tool_use_id": part.id}
    inner = [block for p in part.parts if (block := encode_part(p, losses)) is not None]
    first = part.parts[0] if part.parts else None
    if has_form(part.residue, "string") and isinstance(first, Text):
        wire["content"] = first.content
    elif inner:
        wire["content"] = inner
    if part.is_error is not None:
        wire["is_error"] = part.is_error
    return wire


def _media(part: Uri | Blob | File, losses: Losses) -> Json:
    kind = {"image": "image", "document": "document"}.get(part.modality)
    if kind is None:
        raise Unrepresentable(part.at, NAME, f"it takes no {part.modality}")
    match part:
        case Uri():
            source: Json = {"type": "url", "url": part.uri}
        case Blob():
            return {"type": kind, "source": _inline(part), **_title(part, losses)}
        case File():  # pragma: no branch - there is no other medium
            source = {"type": "file", "file_id": part.file_id}
    return {"type": kind, "source": source}


def _inline(part: Blob) -> Json:
    """What is plain text is written so: in base64 a document is a PDF."""
    words = words_of_document(part)
    if words is not None:
        return {"type": "text", "media_type": "text/plain", "data": words}
    return {"type": "base64", "media_type": part.mime_type, "data": part.content}


def _title(part: Blob, losses: Losses) -> Json:
    """A document's name is its title here; an image has none."""
    if part.filename is None:
        return {}
    if part.modality == "document":
        return {"title": part.filename}
    losses.omit("filename", part.filename_at)
    return {}


def encode_tool(tool: Tool | OpaqueTool, source: Residue | None, losses: Losses) -> Json:
    """A tool; one that another provider runs itself is refused."""
    if isinstance(tool, OpaqueTool):
        if tool.dialect != NAME:
            losses.omit("tools", tool.at, f"it has no tool of type {tool.kind}")
        return tool.value
    wire: Json = {**losses.residue(tool.residue, tool.at), "name": tool.name}
    if has_form(tool.residue, "typed"):
        wire["type"] = "custom"
    if tool.description is not None:
        wire["description"] = tool.description
    parameters, strict = fit_tool(tool, source, CLAUDE, losses)
    if tool.residue is None or tool.residue.dialect != NAME:
        wire["input_schema"] = parameters or {"type": "object", "properties": {}}
    elif parameters is not None:
        wire["input_schema"] = parameters
    if strict is not None:
        wire["strict"] = strict
    if tool.cache_control is not None:
        wire["cache_control"] = tool.cache_control
    return wire


def encode_response(response: Response, losses: Losses) -> Json:
    """A whole answer for a client of this dialect."""
    if len(response.choices) != 1:
        raise UpstreamProtocolError("the upstream did not send the one answer asked for")
    choice = response.choices[0]
    is_own = response.residue is not None and response.residue.dialect == NAME
    found = (_answer_block(part, losses, is_own=is_own) for part in choice.parts)
    content = [block for block in found if block is not None]
    refused = any(isinstance(part, Refusal) for part in choice.parts)
    reason = "content_filter" if refused else choice.finish_reason
    known: Json = {
        "id": response.id,
        "type": "message",
        "role": "assistant",
        "model": response.model,
        "content": content,
        "stop_reason": finish_word(reason, choice.stop_sequence, choice.residue),
        "stop_sequence": choice.stop_sequence,
        "usage": encode_usage(response.usage or Usage()),
    }
    extra = losses.residue(response.residue, "$")
    losses.residue(_besides_reason(choice.residue), "$")
    given = {name: known[name] for name in known if not has_form(response.residue, name)}
    return {**given, **extra}


def _besides_reason(residue: Residue | None) -> Residue | None:
    """What a choice says beside why it ended, which has a word here."""
    if residue is None or "finish_reason" not in residue.fields:
        return residue
    left = {name: said for name, said in residue.fields.items() if name != "finish_reason"}
    return Residue(dialect=residue.dialect, fields=left)


def _answer_block(part: Part, losses: Losses, *, is_own: bool) -> Json | None:
    """A part the model produced: its thinking may be unsigned or another provider's."""
    if isinstance(part, Reasoning):
        fields = own(part.residue)
        if "data" in fields and not part.content:
            return {"type": "redacted_thinking", **fields}
        signed = fields or {"signature": encode_signature(part.residue)}
        if has_form(part.residue, UNSIGNED):
            signed = {}
        return {"type": "thinking", "thinking": part.content, **signed}
    if isinstance(part, Opaque) and part.dialect != NAME:
        losses.paths.append(f"$.content.{part.kind}")
        return None
    if isinstance(part, Uri | Blob | File) and not is_own:
        losses.paths.append(f"$.content.{part.modality}")  # its answers hold no media
        return None
    try:
        return encode_part(part, losses)
    except InvalidRequest as error:
        raise UpstreamProtocolError("the upstream's tool call is not a JSON object") from error
