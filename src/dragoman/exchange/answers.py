"""What the service answers by itself: refusals, and what a request can be refused for at sight."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import Any

import msgspec

from dragoman.actions import Respond
from dragoman.dialects import AnyDialect, BodyKind, Call
from dragoman.errors import (
    DragomanError,
    InvalidToken,
    MethodNotAllowed,
    QuotaExceeded,
    Unauthenticated,
    UnsupportedMediaType,
)
from dragoman.exchange.bodies import CONTENT_TYPES
from dragoman.exchange.heads import RequestHead
from dragoman.ir import Json


def refuse(error: DragomanError, dialect: AnyDialect) -> Respond:
    """The error in the client's dialect, marked as ours in Envoy's response code details."""
    answer = dialect.encode_error(error)
    headers = answer.headers
    if isinstance(error, QuotaExceeded):
        headers = {**headers, "retry-after": str(ceil(error.retry_after_seconds))}
    elif isinstance(error, Unauthenticated):  # RFC 6750
        problem = ' error="invalid_token"' if isinstance(error, InvalidToken) else ""
        headers = {**headers, "www-authenticate": f"Bearer{problem}"}
    return msgspec.structs.replace(answer, headers=headers, details=f"dragoman_{error.code}")


def answer(body: Json | list[Any], details: str, headers: Mapping[str, str] = {}) -> Respond:
    """Status 200 with `body` as JSON; `details` are Envoy's response code details."""
    return Respond(
        status=200,
        headers={"content-type": "application/json", **headers},
        body=msgspec.json.encode(body),
        details=details,
    )


def check_method(head: RequestHead, call: Call) -> None:
    """Raises `MethodNotAllowed` where `call` is not made by the request's method."""
    allowed = ("GET", "HEAD") if call.method == "GET" else (call.method,)
    if call.method and head.method not in allowed:
        path = head.path.partition("?")[0]
        raise MethodNotAllowed(
            f"{path} takes {call.method}, not {head.method}.", allow=", ".join(allowed)
        )


def check_type(head: RequestHead, kind: BodyKind) -> None:
    """Raises `UnsupportedMediaType` where the body is not said to be of `kind`, uncompressed."""
    wanted = CONTENT_TYPES[kind]
    given = head.headers.get("content-type", wanted).partition(";")[0].strip().lower()
    if given != wanted:
        raise UnsupportedMediaType(f"The body must be {wanted}, not {given}.")
    encoding = head.headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        raise UnsupportedMediaType(f"The body must not be compressed, and it is {encoding}.")
