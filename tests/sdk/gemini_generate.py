"""Gemini as the `google-genai` package reads it."""

from __future__ import annotations

import functools
import json
from typing import Any

from google import genai
from google.genai import errors, types

from tests.sdk import Call, Said, Wire
from tests.sdk.server import Server

_SERVER = Server()
_FILTERS = ("SAFETY", "BLOCK", "PROHIBITED", "SPII", "RECITATION", "LANGUAGE", "MODEL_ARMOR")


def read_error(wire: Wire) -> tuple[int, str]:
    try:
        read(wire)
    except errors.APIError as error:
        return error.code, error.message or ""
    raise AssertionError("no error")


def read_break(wire: Wire) -> tuple[str, str]:
    """The SDK asks for server-sent events only; an array is read as the JSON it must be."""
    if wire.kind == "application/json":
        return _read_array_break(json.loads(wire.body))
    _SERVER.wire = wire
    text = ""
    try:
        for chunk in _client().models.generate_content_stream(model="m", contents="x"):
            text += chunk.text or ""
    except errors.APIError as error:
        return text, error.message or ""
    raise AssertionError("no error")


def _read_array_break(answers: list[Any]) -> tuple[str, str]:
    *whole, last = answers
    parts = [part for one in whole for part in one["candidates"][0]["content"]["parts"]]
    return "".join(part["text"] for part in parts), last["error"]["message"]


@functools.cache
def _client() -> genai.Client:
    options = types.HttpOptions(base_url="http://gateway", httpx_client=_SERVER.http)
    return genai.Client(api_key="k", http_options=options)


def read(wire: Wire) -> Said:
    _SERVER.wire = wire
    models = _client().models
    if wire.kind == "application/json":
        return _said([models.generate_content(model="m", contents="x")])
    return _said(list(models.generate_content_stream(model="m", contents="x")))


def _said(chunks: list[Any]) -> Said:
    text, reasoning, calls, finish = "", "", [], ""
    usage = None
    for chunk in chunks:
        usage = chunk.usage_metadata or usage
        candidates = chunk.candidates or []
        for candidate in candidates[:1] if len(chunks) == 1 else candidates:
            if candidate.index:
                continue
            finish = candidate.finish_reason.value if candidate.finish_reason else finish
            for part in (candidate.content and candidate.content.parts) or ():
                if part.function_call:
                    call = part.function_call
                    calls.append(Call(call.id or "", call.name, call.args or {}))
                elif part.thought:
                    reasoning += part.text or ""
                else:
                    text += part.text or ""
        if chunk.prompt_feedback and chunk.prompt_feedback.block_reason:
            finish = "SAFETY"
    return Said(
        text=text,
        reasoning=reasoning,
        calls=tuple(calls),
        finish=_finish(finish),
        **_usage(usage),
    )


def _finish(word: str) -> str:
    if word in ("", "STOP", "MAX_TOKENS"):
        return {"MAX_TOKENS": "length"}.get(word, "stop")
    return "content_filter" if any(part in word for part in _FILTERS) else "error"


def _usage(usage: Any) -> dict[str, int]:
    if usage is None:
        return {}
    return {
        "input_tokens": (usage.prompt_token_count or 0) + (usage.tool_use_prompt_token_count or 0),
        "cached_tokens": usage.cached_content_token_count or 0,
        "output_tokens": (usage.candidates_token_count or 0) + (usage.thoughts_token_count or 0),
    }
