"""Answers held to the schema of their request: in every dialect, whole and streamed."""

from __future__ import annotations

import gzip
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings

from dragoman import metadata as names
from dragoman.actions import Action, Chunk, Mutate
from dragoman.dialects.registry import CHAT_NAMES, client_dialect
from dragoman.dialects.tgi_generate import LISTED
from dragoman.exchange.heads import AttemptHead
from dragoman.exchange.translate import Translate
from dragoman.ir import (
    Choice,
    Message,
    Refusal,
    Request,
    Response,
    ResponseFormat,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    Usage,
)
from dragoman.ir.events import fold
from dragoman.ir.losses import Losses
from dragoman.policies.route.fallback import Criteria, is_as_asked
from tests.exchange.test_answer_guardrails import (
    ONE,
    by_dialect,
    cut,
    events_of,
    places,
    read,
    said,
    sent,
    stream_of,
)
from tests.exchange.test_guardrails import ask, chat, decider
from tests.exchange.test_stream_errors import POLICY

SCHEMA = {
    "type": "object",
    "properties": {"age": {"type": "integer"}},
    "required": ["age"],
    "additionalProperties": False,
}
SHAPE = ResponseFormat(kind="json_schema", name="n", schema=SCHEMA, strict=True)
FITS, MISFIT = '{"age": 7}', '{"age": "old"}'
SAYS_SHAPES = [n for n in CHAT_NAMES if n != "openai_completions"]
PAIRS = [
    *((name, name) for name in SAYS_SHAPES),
    *((name, "openai_chat") for name in SAYS_SHAPES),
    ("openai_chat", "anthropic_messages"),
    ("openai_responses", "gemini_generate"),
]
by_pair = pytest.mark.parametrize(("client", "provider"), dict.fromkeys(PAIRS))
FOUND = {"schema": 1.0}


def attempt(client: str, provider: str, action: str = "block", **facts: Any) -> Translate:
    dialect = client_dialect(client)
    turns = (Message(role="user", parts=(Text(content="hi"),)),)
    asked = Request(model="m", messages=turns, response_format=SHAPE, max_tokens=9)
    told = {"client_dialect": client, "model": "m", "targets": json.dumps([[provider, "m"]])}
    head = AttemptHead(cluster=provider, metadata={**told, "must_fit": action, **facts})
    stage = Translate(POLICY, head)
    body = dialect.encode_request(asked, Losses(client))
    assert isinstance(stage.on_request(json.dumps(body).encode()), Mutate)
    assert not stage.passes_response
    return stage


def run(stage: Translate, pieces: list[bytes], kind: str, **headers: str) -> list[Action]:
    told = {":status": "200", "content-type": kind, **headers}
    actions = list(stage.on_headers(told, end_of_stream=False))
    for piece in pieces:
        actions += stage.on_body(piece, end_of_stream=False)
    return actions + stage.on_body(b"", end_of_stream=True)


def status_of(actions: list[Action]) -> str:
    head = actions[0]
    assert isinstance(head, Mutate)
    return head.set_headers.get(":status", "200")


def told(actions: list[Action], space: str) -> dict[str, Any]:
    spaces = [a.metadata for a in actions if isinstance(a, Chunk)]
    return dict(spaces[-1].get(space, {}))


@by_pair
def test_an_answer_in_one_piece(client: str, provider: str) -> None:
    dialect = client_dialect(provider)
    for text, fits in ((FITS, True), (MISFIT, False), ("seven", False)):
        response = fold(events_of([text]))
        raw = msgspec.json.encode(dialect.encode_response(response, Losses(provider)))
        actions = run(attempt(client, provider), [raw[:9], raw[9:]], "application/json")
        assert (status_of(actions) == "200") is fits
        if fits:
            answer = client_dialect(client).decode_response(json.loads(sent(actions)))
            assert said(answer) == text
            assert told(actions, names.GUARDRAILS_ANSWER_NAMESPACE) == {}
            continue
        assert status_of(actions) == "422"
        assert b"does not fit the schema" in sent(actions)
        assert told(actions, names.GUARDRAILS_ANSWER_NAMESPACE) == FOUND
        why = "The answer does not fit the schema that the request gives."
        assert told(actions, names.NAMESPACE) == {names.DENIED_ANSWER: why}
        usage = told(actions, names.USAGE_NAMESPACE)
        assert (
            usage["output_tokens"] == dialect.decode_response(json.loads(raw)).usage.output_tokens
        )  # type: ignore[union-attr]
        reported = run(attempt(client, provider, "report"), [raw], "application/json")
        assert said(client_dialect(client).decode_response(json.loads(sent(reported)))) == text
        assert told(reported, names.GUARDRAILS_ANSWER_NAMESPACE) == FOUND
        assert told(reported, names.NAMESPACE) == {}


@by_pair
@settings(max_examples=3, deadline=None)
@given(inside=places, outside=places)
def test_a_stream(client: str, provider: str, inside: list[int], outside: list[int]) -> None:
    """It is held where it may be stopped, and only then."""
    for text, fits in ((FITS, True), (MISFIT, False)):
        raw, kind = stream_of(provider, "", events_of(cut(text, inside)))
        for action in ("block", "report"):
            stage = attempt(client, provider, action, stream="1", include_usage="1")
            actions = run(stage, cut(raw, outside), kind)
            assert told(actions, names.GUARDRAILS_ANSWER_NAMESPACE) == ({} if fits else FOUND)
            if fits or action == "report":
                assert said(read(client, "", sent(actions))) == text
                assert isinstance(actions[-1], Chunk)
                assert actions[-1].end_of_stream
                continue
            assert status_of(actions) == "422"
            assert b"does not fit the schema" in sent(actions)
            assert b"old" not in sent(actions)
            assert len(actions) == 2


def test_what_may_be_stopped_is_held_and_nothing_else() -> None:
    raw, kind = stream_of("openai_chat", "", events_of([FITS]))
    for action, is_held in (("block", True), ("report", False)):
        stage = attempt("openai_chat", "openai_chat", action, stream="1")
        stage.on_headers({":status": "200", "content-type": kind}, end_of_stream=False)
        assert (stage.on_body(raw, end_of_stream=False) == []) is is_held
        last = stage.on_trailers()
        assert (sent(last) == raw) is is_held
        assert not any(isinstance(a, Chunk) and a.end_of_stream for a in last)


def test_errors_pass() -> None:
    error = b'{"error": {"message": "slow down"}}'
    for client in ("openai_chat", "anthropic_messages"):
        actions = run(
            attempt(client, "openai_chat"), [error], "application/json", **{":status": "429"}
        )
        assert b"slow down" in sent(actions)
        assert told(actions, names.GUARDRAILS_ANSWER_NAMESPACE) == {}
    raw, kind = stream_of("openai_chat", "", events_of([FITS, FITS])[:3])
    raw = raw.replace(b"data: [DONE]\n\n", b"data: " + error + b"\n\n")
    for client in ("openai_chat", "anthropic_messages"):
        actions = run(attempt(client, "openai_chat", stream="1"), [raw], kind)
        assert b"slow down" in sent(actions)
        assert b"does not fit" not in sent(actions)


def test_what_cannot_be_read_does_not_fit() -> None:
    for raw, headers in (
        (b"{}", {}),
        (b"[1]", {}),
        (b"", {}),
        (b"x", {"content-encoding": "gzip"}),
    ):
        actions = run(attempt("openai_chat", "openai_chat"), [raw], "application/json", **headers)
        assert (status_of(actions), len(actions)) == ("422", 2)
    stage = attempt("openai_chat", "openai_chat", stream="1")
    raw, kind = stream_of("openai_chat", "", events_of([FITS]))
    actions = run(stage, [raw[:-40]], kind)
    assert status_of(actions) == "422"
    bodiless = attempt("openai_chat", "openai_chat")
    assert status_of(bodiless.on_headers({":status": "200"}, end_of_stream=True)) == "422"


def test_a_compressed_answer_is_read_and_passed_as_it_came() -> None:
    body = client_dialect("openai_chat").encode_response(fold(events_of([FITS])), Losses("x"))
    raw = gzip.compress(msgspec.json.encode(body))
    stage = attempt("openai_chat", "openai_chat")
    assert sent(run(stage, [raw], "application/json", **{"content-encoding": "gzip"})) == raw


def test_an_array_of_one_is_read() -> None:
    stage = attempt("tgi_generate", "openai_chat", framing=LISTED)
    body = client_dialect("openai_chat").encode_response(fold(events_of([FITS])), Losses("x"))
    actions = run(stage, [msgspec.json.encode(body)], "application/json")
    assert json.loads(sent(actions))[0]["generated_text"] == FITS


CALL = ToolCall(id="c", name="f", arguments='{"age": 1}')
WRONG = ToolCall(id="c", name="f", arguments="{}")


@pytest.mark.parametrize(
    ("part", "shape", "tools", "fits"),
    [
        (Text(content=FITS), SHAPE, {}, True),
        (Text(content=MISFIT), SHAPE, {}, False),
        (Text(content=MISFIT), ResponseFormat(kind="json_object"), {}, True),
        (Text(content="no"), ResponseFormat(kind="json_object"), {}, False),
        (Text(content="no"), None, {"f": SCHEMA}, True),
        (Refusal(content="I will not."), SHAPE, {}, True),
        (CALL, SHAPE, {"f": SCHEMA}, True),
        (WRONG, None, {"f": SCHEMA}, False),
        (WRONG, SHAPE, {"g": SCHEMA}, True),
    ],
)
def test_what_fits(part: Any, shape: Any, tools: Any, *, fits: bool) -> None:
    choice = Choice(parts=(part,), finish_reason="stop")
    answer = Response(id="", model="", choices=(choice,), usage=Usage())
    assert is_as_asked(answer, Criteria(shape=shape, tools=tools)) is fits
    filtered = msgspec.structs.replace(choice, finish_reason="content_filter")
    assert is_as_asked(
        msgspec.structs.replace(answer, choices=(filtered,)), Criteria(shape=shape, tools=tools)
    )


SECTION: dict[str, Any] = {
    "guardrails": {"profiles": {"held": {"schema": {}}, "told": {"schema": {"action": "report"}}}},
    "models": {name: {"guardrails": name, "targets": [ONE]} for name in ("held", "told")}
    | {"free": {"targets": [ONE]}},
}


def tool(strict: bool | None) -> dict[str, Any]:  # noqa: FBT001
    return {"type": "function", "function": {"name": "f", "parameters": SCHEMA, "strict": strict}}


def test_the_decide_stage_asks_for_it_where_a_schema_is_given() -> None:
    decide = decider(**SECTION)
    shape = {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}
    forced = {"type": "function", "function": {"name": "f"}}
    for more, wanted in (
        ({}, False),
        ({"response_format": {"type": "text"}}, False),
        ({"response_format": shape}, True),
        ({"response_format": {"type": "json_object"}}, True),
        ({"tools": [tool(None)]}, False),
        ({"tools": [tool(True)]}, True),
        ({"tools": [tool(None)], "tool_choice": forced}, True),
    ):
        for model, action in (("held", "block"), ("told", "report"), ("free", None)):
            facts = ask(chat("hello", model) | more, decide=decide).metadata[names.NAMESPACE]
            is_watched = wanted and action is not None
            assert facts.get(names.MUST_FIT) == (action if is_watched else None)
            assert (names.KEEP + "one" in facts) is not is_watched
            assert names.RESPOND not in facts


@by_dialect
def test_a_request_without_one_costs_nothing(name: str) -> None:
    head = AttemptHead(
        cluster=name, metadata={"client_dialect": name, "model": "m", "must_fit": "block"}
    )
    turns = (Message(role="user", parts=(Text(content="hi"),)),)
    choice = ToolChoice(mode="auto")
    tools = (
        ()
        if name in ("openai_completions", "tgi_generate")
        else (Tool(name="f", parameters=SCHEMA),)
    )
    asked = Request(
        model="m", messages=turns, tools=tools, tool_choice=choice if tools else None, max_tokens=9
    )
    stage = Translate(POLICY, head)
    body = client_dialect(name).encode_request(asked, Losses(name))
    stage.on_request(json.dumps(body).encode())
    assert stage.passes_response
