"""What Envoy's script counts in answers as they pass, however their bytes are cut."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from dragoman.simulator import Simulator
from tests.envoy.gateway import Gateway
from tests.envoy.test_routing import body
from tests.envoy.test_stats import Meter

CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
MODEL = {CHAT: "o/echo", MESSAGES: "a/echo"}
cuts = pytest.mark.parametrize("size", [None, 1, 7, 64], ids=lambda size: f"cut-{size}")

FALSE = {"usage": {"input_tokens": 1000, "output_tokens": 1000, "prompt_tokens": 1000}}
"""No count: it stands where a model or a user may write what they like."""
_WORDS = [
    '{"usage": {"prompt_tokens": 1000}}',
    "\\",
    '\\"',
    "]}",
    '"usage":{"input_tokens":1}',
    "é\n",
]

CHOICE = {"index": 0, "message": {"role": "assistant", "content": "".join(_WORDS)}, "more": FALSE}
OPENAI_USAGE = {
    "prompt_tokens": 11,
    "prompt_tokens_details": {"cached_tokens": 3, "audio_tokens": -1, "of": [FALSE]},
    "completion_tokens": 22,
    "total_tokens": 33,
    "completion_tokens_details": {"reasoning_tokens": 2e1},
    "text": "".join(_WORDS),
}
ANTHROPIC_USAGE = {"input_tokens": 5, "cache_read_input_tokens": 6, "output_tokens": 7}
BODIES: dict[str, tuple[str, dict[str, Any], dict[str, float]]] = {
    "openai": (
        CHAT,
        {"id": "".join(_WORDS), "choices": [CHOICE, [[]], {}], "usage": OPENAI_USAGE, "x": FALSE},
        {"input": 11, "output": 22, "cached": 3, "reasoning": 20},
    ),
    "anthropic": (
        MESSAGES,
        {
            "usage": ANTHROPIC_USAGE,
            "content": [{"type": "tool_use", "id": "t", "name": "n", "input": FALSE}],
            "message": FALSE,
        },
        {"input": 11, "output": 7, "cached": 6},
    ),
    "openai-last": (
        CHAT,
        {"choices": [CHOICE], "usage": {"prompt_tokens": 11, "completion_tokens": 22}},
        {"input": 11, "output": 22},
    ),
    "openai-then-words": (
        CHAT,
        {"usage": {"prompt_tokens": 1, "completion_tokens": 2}, "a": 'say "usage', "b": "usage"},
        {"input": 1, "output": 2},
    ),
    "openai-then-a-list": (
        CHAT,
        {"usage": {"prompt_tokens": 1, "completion_tokens": 2}, "choices": [FALSE]},
        {"input": 1, "output": 2},
    ),
    "anthropic-then-a-tool": (
        MESSAGES,
        {"usage": ANTHROPIC_USAGE, "content": {"input": FALSE}},
        {"input": 11, "output": 7, "cached": 6},
    ),
}


def _event(data: Any, ends: str = "\n", **fields: str) -> str:
    lines = [f"{name}: {value}" for name, value in fields.items()]
    return ends.join([*lines, f"data: {json.dumps(data)}", "", ""])


def _chunk(**fields: Any) -> dict[str, Any]:
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", **fields}


_DELTAS = [
    _chunk(choices=[{"index": 0, "delta": {"content": word}}], usage=None) for word in _WORDS
]
_LAST = _chunk(choices=[], usage=OPENAI_USAGE)
_START = {"type": "message_start", "message": {"usage": {**ANTHROPIC_USAGE, "output_tokens": 1}}}
_TOOL = {"type": "content_block_start", "index": 0, "content_block": {"input": FALSE}}
_END = {"type": "message_delta", "delta": FALSE, "usage": {"output_tokens": 7}}
STREAMS: dict[str, tuple[str, list[str], dict[str, float]]] = {
    "openai": (
        CHAT,
        [*map(_event, [*_DELTAS, _LAST]), "data: [DONE]\n\n"],
        BODIES["openai"][2],
    ),
    "openai-crlf": (
        CHAT,
        [*(_event(data, "\r\n") for data in [*_DELTAS, _LAST]), "data: [DONE]\r\n\r\n"],
        BODIES["openai"][2],
    ),
    "openai-lines": (
        CHAT,
        [json.dumps(_LAST, indent=1).replace("\n", "\ndata:").join(["data:", "\n\n"])],
        BODIES["openai"][2],
    ),
    "anthropic": (
        MESSAGES,
        [_event(data, event=str(data["type"])) for data in (_START, _TOOL, _END)],
        BODIES["anthropic"][2],
    ),
}


@pytest.fixture
def meter(gateway: Gateway) -> Iterator[Meter]:
    return Meter(gateway)


def _counted(meter: Meter) -> dict[str, float]:
    meter.await_requests(1)
    (entry,) = meter.entries()
    assert entry["dragoman.metering"] == "exact"
    return meter.tokens()


@cuts
@pytest.mark.parametrize("name", BODIES)
def test_bodies(meter: Meter, simulator: Simulator, name: str, size: int | None) -> None:
    path, answer, tokens = BODIES[name]
    said = json.dumps(answer, indent=1, ensure_ascii=False)
    simulator.control.script({"status": 200, "raw_body": said, "chunk_bytes": size})
    assert meter.ask(path, body(MODEL[path], "hi")).text == said
    assert _counted(meter) == tokens


def test_a_long_body(meter: Meter, simulator: Simulator) -> None:
    said = json.dumps({"choices": [CHOICE | {"text": "x" * 300_000}], "usage": OPENAI_USAGE})
    simulator.control.script({"status": 200, "raw_body": said, "chunk_bytes": 20_000})
    assert meter.ask(CHAT, body(MODEL[CHAT], "hi")).text == said
    assert _counted(meter) == BODIES["openai"][2]


def test_a_body_cut_short_tells_nothing_of_what_is_within(
    meter: Meter, simulator: Simulator
) -> None:
    said = '{"choices": [{"usage": {"prompt_tokens": 1000}'
    simulator.control.script({"status": 200, "raw_body": said})
    assert meter.ask(CHAT, body(MODEL[CHAT], "hi")).text == said
    meter.await_requests(1)
    (entry,) = meter.entries()
    assert entry["dragoman.metering"] == "estimated"


@pytest.mark.parametrize("long", ['"' + "n" * 200_000 + '": 1', '"n": ' + "1" * 200_000])
def test_what_is_too_long_to_be_read_is_counted_no_further(
    meter: Meter, simulator: Simulator, long: str
) -> None:
    said = f'{{{long}, "usage": {json.dumps(OPENAI_USAGE)}}}'
    simulator.control.script(
        {"status": 200, "raw_body": said, "chunk_bytes": 20_000, "chunk_pause_ms": 5}
    )
    assert meter.ask(CHAT, body(MODEL[CHAT], "hi")).text == said
    meter.await_requests(1)
    (entry,) = meter.entries()
    assert entry["dragoman.metering"] == "estimated"


@cuts
@pytest.mark.parametrize("name", STREAMS)
def test_streams(meter: Meter, simulator: Simulator, name: str, size: int | None) -> None:
    path, events, tokens = STREAMS[name]
    simulator.control.script({"sse_raw": events, "chunk_bytes": size})
    asked = body(MODEL[path], "hi", stream=True)
    if path == CHAT:
        asked["stream_options"] = {"include_usage": True}
    assert meter.ask(path, asked).text == "".join(events)
    assert _counted(meter) == tokens


@cuts
@pytest.mark.parametrize("name", ["openai", "openai-crlf"])
def test_the_usage_chunk_alone_is_taken_out(
    meter: Meter, simulator: Simulator, name: str, size: int | None
) -> None:
    path, events, tokens = STREAMS[name]
    simulator.control.script({"sse_raw": events, "chunk_bytes": size})
    answer: httpx.Response = meter.ask(path, body(MODEL[path], "hi", stream=True))
    assert answer.text == "".join(event for event in events if '"choices": []' not in event)
    assert _counted(meter) == tokens
