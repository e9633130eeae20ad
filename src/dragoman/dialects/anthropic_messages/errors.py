"""Errors of the dialect, read from a provider and written to a client."""

from __future__ import annotations

from typing import Any, cast

from dragoman.actions import Respond
from dragoman.dialects.error_words import error_answer, read_json, words_in, words_of
from dragoman.errors import DragomanError, UpstreamError, WorkerOverloaded
from dragoman.ir import Json

_KINDS: dict[int, str] = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    413: "request_too_large",
    415: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_STATUSES = {kind: status for status, kind in reversed(_KINDS.items())} | {"api_error": 500}


def decode_error(status: int, body: bytes) -> UpstreamError:
    """What a provider said went wrong; never fails, whatever the body is."""
    message = words_of(status, body)
    match read_json(body):
        case {"error": {"type": str(kind)}} | {"type": str(kind), "message": _}:
            return UpstreamError(message, status=status, kind=kind)
        case _:
            return UpstreamError(message, status=status)


def stream_error(detail: Any) -> UpstreamError:
    """An `error` event in a stream, with the status it would have had before the first byte."""
    fields = cast("Json", detail) if isinstance(detail, dict) else {}
    kind = str(fields.get("type") or "api_error")
    message = words_in(detail) or "The provider broke off."
    return UpstreamError(message, status=_STATUSES.get(kind, 500), kind=kind)


def encode_error(error: DragomanError) -> Respond:
    """The answer to a request that failed before its first byte."""
    return error_answer(error, error_body(error))


def error_body(error: DragomanError) -> Json:
    """The error as this dialect's clients read it."""
    kind = _KINDS.get(error.status, "api_error" if error.status >= 500 else "invalid_request_error")  # noqa: PLR2004
    if isinstance(error, UpstreamError) and error.kind in _STATUSES:
        kind = error.kind
    elif isinstance(error, WorkerOverloaded):
        kind = _KINDS[529]
    return {"type": "error", "error": {"type": kind, "message": error.message}}
