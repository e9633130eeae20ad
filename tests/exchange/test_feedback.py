"""What clients say of an answer: a score of a request, by a caller who is known, and nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dragoman.actions import Respond
from dragoman.config.load import parse
from dragoman.exchange.decide import Decide
from dragoman.exchange.heads import RequestHead

ID = "d38e6c16-0efb-4c97-9b11-d924fd4f4571"
GOOD = {"request_id": ID, "score": 0.8}
POLICY = """
callers:
  demo: {keys: [f6f53a67068fc28321efe05e4c062947ad3d72121c670e11a0bde6a52d363974]}
  mute: {keys: [2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae], roles: [reader]}
roles: {reader: {allow: {}, deny: {operations: [feedback]}}}
providers: {openai: {}}
models: {m: {targets: [{provider: openai, model: m}]}}
"""
DECIDE = Decide(parse(POLICY, "p.yaml", {"OPENAI_API_KEY": "1"}))


def post(body: Any, *, key: str = "dragoman-demo", method: str = "POST", **headers: str) -> Respond:
    said = {name.replace("_", "-"): value for name, value in headers.items()}
    head = RequestHead(method=method, path="/v1/feedback", headers={"x-api-key": key, **said})
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = DECIDE.on_request(head, raw)
    assert isinstance(answer, Respond)
    return answer


@pytest.mark.parametrize("score", [0, 0.25, 1])
def test_a_score_is_taken_and_told_to_the_ledger(score: float) -> None:
    answer = post(GOOD | {"score": score})
    assert (answer.status, answer.details) == (200, "dragoman_feedback")
    assert json.loads(answer.body) == {"object": "feedback", "request_id": ID, "score": score}
    assert answer.metadata == {
        "dragoman": {
            "operation": "feedback",
            "caller": "demo",
            "feedback_of": ID,
            "feedback_score": score,
        }
    }
    assert isinstance(answer.metadata["dragoman"]["feedback_score"], float)


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"score": 1}, "$.request_id"),
        ({"request_id": ID}, "$.score"),
        (GOOD | {"score": 1.01}, "$.score"),
        (GOOD | {"score": -1}, "$.score"),
        (GOOD | {"score": True}, "$.score"),
        (GOOD | {"score": "good"}, "$.score"),
        (GOOD | {"score": None}, "$.score"),
        (GOOD | {"request_id": "my words"}, "$.request_id"),
        (GOOD | {"request_id": ID.upper()}, "$.request_id"),
        (GOOD | {"request_id": ID + "\n"}, "$.request_id"),
        (GOOD | {"request_id": 5}, "$.request_id"),
        (GOOD | {"comment": "nice"}, "$.comment"),
        (GOOD | {"x" * 5000: 1}, "$." + "x" * 80 + ":"),
        ([], "$"),
        (b"{", ""),
        (b"", ""),
        (b'{"score": 1e999}', ""),
    ],
)
@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
def test_what_is_no_score_is_refused_by_its_path(body: Any, path: str, dialect: str) -> None:
    headers = {"anthropic_version": "2023-06-01"} if dialect == "anthropic" else {}
    answer = post(body, **headers)
    error = json.loads(answer.body)
    assert (answer.status, error.get("type") == "error") == (400, dialect == "anthropic")
    assert path in error["error"]["message"]
    assert "nice" not in answer.body.decode()
    assert answer.metadata == {}


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"key": "nobody"}, 401),
        ({"key": "foo"}, 403),
        ({"method": "GET"}, 405),
        ({"content_type": "text/plain"}, 415),
    ],
)
def test_who_may_not_is_told_so(changes: dict[str, str], status: int) -> None:
    answer = post(GOOD, **changes)
    assert answer.status == status
    assert "feedback_of" not in answer.metadata.get("dragoman", {})
