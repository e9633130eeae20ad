"""Recordings of other sources: whatever a line holds, it is counted, and in one column."""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from dragoman.wire.eventstream import encode_eventstream
from tests.recordings.checks import BYTES_FED, LEAST_CUTS, _cuts, _small_pieces, completions, judge
from tests.recordings.exchanges import Aside, Exchange, load, read_line
from tests.recordings.scope import find_claim
from tests.recordings.table import COLUMNS, Row, render

AZURE = ("/openai/chat/completions", "/openai/v1/chat/completions")
"""How Azure's clients call the gateway as well."""
ASKED = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
ANSWER = {
    "id": "c",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "hello"},
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}

VECTOR = {"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}
EVENTS = (
    {
        "type": "message_start",
        "message": {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "content": [],
            "model": "claude",
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": 1, "output_tokens": 1},
        },
    },
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hi"}},
    {"type": "content_block_stop", "index": 0},
    {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn", "stop_sequence": None},
        "usage": {"output_tokens": 2},
    },
    {"type": "message_stop", "amazon-bedrock-invocationMetrics": {"inputTokenCount": 1}},
)


def chunk(event: dict[str, Any]) -> bytes:
    """One of Bedrock's frames."""
    headers = {":event-type": "chunk", ":message-type": "event"}
    packed = base64.b64encode(json.dumps(event).encode()).decode()
    return encode_eventstream(headers, json.dumps({"bytes": packed, "p": "ab"}).encode())


def line(request: Any = None, response: Any = None, **more: Any) -> bytes:
    return json.dumps(
        {
            "request": {"path": "/v1/chat/completions", "body": ASKED} | (request or {}),
            "response": {"status": 200, "body": ANSWER} | (response or {}),
            **more,
        }
    ).encode()


def read(raw: bytes) -> Exchange | Aside:
    return read_line(raw, "file.jsonl:1", "file")


def column(raw: bytes) -> str:
    found = read(raw)
    if isinstance(found, Aside):
        return found.column
    verdict = judge(found)
    assert verdict.failures == ()
    return verdict.column


PLAIN = json.dumps(ANSWER).encode()
COLUMN_OF = {
    "the least": (line(), "passed"),
    "no headers": (line(response={"status": 200, "headers": None}), "passed"),
    "a status of parts": (line(response={"status": {"code": 200, "message": "OK"}}), "passed"),
    "an address": (line({"path": None, "url": "https://x.test/v1/chat/completions?a=1"}), "passed"),
    "headers of lists": (
        line(response={"headers": {"Content-Type": ["application/json"]}}),
        "passed",
    ),
    "headers as pairs": (
        line(response={"headers": [["Content-Type", "application/json"]]}),
        "passed",
    ),
    "a request as text": (line({"encoding": "text", "body": json.dumps(ASKED)}), "passed"),
    "an answer as text": (line(response={"encoding": "text", "body": PLAIN.decode()}), "passed"),
    "an answer in base64": (
        line(response={"encoding": "base64", "body": base64.b64encode(PLAIN).decode()}),
        "passed",
    ),
    "a gzipped answer": (
        line(
            response={
                "encoding": "base64",
                "headers": {"content-encoding": "gzip"},
                "body": base64.b64encode(gzip.compress(PLAIN)).decode(),
            }
        ),
        "passed",
    ),
    "a page for an error": (
        line(response={"status": 502, "encoding": "text", "body": "<title>Bad gateway</title>"}),
        "passed",
    ),
    "nothing for an error": (line(response={"status": 500, "body": None}), "passed"),
    "no JSON": (b"{oops", "bad line"),
    "no object": (b"[1]", "bad line"),
    "no request": (b"{}", "bad line"),
    "no path": (line({"path": None}), "bad line"),
    "another encoding": (line(response={"encoding": "zstd"}), "bad line"),
    "half a character": (line({"encoding": "json", "body": {"messages": "\ud800"}}), "bad line"),
    "a form": (line({"encoding": "text", "body": "--boundary"}), "skipped"),
    "a body written down twice": (
        line({"encoding": "json", "body": json.dumps(ASKED)}, {"body": json.dumps(ANSWER)}),
        "passed",
    ),
    "a gzipped answer, its header lost": (
        line(
            response={
                "encoding": "base64",
                "body": base64.b64encode(gzip.compress(PLAIN)).decode(),
            }
        ),
        "passed",
    ),
    "an unknown path": (line({"path": "/v9/unheard-of"}), "out of scope"),
    "an unknown path that reads like ours": (
        line({"path": "/v1internal:generateContent"}),
        "skipped",
    ),
    "Cohere's first chat": (line({"path": "/v1/chat"}), "out of scope"),
    "watsonx": (line({"path": "/ml/v1/text/chat"}), "out of scope"),
    "Ollama's first embeddings": (line({"path": "/api/embeddings"}), "out of scope"),
    "Claude's first prompts": (
        line({"path": "/model/anthropic.claude-v2/invoke", "body": {"prompt": "x"}}),
        "out of scope",
    ),
    "another family's text by InvokeModel": (
        line({"path": "/model/amazon.titan-text-lite-v1/invoke", "body": {"inputText": "x"}}),
        "out of scope",
    ),
    "embeddings without their count": (
        line(
            {"path": "/v1/embeddings", "body": {"model": "m", "input": "x"}},
            {"body": {"object": "list", "data": [VECTOR], "model": "m"}},
        ),
        "passed",
    ),
    "a request without contents, as its provider refused it": (
        line(
            {"path": "/v1beta/models/g:generateContent", "body": {"generationConfig": {}}},
            {"status": 400, "body": {"error": {"code": 400, "message": "no contents"}}},
        ),
        "refused",
    ),
    "Claude's stream by InvokeModel": (
        line(
            {
                "path": "/model/anthropic.claude-3/invoke-with-response-stream",
                "body": {"anthropic_version": "v", "max_tokens": 1, "messages": ASKED["messages"]},
            },
            {
                "encoding": "base64",
                "headers": {"content-type": "application/vnd.amazon.eventstream"},
                "body": base64.b64encode(b"".join(map(chunk, EVENTS))).decode(),
            },
        ),
        "passed",
    ),
    "files": (line({"path": "/v1/files"}), "out of scope"),
    "a stored answer": (line({"path": "/v1/responses/resp_1", "method": "get"}), "out of scope"),
    "a list of models": (line({"path": "/v1/models", "method": "GET"}), "out of scope"),
    "a stream cut short": (
        line(
            {"body": ASKED | {"stream": True}},
            {"headers": {"content-type": "text/event-stream"}, "body": "data: {"},
        ),
        "skipped",
    ),
}


@pytest.mark.parametrize(("raw", "expected"), COLUMN_OF.values(), ids=COLUMN_OF)
def test_every_line_has_its_column(raw: bytes, expected: str) -> None:
    assert column(raw) == expected
    assert expected in COLUMNS


def test_a_request_its_provider_refused_may_be_refused_here() -> None:
    error = {"status": 400, "body": {"error": {"message": "no", "type": "invalid_request_error"}}}
    wrong = line({"body": {"model": "m", "messages": 1}}, error)
    found = read(wrong)
    assert isinstance(found, Exchange)
    assert judge(found).column == "refused"

    taken = read(line({"body": {"model": "m", "messages": 1}}))
    assert isinstance(taken, Exchange)
    assert judge(taken).column == "refused"
    assert all("its provider's own variant" in reason for reason in judge(taken).reasons)


@pytest.mark.parametrize(
    "prefix",
    ["", "/openai/v1", "/api/v1", "/together/v1", "/nebius/v1", "/inference", "/v1beta/openai"],
)
def test_a_providers_own_base_path_is_looked_past(prefix: str) -> None:
    claim = find_claim("POST", f"{prefix}/chat/completions", {})
    assert claim is not None
    assert claim.dialect.name == "openai_chat"
    assert claim.endpoint in ("/v1/chat/completions", *AZURE)


def test_only_what_lacked_an_id_or_arguments_may_be_completed() -> None:
    assert list(completions({"a": [{"id": ""}]}, {"a": [{"id": "x"}]}))
    assert list(completions({"a": {}}, {"a": {"arguments": ""}}))
    assert list(completions({"a": [1, {"b": None}]}, {"a": [1, {"b": None}]})) == []
    for original, output in [
        ({"id": "x"}, {"id": "y"}),
        ({"a": 1}, {}),
        ({}, {"a": 1}),
        ({"a": 1}, {"a": True}),
        ([1], [1, 2]),
    ]:
        with pytest.raises(AssertionError):
            list(completions(original, output))


def test_long_streams_are_cut_at_fewer_places() -> None:
    assert len(_cuts(1000)) >= 60
    long = 8 * 2**20
    assert len(_cuts(long)) <= LEAST_CUTS + 1 < long // BYTES_FED
    pieces = _small_pieces(bytes(10**6))
    assert b"".join(pieces) == bytes(10**6)
    assert len(pieces) < 50_000
    assert [len(piece) for piece in _small_pieces(b"abc")] == [1, 1, 1]


def test_a_folder_is_read_whole_and_its_table_adds_up(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "x.jsonl").write_bytes(b"\n".join(raw for raw, _ in COLUMN_OF.values()))
    found = load(tmp_path)
    assert len(found) == len(COLUMN_OF)
    assert {one.provider for one in found} == {"x"}
    assert found[0].id == "inner/x.jsonl:1"

    rows = [Row(provider="x", endpoint="/e", column=name, reasons=("why",)) for name in COLUMNS]
    assert f"{'all':<14}" in render(rows)
    with pytest.raises(AssertionError, match="no column"):
        render([*rows, Row(provider="x", endpoint="/e", column="elsewhere")])
