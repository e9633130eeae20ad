"""The official SDKs as oracles: what a client reads in an answer's bytes."""

from __future__ import annotations

import functools
import json
from typing import Any

import anthropic
import httpx2
import msgspec
import openai

_ANY_MESSAGE: Any = [{"role": "user", "content": "x"}]
_FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
    "function_call": "tool_calls",
}
"""Anthropic's words, and OpenAI's old one, in OpenAI's."""


class Call(msgspec.Struct, frozen=True):
    """A tool call. `arguments` is parsed where it is JSON."""

    id: str
    name: str
    arguments: Any


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """What one answer says, whoever says it. Words of a refusal count as text."""

    text: str = ""
    reasoning: str = ""
    calls: tuple[Call, ...] = ()
    finish: str = ""
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0


class Wire(msgspec.Struct, frozen=True):
    """An answer as it goes over the wire."""

    body: bytes
    status: int = 200
    kind: str = "application/json"


def stream(body: bytes) -> Wire:
    return Wire(body, kind="text/event-stream")


def read(dialect: str, wire: Wire) -> Said:
    """The answer as the official SDK of `dialect` reads it. Raises what the SDK raises."""
    return _READERS[dialect](wire)


class _Server:
    """Answers every call with `wire`."""

    def __init__(self) -> None:
        self.wire = Wire(b"")
        self.http = httpx2.Client(transport=httpx2.MockTransport(self._answer))

    def _answer(self, _request: httpx2.Request) -> httpx2.Response:
        kind = {"content-type": self.wire.kind}
        return httpx2.Response(self.wire.status, headers=kind, content=self.wire.body)


@functools.cache
def _server() -> _Server:
    return _Server()


@functools.cache
def _openai() -> openai.OpenAI:
    return openai.OpenAI(
        api_key="k", base_url="http://gateway/v1", http_client=_server().http, max_retries=0
    )


@functools.cache
def _anthropic() -> anthropic.Anthropic:
    return anthropic.Anthropic(
        api_key="k", base_url="http://gateway", http_client=_server().http, max_retries=0
    )


def _read_openai(wire: Wire) -> Said:
    _server().wire = wire
    create = _openai().chat.completions
    if wire.kind == "application/json":
        answer = create.create(model="m", messages=_ANY_MESSAGE)
    else:
        options: Any = {"include_usage": True}
        with create.stream(model="m", messages=_ANY_MESSAGE, stream_options=options) as events:
            for _ in events:
                pass
            answer = events.current_completion_snapshot
    return _said_openai(answer)


def _said_openai(answer: Any) -> Said:
    choice, usage = answer.choices[0], answer.usage
    message = choice.message
    cached = usage and usage.prompt_tokens_details and usage.prompt_tokens_details.cached_tokens
    return Said(
        text=(message.content or "") + (message.refusal or ""),
        reasoning=_openai_reasoning(message),
        calls=tuple(
            Call(call.id, call.function.name, _parsed(call.function.arguments))
            for call in message.tool_calls or ()
        ),
        finish=_finish_openai(choice),
        input_tokens=usage.prompt_tokens if usage else 0,
        cached_tokens=cached or 0,
        output_tokens=usage.completion_tokens if usage else 0,
    )


def _finish_openai(choice: Any) -> str:
    """`stop` beside tool calls, as some servers say it, means that the calls are to be made."""
    if choice.message.tool_calls and choice.finish_reason == "stop":
        return _FINISH.get("tool_calls", "tool_calls")
    return _FINISH.get(choice.finish_reason, choice.finish_reason)


def _openai_reasoning(message: Any) -> str:
    """`reasoning_content` is DeepSeek's name and most servers', `reasoning` OpenRouter's and Groq's."""
    found = getattr(message, "reasoning_content", None) or getattr(message, "reasoning", None)
    return found or ""


def _read_anthropic(wire: Wire) -> Said:
    _server().wire = wire
    messages = _anthropic().messages
    if wire.kind == "application/json":
        answer: Any = messages.create(model="m", max_tokens=1, messages=_ANY_MESSAGE)
    else:
        with messages.stream(model="m", max_tokens=1, messages=_ANY_MESSAGE) as events:
            answer = events.get_final_message()
    return _said_anthropic(answer)


def _said_anthropic(answer: Any) -> Said:
    blocks, usage = answer.content, answer.usage
    read, written = usage.cache_read_input_tokens or 0, usage.cache_creation_input_tokens or 0
    return Said(
        text="".join(block.text for block in blocks if block.type == "text"),
        reasoning="".join(block.thinking for block in blocks if block.type == "thinking"),
        calls=tuple(Call(b.id, b.name, b.input) for b in blocks if b.type == "tool_use"),
        finish=_finish_anthropic(answer),
        input_tokens=usage.input_tokens + read + written,
        cached_tokens=read,
        output_tokens=usage.output_tokens,
    )


def _parsed(arguments: str) -> Any:
    try:
        return json.loads(arguments) if arguments else {}
    except json.JSONDecodeError:
        return arguments


_READERS = {"openai_chat": _read_openai, "anthropic_messages": _read_anthropic}
STATUS_ERRORS = (openai.APIStatusError, anthropic.APIStatusError)


def _finish_anthropic(answer: Any) -> str:
    """As for OpenAI: an end of turn beside tool calls means that they are to be made."""
    calls = any(block.type == "tool_use" for block in answer.content)
    word = answer.stop_reason
    if calls and word == "end_turn":
        word = "tool_use"
    return _FINISH.get(word, word)
