"""Ollama's chat as the `ollama` package reads it."""

from __future__ import annotations

import functools
from typing import Any

import ollama

from tests.sdk import Call, Said, Wire
from tests.sdk.server import PlainServer

UNSAID = ("call_ids", "cached_tokens")
_SERVER = PlainServer()
_ANY_MESSAGE: Any = [{"role": "user", "content": "x"}]
_FINISH = {"stop": "stop", "length": "length", "content_filter": "content_filter"}


def read_error(wire: Wire) -> tuple[int, str]:
    try:
        read(wire)
    except ollama.ResponseError as error:
        return error.status_code, error.error
    raise AssertionError("no error")


def read_break(wire: Wire) -> tuple[str, str]:
    _SERVER.wire = wire
    text = ""
    try:
        for chunk in _client().chat(model="m", messages=_ANY_MESSAGE, stream=True):
            text += chunk.message.content or ""
    except ollama.ResponseError as error:
        return text, error.error
    raise AssertionError("no error")


@functools.cache
def _client() -> ollama.Client:
    return ollama.Client(host="http://gateway", transport=_SERVER.transport)


def read(wire: Wire) -> Said:
    _SERVER.wire = wire
    streams: Any = wire.kind != "application/json"
    answer = _client().chat(model="m", messages=_ANY_MESSAGE, stream=streams)
    chunks: list[Any] = list(answer) if streams else [answer]
    calls = [call for chunk in chunks for call in chunk.message.tool_calls or ()]
    last = chunks[-1]
    return Said(
        text="".join(chunk.message.content or "" for chunk in chunks),
        reasoning="".join(chunk.message.thinking or "" for chunk in chunks),
        calls=tuple(Call("", c.function.name, dict(c.function.arguments)) for c in calls),
        finish=_FINISH.get(last.done_reason or "stop", "error"),
        input_tokens=last.prompt_eval_count or 0,
        output_tokens=last.eval_count or 0,
    )
