"""Errors in this dialect, and in what providers of it answer instead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import msgspec

from dragoman.actions import Respond
from dragoman.dialects.error_words import error_answer, read_json, words_in, words_of
from dragoman.errors import DragomanError, UpstreamError
from dragoman.ir import Json
from dragoman.wire.sse import encode_sse

_KINDS: Mapping[int, str] = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
_SERVER = 500
_BAD_GATEWAY = 502
_UNSAID = "The provider broke off without a message."
_STATUSES = {
    "authentication_error": 401,
    "permission_error": 403,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "invalid_request_error": 400,
    "overloaded_error": 529,
}
"""What an error inside a stream, which has no status of its own, would have been."""


def encode_error(error: DragomanError) -> Respond:
    """The answer to a request that failed before its first byte."""
    return error_answer(error, {"error": _fields(error)})


def encode_stream_error(error: DragomanError) -> bytes:
    """The frame that ends a stream which had begun."""
    return encode_sse(msgspec.json.encode({"error": _fields(error)}))


def _fields(error: DragomanError) -> Json:
    kind = "server_error" if error.status >= _SERVER else "invalid_request_error"
    kind = _KINDS.get(error.status, kind)
    param = error.path.removeprefix("$.") if error.path else None
    code: str | None = error.code
    if isinstance(error, UpstreamError):
        kind, param = error.kind or kind, error.param
        code = error.upstream_code or error.code
    return {"message": error.message, "type": kind, "param": param, "code": code}


def decode_error(status: int, body: bytes) -> UpstreamError:
    """What a provider, or a proxy before it, said. Never fails."""
    value = read_json(body)
    message = words_of(status, body)
    match value:
        case [first, *_]:  # Gemini
            return _read(status, first, message)
        case _:
            return _read(status, value, message)


def stream_error(value: Any) -> UpstreamError:
    """An error inside a stream or a body of status 200: its status is what `value` suggests."""
    status = _BAD_GATEWAY
    if isinstance(value, dict):
        fields = cast("Json", value)
        code, kind = str(fields.get("code")), fields.get("type")
        status = _STATUSES.get(str(kind), _STATUSES.get(code, status))
        number = int(code) if code.isdecimal() else 0
        status = number if 400 <= number < 600 else status  # noqa: PLR2004 - the range of errors
    return _read(status, {"error": value}, words_in(value) or _UNSAID)


def _read(status: int, value: Any, message: str) -> UpstreamError:
    """OpenAI's `{"error": {…}}`, or the same fields without one around them."""
    outer = cast("Json", value) if isinstance(value, dict) else {}
    error = outer.get("error")
    fields = cast("Json", error) if isinstance(error, dict) else outer
    return UpstreamError(
        message,
        status=status,
        kind=_text(fields.get("type")) or None,
        code=_text(fields.get("code")) or None,
        param=_text(fields.get("param")) or None,
    )


def _text(value: Any) -> str:
    """A string as it is, a number in digits."""
    return words_in(value) if isinstance(value, str | int) else ""
