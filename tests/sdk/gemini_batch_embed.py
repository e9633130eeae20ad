"""Embeddings as the `google-genai` package reads them."""

from __future__ import annotations

import functools

from google import genai
from google.genai import errors, types

from tests.sdk import Said, Wire, vectors
from tests.sdk.server import Server

_SERVER = Server()


def read_error(wire: Wire) -> tuple[int, str]:
    try:
        read(wire)
    except errors.APIError as error:
        return error.code, error.message or ""
    raise AssertionError("no error")


@functools.cache
def _client() -> genai.Client:
    options = types.HttpOptions(base_url="http://gateway", httpx_client=_SERVER.http)
    return genai.Client(api_key="k", http_options=options)


def read(wire: Wire) -> Said:
    _SERVER.wire = wire
    answer = _client().models.embed_content(model="m", contents="x")
    usage = answer.usage_metadata
    return Said(
        vectors=vectors(one.values or [] for one in answer.embeddings or ()),
        input_tokens=(usage and usage.prompt_token_count) or 0,
    )
