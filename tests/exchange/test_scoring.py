"""The cheap model first, a better one where somebody scores its answer too low."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from dragoman import metadata as names
from dragoman.actions import Chunk, Mutate
from dragoman.dialects.registry import client_dialect
from dragoman.errors import ConfigError
from dragoman.exchange.decide import Decide
from dragoman.exchange.heads import Asking, AttemptHead, RequestHead, Steps
from dragoman.exchange.translate import Translate
from dragoman.extproc.pb import callouts_pb2
from dragoman.ir import Choice, Message, Request, Response, Text, Usage
from dragoman.ir.losses import Losses
from dragoman.policies.questions import MAX_TEXTS, About, Fault
from dragoman.policies.questions import Text as Shown
from dragoman.policies.route.scores import read_score, score_question
from tests.exchange.test_answer_guardrails import cut, events_of, policy, sent, stream_of
from tests.exchange.test_fallback import PAIRS
from tests.exchange.test_stream_errors import POLICY

SCORERS: dict[str, Any] = {
    "quality": {"kind": "webhook", "url": "http://127.0.0.1:9/score"},
    "strict": {"kind": "grpc", "url": "unix:/run/score.sock", "on_failure": "next"},
}
SCORED = msgspec.structs.replace(POLICY, scorers=policy(scorers=SCORERS).scorers)
SAID = "Rather good."


def attempt(
    client: str,
    provider: str,
    more: str = "",
    scorer: str = "quality",
    clock: Callable[[], float] = time.time,
    **facts: Any,
) -> Translate:
    turns = (Message(role="user", parts=(Text(content="hi"),)),)
    request = Request(model="m", messages=turns, max_tokens=9)
    told = {
        "client_dialect": client,
        "model": "m",
        "caller": "team",
        "targets": json.dumps([[provider, "m"], ["other", "m"]]),
        "fallback_on": f"scored_below:0.6{more}",
        "scorer": scorer,
    }
    head = AttemptHead(cluster=provider, metadata={**told, **facts}, request_id="r-1")
    stage = Translate(SCORED, head, clock)
    body = client_dialect(client).encode_request(request, Losses(client))
    assert isinstance(stage.on_request(json.dumps(body).encode()), Mutate)
    return stage


def answer(stage: Translate, provider: str, status: str = "200") -> Steps:
    choices = (Choice(parts=(Text(content=SAID),), finish_reason="stop"),)
    usage = Usage(input_tokens=3, output_tokens=4)
    response = Response(id="r", model="m", choices=choices, usage=usage, created=1)
    raw = json.dumps(client_dialect(provider).encode_response(response, Losses(provider))).encode()
    head = {":status": status, "content-type": "application/json"}
    actions = list(stage.on_headers(head, end_of_stream=False))
    for piece in cut(raw, [5, 40]):
        steps = stage.on_body(piece, end_of_stream=False)
        assert isinstance(steps, list)
        actions += steps
    steps = stage.on_body(b"", end_of_stream=True)
    return steps if isinstance(steps, Asking) else actions + steps


def told(actions: Steps) -> tuple[dict[str, str], dict[str, Any], bytes]:
    """Headers, what of fallbacks, and the body."""
    assert isinstance(actions, list)
    head, last = actions[0], actions[-1]
    assert isinstance(head, Mutate)
    assert isinstance(last, Chunk)
    assert last.end_of_stream
    return (
        dict(head.set_headers),
        dict(last.metadata.get(names.FALLBACK_NAMESPACE, {})),
        sent(actions),
    )


def score(value: float) -> bytes:
    return json.dumps({"score": value}).encode()


@pytest.mark.parametrize(("client", "provider"), PAIRS)
def test_what_is_scored_too_low_is_asked_for_elsewhere(client: str, provider: str) -> None:
    for value, is_good in ((0.6, True), (0.59, False)):
        asking = answer(attempt(client, provider), provider)
        assert isinstance(asking, Asking)
        (question,) = asking.questions
        assert question.route == "/scorers/webhook/quality/score"
        shown = json.loads(question.body or b"")
        assert [text["text"] for text in shown.pop("texts")] == ["hi"]
        (said,) = shown.pop("answer")
        assert (said["speaker"], said["text"]) == ("assistant", SAID)
        who = {"caller": "team", "model": "m", "request_id": "r-1", "target": f"{provider}/m"}
        assert shown == who
        headers, fallback, body = told(asking.resume([score(value)]))
        if is_good:
            assert headers.get(":status", "200") == "200"
            assert SAID.encode() in body
            assert fallback == {}
            continue
        assert (headers[":status"], headers["x-dragoman-fallback"]) == ("503", "scored_below")
        assert fallback == {f"{provider}/m": "scored_below"}
        assert SAID.encode() not in body


@pytest.mark.parametrize("client", ["openai_chat", "anthropic_messages"])
@pytest.mark.parametrize("heard", ["timeout", b"{}", b'{"score": 1.5}', b'{"score": null}', b"<"])
def test_without_a_score(client: str, heard: bytes | Fault) -> None:
    asking = answer(attempt(client, "openai_chat"), "openai_chat")
    assert isinstance(asking, Asking)
    headers, fallback, body = told(asking.resume([heard]))
    kept = f"scored_below({heard if isinstance(heard, str) else 'bad_answer'})"
    assert headers["x-dragoman-kept"] == kept
    assert fallback == {"kept": kept}
    assert SAID.encode() in body
    asking = answer(attempt(client, "openai_chat", scorer="strict"), "openai_chat")
    assert isinstance(asking, Asking)
    assert asking.questions[0].route == "/scorers/grpc/strict/score"
    assert told(asking.resume([heard]))[1] == {"openai_chat/m": "scored_below"}


@pytest.mark.parametrize("client", ["openai_chat", "anthropic_messages"])
def test_beyond_its_limits_nobody_is_asked(client: str) -> None:
    for limits in (",until:1", ",attempts:1"):
        headers, fallback, body = told(
            answer(attempt(client, "openai_chat", limits), "openai_chat")
        )
        assert "x-dragoman-kept" not in headers
        assert fallback == {}
        assert SAID.encode() in body


def test_a_limit_that_is_reached_while_it_is_scored() -> None:
    now = [1.0]
    stage = attempt("openai_chat", "openai_chat", ",until:2000", clock=lambda: now[0])
    asking = answer(stage, "openai_chat")
    assert isinstance(asking, Asking)
    now[0] = 3.0
    headers, fallback, body_ = told(asking.resume([score(0.1)]))
    assert headers["x-dragoman-kept"] == "scored_below(time)"
    assert fallback == {"kept": "scored_below(time)"}
    assert SAID.encode() in body_


def test_other_reasons_come_first_and_errors_are_not_scored() -> None:
    short = told(answer(attempt("openai_chat", "openai_chat", ",shorter_than:90"), "openai_chat"))
    assert short[1] == {"openai_chat/m": "shorter_than"}
    kept = attempt("openai_chat", "openai_chat", ",shorter_than:90,attempts:1")
    assert told(answer(kept, "openai_chat"))[1] == {"kept": "shorter_than(cost)"}
    assert isinstance(answer(attempt("openai_chat", "openai_chat"), "openai_chat", "429"), list)
    last = attempt("openai_chat", "openai_chat", targets=json.dumps([["openai_chat", "m"]]))
    assert last.passes_response


@pytest.mark.parametrize("client", ["openai_chat", "gemini_generate"])
def test_streams_are_not_scored(client: str) -> None:
    stage = attempt(client, "openai_chat", stream="1")
    raw, kind = stream_of("openai_chat", "", events_of([SAID]))
    stage.on_headers({":status": "200", "content-type": kind}, end_of_stream=False)
    steps = stage.on_body(raw, end_of_stream=True)
    assert isinstance(steps, list)
    assert SAID.encode() in sent(steps)


def test_what_cannot_be_read_has_no_score() -> None:
    stage = attempt("openai_chat", "openai_chat")
    stage.on_headers({":status": "200", "content-type": "application/json"}, end_of_stream=False)
    steps = stage.on_body(b"[1]", end_of_stream=True)
    assert isinstance(steps, list)
    assert sent(steps) == b"[1]"
    stage = attempt("openai_chat", "openai_chat")
    assert stage.on_headers({":status": "200"}, end_of_stream=True)


def test_trailers_end_it_too() -> None:
    stage = attempt("openai_chat", "openai_chat")
    stage.on_headers({":status": "200", "content-type": "application/json"}, end_of_stream=False)
    choices = (Choice(parts=(Text(content=SAID),), finish_reason="stop"),)
    response = Response(id="r", model="m", choices=choices)
    body = client_dialect("openai_chat").encode_response(response, Losses("x"))
    assert stage.on_body(json.dumps(body).encode(), end_of_stream=False) == []
    asking = stage.on_trailers()
    assert isinstance(asking, Asking)
    actions = asking.resume([score(0.1)])
    assert isinstance(actions, list)
    assert [a.end_of_stream for a in actions if isinstance(a, Chunk)] == [False]


def test_what_grpc_is_asked_and_says() -> None:
    scorer = SCORED.scorers["strict"]
    asked, said = [Shown("$.a", "user", "hi")], [Shown("$.b", "assistant", "ho")]
    about = About("team", "m", "r")
    question = score_question("strict", scorer, (asked, said), about, "one/m")
    message = callouts_pb2.ScoreRequest.FromString(question.body or b"")
    assert (message.texts[0].text, message.answer[0].text, message.target) == ("hi", "ho", "one/m")
    assert message.context.caller == "team"
    for value, read in (
        (0.25, 0.25),
        (1.0, 1.0),
        (2.0, "bad_answer"),
        (float("nan"), "bad_answer"),
    ):
        told_ = callouts_pb2.ScoreResponse(score=value).SerializeToString()
        assert read_score(scorer, told_) == read
    assert read_score(scorer, b"") == "bad_answer"
    assert read_score(scorer, b"\x09" + struct.pack("<d", 0.0)) == 0.0
    many = score_question("strict", scorer, (asked * MAX_TEXTS, said), about, "one/m")
    assert many.body is None


PROVIDERS = {
    name: {"kind": kind, "key": {"env": "KEY"}}
    for name, kind in (("one", "openai"), ("two", "anthropic"))
}
TARGETS = [{"provider": name, "model": "m"} for name in PROVIDERS]


def model(*reasons: Any) -> dict[str, Any]:
    models = {"m": {"fallback_on": list(reasons), "targets": TARGETS}}
    return {"providers": PROVIDERS, "models": models, "scorers": SCORERS, "guardrails": None}


def test_the_decide_stage_says_who_scores() -> None:
    found = policy(**model("empty", {"scored_below": 0.6, "by": "quality"}))
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    head = RequestHead(
        method="POST", path="/v1/chat/completions", headers={"authorization": "Bearer k"}
    )
    action = Decide(found).on_request(head, json.dumps(body).encode())
    assert isinstance(action, Mutate)
    facts = action.metadata[names.NAMESPACE]
    assert facts[names.FALLBACK_ON] == "empty,scored_below:0.6"
    assert facts[names.SCORER] == "quality"
    assert names.KEEP + "one" not in facts
    assert [callee.cluster for callee in found.callees] == [
        "dragoman_scorer.quality",
        "dragoman_scorer.strict",
    ]


@pytest.mark.parametrize(
    ("reasons", "said"),
    [
        ([{"scored_below": 0.6}], "$.models.m.fallback_on[0]: scored_below goes with by"),
        ([{"shorter_than": 6, "by": "quality"}], "$.models.m.fallback_on[0]: scored_below goes"),
        ([{}], "$.models.m.fallback_on[0]: give one of shorter_than and scored_below"),
        (
            [{"scored_below": 0.6, "by": "none"}],
            "$.models.m.fallback_on[0].by: no none in $.scorers",
        ),
        ([{"scored_below": 0.6, "by": "quality"}] * 2, "$.models.m.fallback_on: give one score"),
        ([{"scored_below": 1.6, "by": "quality"}], "$.models.m.fallback_on[0].scored_below"),
    ],
)
def test_what_is_wrong_is_said_with_its_path(reasons: list[Any], said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        policy(**model(*reasons))
    assert str(refused.value).startswith(f"p: {said}")


@pytest.mark.parametrize(
    ("scorer", "said"),
    [
        ({"url": "ftp://x"}, "$.scorers.quality.url: expected http(s)://HOST[:PORT]/PATH"),
        ({"timeout_ms": 10**7}, "$.scorers.quality.timeout_ms: is more than timeouts.first_byte"),
        ({"key": {"env": "NONE"}}, "$.scorers.quality.key: variable NONE is not set"),
    ],
)
def test_a_scorer_can_be_asked(scorer: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        policy(scorers={"quality": SCORERS["quality"] | scorer})
    assert str(refused.value).startswith(f"p: {said}")
