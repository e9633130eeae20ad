"""A count of tokens as the `anthropic` package reads it."""

from __future__ import annotations

import functools
from typing import Any

import anthropic

from tests.sdk import Said, Wire
from tests.sdk.server import Server

_SERVER = Server()
_ANY_MESSAGE: Any = [{"role": "user", "content": "x"}]


@functools.cache
def _client() -> anthropic.Anthropic:
    return anthropic.Anthropic(
        api_key="k", base_url="http://gateway", http_client=_SERVER.http, max_retries=0
    )


def read(wire: Wire) -> Said:
    _SERVER.wire = wire
    answer = _client().messages.count_tokens(model="m", messages=_ANY_MESSAGE)
    return Said(input_tokens=answer.input_tokens)


def read_error(wire: Wire) -> tuple[int, str]:
    try:
        read(wire)
    except anthropic.APIStatusError as error:
        body: Any = error.body
        return error.status_code, body["error"]["message"]
    raise AssertionError("no error")
