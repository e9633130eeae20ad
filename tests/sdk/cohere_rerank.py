"""Rerank as the `cohere` package reads it."""

from __future__ import annotations

import functools

import cohere
from cohere.core.api_error import ApiError

from tests.sdk import Said, Wire
from tests.sdk.server import PlainServer

_SERVER = PlainServer()
UNSAID = ("input_tokens",)


def read_error(wire: Wire) -> tuple[int, str]:
    try:
        read(wire)
    except ApiError as error:
        return error.status_code or 0, error.body["message"]
    raise AssertionError("no error")


@functools.cache
def _client() -> cohere.ClientV2:
    return cohere.ClientV2(api_key="k", base_url="http://gateway", httpx_client=_SERVER.http)


def read(wire: Wire) -> Said:
    _SERVER.wire = wire
    answer = _client().rerank(
        model="m", query="x", documents=["x"], request_options={"max_retries": 0}
    )
    return Said(ranking=tuple((one.index, one.relevance_score) for one in answer.results))
