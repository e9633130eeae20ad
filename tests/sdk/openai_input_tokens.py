"""A count of tokens as the `openai` package reads it."""

from __future__ import annotations

import functools

import openai

from tests.sdk import Said, Wire
from tests.sdk.openai_chat import message_of
from tests.sdk.server import Server

_SERVER = Server()


@functools.cache
def _client() -> openai.OpenAI:
    return openai.OpenAI(
        api_key="k", base_url="http://gateway/v1", http_client=_SERVER.http, max_retries=0
    )


def read(wire: Wire) -> Said:
    _SERVER.wire = wire
    answer = _client().responses.input_tokens.count(model="m", input="x")
    assert answer.object == "response.input_tokens"
    return Said(input_tokens=answer.input_tokens)


def read_error(wire: Wire) -> tuple[int, str]:
    try:
        read(wire)
    except openai.APIStatusError as error:
        return error.status_code, message_of(error)
    raise AssertionError("no error")
