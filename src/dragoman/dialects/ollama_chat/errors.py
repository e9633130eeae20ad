"""Errors of the dialect: one string, before the first byte or as a line of the stream."""

from __future__ import annotations

import msgspec

from dragoman.actions import Respond
from dragoman.dialects.error_words import words_in, words_of
from dragoman.errors import DragomanError, UpstreamError
from dragoman.wire.ndjson import encode_ndjson

_BAD_GATEWAY = 502


def decode_error(status: int, body: bytes) -> UpstreamError:
    """What a provider said went wrong; never fails, whatever the body is."""
    return UpstreamError(words_of(status, body), status=status)


def stream_error(value: object) -> UpstreamError:
    """An error sent with status 200: in a stream, or as the whole answer."""
    return UpstreamError(words_in(value) or "The provider failed.", status=_BAD_GATEWAY)


def encode_error(error: DragomanError) -> Respond:
    """The answer to a request that failed before its first byte."""
    headers = {"content-type": "application/json"}
    if allow := getattr(error, "allow", None):
        headers["allow"] = allow
    return Respond(status=error.status, headers=headers, body=_body(error))


def error_line(error: DragomanError) -> bytes:
    """The line that ends a stream which had begun."""
    return encode_ndjson(_body(error))


def _body(error: DragomanError) -> bytes:
    return msgspec.json.encode({"error": error.message})
