"""The longest an answer may be: cut there, and ended as one that reached its limit of tokens."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings

from dragoman import metadata as names
from dragoman.actions import Mutate
from dragoman.dialects.registry import client_dialect
from dragoman.exchange.answer_limit import AnswerLimit
from dragoman.exchange.respond import RespondStage
from dragoman.ir import Blob, Choice, Reasoning, Response, Text, ToolCall
from dragoman.ir.events import fold
from dragoman.ir.losses import Losses
from dragoman.policies.guard.guard import Guards
from tests.exchange.test_answer_guardrails import (
    ONE,
    USAGE,
    by_dialect,
    by_stream,
    cut,
    events_of,
    found,
    places,
    policy,
    read,
    run,
    said,
    sent,
    stream_of,
    why_denied,
)
from tests.exchange.test_guardrails import ask, chat, decider

MOST = 20
TEXT = "All is well that ends well, as they say."
RULE = {"name": "secret", "words": ["ends"], "applies_to": ["answer"]}
SECTION: dict[str, Any] = {
    "guardrails": {
        "profiles": {
            "short": {"max_answer_characters": MOST},
            "both": {"max_answer_characters": MOST, "deny": [RULE]},
            "wide": {"max_answer_characters": 1000, "deny": [RULE | {"words": ["well, as"]}]},
        }
    },
    "models": {"m": {"guardrails": "short", "targets": [ONE]}},
}
POLICY = policy(**SECTION)
assert POLICY.guardrails
GUARDS = Guards(POLICY.guardrails)


def stage(name: str, framing: str = "", profile: str = "short", *, streams: bool) -> RespondStage:
    facts = {names.CLIENT_DIALECT: name, names.FRAMING: framing, names.GUARDRAILS: profile}
    facts |= {names.STREAM: "1" if streams else "0", names.INCLUDE_USAGE: "1"}
    return RespondStage(POLICY, facts, "", None, GUARDS)


@by_stream
@settings(max_examples=15, deadline=None)
@given(inside=places, outside=places)
def test_a_stream_ends_at_the_limit(
    name: str, framing: str, inside: list[int], outside: list[int]
) -> None:
    pieces = cut(TEXT, inside)
    raw, kind = stream_of(name, framing, events_of(pieces))
    actions = run(stage(name, framing, streams=True), cut(raw, outside), kind)
    answer = read(name, framing, sent(actions))
    whole, wanted = read(name, framing, raw), ""
    for piece in pieces:
        if len(wanted + piece) > MOST:
            break
        wanted += piece
    assert said(whole) == TEXT
    assert said(answer) == wanted
    assert answer.choices[0].finish_reason == "length"
    assert found(actions) == {"answer_length": 1.0}
    assert why_denied(actions) is None


@by_stream
def test_a_stream_within_it_is_what_it_was(name: str, framing: str) -> None:
    raw, kind = stream_of(name, framing, events_of(cut(TEXT[:MOST], [3, 9])))
    actions = run(stage(name, framing, streams=True), [raw], kind)
    assert sent(actions) == raw
    assert found(actions) == {}


@by_dialect
def test_an_answer_in_one_piece_is_cut(name: str) -> None:
    dialect = client_dialect(name)
    raw = msgspec.json.encode(dialect.encode_response(fold(events_of([TEXT])), Losses(name)))
    actions = run(stage(name, streams=False), [raw[:9], raw[9:]], "application/json")
    head = next(a for a in actions if isinstance(a, Mutate))
    assert head.set_headers["content-length"] == str(len(sent(actions)))
    answer = dialect.decode_response(json.loads(sent(actions)))
    assert said(answer) == TEXT[:MOST]
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage == dialect.decode_response(json.loads(raw)).usage
    assert found(actions) == {"answer_length": 1.0}
    short = fold(events_of([TEXT[:MOST]]))
    fits = msgspec.json.encode(dialect.encode_response(short, Losses(name)))
    actions = run(stage(name, streams=False), [fits], "application/json")
    assert (sent(actions), found(actions)) == (fits, {})


@pytest.mark.parametrize("streams", [False, True])
def test_beside_deny_lists(*, streams: bool) -> None:
    """What is denied beyond the limit is nobody's to see, and so no reason."""
    name = "openai_chat"
    for profile, reason in (("both", "length"), ("wide", "content_filter")):
        events = events_of(cut(TEXT, [5, 12, 17, 24, 30]))
        if streams:
            raw, kind = stream_of(name, "", events)
        else:
            body = client_dialect(name).encode_response(fold(events), Losses(name))
            raw, kind = msgspec.json.encode(body), "application/json"
        actions = run(stage(name, profile=profile, streams=streams), [raw], kind)
        out = sent(actions)
        answer = (
            read(name, "", out)
            if streams
            else client_dialect(name).decode_response(json.loads(out))
        )
        assert answer.choices[0].finish_reason == reason
        if reason == "length":
            assert said(answer) == TEXT[: 17 if streams else MOST]


def test_what_is_counted() -> None:
    call = ToolCall(id="c", name="f", arguments='{"a":1}')
    blob = Blob(modality="image", mime_type="image/png", content="A" * 99)
    parts = (Reasoning(content="1234"), blob, Text(content="567"), call, Text(content="x"))
    answer = Response(id="r", model="m", choices=(Choice(parts=parts, finish_reason="stop"),) * 2)

    def kept(most: int) -> list[tuple[Any, ...]] | None:
        short = AnswerLimit(most).cut(answer)
        return [choice.parts for choice in short.choices] if short else None

    assert kept(30) is None
    assert kept(29) == [parts, parts[:4]]
    assert kept(14) == [parts[:4], ()]
    assert kept(13) == [parts[:3], ()]
    assert kept(5) == [(parts[0], blob, Text(content="5")), ()]
    assert kept(2) == [(Reasoning(content="12"),), ()]


def test_what_cannot_be_read_is_not_passed_at_any_length() -> None:
    long = b'{"strange": "' + b"x" * 99 + b'"}'
    actions = run(stage("openai_chat", streams=False), [long], "application/json")
    assert b"answer_too_long" in sent(actions)
    error = b'{"error": {"message": "%b"}}' % (b"x" * 99)
    failed = stage("openai_chat", streams=False)
    head = {":status": "429", "content-type": "application/json"}
    actions = [*failed.on_headers(head, end_of_stream=False)]
    assert sent([*actions, *failed.on_body(error, end_of_stream=True)]) == error


def test_the_decide_stage_asks_for_it() -> None:
    facts = ask(chat("hello"), decide=decider(**SECTION)).metadata[names.NAMESPACE]
    assert (facts[names.GUARDRAILS], facts[names.RESPOND]) == ("short", names.FLAG)
    assert POLICY.guardrails
    assert POLICY.guardrails.looks_at_answers
    assert POLICY.guardrails.rules(answers=True) == ("answer_length", "secret")
    assert USAGE
