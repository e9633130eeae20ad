"""Messages as the `anthropic` package reads them."""

from __future__ import annotations

import functools
import json
from typing import Any

import anthropic
from botocore.exceptions import EventStreamError

from tests.sdk import Call, Said, Wire
from tests.sdk.bedrock_converse import connect
from tests.sdk.server import Server

_SERVER = Server()
_AWS = "application/vnd.amazon.eventstream"
_ANY_MESSAGE: Any = [{"role": "user", "content": "x"}]
_FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
_COUNTS = (
    "input_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "output_tokens",
)


def read_error(wire: Wire) -> tuple[int, str]:
    try:
        read(wire)
    except anthropic.APIStatusError as error:
        body: Any = error.body
        return error.status_code, body["error"]["message"]
    raise AssertionError("no error")


def read_break(wire: Wire) -> tuple[str, str]:
    """In AWS's frames, as the SDK's own client for Bedrock reads them."""
    if wire.kind == _AWS:
        return _read_aws_break(wire)
    _SERVER.wire = wire
    text = ""
    try:
        with _client().messages.stream(model="m", max_tokens=1, messages=_ANY_MESSAGE) as events:
            for piece in events.text_stream:
                text += piece
    except anthropic.APIStatusError as error:
        body: Any = error.body
        return text, body["error"]["message"]
    raise AssertionError("no error")


def _read_aws_break(wire: Wire) -> tuple[str, str]:
    """As `boto3` reads an InvokeModel stream: the SDK of the dialect drops AWS's exceptions."""
    answer = connect(wire).invoke_model_with_response_stream(modelId="m", body=b"{}")
    text = ""
    try:
        for event in answer["body"]:
            delta = json.loads(event["chunk"]["bytes"]).get("delta", {})
            text += delta.get("text", "")
    except EventStreamError as error:
        found: Any = error.response
        return text, found["Error"]["Message"]
    raise AssertionError("no error")


@functools.cache
def _client() -> anthropic.Anthropic:
    return anthropic.Anthropic(
        api_key="k", base_url="http://gateway", http_client=_SERVER.http, max_retries=0
    )


def read(wire: Wire) -> Said:
    _SERVER.wire = wire
    messages = _client().messages
    if wire.kind == "application/json":
        answer: Any = messages.create(model="m", max_tokens=1, messages=_ANY_MESSAGE)
    else:
        with messages.stream(model="m", max_tokens=1, messages=_ANY_MESSAGE) as events:
            answer = events.get_final_message()
    return _said(answer)


def _said(answer: Any) -> Said:
    blocks, usage = answer.content, answer.usage
    fresh, read, written, output = (getattr(usage, name, None) or 0 for name in _COUNTS)
    return Said(
        text="".join(block.text for block in blocks if block.type == "text"),
        reasoning="".join(block.thinking for block in blocks if block.type == "thinking"),
        calls=tuple(
            Call(b.id, b.name, getattr(b, "input", None) or {})
            for b in blocks
            if b.type == "tool_use"
        ),
        finish=_FINISH.get(answer.stop_reason, "stop"),
        input_tokens=fresh + read + written,
        cached_tokens=read,
        output_tokens=output,
    )
