"""Answers that do not fit the client's own schema are asked for elsewhere."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dragoman.dialects.registry import CHAT_NAMES
from dragoman.errors import Unrepresentable
from dragoman.ir import Part, ResponseFormat, Text, Tool, ToolCall
from tests.exchange.test_fallback import PAIRS, answered, attempt, reason_of

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"age": {"type": "integer"}},
    "required": ["age"],
    "additionalProperties": False,
}
SHAPE = ResponseFormat(kind="json_schema", name="person", schema=SCHEMA, strict=True)
TOOL = Tool(name="f", parameters=SCHEMA, strict=True)


def judged(client: str, provider: str, part: Part, **asked: Any) -> object:
    try:
        stage = attempt(client, provider, "schema", max_tokens=99, **asked)
    except Unrepresentable:
        pytest.skip("this dialect cannot ask for it")
    finish = "tool_call" if isinstance(part, ToolCall) else "stop"
    return reason_of(answered(stage, provider, part, finish), provider)


TELLS = (
    "openai_chat",
    "openai_responses",
    "anthropic_messages",
    "gemini_generate",
    "cohere_chat",
    "ollama_chat",
)


@pytest.mark.parametrize(("client", "provider"), [p for p in PAIRS if set(p) <= set(TELLS)])
def test_text_that_does_not_fit_is_not_used(client: str, provider: str) -> None:
    for text, reason in (
        ('{"age": 5}', None),
        ('{"age": "5"}', "schema"),
        ("{}", "schema"),
        ("Five.", "schema"),
    ):
        assert judged(client, provider, Text(content=text), response_format=SHAPE) == reason


@pytest.mark.parametrize("client", CHAT_NAMES)
def test_text_of_no_shape_is_used(client: str) -> None:
    assert judged(client, client, Text(content="Five.")) is None


@pytest.mark.parametrize("client", ["openai_chat", "openai_responses", "anthropic_messages"])
def test_arguments_that_do_not_fit_a_strict_tool_are_not_used(client: str) -> None:
    for arguments, strict, reason in (
        ({"age": 5}, True, None),
        ({"age": "5"}, True, "schema"),
        ({"age": "5"}, False, None),
    ):
        call = ToolCall(id="call_1", name="f", arguments=json.dumps(arguments))
        tool = Tool(name="f", parameters=SCHEMA, strict=strict)
        assert judged(client, "openai_chat", call, tools=(tool,)) == reason


def test_a_schema_that_tells_nothing_is_no_reason() -> None:
    shape = ResponseFormat(kind="json_schema", name="p", schema={"$ref": "http://127.0.0.1:9/x"})
    assert judged("openai_chat", "openai_chat", Text(content="[]"), response_format=shape) is None
