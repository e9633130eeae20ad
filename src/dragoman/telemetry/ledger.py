"""The ledger: one entry a request, made from what Envoy says of it when it is over.

Metering, in the entry's `metering`:

- `exact`: the provider's own count of a whole answer.
- `estimated`: an upstream answered, but the count is missing or stops short, because the client
  hung up, the upstream was cut, or the provider counts nothing, or the output alone. What is
  missing is set by rule: input, a token for each 4 bytes of the request's body; output, a token for
  each 4 bytes of a JSON answer, or for each 160 bytes of a stream, about what one event of one
  token weighs. What is no text (vectors, scores, pictures, sound) counts as none. A partial count
  is kept where it is larger.
- `none`: no upstream answered with success, or what was asked for (a count, a file, a batch, what
  is passed through unread) uses no tokens: nothing was consumed that a provider would bill.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Literal, NamedTuple, cast

import msgspec

from dragoman import metadata as keys
from dragoman.catalog.costs import NANODOLLARS, cost_nanodollars
from dragoman.catalog.counts import FAMILIES, KINDS, Kind
from dragoman.catalog.profiles import Prices
from dragoman.dialects import COUNT, EMBEDDINGS, RERANK
from dragoman.telemetry import names
from dragoman.telemetry.answers import Answer, decode_answer
from dragoman.telemetry.attempts import Attempt, FailedAttempt, place

REQUEST, FEEDBACK, SHADOW = "request", "feedback", "shadow"
"""The events of the lines: of a request, of one that only brought what a client said of another
request's answer, and of the copy of one that a shadow model was asked."""
Metering = Literal["exact", "estimated", "none"]

_BYTES_PER_TOKEN = 4
_BYTES_PER_STREAMED_TOKEN = 160
_ERROR_STATUS = 400
_TAKES_NO_TEXT = frozenset({"transcriptions", "translations", "image_edits", "image_variations"})
_GIVES_NO_TEXT = frozenset(
    {EMBEDDINGS, RERANK, "moderations", "images", "image_edits", "image_variations", "speech"}
)
"""Operations whose bytes tell nothing of their tokens, on the one side and on the other."""
CUT_FLAGS = frozenset({"DC", "DR", "UC", "UR", "LR", "UT", "SI", "DT", "UMSDR", "UPE", "DPE"})
"""Envoy's response flags of an answer that did not come to its own end."""


_FIELDS: dict[str, str] = {kind: kind for kind in KINDS} | {
    "cached": "cache_read",
    "cache_write": "cache_creation",
}
"""Of `Tokens`, by kind."""
_COUNTS = {
    family: {count.key: [_FIELDS[kind] for kind in count.kinds] for count in way.counts}
    for family, way in FAMILIES.items()
}
"""Fields of `Tokens` that a count adds to, by the count's name."""
_SHOWN = {
    family: frozenset(count.key for count in way.counts[:2]) for family, way in FAMILIES.items()
}
"""The counts that show a family."""
_MEDIA_KINDS: tuple[Kind, ...] = ("input_audio", "input_image", "output_audio", "output_image")
_MEDIA: tuple[tuple[str, Kind], ...] = tuple(
    (count.key, kind)
    for family in FAMILIES.values()
    for count in family.counts
    for kind in count.kinds
    if kind in _MEDIA_KINDS
)


class UpstreamTimes(NamedTuple):
    """When things happened at the last upstream asked, in milliseconds since the request came."""

    began: float | None
    """The request began to go out."""
    first: float | None
    """The first byte of the answer came."""
    ended: float | None
    """The last one came."""


class AccessRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A request as Envoy's access log tells it, out of protobuf."""

    metadata: Mapping[str, Mapping[str, object]] = {}
    """Dynamic metadata by namespace."""
    address: str = ""
    """Of the client, as far as Envoy trusts what it is told; an IP."""
    cluster: str = ""
    upstream_reached: bool = False
    """A host of the cluster was connected to."""
    attempts: int = 0
    status: int = 0
    details: str = ""
    flags: tuple[str, ...] = ()
    """Envoy's short names, such as `DC`."""
    request_id: str = ""
    request_body_bytes: int = 0
    response_body_bytes: int = 0
    duration_ms: float | None = None
    time_to_first_byte_ms: float | None = None
    dropped: str = ""
    upstream: UpstreamTimes | None = None
    """Where something is learned of them, or several were asked."""
    began: float = 0.0
    """When the request came, in Unix seconds, where several were asked."""
    failed: tuple[Attempt, ...] = ()
    """Attempts that failed, perhaps the last one too."""


class Tokens(msgspec.Struct, frozen=True, kw_only=True):
    """Token counts of one request. Cached input, and sound and images in it, are part of `input`;
    reasoning, sound and images are part of `output`."""

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_creation: int = 0
    reasoning: int = 0
    input_audio: int = 0
    input_image: int = 0
    output_audio: int = 0
    output_image: int = 0


class Feedback(msgspec.Struct, frozen=True):
    """What a client said of an answer."""

    request_id: str
    """Of the request that got it, perhaps not the same caller's."""
    score: float
    """From 0 to 1."""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """What the ledger keeps of one request."""

    request_id: str
    caller: str | None
    operation: str | None
    model: str | None
    provider: str | None
    """None: no upstream answered."""
    upstream_model: str | None
    client_dialect: str | None
    upstream_dialect: str | None
    stream: bool
    attempts: int
    failed_attempts: tuple[FailedAttempt, ...] = ()
    """Those before the last, as far as they are known."""
    last_attempt_ms: float | None = None
    """When the last of several went out, since the request came."""
    status: int
    details: str
    flags: tuple[str, ...]
    duration_ms: float | None
    time_to_first_byte_ms: float | None
    tokens: Tokens
    cost_nanodollars: int | None
    """None: the model's prices are not known."""
    metering: Metering
    dropped: str | None
    decision: str | None = None
    """Which upstreams were chosen and why (`metadata.DECISION`)."""
    fallbacks: Mapping[str, str] | None = None
    """Why answers were not used, by `PROVIDER/MODEL`."""
    kept: str | None = None
    """Why the answer would not have been used but for a limit, such as `refusal(time)`."""
    broken: str | None = None
    """The code of the provider's error in which a stream ended that had begun."""
    denied: str | None = None
    """Why the policy did not let it through; None: it did."""
    denied_answer: str | None = None
    """The same of its answer, or of the rest of it."""
    redacted: Mapping[str, int] | None = None
    """Findings in the request, by entity."""
    redacted_answer: Mapping[str, int] | None = None
    guardrails: Mapping[str, int] | None = None
    """What guardrails found in the request, by rule."""
    guardrails_answer: Mapping[str, int] | None = None
    guardrails_score: float | None = None
    """The highest score for prompt injection."""
    feedback: Feedback | None = None
    """Given where the request brought it."""
    shadow: str | None = None
    """The model that was asked too."""
    shadow_of: str | None = None
    """The id of the request of which this was the copy."""
    answer: Answer | None = None
    """What is told of the answer, where it is to be compared."""
    belongs: Mapping[str, str] = {}
    """The caller's organization, team, user and application, as far as they are known."""

    @property
    def event(self) -> str:
        """Which its line is of."""
        if self.shadow_of is not None:
            return SHADOW
        return FEEDBACK if self.feedback else REQUEST


UpstreamDialect = Callable[[str, str, str], str | None]
"""Names the dialect that a provider is asked in, for a client of the second's and a model of its
own."""


PriceList = Callable[[str, str], Prices | None]
"""The prices of a provider's model, if they are known."""


Belongs = Callable[[str], Mapping[str, str]]
"""Whom a caller belongs to, by the policy file."""


def make_entry(
    record: AccessRecord, upstream_dialect: UpstreamDialect, prices: PriceList, belongs: Belongs
) -> Entry:
    """The entry for `record`."""
    facts = record.metadata.get(keys.NAMESPACE, {})
    provider, asked = _find_asked(record)
    tokens, metering = measure(record)
    client = _text(facts, keys.CLIENT_DIALECT)
    caller = _text(facts, keys.CALLER)
    dialect = upstream_dialect(provider, client, asked or "") if provider and client else None
    cost = find_cost(tokens, metering, prices(provider, asked)) if provider and asked else None
    return Entry(
        request_id=find_request_id(record),
        caller=caller,
        operation=_text(facts, keys.OPERATION),
        model=_text(facts, keys.MODEL),
        provider=provider,
        upstream_model=asked,
        client_dialect=client,
        upstream_dialect=dialect,
        stream=facts.get(keys.STREAM) == keys.FLAG,
        attempts=record.attempts,
        failed_attempts=_failed_attempts(record),
        last_attempt_ms=record.upstream.began if record.upstream and record.attempts > 1 else None,
        status=record.status,
        details=record.details,
        flags=record.flags,
        duration_ms=record.duration_ms,
        time_to_first_byte_ms=record.time_to_first_byte_ms,
        tokens=tokens,
        cost_nanodollars=cost,
        metering=metering,
        dropped=", ".join(filter(None, _dropped(record))) or None,
        decision=_text(facts, keys.DECISION),
        fallbacks=_fallbacks(record) or None,
        kept=_text(record.metadata.get(keys.FALLBACK_NAMESPACE, {}), keys.KEPT),
        broken=_text(record.metadata.get(keys.USAGE_NAMESPACE, {}), keys.BROKEN),
        denied=_text(facts, keys.DENIED),
        denied_answer=_text(facts, keys.DENIED_ANSWER),
        redacted=_counts(record, keys.REDACTION_NAMESPACE),
        redacted_answer=_counts(record, keys.REDACTION_ANSWER_NAMESPACE),
        guardrails=_counts(record, keys.GUARDRAILS_NAMESPACE, leave=keys.SCORE),
        guardrails_answer=_counts(record, keys.GUARDRAILS_ANSWER_NAMESPACE),
        guardrails_score=_score(record),
        feedback=_feedback(facts),
        shadow=_text(facts, keys.SHADOW_MODEL),
        shadow_of=_text(record.metadata.get(keys.REQUEST_NAMESPACE, {}), keys.SHADOW_OF),
        answer=_answer(record),
        belongs={**belongs(caller), **_texts(record, keys.SUBJECT_NAMESPACE)} if caller else {},
    )


def _find_asked(record: AccessRecord) -> tuple[str | None, str | None]:
    """The provider, and its model, that was asked last."""
    provider = record.cluster if record.upstream_reached else None
    return provider, _text(record.metadata.get(keys.MODELS_NAMESPACE, {}), provider or "")


def _dropped(record: AccessRecord) -> tuple[str | None, ...]:
    """Of a whole answer, as its header says; of a stream, by the one stage and by the other."""
    usage = record.metadata.get(keys.USAGE_NAMESPACE, {})
    return record.dropped, _text(usage, "dropped"), _text(usage, "withheld")


def find_request_id(record: AccessRecord) -> str:
    """As Envoy made it up, whatever became of the header."""
    return _text(record.metadata.get(keys.REQUEST_NAMESPACE, {}), keys.ID) or record.request_id


def _failed_attempts(record: AccessRecord) -> tuple[FailedAttempt, ...]:
    if not record.failed:
        return ()
    order = _text(record.metadata.get(keys.NAMESPACE, {}), keys.TARGETS)
    models = record.metadata.get(keys.MODELS_NAMESPACE, {})
    placed = place(record.failed, record.began, keys.decode_order(order or ""), models)
    return tuple(attempt for attempt in placed if attempt.attempt < record.attempts)


def measure(record: AccessRecord) -> tuple[Tokens, Metering]:
    """The tokens of `record`, and how far they can be trusted."""
    if not record.upstream_reached or not _is_answered(record) or _is_free(record):
        return Tokens(), "none"
    usage = record.metadata.get(keys.USAGE_NAMESPACE, {})
    counted = read_tokens(usage)
    if counted is not None and _is_whole(record, usage):
        if counted.output and not counted.input:
            return msgspec.structs.replace(counted, input=_asked(record)), "estimated"
        return counted, "exact"
    return _estimate(record, counted or Tokens()), "estimated"


def _is_answered(record: AccessRecord) -> bool:
    """Whether a provider answered, also where the policy kept its answer from the client."""
    denied = keys.DENIED_ANSWER in record.metadata.get(keys.NAMESPACE, {})
    return denied or 0 < record.status < _ERROR_STATUS


def _is_free(record: AccessRecord) -> bool:
    facts = record.metadata.get(keys.NAMESPACE, {})
    return facts.get(keys.OPERATION) == COUNT or facts.get(keys.UNREAD) == keys.FLAG


def read_tokens(usage: Mapping[str, object]) -> Tokens | None:
    """The counts in `dragoman.usage`: a stage's final ones, else what Envoy's script has added up,
    else the native filters' raw ones.

    The raw ones add up as they do in Envoy's statistics, so that both always say the same.
    """
    if "input_tokens" in usage:
        return Tokens(
            **_media(usage),
            input=_number(usage, "input_tokens"),
            output=_number(usage, "output_tokens"),
            cache_read=_number(usage, "cache_read_input_tokens"),
            cache_creation=_number(usage, "cache_creation_input_tokens"),
            reasoning=_number(usage, "reasoning_tokens"),
        )
    sums = _sum(usage) or _add_up(usage)
    return None if sums is None else Tokens(**sums)


def _sum(usage: Mapping[str, object]) -> dict[str, int]:
    """What Envoy's script has added up, by fields of `Tokens`."""
    added = usage.get(keys.SUM)
    if not isinstance(added, dict):
        return {}
    known = cast("dict[str, object]", added)
    return {_FIELDS[kind]: _number(known, kind) for kind in known if kind in _FIELDS}


def _add_up(usage: Mapping[str, object]) -> dict[str, int] | None:
    """The native filters' raw counts, likewise; None where there are none."""
    family = _family(usage)
    if family is None:
        return None
    sums: dict[str, int] = {}
    counts = _COUNTS[family]
    for key in usage:
        for kind in counts.get(key, ()):
            sums[kind] = sums.get(kind, 0) + _number(usage, key)
    return sums


def _media(usage: Mapping[str, object]) -> dict[Kind, int]:
    """What of the counts is sound and images."""
    added = _sum(usage)
    found: dict[Kind, int] = {kind: added.get(kind, 0) for kind in _MEDIA_KINDS}
    for key, kind in _MEDIA:
        found[kind] += _number(usage, key)
    return found


def _family(usage: Mapping[str, object]) -> str | None:
    """The way of counting that the answer's own numbers show."""
    for family, shown in _SHOWN.items():
        if not shown.isdisjoint(usage):
            return family
    return None


def log_fields(entry: Entry) -> dict[str, object]:
    """`entry` under the names logs use; what is not known is left out."""
    cost = entry.cost_nanodollars
    fields: dict[str, object] = {
        names.REQUEST_ID: entry.request_id or None,
        names.CALLER: entry.caller,
        names.ORGANIZATION: entry.belongs.get("organization"),
        names.TEAM: entry.belongs.get("team"),
        names.USER: entry.belongs.get("user"),
        names.APPLICATION: entry.belongs.get("application"),
        names.OPERATION_NAME: entry.operation,
        names.REQUEST_MODEL: entry.model,
        names.PROVIDER_NAME: entry.provider,
        names.UPSTREAM_MODEL: entry.upstream_model,
        names.CLIENT_DIALECT: entry.client_dialect,
        names.UPSTREAM_DIALECT: entry.upstream_dialect,
        names.STREAM: entry.stream,
        **_attempt_fields(entry),
        names.RESPONSE_STATUS_CODE: entry.status,
        names.RESPONSE_DETAILS: entry.details or None,
        names.RESPONSE_FLAGS: ",".join(entry.flags) or None,
        names.DURATION_MS: entry.duration_ms,
        names.TIME_TO_FIRST_BYTE_MS: entry.time_to_first_byte_ms,
        **_token_fields(entry.tokens),
        names.COST_USD: None if cost is None else cost / NANODOLLARS,
        names.METERING: entry.metering,
        names.DROPPED: entry.dropped,
        names.DECISION: entry.decision,
        names.FALLBACKS: entry.fallbacks,
        names.KEPT: entry.kept,
        names.BROKEN: entry.broken,
        names.DENIED: entry.denied,
        names.DENIED_ANSWER: entry.denied_answer,
        names.REDACTED: entry.redacted,
        names.REDACTED_ANSWER: entry.redacted_answer,
        names.GUARDRAILS: entry.guardrails,
        names.GUARDRAILS_ANSWER: entry.guardrails_answer,
        names.GUARDRAILS_SCORE: entry.guardrails_score,
        names.SHADOW: entry.shadow,
        names.SHADOW_OF: entry.shadow_of,
        names.ANSWER: entry.answer,
        names.FEEDBACK_OF: entry.feedback.request_id if entry.feedback else None,
        names.FEEDBACK_SCORE: entry.feedback.score if entry.feedback else None,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _token_fields(tokens: Tokens) -> dict[str, object]:
    return {
        names.INPUT_TOKENS: tokens.input,
        names.OUTPUT_TOKENS: tokens.output,
        names.CACHE_READ_INPUT_TOKENS: tokens.cache_read,
        names.CACHE_CREATION_INPUT_TOKENS: tokens.cache_creation,
        names.REASONING_OUTPUT_TOKENS: tokens.reasoning,
        names.INPUT_AUDIO_TOKENS: tokens.input_audio or None,
        names.INPUT_IMAGE_TOKENS: tokens.input_image or None,
        names.OUTPUT_AUDIO_TOKENS: tokens.output_audio or None,
        names.OUTPUT_IMAGE_TOKENS: tokens.output_image or None,
    }


def _attempt_fields(entry: Entry) -> dict[str, object]:
    return {
        names.ATTEMPTS: entry.attempts,
        names.FAILED_ATTEMPTS: entry.failed_attempts or None,
        names.LAST_ATTEMPT_MS: entry.last_attempt_ms,
    }


def encode_lines(entries: Iterable[Entry], at: datetime) -> bytes:
    """One line of JSON an entry, as the other logs write theirs. `at` is in UTC."""
    about = {"event": REQUEST, "level": "info", "timestamp": at.isoformat()[:-6] + "Z"}
    events = {event: about | {"event": event} for event in (REQUEST, FEEDBACK, SHADOW)}
    lines = [msgspec.json.encode(log_fields(entry) | events[entry.event]) for entry in entries]
    return b"\n".join([*lines, b""])


def _is_whole(record: AccessRecord, usage: Mapping[str, object]) -> bool:
    """Whether the count covers the whole answer.

    A stage says so itself. Natively, some counts come at the end or not at all; others begin with
    the stream and grow, so that a cut leaves a part of them.
    """
    if "exact" in usage:
        return usage["exact"] == "1"
    if not CUT_FLAGS.intersection(record.flags):
        return True
    if isinstance(added := usage.get(keys.SUM), dict):
        return keys.GROWS not in added
    family = _family(usage)
    return family is None or not FAMILIES[family].grows


def _estimate(record: AccessRecord, counted: Tokens) -> Tokens:
    return msgspec.structs.replace(
        counted,
        input=counted.input or _asked(record),
        output=max(counted.output, _answered(record)),
    )


def find_cost(tokens: Tokens, metering: Metering, prices: Prices | None) -> int | None:
    """Nanodollars; None where they are not known."""
    if prices is None:
        return None
    if metering == "none":
        return 0
    return cost_nanodollars(
        prices,
        input_tokens=tokens.input,
        output_tokens=tokens.output,
        cached=tokens.cache_read,
        cache_write=tokens.cache_creation,
        reasoning=tokens.reasoning,
        **{kind: getattr(tokens, kind) for kind in _MEDIA_KINDS},
    )


def _asked(record: AccessRecord) -> int:
    """A guess at the input."""
    facts = record.metadata.get(keys.NAMESPACE, {})
    if facts.get(keys.OPERATION) in _TAKES_NO_TEXT:
        return 0
    return record.request_body_bytes // _BYTES_PER_TOKEN


def _answered(record: AccessRecord) -> int:
    """A guess at the output."""
    facts = record.metadata.get(keys.NAMESPACE, {})
    if facts.get(keys.OPERATION) in _GIVES_NO_TEXT:
        return 0
    is_streamed = facts.get(keys.STREAM) == keys.FLAG
    return record.response_body_bytes // (
        _BYTES_PER_STREAMED_TOKEN if is_streamed else _BYTES_PER_TOKEN
    )


def _text(values: Mapping[str, object], key: str) -> str | None:
    value = values.get(key)
    return value if isinstance(value, str) and value else None


def _texts(record: AccessRecord, namespace: str) -> dict[str, str]:
    values = record.metadata.get(namespace, {})
    return {name: value for name in values if (value := _text(values, name)) is not None}


def _fallbacks(record: AccessRecord) -> dict[str, str]:
    told = _texts(record, keys.FALLBACK_NAMESPACE)
    return {target: reason for target, reason in told.items() if target != keys.KEPT}


def _answer(record: AccessRecord) -> Answer | None:
    """Of the last attempt; what an earlier one told is no word of an error."""
    told = _text(record.metadata.get(keys.NAMESPACE, {}), keys.ANSWER)
    return decode_answer(told) if told and record.status < _ERROR_STATUS else None


def _feedback(facts: Mapping[str, object]) -> Feedback | None:
    request_id, score = _text(facts, keys.FEEDBACK_OF), facts.get(keys.FEEDBACK_SCORE)
    return Feedback(request_id, score) if request_id and isinstance(score, float) else None


def _counts(record: AccessRecord, namespace: str, *, leave: str = "") -> dict[str, int] | None:
    values = record.metadata.get(namespace)
    if not values:
        return None
    return {name: _number(values, name) for name in sorted(values) if name != leave} or None


def _score(record: AccessRecord) -> float | None:
    value = record.metadata.get(keys.GUARDRAILS_NAMESPACE, {}).get(keys.SCORE)
    return value if isinstance(value, float) else None


def _number(values: Mapping[str, object], key: str) -> int:
    value = values.get(key)
    return int(value) if isinstance(value, int | float) else 0
