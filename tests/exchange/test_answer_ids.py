"""An answer whose provider gives it no id has one for its client, in the client's own shape."""

from __future__ import annotations

import base64
import json
import re
from itertools import product
from typing import Any

import msgspec
import pytest

from dragoman.actions import Chunk, Mutate
from dragoman.config.load import parse
from dragoman.dialects import COUNT
from dragoman.dialects.anthropic_messages.names import INVOKE
from dragoman.dialects.registry import client_dialect
from dragoman.exchange.heads import AttemptHead
from dragoman.exchange.translate import Translate
from dragoman.ir import Message, Request, Text, Usage
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
from tests.exchange.test_stream_errors import CLIENTS, POLICY
from tests.properties.cases import ALL_USAGE

REQUEST_ID = "d38e6c16-0efb-4c97-9b11-d924fd4f4571"
HEX = REQUEST_ID.replace("-", "")
NAMELESS = ("bedrock_converse", "ollama_chat", "tgi_generate")
"""Providers whose answers have no id."""
IDS = {
    "openai_chat": f"chatcmpl-{HEX}",
    "openai_completions": f"cmpl-{HEX}",
    "openai_responses": f"resp_{HEX}",
    "anthropic_messages": f"msg_{HEX}",
    "gemini_generate": REQUEST_ID,
    "cohere_chat": REQUEST_ID,
}
IN_FRAMES = {
    "openai_chat": rb'"id":"(chatcmpl[^"]*)"',
    "openai_completions": rb'"id":"([^"]*)"',
    "openai_responses": rb'"id":"(resp[^"]*)"',
    "anthropic_messages": rb'"message":\{"id":"([^"]*)"',
    "gemini_generate": rb'"responseId":"([^"]*)"',
    "cohere_chat": rb'"id":"([^"]*)"',
}
"""What stands in a stream for the answer's id."""
FIELDS = {"gemini_generate": "responseId"}
ANSWER: list[Event] = [
    Start(id="", model="m"),
    PartStart(kind="text"),
    Delta(content="hé"),
    Delta(content=" there"),
    PartEnd(),
    ChoiceEnd(reason="stop"),
    UsageUpdate(usage=Usage(input_tokens=3, output_tokens=2)),
    Finish(),
]
PAIRS = [pair for pair in product(CLIENTS, NAMELESS) if pair[0][0] in IDS]


def _ask(client: str, framing: str, provider: str, wire: bytes, kind: str, **facts: str) -> bytes:
    """What the client gets of the provider's answer `wire`."""
    said = Message(role="user", parts=(Text(content="hi"),))
    asked = Request(model="m", messages=(said,), max_tokens=9, stream=facts.get("stream") == "1")
    metadata = {"client_dialect": client, "model": "m", "framing": framing, **facts}
    head = AttemptHead(cluster=provider, metadata=metadata, request_id=REQUEST_ID)
    stage = Translate(POLICY, head)
    body = client_dialect(client).encode_request(asked, Losses(client))
    assert isinstance(stage.on_request(msgspec.json.encode(body)), Mutate)
    told = stage.on_headers({":status": "200", "content-type": kind}, end_of_stream=False)
    told += stage.on_body(wire, end_of_stream=True)
    return b"".join(action.body for action in told if isinstance(action, Chunk))


@pytest.mark.parametrize(("client", "provider"), PAIRS)
def test_a_whole_answer(client: tuple[str, str], provider: str) -> None:
    name, framing = client
    body = client_dialect(provider).encode_response(fold(ANSWER), Losses(provider))
    wire = msgspec.json.encode(body)
    answer = json.loads(_ask(name, framing, provider, wire, "application/json"))

    assert answer[FIELDS.get(name, "id")] == IDS[name]


@pytest.mark.parametrize(("client", "provider"), PAIRS)
def test_a_stream_has_the_same_in_all_its_frames(client: tuple[str, str], provider: str) -> None:
    name, framing = client
    speaker = client_dialect(provider)
    encoder = speaker.stream_encoder(ALL_USAGE)
    wire = b"".join(map(encoder.feed, ANSWER)) + encoder.close()
    told = _ask(name, framing, provider, wire, speaker.stream_type(ALL_USAGE), stream="1")
    if framing == INVOKE:
        told = b"".join(map(base64.b64decode, re.findall(rb'"bytes":"([^"]*)"', told)))
    found = re.findall(IN_FRAMES[name], told)

    assert {ident.decode() for ident in found} == {IDS[name]}
    assert len(found) > 1 or name in ("anthropic_messages", "cohere_chat")


def test_an_id_that_the_provider_gave_stays() -> None:
    body = client_dialect("openai_chat").encode_response(
        msgspec.structs.replace(fold(ANSWER), id="chatcmpl-their-own"), Losses("openai_chat")
    )
    wire = msgspec.json.encode(body)
    answer = json.loads(_ask("anthropic_messages", "", "openai_chat", wire, "application/json"))

    assert answer["id"] == "chatcmpl-their-own"


OTHERS = parse(
    json.dumps(
        {
            "callers": {"demo": {"keys": ["0" * 64]}},
            "providers": {
                "bedrock": {"kind": "bedrock", "params": {"region": "eu-west-1"}},
                "agent": {"kind": "bedrock-agent", "params": {"region": "eu-west-1"}},
                "gemini": {"kind": "gemini"},
            },
            "models": {"m": {"targets": [{"provider": "bedrock", "model": "m"}]}},
        }
    ),
    "test.yaml",
    {"GEMINI_API_KEY": "1", "AWS_ACCESS_KEY_ID": "2", "AWS_SECRET_ACCESS_KEY": "3"},
)


@pytest.mark.parametrize(
    ("client", "asked", "provider", "model", "answer", "ident"),
    [
        (
            "openai_embeddings",
            {"input": "a"},
            "bedrock",
            "amazon.titan-embed-text-v2:0",
            {"embedding": [0.5], "embeddingsByType": {"float": [0.5]}, "inputTextTokenCount": 1},
            f"embd-{HEX}",
        ),
        (
            "cohere_embed",
            {"texts": ["a"], "input_type": "search_query", "embedding_types": ["float"]},
            "bedrock",
            "amazon.titan-embed-text-v2:0",
            {"embedding": [0.5], "embeddingsByType": {"float": [0.5]}, "inputTextTokenCount": 1},
            REQUEST_ID,
        ),
        (
            "jina_rerank",
            {"query": "a", "documents": ["b"]},
            "agent",
            "cohere.rerank-v3-5:0",
            {"results": [{"index": 0, "relevanceScore": 0.5}]},
            f"rerank-{HEX}",
        ),
        (
            "cohere_rerank",
            {"query": "a", "documents": ["b"]},
            "agent",
            "cohere.rerank-v3-5:0",
            {"results": [{"index": 0, "relevanceScore": 0.5}]},
            REQUEST_ID,
        ),
        (
            "openai_input_tokens",
            {"input": "a"},
            "gemini",
            "gemini-2.5-pro",
            {"totalTokens": 3},
            None,
        ),
    ],
)
def test_other_operations(
    client: str,
    asked: dict[str, Any],
    provider: str,
    model: str,
    answer: dict[str, Any],
    ident: str | None,
) -> None:
    metadata = {"client_dialect": client, "model": model}
    stage = Translate(
        OTHERS, AttemptHead(cluster=provider, metadata=metadata, request_id=REQUEST_ID)
    )
    action = stage.on_request(json.dumps({"model": "m", **asked}).encode())
    assert isinstance(action, Mutate), action
    stage.on_headers({":status": "200", "content-type": "application/json"}, end_of_stream=False)
    *_, chunk = stage.on_body(json.dumps(answer).encode(), end_of_stream=True)
    assert isinstance(chunk, Chunk)
    told = json.loads(chunk.body)

    assert told.get("id") == ident, told
    assert (client_dialect(client).operation == COUNT) == (ident is None)
