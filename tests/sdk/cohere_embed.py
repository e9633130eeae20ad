"""Embeddings as the `cohere` package reads them."""

from __future__ import annotations

import functools

import cohere
from cohere.core.api_error import ApiError

from tests.sdk import Said, Wire, vectors
from tests.sdk.server import PlainServer

_SERVER = PlainServer()


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
    answer = _client().embed(
        model="m", input_type="search_query", texts=["x"], request_options={"max_retries": 0}
    )
    meta = answer.meta
    units = meta.billed_units if meta else None
    images = (units and units.image_tokens) or 0
    found = next((one for _, one in answer.embeddings if one), None)
    return Said(
        vectors=vectors(found or ()),
        input_tokens=int(((units and units.input_tokens) or 0) + images),
    )
