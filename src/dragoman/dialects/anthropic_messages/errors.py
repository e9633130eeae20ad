"""Errors of the dialect, read from a provider and written to a client."""

from __future__ import annotations

from typing import Any

import msgspec

from dragoman.dialects.anthropic_messages.names import json_object
from dragoman.errors import DragomanError, UpstreamError
from dragoman.ir import Json
from dragoman.wire.fields import as_list

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
_MAX_QUOTED = 300


def decode_error(status: int, body: bytes) -> UpstreamError:
    """What a provider said went wrong, AWS and Google included; never fails, whatever it is."""
    try:
        found: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        found = None
    whole = json_object(next(iter(as_list(found)), found))
    error = whole.get("error")
    detail = json_object(error) if isinstance(error, dict) else whole
    message = detail.get("message") or detail.get("Message")
    if not isinstance(message, str):
        words = body[:_MAX_QUOTED].decode("utf-8", "replace").strip()
        message = "" if detail is not whole else words
    kind = detail.get("type")
    return UpstreamError(
        message or f"The provider answered {status}.",
        status=status,
        kind=kind if isinstance(kind, str) else None,
    )


def stream_error(detail: Json) -> UpstreamError:
    """An `error` event in a stream, with the status it would have had before the first byte."""
    kind = str(detail.get("type") or "api_error")
    message = str(detail.get("message") or "The provider broke off.")
    return UpstreamError(message, status=_STATUSES.get(kind, 500), kind=kind)


def error_body(error: DragomanError) -> Json:
    """The error as this dialect's clients read it."""
    kind = _KINDS.get(error.status, "api_error" if error.status >= 500 else "invalid_request_error")  # noqa: PLR2004
    if isinstance(error, UpstreamError) and error.kind in _STATUSES:
        kind = error.kind
    return {"type": "error", "error": {"type": kind, "message": error.message}}
