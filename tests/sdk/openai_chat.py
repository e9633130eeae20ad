"""Chat Completions as the `openai` package reads them."""

from __future__ import annotations

import functools
from typing import Any

import openai

from tests.sdk import Call, Said, Wire, parsed
from tests.sdk.server import Server

_SERVER = Server()
_ANY_MESSAGE: Any = [{"role": "user", "content": "x"}]
_FINISH = {"function_call": "tool_calls"}


def read_error(wire: Wire) -> tuple[int, str]:
    try:
        read(wire)
    except openai.APIStatusError as error:
        return error.status_code, error.message
    raise AssertionError("no error")


@functools.cache
def _client() -> openai.OpenAI:
    return openai.OpenAI(
        api_key="k", base_url="http://gateway/v1", http_client=_SERVER.http, max_retries=0
    )


def read(wire: Wire) -> Said:
    _SERVER.wire = wire
    create = _client().chat.completions
    if wire.kind == "application/json":
        answer = create.create(model="m", messages=_ANY_MESSAGE)
    else:
        options: Any = {"include_usage": True}
        with create.stream(model="m", messages=_ANY_MESSAGE, stream_options=options) as events:
            for _ in events:
                pass
            answer = events.current_completion_snapshot
    return _said(answer)


def _said(answer: Any) -> Said:
    choice, usage = answer.choices[0], answer.usage
    message = choice.message
    cached = usage and usage.prompt_tokens_details and usage.prompt_tokens_details.cached_tokens
    return Said(
        text=(message.content or "") + (message.refusal or ""),
        reasoning=_reasoning(message),
        calls=tuple(
            Call(call.id, call.function.name, parsed(call.function.arguments))
            for call in message.tool_calls or ()
        ),
        finish=_FINISH.get(choice.finish_reason, choice.finish_reason),
        input_tokens=usage.prompt_tokens if usage else 0,
        cached_tokens=cached or 0,
        output_tokens=usage.completion_tokens if usage else 0,
    )


def _reasoning(message: Any) -> str:
    """`reasoning_content` is DeepSeek's name and most servers', `reasoning` OpenRouter's and Groq's."""
    found = getattr(message, "reasoning_content", None) or getattr(message, "reasoning", None)
    return found or ""
