"""Converse as `boto3` reads it."""

from __future__ import annotations

import functools
import io
from collections.abc import Iterator
from typing import Any

import boto3
import msgspec
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.exceptions import ClientError, EventStreamError

from tests.sdk import Call, Said, Wire, parsed

_MESSAGES: Any = [{"role": "user", "content": [{"text": "x"}]}]
_FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "content_filtered": "content_filter",
    "guardrail_intervened": "content_filter",
}


class _Raw(io.BytesIO):
    def stream(self, size: int = 1024) -> Iterator[bytes]:
        while data := self.read(size):
            yield data


class _Server:
    """Answers every call of the client with `wire`."""

    def __init__(self) -> None:
        self.wire = Wire(b"")
        self.client: Any = boto3.client(
            "bedrock-runtime",
            region_name="us-east-1",
            endpoint_url="http://gateway",
            aws_access_key_id="k",
            aws_secret_access_key="k",  # noqa: S106 - nobody's
            config=Config(retries={"total_max_attempts": 1}),
        )
        self.client.meta.events.register("before-send.bedrock-runtime.*", self._answer)

    def _answer(self, request: Any, **_: Any) -> AWSResponse:
        headers = {"content-type": self.wire.kind}
        return AWSResponse(request.url, self.wire.status, headers, _Raw(self.wire.body))


@functools.cache
def _server() -> _Server:
    return _Server()


def connect(wire: Wire) -> Any:
    """A client of `bedrock-runtime` to which `wire` is the answer."""
    server = _server()
    server.wire = wire
    return server.client


def read_error(wire: Wire) -> tuple[int, str]:
    try:
        read(wire)
    except ClientError as error:
        found: Any = error.response
        return found["ResponseMetadata"]["HTTPStatusCode"], found["Error"]["Message"]
    raise AssertionError("no error")


def read_break(wire: Wire) -> tuple[str, str]:
    answer = connect(wire).converse_stream(modelId="m", messages=_MESSAGES)
    text = ""
    try:
        for event in answer["stream"]:
            text += event.get("contentBlockDelta", {}).get("delta", {}).get("text", "")
    except EventStreamError as error:
        found: Any = error.response
        return text, found["Error"]["Message"]
    raise AssertionError("no error")


def read(wire: Wire) -> Said:
    client = connect(wire)
    if wire.kind == "application/json":
        answer = client.converse(modelId="m", messages=_MESSAGES)
        content = answer["output"]["message"]["content"]
        return _said(content, answer.get("stopReason", ""), answer.get("usage", {}))
    stream = client.converse_stream(modelId="m", messages=_MESSAGES)["stream"]
    return _said(*_gathered(stream))


def _gathered(stream: Any) -> tuple[list[Any], str, Any]:
    """The blocks that the events of a stream make."""
    blocks: dict[int, dict[str, Any]] = {}
    reason, usage = "", {}
    for event in stream:
        (kind, body), *_ = event.items()
        index = body.get("contentBlockIndex")
        match kind:
            case "contentBlockStart":
                if call := body["start"].get("toolUse"):
                    blocks[index] = {"toolUse": {**call, "input": ""}}
            case "contentBlockDelta":
                _add(blocks.setdefault(index, {}), body["delta"])
            case "messageStop":
                reason = body["stopReason"]
            case "metadata":
                usage = body.get("usage", {})
    for block in blocks.values():
        if "toolUse" in block:
            block["toolUse"]["input"] = parsed(block["toolUse"]["input"])
    return [blocks[i] for i in sorted(blocks)], reason, usage


def _add(block: dict[str, Any], delta: dict[str, Any]) -> None:
    if "text" in delta:
        block["text"] = block.get("text", "") + delta["text"]
    elif "toolUse" in delta:
        block["toolUse"]["input"] += delta["toolUse"]["input"]
    elif "text" in delta.get("reasoningContent", {}):
        inner = block.setdefault("reasoningContent", {"reasoningText": {"text": ""}})
        inner["reasoningText"]["text"] += delta["reasoningContent"]["text"]


def _said(content: list[Any], reason: str, usage: Any) -> Said:
    calls = [block["toolUse"] for block in content if "toolUse" in block]
    thoughts = [block["reasoningContent"] for block in content if "reasoningContent" in block]
    read_, written = usage.get("cacheReadInputTokens", 0), usage.get("cacheWriteInputTokens", 0)
    return Said(
        text="".join(block["text"] for block in content if "text" in block),
        reasoning="".join(t.get("reasoningText", {}).get("text", "") for t in thoughts),
        calls=tuple(Call(c["toolUseId"], c["name"], _plain(c.get("input", {}))) for c in calls),
        finish=_FINISH.get(reason, "error"),
        input_tokens=usage.get("inputTokens", 0) + read_ + written,
        cached_tokens=read_,
        output_tokens=usage.get("outputTokens", 0),
    )


def _plain(value: Any) -> Any:
    return msgspec.json.decode(msgspec.json.encode(value))
