"""Embeddings as the `ollama` package reads them."""

from __future__ import annotations

import functools

import ollama

from tests.sdk import Said, Wire, vectors
from tests.sdk.server import PlainServer

_SERVER = PlainServer()


def read_error(wire: Wire) -> tuple[int, str]:
    try:
        read(wire)
    except ollama.ResponseError as error:
        return error.status_code, error.error
    raise AssertionError("no error")


@functools.cache
def _client() -> ollama.Client:
    return ollama.Client(host="http://gateway", transport=_SERVER.transport)


def read(wire: Wire) -> Said:
    _SERVER.wire = wire
    answer = _client().embed(model="m", input="x")
    return Said(
        vectors=vectors(list(one) for one in answer.embeddings),
        input_tokens=answer.prompt_eval_count or 0,
    )
