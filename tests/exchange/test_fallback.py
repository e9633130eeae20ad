"""One attempt of several: whether its answer is the client's, or the next target is asked."""

from __future__ import annotations

import json
from itertools import product
from typing import Any

import msgspec
import pytest

from dragoman.actions import Chunk, Mutate
from dragoman.dialects.registry import CHAT_NAMES, client_dialect
from dragoman.exchange.heads import AttemptHead
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
