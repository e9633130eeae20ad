"""How much a request takes of which quotas."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from itertools import chain
from math import inf
from typing import Any, cast

import msgspec

from dragoman.catalog.costs import cost_nanodollars
from dragoman.catalog.profiles import Prices
from dragoman.config.policy import Caller, Quota
from dragoman.errors import PermissionDenied
from dragoman.ir import Json
from dragoman.policies.authorize import matches
from dragoman.policies.limits import OUTPUT_PATHS, choice_count
from dragoman.stores.keeper import Levels, Reached
from dragoman.stores.leases import HOLD_SECONDS, Counter, Demand, Hold

_PREFIX = "dragoman:quota:"
_ESCAPES = {ord(letter): f"%{ord(letter):02X}" for letter in "%|{}"}
_BUCKETS = 60
"""A rolling window moves on by this part of its length."""
_HOLD = int(HOLD_SECONDS)
_MOST_KNOWN = 4096
"""Kept at hand; callers that an identity provider names are without number."""
UNSAID_OUTPUT_TOKENS = 1024
"""Reserved for an answer to which the client set no limit."""
_OUTPUT_LIMITS = tuple(dict.fromkeys(chain.from_iterable(OUTPUT_PATHS.values())))
"""Where clients of any dialect say the most an answer may have."""
_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400, "week": 604_800}


class QuotaPolicy:
    """The quotas of one policy; remembers only which of them cover which caller and model."""

    def __init__(self, quotas: Iterable[Quota]) -> None:
        self._quotas = tuple(quotas)
        self.units = frozenset(quota.unit for quota in self._quotas)
        self.counts_providers = any(quota.by_provider for quota in self._quotas)
        """Some quota hangs on who serves."""
        self._covering: dict[Hashable, list[tuple[Quota, str]]] = {}
        self._counters: dict[Hashable, tuple[float, float, Counter]] = {}
        """The last counter of each quota and subject, and the times between which it is theirs."""

    def demands(
        self,
        caller: Caller,
        model: str,
        amounts: Mapping[str, int],
        now: float,
        provider: str | None = None,
    ) -> tuple[Demand, ...]:
        """What a request of `caller` for `model` takes: `amounts` by unit, at Unix time `now`; of
        the quotas that hang on nobody's serving it, or, with `provider`, of those that do.

        `model` is a name of the policy file, a pattern perhaps, and empty where none is asked.
        Raises `PermissionDenied` where dollars are counted and `amounts` has none.
        """
        covering = self.covering(caller, model, provider)
        return tuple(
            [
                Demand(self._counter(quota, subject, provider, now), _amount(quota, amounts))
                for quota, subject in covering
            ]
        )

    def _counter(self, quota: Quota, subject: str, provider: str | None, now: float) -> Counter:
        """As `counter_at`, which says the same until the window or its bucket ends."""
        alike = quota.name, subject, provider
        known = self._counters.get(alike)
        if known is None or not known[0] <= now < known[1]:
            if len(self._counters) >= _MOST_KNOWN:
                self._counters.clear()
            counter = counter_at(quota, subject, now)
            if provider:
                counter = counter._replace(provider=provider)
            known = self._counters[alike] = now, counter.ends_at or inf, counter
        return known[2]

    def covering(
        self, caller: Caller, model: str, provider: str | None = None
    ) -> list[tuple[Quota, str]]:
        """The quotas that cover such requests, each with whom it counts for."""
        alike = caller.name, tuple(caller.belongs.items()), model, provider
        known = self._covering.get(alike)
        if known is None:
            if len(self._covering) >= _MOST_KNOWN:
                self._covering.clear()
            known = self._covering[alike] = list(self._find(caller, model, provider))
        return known

    def _find(
        self, caller: Caller, model: str, provider: str | None
    ) -> Iterable[tuple[Quota, str]]:
        names = {
            **caller.belongs,
            "caller": caller.name,
            "model": model,
            "provider": provider or "",
        }
        for quota in self._quotas:
            if quota.by_provider != (provider is not None):
                continue
            is_served = provider is None or _covers(quota.providers, provider)
            is_known = names.keys() >= set(quota.per) and is_served
            if is_known and _covers(quota.callers, caller.name) and _covers(quota.models, model):
                yield quota, "|".join([_key(names[who]) for who in quota.per])

    def __bool__(self) -> bool:
        return bool(self._quotas)


def _key(name: str) -> str:
    """`name` as a part of a counter's key: what a token says may hold what parts are parted by."""
    return name.translate(_ESCAPES)


class QuotaLevels:
    """What is told of counters that run out, by the keys that `counter_at` gives them."""

    def __init__(self, quotas: Iterable[Quota]) -> None:
        self._quotas = {quota.name: quota for quota in quotas}

    def levels(self, key: str, now: float) -> Levels:
        """Those of the counter `key`; none where nothing is told of it."""
        quota = self._quotas.get(_parts(key)[0])
        if quota is None or not quota.warn_at:
            return Levels()
        return Levels(quota.limit, counter_at(quota, "", now).oldest, quota.warn_at)

    def describe(self, reached: Reached) -> dict[str, str | int]:
        """A level that was reached, in plain values. Amounts are of the unit, but nanodollars of
        `usd`; the unit is empty of a quota that is in the policy no more."""
        name, subject = _parts(reached.key)
        quota = self._quotas.get(name)
        return {
            "quota": name,
            "subject": subject,
            "unit": quota.unit if quota else "",
            "percent": round(100 * reached.part),
            "used": reached.used,
            "limit": reached.limit,
        }


def _parts(key: str) -> tuple[str, str]:
    """The quota's name, and whom the counter `key` is for."""
    name, _, subject = key.removeprefix(_PREFIX).removeprefix("{").partition("|")
    return name, subject.partition("}")[0]


def encode_holds(holds: Iterable[Hold]) -> str:
    """Reservations as one compact text, so that they travel as a scalar."""
    return msgspec.json.encode(tuple(holds)).decode()


_decode_holds = msgspec.json.Decoder(tuple[Hold, ...]).decode


def decode_holds(text: str) -> tuple[Hold, ...]:
    """What `encode_holds` wrote."""
    return _decode_holds(text)


def _amount(quota: Quota, amounts: Mapping[str, int]) -> int:
    if quota.unit not in amounts:
        problem = f"The quota {quota.name} counts dollars, and what this model costs is not known."
        raise PermissionDenied(problem)
    return amounts[quota.unit]


def _covers(patterns: Iterable[str], name: str) -> bool:
    return any(matches(pattern, name) for pattern in patterns)


UNREAD_AMOUNTS: Mapping[str, int] = {"requests": 1, "concurrency": 1, "tokens": 0, "usd": 0}
"""What a request takes whose body nobody reads."""


def amounts_of(
    body: Json, input_tokens: int, prices: Iterable[Prices | None] | None
) -> dict[str, int]:
    """What a request is reckoned to take of each unit, before it is sent.

    `prices` are those of its targets, of which the dearest counts; None: nobody counts dollars.
    """
    output = (output_limit(body) or UNSAID_OUTPUT_TOKENS) * choice_count(body)
    amounts = {"requests": 1, "concurrency": 1, "tokens": input_tokens + output}
    costs = [_cost(price, input_tokens, output) for price in prices or ()]
    known = [cost for cost in costs if cost is not None]
    if known and len(known) == len(costs):
        amounts["usd"] = max(known)
    return amounts


def output_limit(body: Json) -> int:
    """The most tokens the client lets one answer have, in any dialect; 0 where it does not say."""
    return next((limit for path in _OUTPUT_LIMITS if (limit := _number_at(body, path))), 0)


def _cost(prices: Prices | None, input_tokens: int, output_tokens: int) -> int | None:
    if prices is None:
        return None
    return cost_nanodollars(prices, input_tokens=input_tokens, output_tokens=output_tokens)


def _number_at(body: Json, path: tuple[str, ...]) -> int:
    """A positive whole number, 0 where there is none."""
    value: Any = body
    for name in path:
        value = cast("Json", value).get(name) if isinstance(value, dict) else None
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return max(value, 0) if is_number else 0


def counter_at(quota: Quota, subject: str, now: float) -> Counter:
    """The counter of `quota` for `subject` in the window that `now` is in."""
    stem = f"{_PREFIX}{{{quota.name}|{subject}}}:"
    if quota.calendar is None:
        return _rolling(quota, stem, now)
    start, end, before = _window(quota.calendar, now)
    key = f"{stem}{start}"
    return Counter(
        key=key,
        before=f"{stem}{before}" if quota.carry_over else key,
        quota=quota.name,
        unit=quota.unit,
        limit=quota.limit,
        bucket=0,
        oldest=0,
        ends_at=float(end),
        life_seconds=2 * (end - start) + _HOLD,
        is_open=quota.allows_without_store,
    )


def _rolling(quota: Quota, stem: str, now: float) -> Counter:
    """Of a rolling window, or of concurrency, whose use counts in none."""
    length = max(quota.rolling_seconds // _BUCKETS, 1)
    rolls = quota.rolling_seconds > 0
    bucket = int(now) // length if rolls else 0
    return Counter(
        key=f"{stem}all",
        before=f"{stem}all",
        quota=quota.name,
        unit=quota.unit,
        limit=quota.limit,
        bucket=bucket,
        oldest=bucket - quota.rolling_seconds // length + 1 if rolls else 0,
        ends_at=float((bucket + 1) * length) if rolls else 0.0,
        life_seconds=quota.rolling_seconds + _HOLD,
        is_open=quota.allows_without_store,
    )


def _window(calendar: str, now: float) -> tuple[int, int, int]:
    """Start and end of the window `now` is in, and the start of the one before; Unix seconds."""
    if calendar == "month":
        return _month(now)
    length = _SECONDS[calendar]
    offset = 4 * 86_400 if calendar == "week" else 0  # the first Monday of 1970 was the fifth
    start = (int(now) - offset) // length * length + offset
    return start, start + length, start - length


def _month(now: float) -> tuple[int, int, int]:
    first = datetime.fromtimestamp(now, UTC).replace(
        day=1, hour=0, minute=0, second=0, microsecond=0
    )
    after = (first + timedelta(days=32)).replace(day=1)
    before = (first - timedelta(days=1)).replace(day=1)
    return int(first.timestamp()), int(after.timestamp()), int(before.timestamp())
