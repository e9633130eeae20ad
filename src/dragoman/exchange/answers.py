"""What the service answers by itself: refusals, and what a request can be refused for at sight."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import Any

import msgspec

from dragoman import metadata as names
from dragoman.actions import Action, Chunk, Metadata, Mutate, Respond
from dragoman.config.policy import Caller
from dragoman.dialects import AnyDialect, BodyKind, Call
from dragoman.errors import (
    CalloutFailed,
    ContentBlocked,
    DragomanError,
    GuardrailHit,
    InvalidToken,
    MethodNotAllowed,
    QuotaExceeded,
    Unauthenticated,
    UnsupportedMediaType,
    WorkerOverloaded,
)
from dragoman.exchange.bodies import CONTENT_TYPES
from dragoman.exchange.heads import RequestHead
from dragoman.ir import Json
from dragoman.policies.route.fallback import AnswerRefused

_MOST_REASON = 300
"""Letters of a reason: some are what the client made them."""


def refuse(error: DragomanError, dialect: AnyDialect) -> Respond:
    """The error in the client's dialect, marked as ours in Envoy's response code details."""
    answer = dialect.encode_error(error)
    headers = answer.headers
    if isinstance(error, QuotaExceeded | WorkerOverloaded):
        headers = {**headers, "retry-after": str(ceil(error.retry_after_seconds))}
    elif isinstance(error, Unauthenticated):  # RFC 6750
        problem = ' error="invalid_token"' if isinstance(error, InvalidToken) else ""
        headers = {**headers, "www-authenticate": f"Bearer{problem}"}
    elif isinstance(error, AnswerRefused):
        headers = {**headers, names.FALLBACK_HEADER: error.reason}
    return msgspec.structs.replace(answer, headers=headers, details=f"dragoman_{error.code}")


def replace_answer(
    error: DragomanError, dialect: AnyDialect, told: Metadata, *, ends_stream: bool
) -> list[Action]:
    """`error` in the place of an answer of which nothing went out. `ends_stream` is False where
    trailers follow."""
    answer = refuse(error, dialect)
    headers = {**answer.headers, ":status": str(answer.status)}
    headers["content-length"] = str(len(answer.body))
    return [
        Mutate(set_headers=headers, remove_headers=("content-encoding",)),
        Chunk(body=answer.body, end_of_stream=ends_stream, metadata=told),
    ]


def deny(
    error: DragomanError, dialect: AnyDialect, caller: Caller | None, operation: str | None
) -> Respond:
    """`refuse`, and what the ledger is told where it is the policy that refuses: who asked for
    what, and why it was not let through."""
    answer = refuse(error, dialect)
    if not error.denies:
        return answer
    facts = {names.DENIED: _why(error), names.OPERATION: operation}
    facts[names.CALLER] = None if caller is None else caller.name
    spaces: dict[str, Mapping[str, object]] = {
        names.NAMESPACE: {name: value for name, value in facts.items() if value is not None}
    }
    if caller is not None and caller.stated:
        spaces[names.SUBJECT_NAMESPACE] = caller.stated
    if isinstance(error, ContentBlocked):
        spaces[names.REDACTION_NAMESPACE] = {error.entity: 1.0}
    elif isinstance(error, GuardrailHit | CalloutFailed):
        spaces[names.GUARDRAILS_NAMESPACE] = error.findings
    return msgspec.structs.replace(answer, metadata=spaces)


def tell_denied(error: DragomanError) -> Metadata:
    """What the ledger is told of an answer that the policy does not let through."""
    return {names.NAMESPACE: {names.DENIED_ANSWER: _why(error)}} if error.denies else {}


def _why(error: DragomanError) -> str:
    return error.message[:_MOST_REASON]


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
