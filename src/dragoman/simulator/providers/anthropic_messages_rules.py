"""What Anthropic refuses in a Messages request, in its own words.

Source: https://platform.claude.com/docs/en/api/messages and errors seen in 2026-11.
"""

import base64
import re
from collections.abc import Iterable

from dragoman.simulator.messages import JsonObject, ProviderError, is_list, is_object, object_in
from dragoman.simulator.signatures import is_sealed, verify

MIN_BUDGET_TOKENS = 1024
MAX_CACHE_MARKS = 4

_FOREIGN = (
    "n",
    "stop",
    "seed",
    "user",
    "logprobs",
    "top_logprobs",
    "logit_bias",
    "response_format",
    "stream_options",
    "parallel_tool_calls",
    "presence_penalty",
    "frequency_penalty",
    "reasoning_effort",
    "max_completion_tokens",
    "store",
    "modalities",
)
"""Of other dialects: a translation that leaks them is refused, as Anthropic refuses any unknown."""
_TYPES: dict[str, tuple[str, type | tuple[type, ...]]] = {
    "model": ("string", str),
    "max_tokens": ("integer", int),
    "messages": ("list", list),
    "stream": ("boolean", bool),
    "stop_sequences": ("list", list),
    "tools": ("list", list),
    "tool_choice": ("dictionary", dict),
    "thinking": ("dictionary", dict),
    "metadata": ("dictionary", dict),
    "temperature": ("number", (int, float)),
    "top_p": ("number", (int, float)),
    "top_k": ("integer", int),
}
_BLOCKS = {
    "user": {"text", "image", "document", "tool_result", "search_result", "container_upload"},
    "system": {"text", "tool_addition"},
    "assistant": {"text", "thinking", "redacted_thinking", "tool_use", "server_tool_use"},
}
_IMAGE_TYPES = {"image/jpeg", "image/png", "image/gif", "image/webp"}
_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_TOOL_ID = re.compile(r"[a-zA-Z0-9_-]+")


def check_request(body: JsonObject) -> None:
    """Raise `ProviderError` for the first thing that Anthropic would refuse."""
    _check_top_level(body)
    _check_values(body)
    _check_system(body.get("system"))
    names = _check_tools(body.get("tools") or ())
    _check_tool_choice(body, names)
    _check_thinking(body)
    _check_output_format(body)
    for index, message in enumerate(body["messages"]):
        _check_message(message, f"messages.{index}")
    _check_conversation(body["messages"])
    _check_closing_turn(body)
    _check_cache_marks(body)


def blocks_of(content: object) -> list[JsonObject]:
    """The blocks of a content; a string is one text block."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return content if is_list(content) else []


def output_format(body: JsonObject) -> JsonObject | None:
    """The asked format of the answer, in its present place or its former one."""
    found = object_in(body, "output_config").get("format") or body.get("output_format")
    return found if is_object(found) else None


def _refuse(message: str) -> ProviderError:
    return ProviderError(400, message)


def _check_top_level(body: JsonObject) -> None:
    for name in ("model", "max_tokens", "messages"):
        if name not in body:
            raise _refuse(f"{name}: Field required")
    for name in _FOREIGN:
        if name in body:
            raise _refuse(f"{name}: Extra inputs are not permitted")
    for name, (expected, kinds) in _TYPES.items():
        value = body.get(name)
        wrong_bool = isinstance(value, bool) and kinds is not bool
        if name in body and (wrong_bool or not isinstance(value, kinds)):
            raise _refuse(f"{name}: Input should be a valid {expected}")


def _check_values(body: JsonObject) -> None:
    if body["max_tokens"] < 1:
        raise _refuse("max_tokens: Input should be greater than or equal to 1")
    if not 0 <= body.get("temperature", 1) <= 1:
        raise _refuse("temperature: range: 0..1")
    if not body["messages"]:
        raise _refuse("messages: at least one message is required")
    for stop in body.get("stop_sequences") or ():
        if not isinstance(stop, str) or not stop.strip():
            raise _refuse("stop_sequences: each stop sequence must contain non-whitespace")


def _check_system(system: object) -> None:
    if system is None or isinstance(system, str):
        return
    if not is_list(system):
        raise _refuse("system: Input should be a valid string or list")
    for index, block in enumerate(system):
        if not is_object(block) or block.get("type") != "text":
            raise _refuse(f"system.{index}.type: Input should be 'text'")
        if not block.get("text"):
            raise _refuse("system: text content blocks must be non-empty")


def _check_tools(tools: Iterable[JsonObject]) -> set[str]:
    """The names of all tools."""
    names: set[str] = set()
    for index, tool in enumerate(tools):
        if not is_object(tool):
            raise _refuse(f"tools.{index}: Input should be a valid dictionary")
        name = tool.get("name")
        if tool.get("type", "custom") == "custom":
            _check_custom_tool(tool, f"tools.{index}.custom")
        if name in names:
            raise _refuse("tools: Tool names must be unique.")
        names.add(str(name))
    return names


def _check_custom_tool(tool: JsonObject, path: str) -> None:
    for name in ("name", "input_schema"):
        if name not in tool:
            raise _refuse(f"{path}.{name}: Field required")
    if not isinstance(tool["name"], str) or not _TOOL_NAME.fullmatch(tool["name"]):
        raise _refuse(f"{path}.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'")
    schema = tool["input_schema"]
    if not is_object(schema) or "type" not in schema:
        raise _refuse(f"{path}.input_schema.type: Field required")
    if schema["type"] != "object":
        raise _refuse(f"{path}.input_schema.type: Input should be 'object'")
    for name in ("parameters", "function", "strict_schema"):
        if name in tool:
            raise _refuse(f"{path}.{name}: Extra inputs are not permitted")


def _check_tool_choice(body: JsonObject, names: set[str]) -> None:
    choice = body.get("tool_choice")
    if choice is None:
        return
    kind = choice.get("type")
    if kind not in ("auto", "any", "tool", "none"):
        raise _refuse(
            f"tool_choice: Input tag '{kind}' found using 'type' does not match any of the "
            "expected tags: 'auto', 'any', 'tool', 'none'"
        )
    if not names:
        raise _refuse("tool_choice: tool_choice may only be specified while providing tools")
    if kind == "tool" and choice.get("name") not in names:
        raise _refuse(f"Tool '{choice.get('name')}' not found in provided tools")


def _check_thinking(body: JsonObject) -> None:
    thinking = body.get("thinking")
    if thinking is None or thinking.get("type") == "disabled":
        return
    if thinking.get("type") not in ("enabled", "adaptive"):
        raise _refuse(
            f"thinking: Input tag '{thinking.get('type')}' found using 'type' does not match any "
            "of the expected tags: 'adaptive', 'disabled', 'enabled'"
        )
    if thinking["type"] == "enabled":
        _check_budget(thinking.get("budget_tokens"), body["max_tokens"])
    if body.get("temperature", 1) != 1:
        raise _refuse("`temperature` may only be set to 1 when thinking is enabled.")
    forced = object_in(body, "tool_choice").get("type") in ("any", "tool")
    if forced and thinking["type"] == "enabled":
        raise _refuse("Thinking may not be enabled when tool_choice forces tool use.")


def _check_budget(budget: object, max_tokens: int) -> None:
    if not isinstance(budget, int):
        raise _refuse("thinking.enabled.budget_tokens: Field required")
    if budget < MIN_BUDGET_TOKENS:
        raise _refuse(
            "thinking.enabled.budget_tokens: Input should be greater than or equal to "
            f"{MIN_BUDGET_TOKENS}"
        )
    if budget >= max_tokens:
        raise _refuse("`max_tokens` must be greater than `thinking.budget_tokens`.")


def _check_output_format(body: JsonObject) -> None:
    asked = output_format(body)
    if asked is None:
        return
    if asked.get("type") != "json_schema":
        raise _refuse("output_config.format.type: Input should be 'json_schema'")
    schema = asked.get("schema")
    if not is_object(schema):
        raise _refuse("output_config.format.schema: Field required")
    if schema.get("type") == "object" and schema.get("additionalProperties") is not False:
        raise _refuse(
            "output_config.format.schema: For 'object' type, 'additionalProperties' must be "
            "explicitly set to false"
        )


def _check_message(message: object, path: str) -> None:
    if not is_object(message):
        raise _refuse(f"{path}: Input should be a valid dictionary")
    role = message.get("role")
    if role == "system" and path == "messages.0":
        raise _refuse(
            'messages: Unexpected role "system". The Messages API accepts a top-level `system` '
            'parameter, not "system" as an input message role.'
        )
    if role not in _BLOCKS:
        raise _refuse(f"{path}.role: Input should be 'user' or 'assistant'")
    if "content" not in message:
        raise _refuse(f"{path}.content: Field required")
    content = message["content"]
    if not (isinstance(content, str) or is_list(content)):
        raise _refuse(f"{path}.content: Input should be a valid list")
    for name in message:
        if name not in ("role", "content"):
            raise _refuse(f"{path}.{name}: Extra inputs are not permitted")
    for index, block in enumerate(blocks_of(content)):
        _check_block(block, role, f"{path}.content.{index}")


def _check_block(block: object, role: str, path: str) -> None:
    if not is_object(block):
        raise _refuse(f"{path}: Input should be a valid dictionary")
    kind = block.get("type")
    known = _BLOCKS[role]
    if kind not in known and not str(kind).endswith("_tool_result"):
        tags = ", ".join(f"'{name}'" for name in sorted(known))
        raise _refuse(
            f"{path}: Input tag '{kind}' found using 'type' does not match any of the expected "
            f"tags: {tags}"
        )
    if kind == "text" and not isinstance(block.get("text"), str):
        raise _refuse(f"{path}.text.text: Field required")
    if kind == "text" and not block["text"]:
        raise _refuse("messages: text content blocks must be non-empty")
    if kind in ("image", "document"):
        _check_source(block, f"{path}.{kind}.source")
    if kind in ("thinking", "redacted_thinking"):
        _check_reasoning(block, path)
    if kind in ("tool_use", "tool_result"):
        _check_tool_block(block, f"{path}.{kind}")


def _check_source(block: JsonObject, path: str) -> None:
    source = block.get("source")
    if not is_object(source):
        raise _refuse(f"{path}: Field required")
    kind = source.get("type")
    needed = {"base64": "data", "url": "url", "file": "file_id", "text": "data"}
    needed["content"] = "content"
    if kind not in needed:
        raise _refuse(f"{path}: Input tag '{kind}' found using 'type' does not match")
    if needed[kind] not in source:
        raise _refuse(f"{path}.{kind}.{needed[kind]}: Field required")
    if kind == "base64":
        _check_base64(source, f"{path}.base64", is_image=block["type"] == "image")


def _check_base64(source: JsonObject, path: str, *, is_image: bool) -> None:
    allowed = _IMAGE_TYPES if is_image else {"application/pdf"}
    if source.get("media_type") not in allowed:
        listed = ", ".join(f"'{name}'" for name in sorted(allowed))
        raise _refuse(f"{path}.media_type: Input should be {listed}")
    try:
        base64.b64decode(source["data"], validate=True)
    except (ValueError, TypeError):
        raise _refuse(f"{path}.data: Invalid base64 data") from None


def _check_reasoning(block: JsonObject, path: str) -> None:
    """What was issued must come back unchanged."""
    if block["type"] == "redacted_thinking":
        if not is_sealed(block.get("data")):
            raise _refuse(f"{path}: Invalid `data` in `redacted_thinking` block")
        return
    for name in ("thinking", "signature"):
        if not isinstance(block.get(name), str):
            raise _refuse(f"{path}.thinking.{name}: Field required")
    if not verify(block["thinking"], block["signature"]):
        raise _refuse(f"{path}: Invalid `signature` in `thinking` block")


def _check_tool_block(block: JsonObject, path: str) -> None:
    needed = ("id", "name", "input") if block["type"] == "tool_use" else ("tool_use_id",)
    for name in needed:
        if name not in block:
            raise _refuse(f"{path}.{name}: Field required")
    if not _TOOL_ID.fullmatch(str(block[needed[0]])):
        raise _refuse(f"{path}.{needed[0]}: String should match pattern '^[a-zA-Z0-9_-]+$'")
    if block["type"] == "tool_use" and not is_object(block["input"]):
        raise _refuse(f"{path}.input: Input should be a valid dictionary")


def _turns(messages: list[JsonObject]) -> list[tuple[str, int, list[JsonObject]]]:
    """Role, index of the first message, and blocks; messages of one role in a row are one turn.

    Instructions in the middle of a conversation (newer models take them) are of no turn.
    """
    turns: list[tuple[str, int, list[JsonObject]]] = []
    for index, message in enumerate(messages):
        if message["role"] == "system":
            continue
        if turns and turns[-1][0] == message["role"]:
            turns[-1][2].extend(blocks_of(message["content"]))
        else:
            turns.append((message["role"], index, list(blocks_of(message["content"]))))
    return turns


def _check_conversation(messages: list[JsonObject]) -> None:
    """No turn but the last is empty, and each tool use is answered in the next turn."""
    calls: list[str] = []
    turns = _turns(messages)
    for role, index, blocks in turns:
        if not blocks and index != turns[-1][1]:
            raise _refuse(f"messages.{index}: all messages must have non-empty content")
        if role == "user":
            _check_results(blocks, index, calls)
        calls = [block["id"] for block in blocks if block["type"] == "tool_use"]
    if calls:
        raise _unanswered(turns[-1][1], calls)


def _check_results(blocks: list[JsonObject], index: int, calls: list[str]) -> None:
    results = [block for block in blocks if block["type"] == "tool_result"]
    for position, block in enumerate(results):
        if block["tool_use_id"] not in calls:
            raise _refuse(
                f"messages.{index}.content.{position}: unexpected `tool_use_id` found in "
                f"`tool_result` blocks: {block['tool_use_id']}. Each `tool_result` block must "
                "have a corresponding `tool_use` block in the previous message."
            )
    leading = {block.get("tool_use_id") for block in blocks[: len(results)]}
    missing = [call for call in calls if call not in leading]
    if missing:
        raise _unanswered(index - 1, missing)


def _unanswered(index: int, calls: list[str]) -> ProviderError:
    return _refuse(
        f"messages.{index}: `tool_use` ids were found without `tool_result` blocks immediately "
        f"after: {', '.join(calls)}. Each `tool_use` block must have a corresponding "
        "`tool_result` block in the next message."
    )


def _check_closing_turn(body: JsonObject) -> None:
    turns = _turns(body["messages"])
    role, _, blocks = turns[-1]
    enabled = object_in(body, "thinking").get("type") == "enabled"
    if role == "assistant":
        if enabled:
            raise _refuse("messages: prefilling is not supported when thinking is enabled")
        text = blocks[-1].get("text", "") if blocks else ""
        if text != text.rstrip():
            raise _refuse("messages: final assistant content cannot end with trailing whitespace")
        return
    answers_tools = any(block["type"] == "tool_result" for block in blocks)
    if not (enabled and answers_tools):
        return
    found = turns[-2][2][0]["type"]
    if found not in ("thinking", "redacted_thinking"):
        raise _refuse(
            f"messages.{turns[-2][1]}.content.0.type: Expected `thinking` or "
            f"`redacted_thinking`, but found `{found}`. When `thinking` is enabled, a final "
            "`assistant` message must start with a thinking block (preceeding the lastmost set "
            "of `tool_use` and `tool_result` blocks)."
        )


def _check_cache_marks(body: JsonObject) -> None:
    system = blocks_of(body.get("system"))
    said = [block for message in body["messages"] for block in blocks_of(message["content"])]
    marks = sum(1 for item in (*body.get("tools", ()), *system, *said) if item.get("cache_control"))
    if marks > MAX_CACHE_MARKS:
        raise _refuse(
            f"A maximum of {MAX_CACHE_MARKS} blocks with cache_control may be provided. "
            f"Found {marks}."
        )
