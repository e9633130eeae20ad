"""Chat Completions as the `openai` package reads them."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

import openai
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk, ParsedChatCompletion
from openai.types.chat.chat_completion_chunk import ChoiceDelta

from tests.sdk import Call, Said, Wire, parsed
from tests.sdk.server import Server

_SERVER = Server()
_ANY_MESSAGE: Any = [{"role": "user", "content": "x"}]
_FINISH = {
    "length": "length",
    "max_tokens": "length",
    "max_output_tokens": "length",
    "model_length": "length",
    "content_filter": "content_filter",
    "safety": "content_filter",
    "sensitive": "content_filter",
    "recitation": "content_filter",
}
"""Servers have words of their own; any other just ends the answer."""


def read_error(wire: Wire) -> tuple[int, str]:
    try:
        read(wire)
    except openai.APIStatusError as error:
        return error.status_code, message_of(error)
    raise AssertionError("no error")


def read_break(wire: Wire) -> tuple[str, str]:
    _SERVER.wire = wire
    text = ""
    try:
        for chunk in _client().chat.completions.create(
            model="m", messages=_ANY_MESSAGE, stream=True
        ):
            text += "".join(choice.delta.content or "" for choice in chunk.choices)
    except openai.APIError as error:
        return text, error.message
    raise AssertionError("no error")


@functools.cache
def _client() -> openai.OpenAI:
    return openai.OpenAI(
        api_key="k", base_url="http://gateway/v1", http_client=_SERVER.http, max_retries=0
    )


def message_of(error: openai.APIStatusError) -> str:
    """The words of the body; the error's own text quotes them, and has escapes for some."""
    body: Any = error.body
    return str(body["message"]) if isinstance(body, dict) else error.message


def read(wire: Wire) -> Said:
    _SERVER.wire = wire
    create = _client().chat.completions
    if wire.kind == "application/json":
        answer = create.create(model="m", messages=_ANY_MESSAGE)
    else:
        answer = _accumulated(create.create(model="m", messages=_ANY_MESSAGE, stream=True))
    return _said(answer)


def _accumulated(chunks: Iterable[ChatCompletionChunk]) -> ParsedChatCompletion[None]:
    """The chunks put together as the SDK does, which leaves out those that do not say what they
    are: some servers never do, and Azure's filter, whose verdict comes without a delta, neither."""
    state = ChatCompletionStreamState[None]()
    for chunk in chunks:
        chunk.object = "chat.completion.chunk"
        for choice in chunk.choices or ():
            choice.delta = choice.delta or ChoiceDelta()
        state.handle_chunk(chunk)
    return state.current_completion_snapshot


def _said(answer: Any) -> Said:
    choice, usage = answer.choices[0], answer.usage
    message = choice.message
    cached = usage and usage.prompt_tokens_details and usage.prompt_tokens_details.cached_tokens
    return Said(
        text=(message.content or "") + (message.refusal or ""),
        reasoning=_reasoning(message),
        calls=_calls(message),
        finish=_FINISH.get((choice.finish_reason or "stop").lower(), "stop"),
        refused=bool(message.refusal),
        input_tokens=(usage and usage.prompt_tokens) or 0,
        cached_tokens=cached or getattr(usage, "prompt_cache_hit_tokens", None) or 0,
        output_tokens=output_of(usage),
    )


def _calls(message: Any) -> tuple[Call, ...]:
    """The older field's call has no id."""
    called = [(call.id, call.function) for call in message.tool_calls or ()]
    called += [("", message.function_call)] if message.function_call else []
    return tuple(Call(ident, one.name, parsed(one.arguments)) for ident, one in called)


def output_of(usage: Any) -> int:
    """xAI counts reasoning beside the completion: then the total is the sum of all three."""
    if usage is None:
        return 0
    output, details = usage.completion_tokens or 0, usage.completion_tokens_details
    thought = (details and details.reasoning_tokens) or 0
    counted = (usage.prompt_tokens or 0) + output + thought
    return output + thought if thought and usage.total_tokens == counted else output


def _reasoning(message: Any) -> str:
    """`reasoning_content` is DeepSeek's name and most servers', `reasoning` OpenRouter's and Groq's."""
    found = getattr(message, "reasoning_content", None) or getattr(message, "reasoning", None)
    return found or ""
