"""Errors of the dialect: one string, before the first byte or as a line of the stream."""

from __future__ import annotations

from dragoman.dialects.error_words import words_in
from dragoman.dialects.plain_errors import PlainErrors
from dragoman.errors import DragomanError, UpstreamError
from dragoman.wire.ndjson import encode_ndjson

_PLAIN = PlainErrors("error")
_BAD_GATEWAY = 502

decode_error = _PLAIN.decode_error
encode_error = _PLAIN.encode_error


def stream_error(value: object) -> UpstreamError:
    """An error sent with status 200: in a stream, or as the whole answer."""
    return UpstreamError(words_in(value) or "The provider failed.", status=_BAD_GATEWAY)


def error_line(error: DragomanError) -> bytes:
    """The line that ends a stream which had begun."""
    return encode_ndjson(encode_error(error).body)
