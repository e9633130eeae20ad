"""Entries of the ledger, read back from its lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Annotated, BinaryIO

import msgspec

from dragoman.telemetry import names
from dragoman.telemetry.answers import Answer
from dragoman.telemetry.attempts import FailedAttempt
from dragoman.telemetry.ledger import FEEDBACK, Metering, Tokens
from dragoman.telemetry.ledger_lines import read_lines

Count = Annotated[int, msgspec.Meta(ge=0)]
Score = Annotated[float, msgspec.Meta(ge=0, le=1)]
Amount = Annotated[float, msgspec.Meta(ge=0)]


class Recorded(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    rename={
        **names.TAGS,
        "request_id": names.REQUEST_ID,
        "operation": names.OPERATION_NAME,
        "model": names.REQUEST_MODEL,
        "provider": names.PROVIDER_NAME,
        "upstream_model": names.UPSTREAM_MODEL,
        "client_dialect": names.CLIENT_DIALECT,
        "upstream_dialect": names.UPSTREAM_DIALECT,
        "stream": names.STREAM,
        "attempts": names.ATTEMPTS,
        "failed_attempts": names.FAILED_ATTEMPTS,
        "last_attempt_ms": names.LAST_ATTEMPT_MS,
        "status": names.RESPONSE_STATUS_CODE,
        "details": names.RESPONSE_DETAILS,
        "flags": names.RESPONSE_FLAGS,
        "duration_ms": names.DURATION_MS,
        "first_byte_ms": names.TIME_TO_FIRST_BYTE_MS,
        "input_tokens": names.INPUT_TOKENS,
        "output_tokens": names.OUTPUT_TOKENS,
        "cache_read": names.CACHE_READ_INPUT_TOKENS,
        "cache_creation": names.CACHE_CREATION_INPUT_TOKENS,
        "reasoning": names.REASONING_OUTPUT_TOKENS,
        "input_audio": names.INPUT_AUDIO_TOKENS,
        "input_image": names.INPUT_IMAGE_TOKENS,
        "output_audio": names.OUTPUT_AUDIO_TOKENS,
        "output_image": names.OUTPUT_IMAGE_TOKENS,
        "cost_usd": names.COST_USD,
        "metering": names.METERING,
        "dropped": names.DROPPED,
        "decision": names.DECISION,
        "fallbacks": names.FALLBACKS,
        "kept": names.KEPT,
        "broken": names.BROKEN,
        "denied": names.DENIED,
        "denied_answer": names.DENIED_ANSWER,
        "redacted": names.REDACTED,
        "redacted_answer": names.REDACTED_ANSWER,
        "guardrails": names.GUARDRAILS,
        "guardrails_answer": names.GUARDRAILS_ANSWER,
        "guardrails_score": names.GUARDRAILS_SCORE,
        "shadow": names.SHADOW,
        "shadow_of": names.SHADOW_OF,
        "answer": names.ANSWER,
        "feedback_of": names.FEEDBACK_OF,
        "feedback_score": names.FEEDBACK_SCORE,
    },
):
    """One line, whole (`ledger.log_fields`); what it does not say is empty or None."""

    event: str
    timestamp: datetime
    """When the entry was written, a moment after the request's end."""
    request_id: str = ""
    caller: str = ""
    organization: str = ""
    team: str = ""
    user: str = ""
    application: str = ""
    operation: str = ""
    model: str = ""
    provider: str = ""
    upstream_model: str = ""
    client_dialect: str = ""
    upstream_dialect: str = ""
    stream: bool = False
    attempts: Count = 0
    failed_attempts: tuple[FailedAttempt, ...] = ()
    last_attempt_ms: Amount | None = None
    status: Count = 0
    details: str = ""
    flags: str = ""
    """Envoy's short names, by commas."""
    duration_ms: Amount | None = None
    first_byte_ms: Amount | None = None
    input_tokens: Count = 0
    output_tokens: Count = 0
    cache_read: Count = 0
    cache_creation: Count = 0
    reasoning: Count = 0
    input_audio: Count = 0
    input_image: Count = 0
    output_audio: Count = 0
    output_image: Count = 0
    cost_usd: Amount | None = None
    metering: Metering = "none"
    dropped: str = ""
    decision: str = ""
    fallbacks: Mapping[str, str] = {}
    kept: str = ""
    broken: str = ""
    denied: str = ""
    denied_answer: str = ""
    redacted: Mapping[str, int] = {}
    redacted_answer: Mapping[str, int] = {}
    guardrails: Mapping[str, int] = {}
    guardrails_answer: Mapping[str, int] = {}
    guardrails_score: float | None = None
    shadow: str = ""
    shadow_of: str = ""
    answer: Answer | None = None
    feedback_of: str = ""
    feedback_score: Score | None = None

    @property
    def belongs(self) -> dict[str, str]:
        """Whom the caller belongs to, as far as the entry says."""
        subjects = ("organization", "team", "user", "application")
        return {name: said for name in subjects if (said := getattr(self, name))}

    @property
    def tokens(self) -> Tokens:
        """All counts."""
        counts = {"input": self.input_tokens, "output": self.output_tokens}
        parts = Tokens.__struct_fields__[2:]
        return Tokens(**counts, **{name: getattr(self, name) for name in parts})


decode = msgspec.json.Decoder(Recorded).decode


def find_entries(
    lines: BinaryIO, request_id: str, broken: Callable[[int], None]
) -> Iterator[Recorded]:
    """The requests of this id, their copies, and what was said of their answers; `broken` is told
    of lines that hold the id and cannot be read."""
    wanted = msgspec.json.encode(request_id)

    def decode_likely(line: bytes) -> Recorded | None:
        return decode(line) if wanted in line else None

    for _, entry in read_lines(lines, decode_likely, broken):
        if entry is None:
            continue
        is_about = entry.feedback_of if entry.event == FEEDBACK else entry.request_id
        if request_id in {is_about, entry.shadow_of}:
            yield entry
