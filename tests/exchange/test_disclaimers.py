"""The text that answers must have: added once, whole or streamed, and to no JSON."""

from __future__ import annotations

import json
from typing import Any, Literal

import msgspec
import pytest
from hypothesis import given, settings

from dragoman import metadata as names
from dragoman.actions import Mutate
from dragoman.config.guardrails import DisclaimerEntry
from dragoman.dialects import StreamOptions
from dragoman.dialects.anthropic_messages.names import INVOKE
from dragoman.dialects.registry import client_dialect
from dragoman.errors import DragomanError, UpstreamError
from dragoman.exchange.disclaimer import Disclaimer
from dragoman.exchange.respond import RespondStage
from dragoman.ir import Choice, Part, Reasoning, Refusal, Response, Text, ToolCall
from dragoman.ir.events import ChoiceEnd, Delta, Event, Finish, PartEnd, PartStart, Start, fold
from dragoman.ir.losses import Losses
from dragoman.policies.guard.guard import Guards
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
    run,
    said,
    sent,
    stream_of,
)
from tests.exchange.test_guardrails import ask, chat, decider, turn

NOTE = "Written by a machine.\nNo advice."
SAID = "Of cats, [much] is known."
Where = Literal["start", "end"]
RULE = {"name": "secret", "words": ["much"], "applies_to": ["answer"]}
SECTION: dict[str, Any] = {
    "guardrails": {
        "profiles": {
            "start": {"disclaimer": {"text": NOTE, "where": "start"}},
            "end": {"disclaimer": {"text": NOTE}},
            "denied": {"disclaimer": {"text": NOTE}, "deny": [RULE]},
            "short": {"disclaimer": {"text": NOTE}, "max_answer_characters": 7},
        }
    },
    "models": {"m": {"guardrails": "end", "targets": [ONE]}},
}
POLICY = policy(**SECTION)
assert POLICY.guardrails
GUARDS = Guards(POLICY.guardrails)
by_place = pytest.mark.parametrize("where", ["start", "end"])


def stage(
    name: str, framing: str = "", profile: str = "end", *, streams: bool = True, **facts: str
) -> RespondStage:
    told = {names.CLIENT_DIALECT: name, names.FRAMING: framing, names.GUARDRAILS: profile}
    told |= {names.STREAM: "1" if streams else "0", names.INCLUDE_USAGE: "1"} | facts
    return RespondStage(POLICY, told, "", None, GUARDS)


def disclaimed(text: str, where: str) -> str:
    return f"{NOTE}\n\n{text}" if where == "start" else f"{text}\n\n{NOTE}"


@by_stream
@by_place
@settings(max_examples=6, deadline=None)
@given(inside=places, outside=places)
def test_a_stream_gets_it(
    name: str, framing: str, where: str, inside: list[int], outside: list[int]
) -> None:
    raw, kind = stream_of(name, framing, events_of(cut(SAID, inside)))
    actions = run(stage(name, framing, where), cut(raw, outside), kind)
    whole, answer = read(name, framing, raw), read(name, framing, sent(actions))
    assert said(answer) == disclaimed(SAID, where)
    assert (answer.usage, answer.id) == (whole.usage, whole.id)
    assert answer.choices[0].finish_reason == whole.choices[0].finish_reason
    assert found(actions) == {"disclaimer": 1.0}


@by_dialect
@by_place
def test_an_answer_in_one_piece_gets_it(name: str, where: str) -> None:
    dialect = client_dialect(name)
    raw = msgspec.json.encode(dialect.encode_response(fold(events_of([SAID])), Losses(name)))
    actions = run(stage(name, "", where, streams=False), [raw[:9], raw[9:]], "application/json")
    head = next(a for a in actions if isinstance(a, Mutate))
    assert head.set_headers["content-length"] == str(len(sent(actions)))
    answer = dialect.decode_response(json.loads(sent(actions)))
    assert said(answer) == disclaimed(SAID, where)
    assert answer.usage == dialect.decode_response(json.loads(raw)).usage
    again = run(stage(name, "", where, streams=False), [sent(actions)], "application/json")
    assert (sent(again), found(again)) == (sent(actions), {})


@by_stream
@by_place
@settings(max_examples=4, deadline=None)
@given(inside=places)
def test_what_the_model_wrote_itself_is_not_said_twice(
    name: str, framing: str, where: str, inside: list[int]
) -> None:
    text = disclaimed(SAID, where).replace("machine.\n", "MACHINE. ")
    raw, kind = stream_of(name, framing, events_of(cut(text, inside)))
    actions = run(stage(name, framing, where), [raw], kind)
    assert said(read(name, framing, sent(actions))) == text
    assert found(actions) == {}


@by_stream
def test_what_guardrails_end_has_it_too(name: str, framing: str) -> None:
    raw, kind = stream_of(name, framing, events_of(cut(SAID, [2, 5, 8, 12])))
    for profile, reason, kept in (
        ("denied", "content_filter", "Of cats, ["),
        ("short", "length", "Of ca"),
    ):
        actions = run(stage(name, framing, profile), [raw], kind)
        answer = read(name, framing, sent(actions))
        assert answer.choices[0].finish_reason == reason
        out = said(answer).removesuffix(disclaimed("", "end"))
        assert kept.startswith(out)
        assert out + disclaimed("", "end") == said(answer)


@by_stream
@pytest.mark.parametrize("is_told", [False, True])
def test_a_stream_that_breaks_ends_in_an_error(name: str, framing: str, *, is_told: bool) -> None:
    dialect, options = client_dialect(name, framing), StreamOptions(framing=framing)
    kind = dialect.stream_type(options)
    encoder = dialect.stream_encoder(options)
    raw = b"".join(map(encoder.feed, events_of([SAID, SAID])[:3]))
    if is_told:
        raw += encoder.fail(UpstreamError("too busy", status=503))
    actions = run(stage(name, framing), [raw], kind)
    assert framing == INVOKE or b"cats" in sent(actions)  # that one is in base64
    with pytest.raises(DragomanError) as fault:
        read(name, framing, sent(actions))
    assert "too busy" in fault.value.message or not is_told


@pytest.mark.parametrize("name", ["openai_chat", "openai_responses"])
@pytest.mark.parametrize("streams", [False, True])
def test_calls_and_refusals_have_none(name: str, *, streams: bool) -> None:
    call: list[Event] = [
        PartStart(kind="tool_call", id="c", name="f"),
        Delta(content="{}"),
        PartEnd(),
    ]
    text: list[Event] = [PartStart(kind="text"), Delta(content="Let me see."), PartEnd()]
    refusal: list[Event] = [PartStart(kind="refusal"), Delta(content="I will not."), PartEnd()]
    for parts, start in ((call, False), (refusal, False), (text + call, True)):
        for where in ("start", "end"):
            reason: Any = "stop" if parts is refusal else "tool_call"
            head: list[Event] = [Start(id="x", model="m"), *parts]
            events = [*head, ChoiceEnd(reason=reason), Finish()]
            if streams:
                raw, kind = stream_of(name, "", events)
            else:
                body = client_dialect(name).encode_response(fold(events), Losses(name))
                raw, kind = msgspec.json.encode(body), "application/json"
            actions = run(stage(name, "", where, streams=streams), [raw], kind)
            has_it = start and where == "start"
            assert (NOTE.split("\n")[0].encode() in sent(actions)) is has_it
            assert found(actions) == ({"disclaimer": 1.0} if has_it else {})


def test_errors_are_as_they_were() -> None:
    error = b'{"error": {"message": "no"}}'
    failed = stage("openai_chat", streams=False)
    head = {":status": "429", "content-type": "application/json"}
    actions = [*failed.on_headers(head, end_of_stream=False)]
    assert sent([*actions, *failed.on_body(error, end_of_stream=True)]) == error


def added(where: Where, *parts: Part) -> tuple[Part, ...]:
    disclaimer = Disclaimer(DisclaimerEntry(text="AI.", where=where))
    answer = Response(id="", model="", choices=(Choice(parts=parts, finish_reason="stop"),))
    changed = disclaimer.add(answer)
    return changed.choices[0].parts if changed else parts


def test_where_it_stands() -> None:
    thought, text = Reasoning(content="hm"), Text(content="It is.")
    call = ToolCall(id="c", name="f", arguments="{}")
    assert added("end", thought, text) == (thought, Text(content="It is.\n\nAI."))
    assert added("end", text, thought) == (text, thought, Text(content="\n\nAI."))
    assert added("start", thought, text) == (thought, Text(content="AI.\n\nIt is."))
    assert added("start", Text(content=" "), text)[1] == Text(content="AI.\n\nIt is.")
    assert added("end", text, call) == (text, call)
    assert added("end", Text(content="It is ai."), text)[1] == text
    for parts in ((), (thought,), (Text(content=" \n"),), (Refusal(content="no"),)):
        assert added("end", *parts) == parts
        assert added("start", *parts) == parts


def test_json_has_none_and_it_is_told() -> None:
    decide = decider(**SECTION)
    facts = ask(chat("hello"), decide=decide).metadata[names.NAMESPACE]
    assert facts[names.GUARDRAILS] == "end"
    assert names.JSON_WANTED not in facts
    schema = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}
    for body, path in (
        (chat("hello") | {"response_format": {"type": "json_object"}}, "/v1/chat/completions"),
        (chat("hello") | {"response_format": schema}, "/v1/chat/completions"),
        (
            turn("go")
            | {"messages": [*turn("go")["messages"], {"role": "assistant", "content": "{"}]},
            "/v1/messages",
        ),
        (
            {"model": "m", "input": "x", "text": {"format": {"type": "json_object"}}},
            "/v1/responses",
        ),
    ):
        told = ask(body, path, decide=decide).metadata[names.NAMESPACE]
        assert told[names.JSON_WANTED] == names.FLAG
        assert "disclaimer=skipped(json)" in told[names.DECISION]
    body = client_dialect("openai_chat").encode_response(fold(events_of(['{"a": 1}'])), Losses("x"))
    raw = msgspec.json.encode(body)
    skipped = stage("openai_chat", streams=False, **{names.JSON_WANTED: names.FLAG})
    assert sent(run(skipped, [raw], "application/json")) == raw
    assert POLICY.guardrails
    assert POLICY.guardrails.rules(answers=True) == ("answer_length", "disclaimer", "secret")
