"""Errors inside a stream; those before its first byte are Chat Completions' own."""

from __future__ import annotations

from typing import Any

from dragoman.dialects.openai_chat import errors
from dragoman.dialects.openai_responses.names import json_object
from dragoman.errors import DragomanError, UpstreamError
from dragoman.ir import Json

decode_error = errors.decode_error
encode_error = errors.encode_error


def stream_error(value: Any) -> UpstreamError:
    """An event `error`, or the `error` of a response that failed."""
    fields = json_object(value)
    return errors.stream_error(fields.get("error") or fields or value)


def error_event(error: DragomanError, number: int) -> Json:
    """The event that ends a stream which had begun."""
    code = error.code
    if isinstance(error, UpstreamError):
        code = error.upstream_code or error.kind or error.code
    param = error.path.removeprefix("$.") if error.path else None
    return {
        "type": "error",
        "code": code,
        "message": error.message,
        "param": param,
        "sequence_number": number,
    }
