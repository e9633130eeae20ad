"""Chat v2 as the `cohere` package reads it."""

from __future__ import annotations

import functools
from typing import Any

import cohere
import httpx
from cohere.core.api_error import ApiError

from tests.sdk import Call, Said, Wire, parsed
from tests.sdk.server import PlainServer

_SERVER = PlainServer()
_ANY_MESSAGE: Any = [{"role": "user", "content": "x"}]
_FINISH = {
    "COMPLETE": "stop",
    "STOP_SEQUENCE": "stop",
    "MAX_TOKENS": "length",
    "TOOL_CALL": "tool_calls",
    "ERROR_LIMIT": "length",
    "ERROR_TOXIC": "content_filter",
}


def read_error(wire: Wire) -> tuple[int, str]:
    try:
        read(wire)
    except ApiError as error:
        return error.status_code or 0, error.body["message"]
    raise AssertionError("no error")


def read_break(wire: Wire) -> tuple[str, str]:
    """The SDK raises nothing: the message's end tells."""
    _SERVER.wire = wire
    events: list[Any] = list(_client().chat_stream(model="m", messages=_ANY_MESSAGE))
    text = "".join(
        event.delta.message.content.text or ""
        for event in events
        if event.type in ("content-start", "content-delta")
    )
    end = events[-1]
    assert [event.type for event in events].index("message-end") == len(events) - 1
    assert end.delta.finish_reason == "ERROR"
    return text, end.delta.error


@functools.cache
def _client() -> cohere.ClientV2:
    http = httpx.Client(transport=_SERVER.transport)
    return cohere.ClientV2(api_key="k", base_url="http://gateway", httpx_client=http)


def read(wire: Wire) -> Said:
    _SERVER.wire = wire
    whole: Any = {
        "model": "m",
        "messages": _ANY_MESSAGE,
        "request_options": {"max_retries": 0},
    }
    if wire.kind == "application/json":
        answer = _client().chat(**whole)
        message = answer.message
        return _said(
            message.content or [], message.tool_calls or [], message.tool_plan or "", answer
        )
    return _gathered(list(_client().chat_stream(**whole)))


def _said(content: Any, calls: Any, plan: str, end: Any) -> Said:
    texts = [block.text for block in content if block.type == "text"]
    thoughts = [block.thinking for block in content if block.type == "thinking"]
    return Said(
        text="".join(texts),
        reasoning="".join([plan, *thoughts]),
        calls=tuple(
            Call(call.id, call.function.name, parsed(call.function.arguments)) for call in calls
        ),
        finish=_FINISH.get(end.finish_reason, "error"),
        **_usage(end.usage),
    )


def _usage(usage: Any) -> dict[str, int]:
    if usage is None:
        return {}
    counts = usage.tokens or usage.billed_units
    return {
        "input_tokens": int((counts and counts.input_tokens) or 0),
        "output_tokens": int((counts and counts.output_tokens) or 0),
        "cached_tokens": int(usage.cached_tokens or 0),
    }


def _gathered(events: list[Any]) -> Said:
    """What the events of a stream say; each block and each call has its number."""
    text, reasoning, plan = "", "", ""
    calls: dict[int, list[str]] = {}
    end: Any = None
    for event in events:
        match event.type:
            case "content-start" | "content-delta":
                content = event.delta.message.content
                text += content.text or ""
                reasoning += content.thinking or ""
            case "tool-plan-delta":
                plan += event.delta.message.tool_plan or ""
            case "tool-call-start":
                call = event.delta.message.tool_calls
                calls[event.index] = [call.id, call.function.name, call.function.arguments or ""]
            case "tool-call-delta":
                calls[event.index][2] += event.delta.message.tool_calls.function.arguments
            case "message-end":
                end = event.delta
    return Said(
        text=text,
        reasoning=plan + reasoning,
        calls=tuple(Call(ident, name, parsed(said)) for ident, name, said in calls.values()),
        finish=_FINISH.get(end.finish_reason, "error"),
        **_usage(end.usage),
    )
