"""Completions as the `openai` package reads them."""

from __future__ import annotations

import functools
from typing import Any

import openai
from openai.types import CompletionUsage

from tests.sdk import Said, Wire
from tests.sdk.openai_chat import output_of
from tests.sdk.server import Server

ONLY_TEXT = True
"""It has neither reasoning nor tool calls."""
UNSAID = ("reasoning",)
_SERVER = Server()
_FINISH = ("stop", "length", "content_filter")
"""Servers have words of their own, which just end the answer."""


def read_error(wire: Wire) -> tuple[int, str]:
    try:
        read(wire)
    except openai.APIStatusError as error:
        return error.status_code, error.message
    raise AssertionError("no error")


def read_break(wire: Wire) -> tuple[str, str]:
    _SERVER.wire = wire
    text = ""
    try:
        for chunk in _client().completions.create(model="m", prompt="x", stream=True):
            text += "".join(choice.text for choice in chunk.choices)
    except openai.APIError as error:
        return text, error.message
    raise AssertionError("no error")


@functools.cache
def _client() -> openai.OpenAI:
    return openai.OpenAI(
        api_key="k", base_url="http://gateway/v1", http_client=_SERVER.http, max_retries=0
    )


def read(wire: Wire) -> Said:
    _SERVER.wire = wire
    create: Any = _client().completions.create
    if wire.kind == "application/json":
        answer = create(model="m", prompt="x")
        choice = answer.choices[0]
        return _said(choice.text or "", choice.finish_reason or "stop", answer.usage)
    text, finish, usage = "", "stop", None
    for chunk in create(model="m", prompt="x", stream=True):
        usage = chunk.usage or usage
        for choice in chunk.choices:
            if choice.index == 0:
                text, finish = text + choice.text, choice.finish_reason or finish
    return _said(text, finish, usage)


def _said(text: str, finish: str, usage: CompletionUsage | None) -> Said:
    cached = usage and usage.prompt_tokens_details and usage.prompt_tokens_details.cached_tokens
    return Said(
        text=text,
        finish=finish if finish in _FINISH else "stop",
        input_tokens=(usage and usage.prompt_tokens) or 0,
        cached_tokens=cached or getattr(usage, "prompt_cache_hit_tokens", None) or 0,
        output_tokens=output_of(usage),
    )
