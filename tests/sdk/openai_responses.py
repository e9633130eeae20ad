"""Responses as the `openai` package reads them."""

from __future__ import annotations

import functools
from typing import Any

import openai

from tests.sdk import Call, Said, Wire, parsed
from tests.sdk.openai_chat import message_of
from tests.sdk.server import Server

_SERVER = Server()
_INCOMPLETE = {"max_output_tokens": "length", "content_filter": "content_filter"}


def read_error(wire: Wire) -> tuple[int, str]:
    try:
        read(wire)
    except openai.APIStatusError as error:
        return error.status_code, message_of(error)
    raise AssertionError("no error")


def read_break(wire: Wire) -> tuple[str, str]:
    """The SDK raises nothing: the last event tells."""
    _SERVER.wire = wire
    events: list[Any] = list(_client().responses.create(model="m", input="x", stream=True))
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    kinds = [event.type for event in events]
    assert kinds.index("error") == len(kinds) - 1
    numbers = [event.sequence_number for event in events]
    assert numbers == sorted(set(numbers))
    return "".join(deltas), events[-1].message


@functools.cache
def _client() -> openai.OpenAI:
    return openai.OpenAI(
        api_key="k", base_url="http://gateway/v1", http_client=_SERVER.http, max_retries=0
    )


def read(wire: Wire) -> Said:
    _SERVER.wire = wire
    if wire.kind == "application/json":
        return _said(_client().responses.create(model="m", input="x"))
    numbers: list[int] = []
    with _client().responses.create(model="m", input="x", stream=True) as events:
        for event in events:
            numbers.append(event.sequence_number)
            last: Any = event
    assert numbers == sorted(numbers)
    return _said(last.response)


def _said(answer: Any) -> Said:
    text, reasoning, calls, refused = "", [], [], False
    for item in answer.output:
        match item.type:
            case "message":
                for part in item.content:
                    text += part.text if part.type == "output_text" else part.refusal
                    refused = refused or part.type == "refusal"
            case "reasoning":
                words = item.summary or item.content or []
                reasoning.append("\n\n".join(part.text for part in words))
            case "function_call":
                calls.append(Call(item.call_id, item.name, parsed(item.arguments)))
    return Said(
        text=text,
        reasoning="".join(reasoning),
        calls=tuple(calls),
        finish=_finish(answer, bool(calls)),
        refused=refused,
        **_usage(answer.usage),
    )


def _usage(usage: Any) -> dict[str, int]:
    if usage is None:
        return {}
    details = usage.input_tokens_details
    return {
        "input_tokens": usage.input_tokens or 0,
        "cached_tokens": (details and details.cached_tokens) or 0,
        "output_tokens": usage.output_tokens or 0,
    }


def _finish(answer: Any, calls: bool) -> str:
    details = answer.incomplete_details
    if details is not None and details.reason:
        return _INCOMPLETE.get(details.reason, details.reason)
    if answer.status == "incomplete":
        return "length"
    return "tool_calls" if calls else "stop"
