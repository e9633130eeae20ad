"""What a request that is over says of its targets: how long they took, and what that is worth."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from dragoman import metadata as names
from dragoman.catalog.blame import BLAMED_STATUSES, BROKEN_FLAGS, SERVER_ERROR_STATUS
from dragoman.catalog.costs import NANODOLLARS
from dragoman.policies.route.learned import target_key
from dragoman.policies.route.reward import find_reward, reward_answer
from dragoman.stores.incidents import Seen
from dragoman.stores.latencies import Latencies, Sums
from dragoman.telemetry.ledger import AccessRecord, Entry, UpstreamTimes

_ERROR_STATUS = 400
_FAILURES = BLAMED_STATUSES | {0}
"""Beside 5xx: what the target is to blame for. Other errors are the request's own, and say nothing
of how fast anybody is."""
_LEFT = frozenset({"DC", "DR"})
_OF_THE_REQUEST = frozenset({"context_length", "content_filter", "refusal"})
"""Reasons for the next target that say nothing against the one before."""


class _Times(NamedTuple):
    """Of the last attempt, in milliseconds."""

    waited: float
    """Before it: for the attempts that failed."""
    first: float
    whole: float


def observe(record: AccessRecord, entry: Entry, latencies: Latencies) -> str | None:
    """Tell `latencies` of each attempt that the request had, if it is one to learn from. What its
    answer is known under; None where it has none to learn from."""
    facts = record.metadata.get(names.NAMESPACE, {})
    key, order = facts.get(names.LATENCY_KEY), facts.get(names.TARGETS)
    if not isinstance(key, str) or not isinstance(order, str) or not record.attempts:
        return None
    steps = names.decode_order(order)
    times = _times(record)
    last = min(record.attempts, len(steps)) - 1
    took = {failed.attempt: failed.duration_ms for failed in entry.failed_attempts}
    guess = times.waited / max(1, record.attempts - 1)
    for number, (provider, model) in _failed(steps[: record.attempts - 1], entry):
        failed = Sums(failures=1.0, failed_ms=took.get(number, guess))
        latencies.observe(target_key(key, provider, model), failed)
    ended = target_key(key, *steps[last])
    if steps[last][0] != record.cluster:
        return None
    return ended if _observe_last(record, entry, times, ended, latencies) else None


def see_targets(record: AccessRecord, entry: Entry, see: Callable[[str, str], Seen]) -> None:
    """Tell of each target that was asked how it did; `see` takes provider and model."""
    order = record.metadata.get(names.NAMESPACE, {}).get(names.TARGETS)
    if not isinstance(order, str) or not record.attempts:
        return
    steps = names.decode_order(order)
    for _, step in _failed(steps[: record.attempts - 1], entry):
        see(*step).attempt(failed=True)
    ended = steps[min(record.attempts, len(steps)) - 1]
    flags = frozenset(record.flags)
    if ended[0] != record.cluster or flags & _LEFT:
        return
    failed = _has_failed(record.status, flags) or entry.broken is not None
    if failed or record.status < _ERROR_STATUS:
        see(*ended).attempt(failed=failed)
        if not failed and entry.metering != "none":
            _see_answer(see(*ended), _times(record), entry)


def _see_answer(seen: Seen, times: _Times, entry: Entry) -> None:
    tokens = entry.tokens.output if entry.metering == "exact" else 0
    if entry.stream:
        seen.answer("first_byte_ms", times.first)
        if tokens:
            seen.answer("ms_per_token", (times.whole - times.first) / tokens)
    else:
        seen.answer("answer_ms", times.whole)
    if tokens:
        seen.answer("output_tokens", tokens)
        if entry.cost_nanodollars:
            seen.answer("usd", entry.cost_nanodollars / NANODOLLARS)


def _failed(steps: names.Order, entry: Entry) -> Iterator[tuple[int, tuple[str, str]]]:
    """The attempts, by their numbers, that say something against their targets."""
    for number, (provider, model) in enumerate(steps, 1):
        if (entry.fallbacks or {}).get(f"{provider}/{model}") not in _OF_THE_REQUEST:
            yield number, (provider, model)


def _observe_last(
    record: AccessRecord, entry: Entry, times: _Times, key: str, latencies: Latencies
) -> bool:
    """Whether it was an answer."""
    flags = frozenset(record.flags)
    if flags & _LEFT:
        known = latencies.find(key)
        if known.answers and times.whole < known.ms / known.answers:
            return False  # the client did not wait as long as answers take: nobody was slow
    elif _has_failed(record.status, flags) or entry.broken is not None:
        latencies.observe(key, Sums(failures=1.0, failed_ms=times.whole))
        return False
    elif record.status >= _ERROR_STATUS:
        return False
    tokens, reward = float(entry.tokens.output), find_reward(key)
    answered = Sums(
        answers=1.0,
        ms=times.whole,
        first_ms=min(times.first, times.whole),
        tokens=tokens,
        squared_tokens=tokens * tokens,
        ms_tokens=times.whole * tokens,
        rewards=reward_answer(reward, times.whole, entry.cost_nanodollars) if reward else 0.0,
    )
    latencies.observe(key, answered)
    return True


def _has_failed(status: int, flags: frozenset[str]) -> bool:
    return status in _FAILURES or status >= SERVER_ERROR_STATUS or bool(flags & BROKEN_FLAGS)


def _times(record: AccessRecord) -> _Times:
    """Upstream's own clock where Envoy has it: how fast the client reads, and how long it took to
    send its request, are not the target's."""
    at = record.upstream or UpstreamTimes(None, None, None)
    began = at.began or 0.0
    ended = at.ended or record.duration_ms or 0.0
    first = at.first or record.time_to_first_byte_ms or ended
    return _Times(began, max(0.0, first - began), max(0.0, ended - began))
