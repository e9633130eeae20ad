"""A count of tokens as `google-genai` reads it."""

from __future__ import annotations

import functools

from google import genai
from google.genai import errors, types

from tests.sdk import Said, Wire
from tests.sdk.server import Server

_SERVER = Server()


@functools.cache
def _client() -> genai.Client:
    options = types.HttpOptions(base_url="http://gateway", httpx_client=_SERVER.http)
    return genai.Client(api_key="k", http_options=options)


def read(wire: Wire) -> Said:
    _SERVER.wire = wire
    answer = _client().models.count_tokens(model="m", contents="x")
    return Said(input_tokens=answer.total_tokens or 0)


def read_error(wire: Wire) -> tuple[int, str]:
    try:
        read(wire)
    except errors.APIError as error:
        return error.code, error.message or ""
    raise AssertionError("no error")
