"""What became of a request and why, out of its entry in the ledger, in words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

import msgspec

from dragoman.policies.route.decision import ENVOY, Decision, read_decision
from dragoman.policies.route.least_loaded import UNKNOWN
from dragoman.policies.route.naming import quote_name
from dragoman.telemetry.attempts import FailedAttempt
from dragoman.telemetry.ledger import Metering, Tokens
from dragoman.telemetry.recorded import Recorded

_STRATEGIES = {
    "weighted": "by priority, within one by weight",
    "cheapest": "by priority, within one the cheapest first",
    "fastest": "by priority, within one whoever was fastest of late",
    "bandit": "by priority, within one drawn by the rewards that each got of late",
    "least_loaded": "by priority, within one whoever had the least to do",
    ENVOY: "Envoy's own routes chose the upstream",
}
_REASONS = {
    "residency": "it is not where the request has to stay",
    "input_too_long": "the request is too long for it, by an estimate",
    "output_too_long": "it gives no answer as long as the client asked for",
    "quota": "its quota was spent",
    "unsupported_by_upstream": "it cannot be asked this, or its dialect cannot say it",
    "context_length": "the prompt was too long for it",
    "content_filter": "it filtered the prompt or its answer",
    "refusal": "it declined to answer",
    "empty": "its answer said nothing",
    "invalid": "its answer was no JSON, which was asked for",
    "schema": "its answer did not fit the JSON schema that was asked for",
    "truncated": "its answer ended at a limit of tokens that was not asked for",
    "scored_below": "its answer was scored below what the model's fallback_on asks",
    "shorter_than": "its answer was shorter than the model's fallback_on allows",
}
"""Why targets are not asked, and why their answers are not used."""
_NOTES = {
    "rule": "the rule {name} led to the model {inside}",
    "similar": "how like the examples of the rule {name} it is, or why that is not known: {inside}",
    "experiment": "the experiment {name} gave it the variant {inside}",
    "canary": "of the canary {name} it got the side and share {inside}",
    "fits": "it is too long for each target, so that none was left out for that",
    "sticky": "it stays with its {name}",
    "expected_ms": "the milliseconds that were expected of each",
    "expected_reward": "the reward from 0 to 1 that was expected of each",
    "in_flight": "the requests in flight that Envoy counted last, of a limit where there is one",
    "rate_limit_left": "the share of its own rate limits that each said is left",
    "failed": "attempts that failed lately, fewer the longer ago, which count as in flight",
    "full": "no more was to be asked of these, and so they came last",
    "explore": "drawn by weight, so that all targets are looked at again: {name} came first",
    "propensity": "how likely {name} was to come first",
    "unpriced": "{name} has no known price, and so is taken for the dearest",
    "lowered": "{name} was not as usual ({inside}), and so came after the others",
    "probe": "{name} was not as usual ({inside}), and kept its place to be looked at again",
    "deprecated": "the model {name} is deprecated",
    "in_place_of": "it serves in place of {name}, which has ended",
    "reported": "deny-lists found in it, that only report: {name}",
    "injection": "looks like prompt injection, score {name}: {inside}",
    "output_tokens": "its answer was limited to {name} tokens",
}
_UNSTICKY = "sticky=none"
_BROKEN = "the stream had begun, and ended in the provider's error"
_METERING: dict[Metering, str] = {
    "exact": "the provider's own count",
    "estimated": "the provider's count is missing or stops short: the rest is an estimate by size",
    "none": "nothing was consumed that a provider would bill",
}
_FLAGS = {
    "LH": "Envoy's own health check failed",
    "UH": "no host of the upstream was healthy",
    "UT": "the upstream did not answer in time",
    "LR": "Envoy reset the upstream's connection",
    "UR": "the upstream reset the stream",
    "UF": "the upstream could not be connected to",
    "UC": "the upstream closed the connection",
    "UO": "the upstream had too many requests in flight",
    "NR": "no route was found",
    "DC": "the client hung up",
    "URX": "no retries were left",
    "SI": "nothing moved for too long",
    "DPE": "the client broke the protocol",
    "UMSDR": "the upstream took longer than it may",
    "DT": "the request took longer than it may",
    "UPE": "the upstream broke the protocol",
    "NC": "the cluster was not found",
    "OM": "Envoy was overloaded",
    "DF": "the upstream's name was not found",
    "DR": "the client reset the stream",
}
_MOST_ATTEMPTS = 1000
"""That are shown of an entry, whatever number it says."""
_MADE_BY_US = "dragoman_"


class Told(msgspec.Struct, frozen=True):
    """A word of the ledger's and what it means."""

    word: str
    meaning: str | None


class Step(msgspec.Struct, frozen=True, omit_defaults=True):
    """A target of the order, and what became of it as far as the ledger says."""

    target: str
    became: str | None = None
    """`asked_last`, `not_used`; None: not asked, or asked and not noted."""
    reason: Told | None = None


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One of several: whom it asked, when, and what came of it."""

    number: int
    """From 1."""
    target: str | None
    """None: it is not in the ledger whom it asked, nor anything else of it."""
    start_ms: float | None = None
    """Since the request came; of the last one, when it went out to the upstream."""
    duration_ms: float | None = None
    """Until it failed, or until the answer's end."""
    status: int | None = None
    """0: no answer came."""
    flags: list[Told] = []
    failure: str | None = None
    """Why there was no connection, in Envoy's words."""
    reason: Told | None = None
    """Why its answer was not used, where its status was not why."""
    is_last: bool = False


class Left(msgspec.Struct, frozen=True):
    """A target that was not asked."""

    target: str
    reason: Told


class Chosen(msgspec.Struct, frozen=True, kw_only=True):
    """The decision, taken apart."""

    strategy: Told
    notes: list[Told]
    order: list[Step]
    left_out: list[Left]


class Scored(msgspec.Struct, frozen=True):
    """What a caller said of the answer."""

    score: float | None
    caller: str


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """One request's."""

    request_id: str
    timestamp: datetime
    caller: str | None
    belongs: Mapping[str, str]
    operation: str | None
    model: str | None
    client_dialect: str | None
    stream: bool
    denied: str | None
    """Why the policy did not let it through."""
    denied_answer: str | None
    """Why it got none, or not all of it."""
    decision: Chosen | None
    fallbacks: Mapping[str, str]
    kept: Told | None
    """Why the answer would not have been used, but for a limit."""
    broken: Told | None
    """How the answer broke off."""
    attempts: int
    each: list[Attempt]
    """Of several attempts each, in order; of one this account says it all."""
    provider: str | None
    """Who was asked last; None: no upstream was reached."""
    upstream_model: str | None
    upstream_dialect: str | None
    status: int
    details: Told
    flags: list[Told]
    duration_ms: float | None
    time_to_first_byte_ms: float | None
    tokens: Tokens
    metering: Told
    cost_usd: float | None
    dropped: str | None
    redacted: Mapping[str, int]
    redacted_answer: Mapping[str, int]
    guardrails: Mapping[str, int]
    guardrails_answer: Mapping[str, int]
    guardrails_score: float | None
    shadow: str | None
    """The model that was asked too."""
    shadow_of: str | None
    """Of which request it was the copy, whose answer nobody got."""
    feedback: list[Scored]
    unsaid: list[str]
    """What the ledger does not say."""


def give_account(entry: Recorded, feedback: Iterable[Recorded] = ()) -> Account:
    """What `entry` says, and what it does not; `feedback` are the lines about its answer."""
    decision = read_decision(entry.decision)
    return Account(
        request_id=entry.request_id,
        timestamp=entry.timestamp,
        caller=entry.caller or None,
        belongs=entry.belongs,
        operation=entry.operation or None,
        model=entry.model or None,
        client_dialect=entry.client_dialect or None,
        stream=entry.stream,
        denied=entry.denied or None,
        denied_answer=entry.denied_answer or None,
        decision=_take_apart(decision, entry) if decision else None,
        fallbacks=entry.fallbacks,
        kept=_kept(entry.kept),
        broken=Told(entry.broken, _BROKEN) if entry.broken else None,
        attempts=entry.attempts,
        each=_attempts(entry) if entry.attempts > 1 else [],
        provider=entry.provider or None,
        upstream_model=entry.upstream_model or None,
        upstream_dialect=entry.upstream_dialect or None,
        status=entry.status,
        details=Told(entry.details, _origin(entry.details)),
        flags=_flags(entry.flags),
        duration_ms=entry.duration_ms,
        time_to_first_byte_ms=entry.first_byte_ms,
        tokens=entry.tokens,
        metering=Told(entry.metering, _METERING[entry.metering]),
        cost_usd=entry.cost_usd,
        dropped=entry.dropped or None,
        redacted=entry.redacted,
        redacted_answer=entry.redacted_answer,
        guardrails=entry.guardrails,
        guardrails_answer=entry.guardrails_answer,
        guardrails_score=entry.guardrails_score,
        shadow=entry.shadow or None,
        shadow_of=entry.shadow_of or None,
        feedback=[Scored(said.feedback_score, said.caller) for said in feedback],
        unsaid=list(_unsaid(entry, decision)),
    )


def _flags(flags: str) -> list[Told]:
    return [Told(flag, _FLAGS.get(flag)) for flag in flags.split(",") if flag]


def _attempts(entry: Recorded) -> list[Attempt]:
    known = {failed.attempt: failed for failed in entry.failed_attempts}
    before = range(1, min(entry.attempts, _MOST_ATTEMPTS))
    return [*(_failed(n, known.get(n), entry) for n in before), _last(entry)]


def _failed(number: int, failed: FailedAttempt | None, entry: Recorded) -> Attempt:
    if failed is None:
        return Attempt(number=number, target=None)
    target = f"{failed.provider}/{failed.model}" if failed.model else failed.provider
    reason = entry.fallbacks.get(target)
    return Attempt(
        number=number,
        target=target,
        start_ms=failed.start_ms,
        duration_ms=failed.duration_ms,
        status=failed.status,
        flags=_flags(failed.flags),
        failure=failed.failure or None,
        reason=tell_reason(reason) if reason else None,
    )


def _last(entry: Recorded) -> Attempt:
    start, end = entry.last_attempt_ms, entry.duration_ms
    target = f"{entry.provider}/{entry.upstream_model}" if entry.upstream_model else entry.provider
    return Attempt(
        number=entry.attempts,
        target=target or None,
        start_ms=start,
        duration_ms=None if start is None or end is None else round(end - start, 3),
        status=entry.status,
        flags=_flags(entry.flags),
        is_last=True,
    )


def _take_apart(decision: Decision, entry: Recorded) -> Chosen:
    not_used = {quote_target(target): reason for target, reason in entry.fallbacks.items()}
    last = quote_target(f"{entry.provider}/{entry.upstream_model}")

    def step(target: str) -> Step:
        if target in not_used:
            return Step(target, "not_used", tell_reason(not_used[target]))
        return Step(target, "asked_last" if target == last else None)

    return Chosen(
        strategy=Told(decision.strategy, _STRATEGIES.get(decision.strategy)),
        notes=[Told(note, _note(note)) for note in decision.notes],
        order=[step(target) for target in decision.order],
        left_out=[Left(target.target, tell_reason(target.reason)) for target in decision.left_out],
    )


def quote_target(target: str) -> str:
    """`PROVIDER/MODEL` as decisions have it."""
    provider, _, model = target.partition("/")
    return f"{provider}/{quote_name(model)}"


def _kept(said: str) -> Told | None:
    """Such as `refusal(time)`."""
    reason, _, limit = said.removesuffix(")").partition("(")
    if not said:
        return None
    known = _REASONS.get(reason)
    return Told(said, known and f"{known}; another was not asked for the limit of {limit}")


def tell_reason(word: str) -> Told:
    """Why a target was not asked, or its answer not used."""
    return Told(word, _REASONS.get(word))


def _note(note: str) -> str | None:
    """Such as `experiment=smaller(control)`, in words."""
    if note == _UNSTICKY:
        return "it has nothing of what the model is sticky by, and so was drawn by weight"
    if note == UNKNOWN:
        return "Envoy did not say what was in flight, and so it was drawn by weight"
    kind, _, said = note.partition("=")
    name, _, inside = said.removesuffix(")").partition("(")
    words = _NOTES.get(kind)
    return words.format(name=name, inside=inside) if words else None


def _origin(details: str) -> str | None:
    """Whose answer it is, by Envoy's response code details."""
    if details.startswith(_MADE_BY_US):
        return "this service's own answer"
    return "the upstream's answer" if details == "via_upstream" else "Envoy's own answer"


def _unsaid(entry: Recorded, decision: Decision | None) -> Iterator[str]:
    known = max(len(entry.failed_attempts), len(entry.fallbacks))
    if entry.attempts - 1 > known:
        lost = f"{entry.attempts - 1 - known} of {entry.attempts} attempts"
        yield f"whom {lost} asked, and what came of it: no worker got word of them"
    if entry.provider and decision is None:
        yield "why this provider was asked: the entry has no decision"
    if entry.provider and entry.cost_usd is None:
        yield "what it cost: the model's prices were not known"
    if entry.duration_ms is None:
        yield "how long it took"
