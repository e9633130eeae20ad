"""Callouts about answers: nothing goes out that was not judged, and what is refused ends as a content
filter ends it, in every dialect."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings

from dragoman import metadata as names
from dragoman.actions import Action, Chunk, Mutate
from dragoman.dialects import StreamOptions
from dragoman.dialects.registry import client_dialect
from dragoman.errors import DragomanError, ResidencyRefused, UpstreamError
from dragoman.exchange.heads import Asking, Steps
from dragoman.exchange.respond import RespondStage
from dragoman.extproc.pb import callouts_pb2
from dragoman.ir import Choice, Response, Text
from dragoman.ir.events import ChoiceEnd, Delta, Event, Finish, PartEnd, PartStart, Start, fold
from dragoman.ir.losses import Losses
from dragoman.policies.guard.guard import Guards
from dragoman.policies.questions import Fault, Question
from tests.exchange.test_answer_guardrails import (
    ONE,
    by_dialect,
    by_stream,
    cut,
    events_of,
    found,
    places,
    policy,
    read,
    said,
    sent,
    stream_of,
    why_denied,
)
from tests.exchange.test_guardrails import ask, chat, decider

WINDOW = 16
HOUSE = {"name": "house", "kind": "webhook", "url": "http://127.0.0.1:9/", "applies_to": ["answer"]}
HARM = {"name": "harm", "kind": "moderation", "provider": "one", "threshold": 0.5}
GRPC = {"name": "judge", "kind": "grpc", "url": "unix:/s", "applies_to": ["answer", "request"]}
RULE = {"name": "secret", "words": ["ends"], "applies_to": ["answer"]}
PROFILES: dict[str, Any] = {
    "block": {"callouts": [HOUSE], "answer_window": WINDOW},
    "report": {"callouts": [HOUSE | {"action": "report"}], "answer_window": WINDOW},
    "allow": {"callouts": [HOUSE | {"on_failure": "allow"}], "answer_window": WINDOW},
    "wide": {"callouts": [HOUSE]},
    "all": {
        "callouts": [HOUSE],
        "answer_window": WINDOW,
        "deny": [RULE],
        "disclaimer": {"text": "By a machine."},
    },
    "both": {"callouts": [HARM | {"applies_to": ["answer"]}, GRPC]},
}
SECTION: dict[str, Any] = {
    "guardrails": {"profiles": PROFILES},
    "models": {name: {"guardrails": name, "targets": [ONE]} for name in PROFILES},
}
POLICY = policy(**SECTION)
assert POLICY.guardrails
GUARDS = Guards(POLICY.guardrails)
TEXT = "All is well that goes well, as a fox would say of foxes, and so would cats."
Judged = Callable[[Question], bytes | Fault]


class Judge:
    """Against whatever speaks of foxes; keeps what it was shown."""

    def __init__(self, word: str = "fox") -> None:
        self.word = word
        self.seen: list[str] = []

    def __call__(self, question: Question) -> bytes | Fault:
        asked = json.loads(question.body or b"{}")
        assert (asked["side"], asked["caller"], asked["request_id"]) == ("answer", "team", "r-1")
        texts = asked["texts"]
        assert {text["speaker"] for text in texts} == {"assistant"}
        self.seen += [text["text"] for text in texts]
        bad = any(self.word in text["text"] for text in texts)
        return json.dumps({"allow": not bad, "reason": "foxes"}).encode()


def stage(name: str, framing: str = "", profile: str = "block", *, streams: bool) -> RespondStage:
    facts = {names.CLIENT_DIALECT: name, names.FRAMING: framing, names.GUARDRAILS: profile}
    facts |= {names.STREAM: "1" if streams else "0", names.INCLUDE_USAGE: "1"}
    facts |= {names.CALLER: "team", names.MODEL: "m"}
    return RespondStage(POLICY, facts, "", None, GUARDS, request_id="r-1")


def settle(steps: Steps, judge: Judged) -> list[Action]:
    while isinstance(steps, Asking):
        steps = steps.resume([judge(question) for question in steps.questions])
    return steps


def run(
    stage: RespondStage, pieces: Sequence[bytes], kind: str, judge: Judged, status: str = "200"
) -> list[Action]:
    head = {":status": status, "content-type": kind}
    actions = list(stage.on_headers(head, end_of_stream=False))
    for piece in pieces:
        actions += settle(stage.on_body(piece, end_of_stream=False), judge)
    return actions + settle(stage.on_body(b"", end_of_stream=True), judge)


@by_stream
@settings(max_examples=6, deadline=None)
@given(inside=places, outside=places)
def test_a_stream_ends_before_the_window_that_is_refused(
    name: str, framing: str, inside: list[int], outside: list[int]
) -> None:
    raw, kind = stream_of(name, framing, events_of(cut(TEXT, inside) or [TEXT]))
    judge = Judge()
    actions = run(stage(name, framing, streams=True), cut(raw, outside), kind, judge)
    answer = read(name, framing, sent(actions))
    assert TEXT.startswith(said(answer))
    assert "fox" not in said(answer)
    assert answer.choices[0].finish_reason == "content_filter"
    assert found(actions) == {"house": 1.0}
    assert why_denied(actions) == "refused by house: foxes"
    assert [c.end_of_stream for c in actions if isinstance(c, Chunk)][-1]


@by_stream
@settings(max_examples=6, deadline=None)
@given(inside=places, outside=places)
def test_what_is_allowed_is_what_it_was(
    name: str, framing: str, inside: list[int], outside: list[int]
) -> None:
    """All of it was shown, and what was shown again is the end of what was before."""
    raw, kind = stream_of(name, framing, events_of(cut(TEXT, inside)))
    judge = Judge("wolf")
    actions = run(stage(name, framing, streams=True), cut(raw, outside), kind, judge)
    assert sent(actions) == raw
    assert found(actions) == {}
    shown = ""
    for text in judge.seen:
        shared = min(WINDOW, len(shown))
        assert text[:shared] == shown[len(shown) - shared :]
        shown += text[shared:]
    assert shown == said(read(name, framing, raw))


@by_stream
def test_nothing_goes_out_that_was_not_judged(name: str, framing: str) -> None:
    """While a callout is asked, what it is asked about waits."""
    raw, kind = stream_of(name, framing, events_of(cut(TEXT, list(range(0, 75, 5)))))
    judged = stage(name, framing, streams=True)
    judged.on_headers({":status": "200", "content-type": kind}, end_of_stream=False)
    shown, out = "", b""
    for piece in cut(raw, list(range(0, len(raw), 7))):
        steps = judged.on_body(piece, end_of_stream=False)
        while isinstance(steps, Asking):
            body = json.loads(steps.questions[0].body or b"")
            shown += "".join(text["text"] for text in body["texts"])
            steps = steps.resume([b'{"allow": true}'])
        out += sent(steps)
        for word in ("All", "goes", "foxes", "cats"):
            assert word.encode() not in out or word in shown


@by_dialect
def test_an_answer_in_one_piece(name: str) -> None:
    dialect = client_dialect(name)
    raw = msgspec.json.encode(dialect.encode_response(fold(events_of([TEXT])), Losses(name)))
    judge = Judge()
    actions = run(stage(name, streams=False), [raw[:9], raw[9:]], "application/json", judge)
    assert judge.seen == [said(dialect.decode_response(json.loads(raw)))]
    answer = dialect.decode_response(json.loads(sent(actions)))
    assert (said(answer), answer.choices[0].finish_reason) == ("", "content_filter")
    assert answer.usage == dialect.decode_response(json.loads(raw)).usage
    assert found(actions) == {"house": 1.0}
    assert why_denied(actions) == "refused by house: foxes"
    allowed = run(stage(name, streams=False), [raw], "application/json", Judge("wolf"))
    assert (sent(allowed), found(allowed)) == (raw, {})
    head = next(a for a in allowed if isinstance(a, Mutate))
    assert head.set_headers["content-length"] == str(len(raw))


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("name", ["openai_chat", "anthropic_messages", "gemini_generate"])
def test_without_an_answer(name: str, *, streams: bool) -> None:
    if streams:
        raw, kind = stream_of(name, "", events_of([TEXT]))
    else:
        body = client_dialect(name).encode_response(fold(events_of([TEXT])), Losses(name))
        raw, kind = msgspec.json.encode(body), "application/json"
    failed = run(stage(name, streams=streams), [raw], kind, lambda _: "timeout")
    assert b"The guardrail house failed (timeout)" in sent(failed)
    assert b"cats" not in sent(failed)
    assert found(failed) == {"house:failed": 1.0}
    assert "house failed (timeout)" in str(why_denied(failed))
    if not streams:
        assert isinstance(failed[0], Mutate)
        assert failed[0].set_headers[":status"] == "503"
    allowed = run(stage(name, profile="allow", streams=streams), [raw], kind, lambda _: "timeout")
    assert (sent(allowed), found(allowed)) == (raw, {"house:failed": 1.0})
    told = run(stage(name, profile="report", streams=streams), [raw], kind, Judge())
    assert (sent(told), found(told), why_denied(told)) == (raw, {"house": 1.0}, None)


@by_stream
def test_beside_other_guardrails(name: str, framing: str) -> None:
    """What a deny-list lets out is judged first, and has its disclaimer."""
    for text, word, kept in (
        ("It all ends well.", "fox", "It all "),
        ("A fox sat there. It ends.", "fox", ""),
        ("A cat sat there.", "fox", "A cat sat there."),
    ):
        raw, kind = stream_of(name, framing, events_of(cut(text, list(range(0, 30, 3)))))
        actions = run(stage(name, framing, "all", streams=True), [raw], kind, Judge(word))
        out = said(read(name, framing, sent(actions)))
        assert "ends" not in out
        assert "fox" not in out
        assert kept.startswith(out.removesuffix("\n\nBy a machine."))
        assert not out or out.endswith("By a machine.")


def test_errors_are_not_judged() -> None:
    error = b'{"error": {"message": "no fox"}}'
    actions = run(stage("openai_chat", streams=False), [error], "application/json", Judge(), "429")
    assert sent(actions) == error


@by_stream
def test_a_stream_that_ends_in_an_error(name: str, framing: str) -> None:
    dialect, options = client_dialect(name, framing), StreamOptions(framing=framing)
    encoder = dialect.stream_encoder(options)
    raw = b"".join(map(encoder.feed, events_of(["All is"])[:3]))
    raw += encoder.fail(UpstreamError("too busy", status=503))
    judge = Judge()
    kind = dialect.stream_type(options)
    actions = run(stage(name, framing, streams=True), [raw], kind, judge)
    assert sent(actions) == raw
    assert judge.seen == ["All is"]
    with pytest.raises(DragomanError, match="too busy"):
        read(name, framing, sent(actions))


def test_what_is_no_stream_of_the_dialect_ends_in_an_error() -> None:
    frame = b'data: {"choices": 7}\n\n'
    actions = run(stage("openai_chat", streams=True), [frame], "text/event-stream", Judge())
    assert b"7}" not in sent(actions)
    assert b"error" in sent(actions)


def test_answers_that_are_no_chat() -> None:
    raw = json.dumps({"text": "She said fox."}).encode()
    for body, kind in ((raw, "application/json"), (b"She said fox.", "text/plain")):
        judge = Judge()
        actions = run(stage("openai_transcriptions", streams=False), [body], kind, judge)
        assert judge.seen[-1] == "She said fox."
        assert b"content_flagged" in sent(actions)
        assert b"fox." not in sent(actions)
    speech = run(stage("openai_speech", streams=False), [b"\xff\xfe\x00"], "audio/mpeg", Judge())
    assert sent(speech) == b"\xff\xfe\x00"


def test_each_part_is_shown_by_where_it_stands() -> None:
    """Choices, reasoning and calls, each for itself."""
    parts: list[Event] = []
    for choice in (0, 1):
        parts += [PartStart(kind="reasoning", choice=choice), Delta(content="hm", choice=choice)]
        parts += [
            PartEnd(choice=choice),
            PartStart(kind="tool_call", id="c", name="f", choice=choice),
        ]
        parts += [Delta(content='{"a":1}', choice=choice), PartEnd(choice=choice)]
        parts.append(ChoiceEnd(reason="tool_call", choice=choice))
    raw, kind = stream_of("openai_chat", "", [Start(id="x", model="m"), *parts, Finish()])
    places: list[list[str]] = []

    def judge(question: Question) -> bytes:
        places.append(list(question.paths))
        return b'{"allow": true}'

    run(stage("openai_chat", profile="wide", streams=True), [raw], kind, judge)
    here = [f"$.choices[{i}].parts[{j}]" for i in (0, 1) for j in (0, 1)]
    assert places == [here]
    whole = fold([Start(id="x", model="m"), *parts, Finish()])
    body = client_dialect("openai_chat").encode_response(whole, Losses("x"))
    run(
        stage("openai_chat", profile="wide", streams=False),
        [msgspec.json.encode(body)],
        "application/json",
        judge,
    )
    assert places == [here, here]


def test_what_each_kind_is_asked() -> None:
    choices = (Choice(parts=(Text(content="cats"),), finish_reason="stop"),)
    answer = Response(id="", model="", choices=choices)
    body = client_dialect("openai_chat").encode_response(answer, Losses("x"))
    judged = stage("openai_chat", profile="both", streams=False)
    judged.on_headers({":status": "200", "content-type": "application/json"}, end_of_stream=False)
    steps = judged.on_body(msgspec.json.encode(body), end_of_stream=True)
    assert isinstance(steps, Asking)
    harm, house = steps.questions
    assert (harm.route, house.route) == ("/both/moderation/harm", "/both/grpc/judge")
    assert json.loads(harm.body or b"") == {"model": "omni-moderation-latest", "input": ["cats"]}
    told = callouts_pb2.JudgeRequest.FromString(house.body or b"")
    assert (told.side, told.texts[0].text, told.context.caller) == ("answer", "cats", "team")
    scores = json.dumps({"results": [{"category_scores": {"violence": 0.9}}]}).encode()
    out = steps.resume([scores, b"\x08\x01"])
    assert isinstance(out, list)
    assert found(out) == {"harm": 1.0}
    assert why_denied(out) == "$.choices[0].parts[0]: refused by harm: violence 0.9, limit 0.5"


def test_the_decide_stage_asks_for_it() -> None:
    decide = decider(**SECTION)
    facts = ask(chat("hello", "block"), decide=decide).metadata[names.NAMESPACE]
    assert (facts[names.GUARDRAILS], facts[names.RESPOND]) == ("block", names.FLAG)
    both = ask(chat("hello", "both"), decide=decide)
    assert [question.route for question in both.questions] == ["/both/grpc/judge"]
    assert POLICY.guardrails
    counted = POLICY.guardrails.rules(answers=True)
    assert {"house", "house:failed", "harm", "judge:failed"} <= {*counted}
    assert {"judge", "judge:failed"} <= {*POLICY.guardrails.rules()}
    assert "house" not in POLICY.guardrails.rules()


def test_a_moderation_elsewhere_is_asked_about_no_answer() -> None:
    body = chat("hello", "both")
    refused = ask(body, decide=decider(**SECTION), headers={"dragoman-residency": "eu"})
    assert refused.details == f"dragoman_{ResidencyRefused.code}"
