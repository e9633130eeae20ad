"""Embeddings as the `openai` package reads them."""

from __future__ import annotations

import functools

import openai

from tests.sdk import Said, Wire, vectors
from tests.sdk.server import Server

_SERVER = Server()


def read_error(wire: Wire) -> tuple[int, str]:
    try:
        read(wire)
    except openai.APIStatusError as error:
        return error.status_code, error.message
    raise AssertionError("no error")


@functools.cache
def _client() -> openai.OpenAI:
    return openai.OpenAI(
        api_key="k", base_url="http://gateway/v1", http_client=_SERVER.http, max_retries=0
    )


def read(wire: Wire) -> Said:
    """Its default asks for base64 and reads whatever comes."""
    _SERVER.wire = wire
    answer = _client().embeddings.create(model="m", input="x")
    assert [item.index for item in answer.data] == list(range(len(answer.data)))
    usage = answer.usage
    count = usage and (getattr(usage, "prompt_tokens", None) or usage.total_tokens)
    return Said(vectors=vectors(item.embedding for item in answer.data), input_tokens=count or 0)
