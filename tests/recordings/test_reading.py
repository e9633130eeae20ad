"""Recordings of other sources: whatever a line holds, it is counted, and in one column."""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

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
    "an unknown path": (line({"path": "/v9/unheard-of"}), "skipped"),
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
