"""Guardrails at answers: a denied word never gets through, however it is cut, and what stops it is an
end of the client's own dialect."""

from __future__ import annotations

import json
from typing import Any, Literal

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dragoman import metadata as names
from dragoman.actions import Action, Chunk, Mutate
from dragoman.config.policy import Policy
from dragoman.dialects import StreamOptions
from dragoman.dialects.anthropic_messages.names import INVOKE
from dragoman.dialects.openai_chat.spelling import WHOLE_CALLS
from dragoman.dialects.registry import CHAT_NAMES, client_dialect
from dragoman.errors import AnswerDenied
from dragoman.exchange.answer_guard import AnswerGuard
from dragoman.exchange.respond import RespondStage
from dragoman.ir import Response, Usage
from dragoman.ir.events import (
    ChoiceEnd,
    Delta,
    Event,
    Finish,
    PartEnd,
    PartStart,
    Start,
    UsageUpdate,
    fold,
)
from dragoman.ir.losses import Losses
from dragoman.policies.guard.guard import Guards
from dragoman.policies.redact.profiles import Redactors
from tests.exchange.test_guardrails import ONE, ask, chat, decider, policy
from tests.properties.cases import decode_stream
from tests.sdk import says_only_text

WORD = "Bluebird"
BOTH = ["request", "answer"]
PROFILE = {
    "deny": [
        {"name": "codename", "words": [WORD, "Ü-Boot"], "applies_to": ["answer"]},
        {"name": "salary", "patterns": [r"(?i)salar(?:y|ies) of [A-Z]\w+\b"], "applies_to": BOTH},
        {"name": "told", "words": ["robin"], "applies_to": BOTH, "action": "report"},
    ]
}
SECTION: dict[str, Any] = {
    "guardrails": {"default": "strict", "profiles": {"strict": PROFILE}},
    "models": {"m": {"targets": [ONE]}, "open": {"guardrails": "off", "targets": [ONE]}},
}
POLICY = policy(**SECTION)
assert POLICY.guardrails
GUARDS = Guards(POLICY.guardrails)
STREAMS = [
    *((name, "") for name in CHAT_NAMES),
    ("anthropic_messages", INVOKE),
    ("gemini_generate", "json"),
    ("openai_chat", WHOLE_CALLS),
]
"""Each client dialect, with each framing it has."""
by_stream = pytest.mark.parametrize(("name", "framing"), STREAMS)
by_dialect = pytest.mark.parametrize("name", CHAT_NAMES)
USAGE = Usage(input_tokens=3, output_tokens=5)
Kind = Literal["text", "reasoning", "tool_call"]


def stage_for(name: str, framing: str = "", *, streams: bool = False, **facts: str) -> RespondStage:
    said = {names.CLIENT_DIALECT: name, names.FRAMING: framing, names.GUARDRAILS: "strict"}
    said |= {names.STREAM: "1" if streams else "0", names.INCLUDE_USAGE: "1"} | facts
    return RespondStage(POLICY, said, "", None, GUARDS)


def run(stage: RespondStage, pieces: list[bytes], kind: str) -> list[Action]:
    actions = list(stage.on_headers({":status": "200", "content-type": kind}, end_of_stream=False))
    for piece in pieces:
        actions += stage.on_body(piece, end_of_stream=False)
    return actions + stage.on_body(b"", end_of_stream=True)


def sent(actions: list[Action]) -> bytes:
    return b"".join(action.body for action in actions if isinstance(action, Chunk))


def found(actions: list[Action]) -> Any:
    told = [a.metadata for a in actions if isinstance(a, Chunk) and a.metadata]
    return dict(told[-1].get(names.GUARDRAILS_ANSWER_NAMESPACE, {})) if told else {}


def why_denied(actions: list[Action]) -> object:
    told = [a.metadata for a in actions if isinstance(a, Chunk) and a.metadata]
    return told[-1].get(names.NAMESPACE, {}).get(names.DENIED_ANSWER) if told else None


def events_of(pieces: list[str], kind: Kind = "text") -> list[Event]:
    opened = PartStart(kind=kind)
    if kind == "tool_call":
        opened = PartStart(kind=kind, id="call_1", name="f")
    end = ChoiceEnd(reason="tool_call" if kind == "tool_call" else "stop")
    head: list[Event] = [Start(id="x", model="m"), opened]
    return [
        *head,
        *(Delta(content=p) for p in pieces),
        PartEnd(),
        end,
        UsageUpdate(usage=USAGE),
        Finish(),
    ]


def stream_of(name: str, framing: str, events: list[Event]) -> tuple[bytes, str]:
    dialect = client_dialect(name, framing)
    options = StreamOptions(include_usage=True, framing=framing)
    encoder = dialect.stream_encoder(options)
    raw = b"".join(map(encoder.feed, events)) + encoder.close()
    return raw, dialect.stream_type(options)


def read(name: str, framing: str, raw: bytes) -> Response:
    return fold(decode_stream(client_dialect(name, framing), [raw]))


def said(response: Response) -> str:
    return "".join(getattr(part, "content", "") for part in response.choices[0].parts)


def cut(text: Any, places: list[int]) -> list[Any]:
    edges = [0, *sorted({p % (len(text) + 1) for p in places}), len(text)]
    return [text[a:b] for a, b in zip(edges, edges[1:], strict=False) if a < b]


places = st.lists(st.integers(0, 10_000), max_size=30)
fine = st.lists(
    st.sampled_from(
        ["Bluebirds ", "Blue", " bird ", "é漢 ", "xBluebird ", "salary of 5 ", "[{ ", "\n"]
    ),
    max_size=12,
).map("".join)


@by_stream
@settings(max_examples=20, deadline=None)
@given(before=fine, after=fine, inside=places, outside=places)
def test_a_denied_word_never_gets_through_a_stream(
    name: str, framing: str, before: str, after: str, inside: list[int], outside: list[int]
) -> None:
    text = f"{before} {WORD} {after}"
    raw, kind = stream_of(name, framing, events_of(cut(text, inside) or [text]))
    actions = run(stage_for(name, framing, streams=True), cut(raw, outside), kind)
    answer = read(name, framing, sent(actions))
    assert answer.choices[0].finish_reason == "content_filter"
    assert f"{before} ".startswith(said(answer))
    assert found(actions) == {"codename": 1.0}
    assert why_denied(actions) == "codename was found, which no answer may say"
    assert [c.end_of_stream for c in actions if isinstance(c, Chunk)][-1]


@by_stream
@settings(max_examples=20, deadline=None)
@given(text=fine, inside=places, outside=places)
def test_what_has_none_is_what_it_was(
    name: str, framing: str, text: str, inside: list[int], outside: list[int]
) -> None:
    raw, kind = stream_of(name, framing, events_of(cut(text, inside)))
    actions = run(stage_for(name, framing, streams=True), cut(raw, outside), kind)
    assert read(name, framing, sent(actions)) == read(name, framing, raw)
    assert found(actions) == {}


@pytest.mark.parametrize("kind", ["reasoning", "tool_call"])
@pytest.mark.parametrize(("name", "framing"), [s for s in STREAMS if not says_only_text(s[0])])
@settings(max_examples=10, deadline=None)
@given(inside=places)
def test_reasoning_and_arguments_are_looked_at(
    name: str, framing: str, kind: Kind, inside: list[int]
) -> None:
    """Also where JSON writes letters as numbers."""
    text = (
        json.dumps({"a": "x" * 40, "to": ["\n" + WORD]}) if kind == "tool_call" else f"of {WORD}."
    )
    text = text.replace("Blue", "Bl\\u0075e") if kind == "tool_call" else text
    raw, type_ = stream_of(name, framing, events_of(cut(text, inside), kind))
    if "bird" not in str(read(name, framing, raw)):
        pytest.skip("this dialect tells no reasoning")
    actions = run(stage_for(name, framing, streams=True), [raw], type_)
    answer = read(name, framing, sent(actions))
    assert answer.choices[0].finish_reason == "content_filter"
    assert found(actions) == {"codename": 1.0}
    assert "bird" not in str(answer)


@by_dialect
def test_an_answer_in_one_piece_loses_all_it_says(name: str) -> None:
    dialect = client_dialect(name)
    response = fold(events_of([f"about {WORD}."]))
    raw = msgspec.json.encode(dialect.encode_response(response, Losses(name)))
    actions = run(stage_for(name), [raw[:9], raw[9:]], "application/json")
    head = next(a for a in actions if isinstance(a, Mutate))
    assert head.set_headers[":status"] == "200"
    assert head.set_headers["content-length"] == str(len(sent(actions)))
    answer = dialect.decode_response(json.loads(sent(actions)))
    assert answer.choices[0].finish_reason == "content_filter"
    assert said(answer) == ""
    assert answer.usage == dialect.decode_response(json.loads(raw)).usage
    assert found(actions) == {"codename": 1.0}
    assert why_denied(actions) == "codename was found, which no answer may say"
    other = msgspec.json.encode(dialect.encode_response(fold(events_of(["fine"])), Losses(name)))
    assert sent(run(stage_for(name), [other], "application/json")) == other


@pytest.mark.parametrize("streams", [False, True])
def test_what_is_only_reported_goes_on(*, streams: bool) -> None:
    events = events_of(["a ro", "bin and a ro", "bin"])
    if streams:
        raw, kind = stream_of("openai_chat", "", events)
    else:
        body = client_dialect("openai_chat").encode_response(fold(events), Losses("openai_chat"))
        raw, kind = msgspec.json.encode(body), "application/json"
    actions = run(stage_for("openai_chat", streams=streams), [raw], kind)
    answer = read("openai_chat", "", sent(actions)) if streams else fold(events)
    assert said(answer) == "a robin and a robin"
    assert why_denied(actions) is None
    assert found(actions) == {"told": 1.0}


def test_the_decide_stage_says_which_profile_looks_at_the_answer() -> None:
    decide = decider(**SECTION)
    facts = ask(chat("What of Bluebird and a robin?"), decide=decide).metadata
    assert facts[names.NAMESPACE][names.GUARDRAILS] == "strict"
    assert facts[names.NAMESPACE][names.RESPOND] == names.FLAG
    assert facts[names.GUARDRAILS_NAMESPACE] == {"told": 1.0}
    assert "reported=told" in facts[names.NAMESPACE][names.DECISION]
    assert ask(chat("the salary of Bob"), decide=decide).status == 400
    off = ask(chat("hello", "open"), decide=decide).metadata[names.NAMESPACE]
    assert names.GUARDRAILS not in off
    assert names.RESPOND not in off


def test_a_profile_that_is_gone_lets_nothing_through() -> None:
    stage = stage_for("openai_chat", **{names.GUARDRAILS: "former"})
    refused = stage.on_headers({":status": "200", "content-type": "x"}, end_of_stream=False)[0]
    assert refused.details == "dragoman_service_unavailable"  # type: ignore[union-attr]


def test_what_only_repeats_the_request_is_not_the_answers() -> None:
    """OpenAI's Responses begin with the instructions, which may well forbid the word."""
    asked = {"instructions": f"Never say {WORD}.", "metadata": {"a": WORD}, "tools": [{"x": WORD}]}
    body = {"id": "r", "object": "response", "status": "completed", "model": "m", "output": []}
    raw = json.dumps({**body, **asked}).encode()
    assert sent(run(stage_for("openai_responses"), [raw], "application/json")) == raw
    frame = (
        b"event: response.created\ndata: %b\n\n"
        % json.dumps({"type": "response.created", "response": {**body, **asked}}).encode()
    )
    stage = stage_for("openai_responses", streams=True)
    assert sent(run(stage, [frame], "text/event-stream")) == frame


def test_answers_that_are_no_chat_are_refused() -> None:
    raw = json.dumps({"text": f"She said {WORD}."}).encode()
    actions = run(stage_for("openai_transcriptions"), [raw], "application/json")
    head = next(a for a in actions if isinstance(a, Mutate))
    assert head.set_headers[":status"] == "400"
    assert b"content_denied" in sent(actions)
    assert b"codename was found" in sent(actions)
    assert WORD.encode() not in sent(actions)
    plain = run(stage_for("openai_transcriptions"), [f"She said {WORD}.".encode()], "text/plain")
    assert b"content_denied" in sent(plain)


def test_each_choice_ends() -> None:
    frames = b""
    for choice, text in ((0, "all is "), (1, "well, "), (1, WORD), (1, " it is"), (0, "well")):
        chunk = {"id": "x", "choices": [{"index": choice, "delta": {"content": text}}]}
        frames += b"data: %b\n\n" % json.dumps(chunk).encode()
    frames += b'data: {"id":"x","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
    actions = run(stage_for("openai_chat", streams=True), [frames], "text/event-stream")
    answer = read("openai_chat", "", sent(actions))
    assert [choice.finish_reason for choice in answer.choices] == ["content_filter"] * 2
    assert b"bird" not in sent(actions)


def test_a_stream_goes_on_when_its_reasoning_is_over() -> None:
    """What waits of the reasoning does not hold back the answer that follows it."""
    stage = stage_for("openai_chat", streams=True)
    stage.on_headers({":status": "200", "content-type": "text/event-stream"}, end_of_stream=False)
    for field, count in (("reasoning_content", 60), ("content", 90)):
        out: list[Action] = []
        for _ in range(count):
            chunk = {"choices": [{"index": 0, "delta": {field: "0123456789"}}]}
            frame = b"data: %b\n\n" % json.dumps(chunk).encode()
            out += stage.on_body(frame, end_of_stream=False)
        assert len(sent(out)) > 20 * 10


@by_stream
def test_beside_redaction(name: str, framing: str) -> None:
    """What is looked at is what the client would get."""
    both = policy(
        **SECTION,
        redaction={
            "default": "a",
            "profiles": {
                "a": {
                    "entities": {"email": "mask"},
                    "words": [{"name": "bird", "words": [WORD], "action": "mask"}],
                    "answers": True,
                }
            },
        },
    )
    assert both.redaction
    redactors = Redactors(both.redaction, b"0123456789abcdef")
    facts = {names.CLIENT_DIALECT: name, names.STREAM: "1", names.INCLUDE_USAGE: "1"}
    facts |= {names.FRAMING: framing, names.GUARDRAILS: "strict", names.REDACTION: "a"}
    for text, wanted, reason in (
        (f"{WORD} writes to a@example.com. A robin.", "[BIRD] writes to [EMAIL]. A robin.", "stop"),
        ("Mail a@example.com of the Ü-Boot now.", "Mail [EMAIL] of the ", "content_filter"),
    ):
        raw, kind = stream_of(name, framing, events_of(cut(text, [3, 9, 14, 22, 33])))
        stage = RespondStage(both, facts, "", redactors, GUARDS)
        answer = read(name, framing, sent(run(stage, [raw], kind)))
        assert wanted.startswith(said(answer))
        assert answer.choices[0].finish_reason == reason
        assert reason != "stop" or said(answer) == wanted


def looked_at(pieces: list[str], *, is_json: bool = False) -> tuple[str, str]:
    """What one text lets out, and what ended it."""
    guard = GUARDS.named("strict")
    assert guard
    assert guard.answers
    text = AnswerGuard(guard.answers).piecewise(is_json=is_json)
    out = ""
    try:
        for piece in pieces:
            out += text.feed(piece)
        return out + text.close(), ""
    except AnswerDenied as error:
        return out, error.message.split()[0]


letters = st.lists(
    st.sampled_from(
        [WORD, "Blue", "bird", "b", "s", " ", "salary of ", "Salaries of B", "ob", "robin", "é", "\u200b",
         "\uff22luebird", "Ü-Boot", "U\u0308-Boot", "x" * 300]
    ),
    max_size=10,
).map("".join)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(text=letters, inside=places)
@example(text="Salaries of " + "b" * 700, inside=[*range(0, 700, 7)])
@example(text="salary of B" + "\u200b" * 900 + " ", inside=[*range(0, 900, 11)])
def test_pieces_are_judged_as_the_whole(text: str, inside: list[int]) -> None:
    whole, ended = looked_at([text])
    out, by = looked_at(cut(text, inside) or [text])
    assert bool(by) == bool(ended)
    assert text.startswith(out)
    assert bool(by) or out == whole == text


def test_a_text_that_goes_on_is_still_looked_back_at() -> None:
    """Where frames had to go on, the first of a word is out, and its rest is not."""
    guard = GUARDS.named("strict")
    assert guard
    assert guard.answers
    text = AnswerGuard(guard.answers).piecewise(is_json=False)
    assert text.feed("of Blue") + text.close() == "of Blue"
    with pytest.raises(AnswerDenied):
        text.feed("bird.")


def test_what_is_held_is_no_more_than_the_longest_word() -> None:
    section = {"default": "a", "profiles": {"a": {"deny": [
        {"name": "x", "words": ["four"], "applies_to": ["answer"]}
    ]}}}  # fmt: skip
    one: Policy = policy(
        guardrails=section, models={"m": {"targets": [{"provider": "one", "model": "m"}]}}
    )
    assert one.guardrails
    guard = Guards(one.guardrails).named("a")
    assert guard
    assert guard.answers
    assert AnswerGuard(guard.answers).piecewise(is_json=False).feed("0123456789") == "012345"
