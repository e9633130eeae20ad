"""What is kept from the client of an answer's text, no other field of it says either."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings

from dragoman import metadata as names
from dragoman.actions import Action, Chunk, Mutate
from dragoman.dialects.repeats import REPEATS, drop_repeats, without_repeats
from dragoman.exchange.respond import RespondStage
from dragoman.policies.guard.guard import Guards
from dragoman.policies.redact.profiles import Redactors
from tests.exchange.test_answer_guardrails import (
    GUARDS,
    SECTION,
    cut,
    places,
    policy,
    run,
    sent,
    stage_for,
)

MARK = "zq.marker@example.com"
TEXT = f"Write to {MARK} now."
BOTH = policy(
    **SECTION,
    redaction={"default": "a", "profiles": {"a": {"entities": {"email": "mask"}, "answers": True}}},
)
assert BOTH.redaction
REDACTORS = Redactors(BOTH.redaction, b"0123456789abcdef")
PIECES = ["Write", " to ", "zq.", "marker", "@exam", "ple.com", " now."]


def token(piece: str) -> dict[str, Any]:
    one = {"token": piece, "logprob": -0.1, "bytes": list(piece.encode())}
    return one | {"top_logprobs": [one]}


LOGPROBS = {"content": [token(piece) for piece in (*PIECES, MARK)], "refusal": None}
QUOTE = {"type": "url_citation", "title": TEXT, "url": "u", "start_index": 0, "end_index": 3}
OUTPUT = [
    {
        "type": "message", "id": "m", "role": "assistant", "status": "completed",
        "content": [{
            "type": "output_text", "text": TEXT, "annotations": [QUOTE],
            "logprobs": LOGPROBS["content"],
        }],
    }
]  # fmt: skip
CITED: dict[str, Any] = {
    "type": "char_location", "cited_text": TEXT, "document_index": 0, "document_title": TEXT,
    "start_char_index": 0, "end_char_index": 9,
}  # fmt: skip
RESULT = {
    "topCandidates": [{"candidates": [{"token": p, "logProbability": -1}]} for p in PIECES],
    "chosenCandidates": [{"token": MARK, "logProbability": -1}],
}
WHOLE: dict[str, dict[str, Any]] = {
    "openai_chat": {
        "id": "x", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{
            "index": 0, "finish_reason": "stop", "logprobs": LOGPROBS,
            "message": {
                "role": "assistant", "content": TEXT, "refusal": TEXT, "annotations": [QUOTE],
            },
        }],
        "prompt_logprobs": [{"5": {"decoded_token": MARK}}],
    },
    "openai_responses": {
        "id": "r", "object": "response", "created_at": 1, "status": "completed", "model": "m",
        "output": OUTPUT, "top_logprobs": 3,
    },
    "openai_completions": {
        "id": "x", "object": "text_completion", "created": 1, "model": "m",
        "choices": [{
            "index": 0, "text": TEXT, "finish_reason": "stop",
            "logprobs": {"tokens": PIECES, "top_logprobs": [{MARK: -1}], "token_logprobs": [-1]},
        }],
    },
    "anthropic_messages": {
        "id": "x", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn",
        "content": [{"type": "text", "text": TEXT, "citations": [CITED]}],
        "usage": {"input_tokens": 1, "output_tokens": 1},
    },
    "gemini_generate": {
        "candidates": [{
            "content": {"role": "model", "parts": [{"text": TEXT}]}, "finishReason": "STOP",
            "avgLogprobs": -0.5, "logprobsResult": RESULT,
            "groundingMetadata": {"groundingSupports": [{"segment": {"text": TEXT}}]},
        }],
    },
    "cohere_chat": {
        "id": "x", "finish_reason": "COMPLETE",
        "message": {
            "role": "assistant", "content": [{"type": "text", "text": TEXT}],
            "citations": [{"start": 0, "end": 9, "text": TEXT, "sources": []}],
        },
        "usage": {"tokens": {"input_tokens": 3, "output_tokens": 4}},
        "logprobs": [{"token_ids": [5, 6], "text": "ple.com", "logprobs": [-1]}],
    },
    "ollama_chat": {
        "model": "m", "created_at": "2026-01-01T00:00:00Z", "done": True, "done_reason": "stop",
        "message": {"role": "assistant", "content": TEXT}, "logprobs": LOGPROBS["content"],
    },
    "tgi_generate": {
        "generated_text": TEXT,
        "details": {
            "finish_reason": "eos_token", "generated_tokens": 3, "prefill": [{"text": MARK}],
            "tokens": [{"id": 1, "text": p, "logprob": -1, "special": False} for p in PIECES],
            "top_tokens": [[{"id": 1, "text": MARK}]],
        },
    },
}  # fmt: skip


def chunk(piece: str, finish: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": {"content": piece}, "finish_reason": finish}
    return {"id": "x", "choices": [choice | {"logprobs": {"content": [token(piece)]}}]}


def piece_of_gemini(piece: str) -> dict[str, Any]:
    candidate = {"content": {"role": "model", "parts": [{"text": piece}]}}
    return {"candidates": [candidate | {"logprobsResult": {"chosenCandidates": [token(piece)]}}]}


def delta(piece: str) -> dict[str, Any]:
    where = {"item_id": "m", "output_index": 0, "content_index": 0, "sequence_number": 1}
    return {
        "type": "response.output_text.delta",
        **where,
        "delta": piece,
        "logprobs": [token(piece)],
    }


STREAMS: dict[str, list[dict[str, Any]]] = {
    "openai_chat": [*map(chunk, PIECES), chunk("", "stop")],
    "openai_responses": [
        *map(delta, PIECES),
        {
            "type": "response.output_text.done", "item_id": "m", "output_index": 0,
            "content_index": 0, "text": TEXT, "logprobs": [token(MARK)],
        },
        {"type": "response.completed", "response": WHOLE["openai_responses"]},
    ],
    "gemini_generate": [
        *map(piece_of_gemini, PIECES),
        {"candidates": [{"finishReason": "STOP", "logprobsResult": RESULT}]},
    ],
}  # fmt: skip


def redacting(name: str, *, streams: bool = False) -> RespondStage:
    facts = {names.CLIENT_DIALECT: name, names.STREAM: "1" if streams else "0"}
    facts |= {names.INCLUDE_USAGE: "1", names.REDACTION: "a"}
    return RespondStage(BOTH, facts, "", REDACTORS, GUARDS)


def said(raw: bytes) -> str:
    """All that the bytes say, the numbers of `bytes` read as text."""
    text = raw.decode()
    numbers = [json.loads(part.split("]")[0] + "]") for part in text.split('"bytes":')[1:]]
    return text + b"".join(map(bytes, numbers)).decode()


def dropped(actions: list[Action]) -> str:
    head = next(action for action in actions if isinstance(action, Mutate))
    return head.set_headers.get("x-dragoman-dropped", "")


@pytest.mark.parametrize("name", WHOLE)
@settings(max_examples=5, deadline=None)
@given(outside=places)
def test_a_whole_answer_says_nowhere_what_is_hidden(name: str, outside: list[int]) -> None:
    raw = json.dumps(WHOLE[name]).encode()
    actions = run(redacting(name), cut(raw, outside), "application/json")
    out = sent(actions)
    assert MARK not in said(out)
    assert "[EMAIL]" in said(out)
    assert not [piece for piece in PIECES[2:6] if piece in said(out)]
    assert bool(dropped(actions)) is (name != "anthropic_messages")
    json.loads(out)


@pytest.mark.parametrize("name", STREAMS)
@settings(max_examples=10, deadline=None)
@given(outside=places)
def test_a_stream_says_nowhere_what_is_hidden(name: str, outside: list[int]) -> None:
    raw = b"".join(b"data: %b\n\n" % json.dumps(event).encode() for event in STREAMS[name])
    actions = run(redacting(name, streams=True), cut(raw, outside), "text/event-stream")
    out = said(sent(actions))
    assert MARK not in out
    assert not [piece for piece in PIECES[2:6] if piece in out]
    assert "[EMAIL]" in out
    told = [
        a.metadata[names.USAGE_NAMESPACE] for a in actions if isinstance(a, Chunk) and a.metadata
    ]
    assert "logprobs" in str(told[-1]["withheld"])


def test_beside_deny_lists_too_but_not_where_nothing_is_hidden() -> None:
    raw = json.dumps(WHOLE["openai_chat"]).encode()
    actions = run(stage_for("openai_chat"), [raw], "application/json")
    assert dropped(actions) == "$..logprobs, $..prompt_logprobs"
    assert json.loads(sent(actions))["choices"][0]["logprobs"] is None
    only_told = policy(**SECTION | {"guardrails": REPORTS})
    assert only_told.guardrails
    stage = RespondStage(
        only_told, {**FACTS, names.GUARDRAILS: "r"}, "", None, Guards(only_told.guardrails)
    )
    assert sent(run(stage, [raw], "application/json")) == raw


def test_what_the_client_named_itself_stays() -> None:
    called = {"content": [{"type": "tool_use", "input": {"logprobs": [1], "tokens": [2]}}]}
    body = {**called, "usage": {"tokens": {"input_tokens": 3}}, "top_logprobs": 5, "logprobs": []}
    raw = json.dumps(body).encode()
    assert without_repeats(raw) == (raw, set())
    escaped = b'{"log\\u0070robs":["a"],"x":1}'
    assert without_repeats(escaped) == (b'{"logprobs":[],"x":1}', {"logprobs"})
    deep: Any = {name: ["a"] for name in REPEATS}
    assert drop_repeats([{"choices": [deep]}]) == REPEATS
    assert all(value == [] for value in deep.values())


FACTS = {names.CLIENT_DIALECT: "openai_chat", names.STREAM: "0", names.INCLUDE_USAGE: "1"}
REPORTS = {
    "profiles": {
        "r": {
            "deny": [
                {"name": "x", "words": ["robin"], "applies_to": ["answer"], "action": "report"}
            ]
        }
    }
}
