"""What OpenAI refuses in a Chat Completions request, with its own words, codes and params.

Source: https://platform.openai.com/docs/api-reference/chat/create and errors seen in 2026-11.
"""

import base64
import re
from collections.abc import Sequence

from dragoman.simulator.messages import JsonObject, ProviderError, is_list, is_object

ROLES = ("system", "assistant", "user", "function", "tool", "developer")
MAX_STOPS = 4
MAX_TOP_LOGPROBS = 20
MAX_CHOICES = 128

_FOREIGN = (
    "system",
    "stop_sequences",
    "thinking",
    "output_config",
    "output_format",
    "max_tokens_to_sample",
    "top_k",
    "mcp_servers",
    "anthropic_version",
    "contents",
    "generationConfig",
)
"""Of other dialects: a leak of them is refused, as OpenAI refuses any unknown one."""
_TYPES: dict[str, tuple[str, type | tuple[type, ...]]] = {
    "messages": ("an array of objects", list),
    "tools": ("an array of objects", list),
    "model": ("a string", str),
    "stream": ("a boolean", bool),
    "logprobs": ("a boolean", bool),
    "parallel_tool_calls": ("a boolean", bool),
    "n": ("an integer", int),
    "max_tokens": ("an integer", int),
    "max_completion_tokens": ("an integer", int),
    "top_logprobs": ("an integer", int),
    "seed": ("an integer", int),
    "temperature": ("a decimal", (int, float)),
    "top_p": ("a decimal", (int, float)),
    "presence_penalty": ("a decimal", (int, float)),
    "frequency_penalty": ("a decimal", (int, float)),
    "response_format": ("an object", dict),
    "stream_options": ("an object", dict),
    "metadata": ("an object", dict),
    "logit_bias": ("an object", dict),
    "user": ("a string", str),
}
_RANGES = {
    "temperature": (0, 2),
    "top_p": (0, 1),
    "presence_penalty": (-2, 2),
    "frequency_penalty": (-2, 2),
    "n": (1, MAX_CHOICES),
    "max_tokens": (1, None),
    "max_completion_tokens": (1, None),
    "top_logprobs": (0, MAX_TOP_LOGPROBS),
}
_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh")
_PARTS = {
    "user": ("text", "image_url", "input_audio", "file"),
    "assistant": ("text", "refusal"),
}
_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


def check_request(body: JsonObject) -> None:
    """Raise `ProviderError` for the first thing that OpenAI would refuse."""
    _check_top_level(body)
    _check_ranges(body)
    _check_combinations(body)
    _check_tools(body)
    _check_response_format(body)
    for index, message in enumerate(body["messages"]):
        _check_message(message, f"messages[{index}]")
    _check_tool_turns(body["messages"])


def type_name(value: object) -> str:
    """The name of a JSON value's type, in OpenAI's messages."""
    names: dict[type, str] = {
        str: "a string",
        bool: "a boolean",
        int: "an integer",
        float: "a decimal",
    }
    names |= {list: "an array", dict: "an object", type(None): "null"}
    return names[type(value)]


def _missing(param: str) -> ProviderError:
    message = f"Missing required parameter: '{param}'."
    return ProviderError(400, message, param=param, code="missing_required_parameter")


def _wrong_type(param: str, expected: str, value: object) -> ProviderError:
    message = (
        f"Invalid type for '{param}': expected {expected}, but got {type_name(value)} instead."
    )
    return ProviderError(400, message, param=param, code="invalid_type")


def _wrong_value(param: str, value: object, supported: Sequence[str]) -> ProviderError:
    names = [f"'{name}'" for name in supported]
    listed = f"{', '.join(names[:-1])}, and {names[-1]}" if len(names) > 1 else names[0]
    message = f"Invalid value: '{value}'. Supported values are: {listed}."
    return ProviderError(400, message, param=param, code="invalid_value")


def _check_top_level(body: JsonObject) -> None:
    if body.get("model") in (None, ""):
        raise ProviderError(400, "you must provide a model parameter")
    if "messages" not in body:
        raise _missing("messages")
    for name in _FOREIGN:
        if name in body:
            raise ProviderError(400, f"Unrecognized request argument supplied: {name}")
    for name, (expected, kinds) in _TYPES.items():
        value = body.get(name)
        wrong_bool = isinstance(value, bool) and kinds is not bool
        if value is not None and (wrong_bool or not isinstance(value, kinds)):
            raise _wrong_type(name, expected, value)
    if not body["messages"]:
        message = (
            "Invalid 'messages': empty array. Expected an array with minimum length 1, "
            "but got an empty array instead."
        )
        raise ProviderError(400, message, param="messages", code="empty_array")


def _check_ranges(body: JsonObject) -> None:
    for name, (low, high) in _RANGES.items():
        value = body.get(name)
        if value is None:
            continue
        kind = "decimal" if high in (1, 2) else "integer"
        if value < low:
            side, sign, bound = "below minimum", ">=", low
        elif high is not None and value > high:
            side, sign, bound = "above maximum", "<=", high
        else:
            continue
        message = (
            f"Invalid '{name}': {kind} {side} value. "
            f"Expected a value {sign} {bound}, but got {value} instead."
        )
        code = f"{kind}_{side.replace(' ', '_')}_value"
        raise ProviderError(400, message, param=name, code=code)


def _check_combinations(body: JsonObject) -> None:
    stop = body.get("stop")
    if is_list(stop) and len(stop) > MAX_STOPS:
        message = (
            f"Invalid 'stop': array too long. Expected an array with maximum length {MAX_STOPS}, "
            f"but got an array with length {len(stop)} instead."
        )
        raise ProviderError(400, message, param="stop", code="array_above_max_length")
    if stop is not None and not isinstance(stop, (str, list)):
        raise _wrong_type("stop", "one of a string or an array of strings", stop)
    if body.get("stream_options") is not None and not body.get("stream"):
        message = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
        raise ProviderError(400, message, param="stream_options")
    if body.get("top_logprobs") is not None and not body.get("logprobs"):
        message = "The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled."
        raise ProviderError(400, message, param="top_logprobs")
    if body.get("max_tokens") is not None and body.get("max_completion_tokens") is not None:
        message = (
            "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported."
        )
        raise ProviderError(400, message, code="invalid_parameter_combination")
    effort = body.get("reasoning_effort")
    if effort is not None and effort not in _EFFORTS:
        raise _wrong_value("reasoning_effort", effort, _EFFORTS)


def _check_tools(body: JsonObject) -> None:
    tools = body.get("tools")
    if tools == []:
        message = (
            "Invalid 'tools': empty array. Expected an array with minimum length 1, "
            "but got an empty array instead."
        )
        raise ProviderError(400, message, param="tools", code="empty_array")
    for index, tool in enumerate(tools or ()):
        _check_tool(tool, f"tools[{index}]")
    choice = body.get("tool_choice")
    if choice is None:
        return
    if not tools:
        message = (
            "Invalid value for 'tool_choice': 'tool_choice' is only allowed when 'tools' are "
            "specified."
        )
        raise ProviderError(400, message, param="tool_choice")
    _check_tool_choice(choice, {tool["function"]["name"] for tool in tools if "function" in tool})


def _check_tool(tool: object, param: str) -> None:
    if not is_object(tool):
        raise _wrong_type(param, "an object", tool)
    kind = tool.get("type")
    if kind is None:
        raise _missing(f"{param}.type")
    if kind == "custom":
        return
    if kind != "function":
        raise _wrong_value(f"{param}.type", kind, ("function", "custom"))
    function = tool.get("function")
    if not is_object(function):
        raise _missing(f"{param}.function")
    name = function.get("name")
    if name is None:
        raise _missing(f"{param}.function.name")
    if not isinstance(name, str) or not _TOOL_NAME.fullmatch(name):
        message = (
            f"Invalid '{param}.function.name': string does not match pattern. Expected a string "
            "that matches the pattern '^[a-zA-Z0-9_-]+$'."
        )
        raise ProviderError(400, message, param=f"{param}.function.name", code="invalid_value")
    _check_parameters(function.get("parameters"), name)


def _check_parameters(schema: object, name: str) -> None:
    if schema is not None and (not is_object(schema) or schema.get("type") != "object"):
        kind = schema.get("type") if is_object(schema) else None
        message = (
            f"Invalid schema for function '{name}': schema must be a JSON Schema of "
            f"'type: \"object\"', got 'type: \"{kind}\"'."
        )
        raise ProviderError(
            400, message, param="tools[0].function.parameters", code="invalid_function_parameters"
        )


def _check_tool_choice(choice: object, names: set[str]) -> None:
    if isinstance(choice, str):
        if choice not in ("none", "auto", "required"):
            raise _wrong_value("tool_choice", choice, ("none", "auto", "required"))
        return
    if not is_object(choice):
        raise _wrong_type("tool_choice", "one of a string or an object", choice)
    if choice.get("type") == "function":
        function = choice.get("function")
        name = function.get("name") if is_object(function) else None
        if name is None:
            raise _missing("tool_choice.function.name")
        if name not in names:
            message = f"Tool choice 'function' not found in 'tools' parameter: '{name}'."
            raise ProviderError(400, message, param="tool_choice")
    elif choice.get("type") not in ("allowed_tools", "custom"):
        kinds = ("function", "allowed_tools", "custom")
        raise _wrong_value("tool_choice.type", choice.get("type"), kinds)


def _check_response_format(body: JsonObject) -> None:
    asked = body.get("response_format")
    if asked is None:
        return
    kind = asked.get("type")
    if kind not in ("json_object", "json_schema", "text"):
        kinds = ("json_object", "json_schema", "text")
        raise _wrong_value("response_format.type", kind, kinds)
    if kind == "json_object" and b"json" not in repr(body["messages"]).lower().encode():
        message = (
            "'messages' must contain the word 'json' in some form, to use 'response_format' of "
            "type 'json_object'."
        )
        raise ProviderError(400, message, param="messages")
    if kind == "json_schema":
        _check_json_schema(asked.get("json_schema"))


def _check_json_schema(asked: object) -> None:
    if not is_object(asked):
        raise _missing("response_format.json_schema")
    if "name" not in asked:
        raise _missing("response_format.json_schema.name")
    schema = asked.get("schema", {})
    closed = schema.get("additionalProperties") is False
    if asked.get("strict") and schema.get("type") == "object" and not closed:
        message = (
            f"Invalid schema for response_format '{asked['name']}': In context=(), "
            "'additionalProperties' is required to be supplied and to be false."
        )
        raise ProviderError(400, message, param="response_format", code="invalid_schema")


def _check_message(message: object, param: str) -> None:
    if not is_object(message):
        raise _wrong_type(param, "an object", message)
    role = message.get("role")
    if role is None:
        raise _missing(f"{param}.role")
    if role not in ROLES:
        raise _wrong_value(f"{param}.role", role, ROLES)
    content = message.get("content")
    if content is None and not (role == "assistant" and _speaks_without_content(message)):
        if "content" not in message:
            raise _missing(f"{param}.content")
        expected = "one of a string or array of objects"
        raise _wrong_type(f"{param}.content", expected, content)
    if not (content is None or isinstance(content, str) or is_list(content)):
        raise _wrong_type(f"{param}.content", "one of a string or array of objects", content)
    for index, part in enumerate(content if is_list(content) else ()):
        _check_part(part, role, f"{param}.content[{index}]")
    for index, call in enumerate(message.get("tool_calls") or ()):
        _check_tool_call(call, f"{param}.tool_calls[{index}]")
    if role == "tool" and "tool_call_id" not in message:
        raise _missing(f"{param}.tool_call_id")


def _speaks_without_content(message: JsonObject) -> bool:
    return any(message.get(name) for name in ("tool_calls", "function_call", "refusal", "audio"))


def _check_part(part: object, role: str, param: str) -> None:
    if not is_object(part):
        raise _wrong_type(param, "an object", part)
    kinds = _PARTS.get(role, ("text",))
    kind = part.get("type")
    if kind not in kinds:
        raise _wrong_value(param, kind, kinds)
    if kind in ("text", "refusal") and not isinstance(part.get(kind), str):
        raise _missing(f"{param}.{kind}")
    if kind == "image_url":
        image = part.get("image_url")
        if not is_object(image) or not isinstance(image.get("url"), str):
            raise _missing(f"{param}.image_url.url")
        _check_url(image["url"], param)
    if kind in ("file", "input_audio") and not is_object(part.get(kind)):
        raise _missing(f"{param}.{kind}")


def _check_url(url: str, param: str) -> None:
    if url.startswith(("http://", "https://")):
        return
    header, _, data = url.partition(",")
    try:
        known = header.startswith("data:image/") and header.endswith(";base64")
        base64.b64decode(data, validate=True)
    except ValueError:
        known = False
    if not known:
        message = (
            "Invalid image URL. Expected an http(s) URL or base64-encoded data with an image "
            "MIME type (e.g. 'data:image/png;base64,aW1nIGJ5dGVzIGhlcmU=')."
        )
        raise ProviderError(400, message, param=f"{param}.image_url", code="invalid_image_url")


def _check_tool_call(call: object, param: str) -> None:
    if not is_object(call):
        raise _wrong_type(param, "an object", call)
    for name in ("id", "type"):
        if name not in call:
            raise _missing(f"{param}.{name}")
    kind = call["type"]
    if kind not in ("function", "custom"):
        raise _wrong_value(f"{param}.type", kind, ("function", "custom"))
    function = call.get(kind)
    if not is_object(function) or "name" not in function:
        raise _missing(f"{param}.{kind}.name")
    if kind == "function" and not isinstance(function.get("arguments"), str):
        raise _wrong_type(f"{param}.function.arguments", "a string", function.get("arguments"))


def _check_tool_turns(messages: list[JsonObject]) -> None:
    """Every tool call is answered right after it, and every tool message answers one."""
    open_ids: set[str] = set()
    answerable: set[str] = set()
    for index, message in enumerate(messages):
        if message["role"] == "tool":
            if message["tool_call_id"] not in answerable:
                raise _stray_tool_message(index)
            open_ids.discard(message["tool_call_id"])
            continue
        if open_ids:
            raise _unanswered(index, open_ids)
        open_ids = {call["id"] for call in message.get("tool_calls") or ()}
        answerable = set(open_ids)
    if open_ids:
        raise _unanswered(len(messages), open_ids)


def _stray_tool_message(index: int) -> ProviderError:
    message = (
        "Invalid parameter: messages with role 'tool' must be a response to a preceeding message "
        "with 'tool_calls'."
    )
    return ProviderError(400, message, param=f"messages.[{index}].role")


def _unanswered(index: int, ids: set[str]) -> ProviderError:
    message = (
        "An assistant message with 'tool_calls' must be followed by tool messages responding to "
        "each 'tool_call_id'. The following tool_call_ids did not have response messages: "
        + ", ".join(sorted(ids))
    )
    return ProviderError(400, message, param=f"messages.[{index}].role")
