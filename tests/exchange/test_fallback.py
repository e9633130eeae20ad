"""One attempt of several: whether its answer is the client's, or the next target is asked."""

from __future__ import annotations

import json
from itertools import product
from typing import Any

import msgspec
import pytest

from dragoman.actions import Chunk, Mutate
from dragoman.config.load import parse
from dragoman.dialects.registry import CHAT_NAMES, client_dialect
from dragoman.errors import ConfigError
from dragoman.exchange.decide import Decide
from dragoman.exchange.heads import AttemptHead, RequestHead
from dragoman.exchange.translate import Translate
from dragoman.ir import Choice, Message, Part, Refusal, Request, Response, Text, Usage
from dragoman.ir.losses import Losses
from tests.exchange.test_stream_errors import POLICY

PAIRS = list(product(CHAT_NAMES, CHAT_NAMES))
LIMITED = {"anthropic_messages"}
"""Dialects whose clients always say how long the answer may be."""


def attempt(client: str, provider: str, reasons: str, number: int = 1, **asked: Any) -> Translate:
    dialect = client_dialect(client)
    request = Request(model="m", messages=(Message(role="user", parts=(Text(content="hi"),)),))
    request = msgspec.structs.replace(request, **asked)
    facts = {
        "client_dialect": client,
        "model": "m",
        "targets": json.dumps([[provider, "m"], ["other", "m"]]),
        "fallback_on": reasons,
    }
    head = AttemptHead(cluster=provider, attempt=number, metadata=facts)
    stage = Translate(POLICY, head)
    body = dialect.encode_request(request, Losses(client))
    assert isinstance(stage.on_request(json.dumps(body).encode()), Mutate)
    return stage


def answered(stage: Translate, provider: str, part: Part, finish: Any = "stop") -> Chunk:
    choices = (Choice(parts=(part,), finish_reason=finish),)
    usage = Usage(input_tokens=3, output_tokens=4)
    response = Response(id="r", model="m", choices=choices, usage=usage, created=1)
    body = client_dialect(provider).encode_response(response, Losses(provider))
    stage.on_headers({":status": "200", "content-type": "application/json"}, end_of_stream=False)
    head, chunk = stage.on_body(json.dumps(body).encode(), end_of_stream=True)
    assert isinstance(head, Mutate)
    assert isinstance(chunk, Chunk)
    told = chunk.metadata.get("dragoman.fallback")
    assert (head.set_headers.get(":status") == "503") is (told is not None)
    return chunk


def reason_of(chunk: Chunk, provider: str) -> object:
    told = chunk.metadata.get("dragoman.fallback")
    if told is None:
        return None
    assert "dragoman.usage" not in chunk.metadata
    assert list(told) == [f"{provider}/m"]
    return told[f"{provider}/m"]


@pytest.mark.parametrize(("client", "provider"), PAIRS)
def test_an_answer_shorter_than_the_model_wants_is_not_used(client: str, provider: str) -> None:
    for text, reason in (("Yes.", "shorter_than"), ("Yes!!", None)):
        stage = attempt(client, provider, "empty,shorter_than:5", max_tokens=9)
        chunk = answered(stage, provider, Text(content=text))
        assert reason_of(chunk, provider) == reason
        assert (text.encode() in chunk.body) is (reason is None)


@pytest.mark.parametrize(("client", "provider"), PAIRS)
def test_an_answer_cut_where_nobody_asked_for_it_is_not_used(client: str, provider: str) -> None:
    for asked in ({}, {"max_tokens": 9}):
        stage = attempt(client, provider, "truncated", **asked)
        chunk = answered(stage, provider, Text(content="Once upon"), "length")
        limited = asked or client in LIMITED
        assert reason_of(chunk, provider) == (None if limited else "truncated")


@pytest.mark.parametrize("provider", ["openai_chat", "openai_responses"])
@pytest.mark.parametrize("client", CHAT_NAMES)
def test_a_refusal_in_the_providers_own_words_is_not_used(client: str, provider: str) -> None:
    said = Refusal(content="I cannot help with that.")
    stage = attempt(client, provider, "refusal", max_tokens=9)
    assert reason_of(answered(stage, provider, said), provider) == "refusal"
    last = attempt(client, provider, "refusal", 2, max_tokens=9)
    assert last.passes_response == (client == provider)
    if not last.passes_response:
        chunk = answered(last, provider, said)
        assert reason_of(chunk, provider) is None
        assert said.content.encode() in chunk.body


LATE, SOON = "until:1", f"until:{10**15}"


@pytest.mark.parametrize(("client", "provider"), PAIRS)
@pytest.mark.parametrize(
    ("limits", "number", "kept"),
    [(LATE, 1, "time"), (SOON, 1, None), ("attempts:1", 1, "cost"), ("attempts:2", 1, None)],
)
def test_beyond_its_limits_an_answer_is_the_clients_and_says_why(
    client: str, provider: str, limits: str, number: int, kept: str | None
) -> None:
    stage = attempt(client, provider, f"shorter_than:5,{limits}", number, max_tokens=9)
    headers = {":status": "200", "content-type": "application/json"}
    choices = (Choice(parts=(Text(content="Yes."),), finish_reason="stop"),)
    response = Response(
        id="r", model="m", choices=choices, usage=Usage(input_tokens=3, output_tokens=4), created=1
    )
    body = client_dialect(provider).encode_response(response, Losses(provider))
    stage.on_headers(headers, end_of_stream=False)
    head, chunk = stage.on_body(json.dumps(body).encode(), end_of_stream=True)
    assert isinstance(head, Mutate)
    assert isinstance(chunk, Chunk)
    told = chunk.metadata["dragoman.fallback"]
    if kept is None:
        assert head.set_headers[":status"] == "503"
        assert told == {f"{provider}/m": "shorter_than"}
    else:
        reason = f"shorter_than({kept})"
        assert head.set_headers["x-dragoman-kept"] == reason
        assert head.set_headers.get(":status", "200") == "200"
        assert told == {"kept": reason}
        assert b"Yes." in chunk.body


@pytest.mark.parametrize("provider", ["openai_chat", "anthropic_messages"])
def test_beyond_its_limits_an_error_and_what_is_no_answer_are_kept_too(provider: str) -> None:
    too_long = json.dumps({"error": {"message": "prompt is too long", "type": "x"}}).encode()
    for status, body, reason in (
        ("400", too_long, "context_length"),
        ("200", b"<html>", "invalid"),
    ):
        stage = attempt(provider, provider, f"context_length,invalid,{LATE}", max_tokens=9)
        stage.on_headers({":status": status}, end_of_stream=False)
        head, chunk = stage.on_body(body, end_of_stream=True)
        assert isinstance(head, Mutate)
        assert isinstance(chunk, Chunk)
        assert head.set_headers == {"x-dragoman-kept": f"{reason}(time)"}
        assert chunk.body == body


LIMITED_POLICY = """
callers:
  demo: {keys: [f6f53a67068fc28321efe05e4c062947ad3d72121c670e11a0bde6a52d363974]}
providers: {a: {kind: openai}, b: {kind: anthropic}, c: {kind: openai}}
profiles:
  - {provider: a, model: m, prices: {input: 0, output: 1}}
  - {provider: b, model: m, prices: {input: 0, output: 10}}
models:
  fast:
    fallback_on: [{shorter_than: 7}, refusal]
    fallback_limits: LIMITS
    targets: [{provider: a, model: m}, {provider: b, model: m}, {provider: c, model: m}]
"""
PROVIDER_KEYS = {"OPENAI_API_KEY": "1", "ANTHROPIC_API_KEY": "3"}


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        ("{within_ms: 1500}", "until:101500"),
        ("{usd: 0.00009}", "attempts:1"),  # 100 tokens: of `a` 0.0001 USD, of `b` 0.001
        ("{usd: 0.001}", "attempts:1"),
        ("{usd: 0.0011}", "attempts:2"),  # nobody knows what `c` costs
        ("{within_ms: 20, usd: 9}", "until:100020,attempts:2"),
    ],
)
def test_the_limits_are_those_of_each_request(limits: str, told: str) -> None:
    policy = parse(LIMITED_POLICY.replace("LIMITS", limits), "p.yaml", PROVIDER_KEYS)
    now = [90.0]
    decide = Decide(policy, clock=lambda: now[0])
    body = {"model": "fast", "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}]}
    said = {"content-type": "application/json", "authorization": "Bearer dragoman-demo"}
    head = RequestHead(method="POST", path="/v1/chat/completions", headers=said)
    for at in (90.0, 100.0):
        now[0] = at
        action = decide.on_request(head, json.dumps(body).encode())
    assert isinstance(action, Mutate)
    assert action.metadata["dragoman"]["fallback_on"] == f"refusal,shorter_than:7,{told}"


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        ("LIMITS", "{}", ""),
        ("LIMITS", "{usd: 0}", ".usd"),
        ("LIMITS", "{within_ms: 0}", ".within_ms"),
        ("fallback_on: [{shorter_than: 7}, refusal]", "clamp: true", ""),
    ],
)
def test_limits_that_limit_nothing_are_refused(old: str, new: str, path: str) -> None:
    text = LIMITED_POLICY.replace(old, new).replace("LIMITS", "{usd: 1}")
    with pytest.raises(ConfigError) as refusal:
        parse(text, "p.yaml", PROVIDER_KEYS)
    of = refusal.value.path.replace("[...]", ".fast")
    assert of == f"$.models.fast.fallback_limits{path}"
