"""Errors of the dialect: google.rpc.Status, read from a provider and written to a client."""

from __future__ import annotations

from typing import Any

from dragoman.actions import Respond
from dragoman.dialects.error_words import error_answer, read_json, words_in, words_of
from dragoman.dialects.gemini_generate.names import json_object
from dragoman.errors import DragomanError, UpstreamError
from dragoman.ir import Json
from dragoman.wire.fields import as_list

_WORDS: dict[int, str] = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    413: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_STATUSES = {word: status for status, word in reversed(_WORDS.items())}
_TYPES = "type.googleapis.com/google.rpc."


def decode_error(status: int, body: bytes) -> UpstreamError:
    """What a provider said went wrong; never fails, whatever the body is."""
    found = read_json(body)
    whole = json_object(next(iter(as_list(found)), found))
    detail = json_object(whole.get("error"))
    return _read_error(status, {**detail, "message": words_of(status, body)})


def stream_error(found: Any) -> UpstreamError:
    """An error inside a stream or a body of status 200, whose own code tells the status."""
    detail = json_object(found) or {"message": words_in(found)}
    code = detail.get("code")
    known = _STATUSES.get(str(detail.get("status")), 502)
    status = code if isinstance(code, int) and 400 <= code < 600 else known  # noqa: PLR2004
    return _read_error(status, detail)


def _read_error(status: int, detail: Json) -> UpstreamError:
    word = detail.get("status")
    message = words_in(detail) or f"The provider answered {status}."
    kind = word if isinstance(word, str) else None
    reason, delay = None, None
    for more in as_list(detail.get("details")):
        reason = json_object(more).get("reason") or reason
        delay = json_object(more).get("retryDelay") or delay
    if delay is not None and "retry" not in message.lower():
        message = f"{message} Retry in {delay}."
    return UpstreamError(message, status=status, kind=kind, code=str(reason) if reason else None)


def error_body(error: DragomanError) -> Json:
    """The error as this dialect's clients read it."""
    word = _WORDS.get(error.status, "INTERNAL" if error.status >= 500 else "INVALID_ARGUMENT")  # noqa: PLR2004
    if isinstance(error, UpstreamError) and error.kind in _STATUSES:
        word = error.kind
    wire: Json = {"code": error.status, "message": error.message, "status": word}
    if details := _details(error):
        wire["details"] = [details]
    return {"error": wire}


def _details(error: DragomanError) -> Json | None:
    """Where the request is wrong, or the reason in one word."""
    if error.path is not None:
        field = error.path.removeprefix("$").removeprefix(".")
        violation = {"field": field, "description": error.message}
        return {"@type": f"{_TYPES}BadRequest", "fieldViolations": [violation]}
    reason = error.upstream_code if isinstance(error, UpstreamError) else error.code
    if reason is None:
        return None
    return {"@type": f"{_TYPES}ErrorInfo", "reason": reason.upper(), "domain": "dragoman"}


def encode_error(error: DragomanError) -> Respond:
    """The answer to a request that failed before its first byte."""
    return error_answer(error, error_body(error))
