"""Errors of the dialect: a text, and a word for its kind."""

from __future__ import annotations

import msgspec

from dragoman.actions import Respond
from dragoman.dialects.error_words import error_answer, read_json, words_of
from dragoman.dialects.tgi_generate.names import json_object
from dragoman.errors import DragomanError, UpstreamError
from dragoman.ir import Json

_STATUSES = {
    "validation": 422,
    "generation": 424,
    "overloaded": 429,
    "incomplete_generation": 500,
}
_KINDS = {status: kind for kind, status in _STATUSES.items()}
_SERVER = 500


def decode_error(status: int, body: bytes) -> UpstreamError:
    """What a provider, or what stands before it, said; never fails, whatever the body is."""
    kind = json_object(read_json(body)).get("error_type")
    kind = kind if isinstance(kind, str) else None
    return UpstreamError(words_of(status, body), status=status, kind=kind)


def stream_error(event: Json) -> UpstreamError:
    """An error where an answer should be, with the status it would have had."""
    kind = event.get("error_type")
    status = _STATUSES.get(kind, 502) if isinstance(kind, str) else 502
    return decode_error(status, msgspec.json.encode(event))


def error_body(error: DragomanError) -> Json:
    """The error as this dialect's clients read it."""
    default = "generation" if error.status >= _SERVER else "validation"
    kind = _KINDS.get(error.status, default)
    if isinstance(error, UpstreamError) and error.kind in _STATUSES:
        kind = error.kind
    return {"error": error.message, "error_type": kind}


def encode_error(error: DragomanError) -> Respond:
    """The answer to a request that failed before its first byte."""
    return error_answer(error, error_body(error))
