"""An error that comes with the status of an answer is an error for the client all the same."""

from __future__ import annotations

import json
from itertools import product
from typing import Any

import pytest

from dragoman.actions import Chunk, Mutate
from dragoman.dialects.registry import CHAT_NAMES, client_dialect
from tests.exchange.test_stream_errors import WORDS, open_attempt, sse

FROM_A_CHOICE = {"index": 0, "finish_reason": "error", "error": {"code": 502, "message": WORDS}}
OPENROUTER = {"id": "x", "model": "m", "choices": [{**FROM_A_CHOICE, "message": {"content": ""}}]}
COMPLETION = {"id": "x", "model": "m", "choices": [{**FROM_A_CHOICE, "text": ""}]}
BODIES: dict[str, Any] = {
    "OpenAI": {"error": {"message": WORDS, "type": "server_error"}},
    "OpenAI, beside an answer": {"error": {"message": WORDS}, "choices": [{"index": 0}]},
    "plain": {"error": WORDS},
    "Anthropic": {"type": "error", "error": {"type": "overloaded_error", "message": WORDS}},
    "Google": {"error": {"code": 503, "message": WORDS, "status": "UNAVAILABLE"}},
    "Google, in a list": [{"error": {"code": 503, "message": WORDS, "status": "UNAVAILABLE"}}],
    "AWS": {"message": WORDS},
    "vLLM": {"object": "error", "message": WORDS, "type": "InternalServerError", "code": 500},
    "FastAPI": {"detail": WORDS},
}
OWN = {
    "openai_chat": {"OpenRouter": OPENROUTER},
    "openai_completions": {"OpenRouter": COMPLETION},
    "openai_responses": {"failed": {"status": "failed", "output": [], "error": {"message": WORDS}}},
}
CASES = {
    f"{client}<-{provider}: {name}": (client, provider, body)
    for client, provider in product(CHAT_NAMES, CHAT_NAMES)
    if client != provider
    for name, body in (BODIES | OWN.get(provider, {})).items()
}


@pytest.mark.parametrize(("client", "provider", "body"), CASES.values(), ids=CASES)
def test_a_body(client: str, provider: str, body: Any) -> None:
    stage = open_attempt(client_dialect(client), "", provider, stream=False)
    stage.on_headers({":status": "200", "content-type": "application/json"}, end_of_stream=False)
    head, chunk = stage.on_body(json.dumps(body).encode(), end_of_stream=True)
    assert isinstance(head, Mutate)
    assert isinstance(chunk, Chunk)
    assert int(head.set_headers[":status"]) >= 500
    assert WORDS in client_dialect(client).decode_error(500, chunk.body).message


def test_what_is_neither_answer_nor_error_shows_nothing_of_itself() -> None:
    stage = open_attempt(client_dialect("anthropic_messages"), "", "openai_chat", stream=False)
    stage.on_headers({":status": "200", "content-type": "application/json"}, end_of_stream=False)
    head, chunk = stage.on_body(b'{"text": "something private"}', end_of_stream=True)
    assert isinstance(head, Mutate)
    assert isinstance(chunk, Chunk)
    assert head.set_headers[":status"] == "502"
    assert b"private" not in chunk.body


@pytest.mark.parametrize(
    ("provider", "chunk"),
    [
        ("openai_chat", {**OPENROUTER, "choices": [{**FROM_A_CHOICE, "delta": {"content": ""}}]}),
        ("openai_completions", COMPLETION),
    ],
)
def test_a_choice_of_a_stream(provider: str, chunk: dict[str, Any]) -> None:
    stage = open_attempt(client_dialect("anthropic_messages"), "", provider)
    stage.on_headers({":status": "200", "content-type": "text/event-stream"}, end_of_stream=False)
    head, told = stage.on_body(sse(chunk), end_of_stream=False)
    assert isinstance(head, Mutate)
    assert isinstance(told, Chunk)
    assert head.set_headers[":status"] == "502"
    assert WORDS.encode() in told.body
