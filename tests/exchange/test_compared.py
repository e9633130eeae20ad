"""Answers that are to be compared: what is told of them, in any dialect, and that nothing changes."""

from __future__ import annotations

import json
from itertools import product
from typing import Any

import msgspec
import pytest

from dragoman.actions import Action, Chunk, Mutate
from dragoman.dialects import StreamOptions
from dragoman.dialects.registry import CHAT_NAMES, client_dialect
from dragoman.errors import Unrepresentable
from dragoman.exchange.heads import AttemptHead
from dragoman.exchange.translate import Translate
from dragoman.ir import (
    Choice,
    Message,
    Part,
    Refusal,
    Request,
    Response,
    ResponseFormat,
    Text,
    Tool,
    ToolCall,
    Usage,
)
from dragoman.ir.events import (
    ChoiceEnd,
    Delta,
    Event,
    Finish,
    PartEnd,
    PartStart,
    Start,
    UsageUpdate,
)
from dragoman.ir.losses import Losses
from dragoman.telemetry.answers import Answer, decode_answer, likeness
from tests.exchange.test_stream_errors import POLICY

SECRET, NONCE = b"a secret of the workers", "5eed"
SAID = "The quick brown fox jumps over the lazy dog."
USAGE = Usage(input_tokens=3, output_tokens=4)
PAIRS = list(product(CHAT_NAMES, CHAT_NAMES))
CALLERS = ("openai_chat", "openai_responses", "anthropic_messages", "gemini_generate")


class Unasked(Exception):
    """The provider's dialect cannot say the request."""


def attempt(
    client: str,
    provider: str,
    *,
    nonce: str = NONCE,
    secret: bytes = SECRET,
    must_fit: str = "",
    **asked: Any,
) -> Translate:
    request = Request(model="m", messages=(Message(role="user", parts=(Text(content="hi"),)),))
    request = msgspec.structs.replace(request, max_tokens=99, **asked)
    facts = {"client_dialect": client, "model": "m", "stream": "1" if request.stream else "0"}
    facts |= {"include_usage": "1", "must_fit": must_fit} | ({"nonce": nonce} if nonce else {})
    stage = Translate(POLICY, AttemptHead(cluster=provider, metadata=facts), secret=secret)
    body = client_dialect(client).encode_request(request, Losses(client))
    if not isinstance(stage.on_request(json.dumps(body).encode()), Mutate):
        raise Unasked
    return stage


def whole(provider: str, *parts: Part, finish: Any = "stop") -> bytes:
    choices = (Choice(parts=parts, finish_reason=finish),)
    response = Response(id="r", model="m", choices=choices, usage=USAGE, created=1)
    return json.dumps(client_dialect(provider).encode_response(response, Losses(provider))).encode()


def streamed(provider: str, text: str) -> bytes:
    events: list[Event] = [Start(id="r", model="m"), PartStart(kind="text")]
    events += [Delta(content=text[i : i + 5]) for i in range(0, len(text), 5)]
    events += [PartEnd(), ChoiceEnd(reason="stop"), UsageUpdate(usage=USAGE), Finish()]
    encoder = client_dialect(provider).stream_encoder(StreamOptions(include_usage=True))
    return b"".join(map(encoder.feed, events)) + encoder.close()


def through(
    stage: Translate,
    body: bytes,
    kind: str = "application/json",
    *,
    size: int = 0,
    status: int = 200,
) -> list[Action]:
    """All that goes on, the body in pieces of `size`."""
    actions = stage.on_headers({":status": str(status), "content-type": kind}, end_of_stream=False)
    step = size or max(1, len(body))
    for i in range(0, len(body), step):
        ends = i + step >= len(body)
        actions += stage.on_body(body[i : i + step], end_of_stream=ends)
    return actions


def stream(stage: Translate, provider: str, size: int = 0) -> list[Action]:
    kind = client_dialect(provider).stream_type(StreamOptions())
    return through(stage, streamed(provider, SAID), kind, size=size)


def told(actions: list[Action]) -> Answer | None:
    chunks = [action for action in actions if isinstance(action, Chunk)]
    assert not any("dragoman" in chunk.metadata for chunk in chunks[:-1])
    answer = chunks[-1].metadata.get("dragoman", {}).get("answer")
    return decode_answer(answer) if isinstance(answer, str) else None


def sent(actions: list[Action]) -> bytes:
    return b"".join(action.body for action in actions if isinstance(action, Chunk))


@pytest.mark.parametrize(("client", "provider"), PAIRS)
def test_the_same_answer_is_told_alike_in_any_dialect(client: str, provider: str) -> None:
    first = told(
        through(attempt("openai_chat", "openai_chat"), whole("openai_chat", Text(content=SAID)))
    )
    assert first is not None
    assert (first.finish, first.characters, first.calls) == ("stop", len(SAID), 0)
    stage = attempt(client, provider)
    assert told(through(stage, whole(provider, Text(content=SAID)))) == first
    assert not stage.passes_response
    for size in (1, 7, 0):
        assert told(stream(attempt(client, provider, stream=True), provider, size)) == first


@pytest.mark.parametrize(("client", "provider"), PAIRS)
def test_nothing_of_the_answer_changes(client: str, provider: str) -> None:
    body = whole(provider, Text(content=SAID))
    for asked in ({"nonce": ""}, {"secret": b""}):
        plain = attempt(client, provider, **asked)
        assert plain.passes_response == (client == provider)
        if client != provider:
            compared = sent(through(attempt(client, provider), body))
            untold = through(plain, body)
            assert (sent(untold), told(untold)) == (compared, None)
    if client == provider:
        assert sent(through(attempt(client, provider), body)) == body
        found = stream(attempt(client, provider, stream=True), provider, 11)
        assert sent(found) == streamed(provider, SAID)


@pytest.mark.parametrize("provider", CALLERS)
def test_the_tools_called_are_told_by_a_digest(provider: str) -> None:
    tools = tuple(Tool(name=name, parameters={"type": "object"}) for name in ("find", "save"))

    def called(*names: str, nonce: str = NONCE) -> Answer:
        calls = [ToolCall(id=f"c{i}", name=name, arguments="{}") for i, name in enumerate(names)]
        stage = attempt(provider, provider, nonce=nonce, tools=tools)
        found = told(through(stage, whole(provider, *calls, finish="tool_call")))
        assert found is not None
        return found

    first = called("find", "save")
    assert (first.finish, first.calls, first.sketch) == ("tool_call", 2, "")
    assert first.called == called("save", "find").called
    assert len({first.called, called("find").called, called("find", "save", nonce="0").called}) == 3
    assert "find" not in msgspec.json.encode(first).decode()


@pytest.mark.parametrize(("client", "provider"), list(product(CALLERS, CALLERS)))
@pytest.mark.parametrize("kind", ["json_object", "json_schema"])
def test_what_was_asked_to_be_json_is_told_to_be_some_or_not(
    client: str, provider: str, kind: Any
) -> None:
    schema = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}
    shape = ResponseFormat(kind=kind)
    if kind == "json_schema":
        schema["additionalProperties"] = False
        shape = ResponseFormat(kind=kind, name="person", schema=schema, strict=True)
    cases = {'{"age": 5}': True, '{"age": "5"}': kind == "json_object", "Five": False}
    for text, valid in cases.items():
        try:
            stage = attempt(client, provider, response_format=shape)
        except (Unrepresentable, Unasked):
            pytest.skip("this dialect cannot ask for it")
        found = told(through(stage, whole(provider, Text(content=text))))
        assert found is not None
        assert found.valid is valid


@pytest.mark.parametrize("provider", ["openai_chat", "gemini_generate"])
def test_an_answer_that_must_fit_is_told_of_where_it_does(provider: str) -> None:
    shape = ResponseFormat(kind="json_object")
    for text, fits in (("{}", True), ("Five", False)):
        stage = attempt("openai_chat", provider, must_fit="block", response_format=shape)
        actions = through(stage, whole(provider, Text(content=text)))
        assert isinstance(actions[0], Mutate)
        assert (b'"choices"' in sent(actions)) is fits
        found = told(actions)
        assert found is not None
        assert found.valid is fits


def test_a_refusal_is_told() -> None:
    stage = attempt("openai_chat", "openai_chat")
    found = told(through(stage, whole("openai_chat", Refusal(content="No."))))
    assert found is not None
    assert (found.finish, found.characters) == ("refusal", 0)


@pytest.mark.parametrize(("client", "provider"), PAIRS)
def test_of_what_is_no_answer_nothing_is_told(client: str, provider: str) -> None:
    error = b'{"error": {"message": "busy"}}'
    assert told(through(attempt(client, provider), error, status=503)) is None
    assert told(through(attempt(client, provider), b"<html>")) is None
    cut = streamed(provider, SAID)[:-30]
    kind = client_dialect(provider).stream_type(StreamOptions())
    assert told(through(attempt(client, provider, stream=True), cut, kind)) is None


def test_trailers_bring_what_is_told_too() -> None:
    for client in ("openai_chat", "anthropic_messages"):
        stage = attempt(client, "openai_chat", stream=True)
        head = {":status": "200", "content-type": "text/event-stream"}
        actions = stage.on_headers(head, end_of_stream=False)
        actions += stage.on_body(streamed("openai_chat", SAID), end_of_stream=False)
        actions += stage.on_trailers()
        found = told(actions)
        assert found is not None
        assert found.characters == len(SAID)
        assert not any(action.end_of_stream for action in actions if isinstance(action, Chunk))


def test_an_encoding_that_cannot_be_undone_is_the_clients_where_it_would_be_without() -> None:
    head = {":status": "200", "content-type": "application/json", "content-encoding": "br"}
    own = attempt("openai_chat", "openai_chat")
    actions = own.on_headers(head, end_of_stream=False)
    actions += own.on_body(b"\x8b\x00", end_of_stream=True)
    assert actions == [Mutate(), Chunk(body=b"\x8b\x00", end_of_stream=True)]
    for stream in (False, True):
        kind = client_dialect("anthropic_messages").stream_type(StreamOptions())
        told_so = head | ({"content-type": kind} if stream else {})
        other = attempt("openai_chat", "anthropic_messages", nonce="", stream=stream)
        assert other.on_headers(told_so, end_of_stream=False) == []
        refused, body = other.on_body(b"\x8b\x00", end_of_stream=True)
        assert isinstance(refused, Mutate)
        assert refused.set_headers[":status"] == "502"
        assert isinstance(body, Chunk)
        assert b"content encoding" in body.body


def test_a_sketch_is_its_pairs_alone() -> None:
    body = whole("openai_chat", Text(content=SAID))
    one, other = (
        told(through(attempt("openai_chat", "openai_chat", nonce=nonce), body)) for nonce in "ab"
    )
    assert one is not None
    assert other is not None
    assert likeness(one.sketch, one.sketch) == 1
    found = likeness(one.sketch, other.sketch)
    assert found is not None
    assert found < 0.2


def test_a_stream_without_end_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dragoman.exchange.compared._MOST_BYTES", 50)
    stage = attempt("openai_chat", "anthropic_messages", stream=True)
    actions = stream(stage, "anthropic_messages", 20)
    assert told(actions) is None
    assert SAID.split()[0].encode() in sent(actions)
