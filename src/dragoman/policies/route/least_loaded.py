"""The least loaded first: by requests in flight, and by what is left of providers' rate limits.

Load is a provider's, whatever model it is asked for, and over all clients of this Envoy. It is
taken relative to what the provider can bear: the limits of circuit breakers where all have one,
else the weights. Where it is equal, as when nothing is in flight, the draw by weight stands.
An attempt that failed counts as one in flight, and fades: who fails at once never has any, and
would be asked first for that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from dragoman.config.policy import Target
from dragoman.policies.route.naming import name_target
from dragoman.policies.route.weighted import Chance, draw, draw_all, group_targets
from dragoman.stores.loads import Load, Loads

UNKNOWN = "in_flight=unknown"
_LEAST_LEFT = 0.01
"""Of rate limits less is no smaller share: a request now and then tells how they stand."""

_NEARLY_ALL = 0.95
"""Of more nothing is said."""


class Loaded(NamedTuple):
    """An order, and what is to be said of it."""

    order: list[Target]
    notes: list[str]


def rank_loads(
    targets: Sequence[Target], loads: Loads, limits: Mapping[str, int], chance: Chance
) -> Loaded:
    """All of `targets`, priority by priority; the first is counted as asked.

    `limits`: how many requests at once each provider is sent, where that is limited.
    """
    ordered: list[Target] = []
    notes: list[str] = []
    for group in group_targets(targets):
        known = _find(group, loads) if group[1:] else None
        if known is None:
            ordered += draw_all(group, chance)
            notes += [UNKNOWN] if group[1:] else []
        else:
            ordered += _rank(group, known, limits, chance)
            notes += _describe(group, known, limits)
    if ordered:
        loads.pick(ordered[0].provider)
    return Loaded(ordered, list(dict.fromkeys(notes)))


def _find(group: list[Target], loads: Loads) -> dict[str, Load] | None:
    found: dict[str, Load] = {}
    for target in group:
        load = loads.find(target.provider)
        if load is None:
            return None
        found[target.provider] = load
    return found


def _rank(
    group: list[Target], known: Mapping[str, Load], limits: Mapping[str, int], chance: Chance
) -> list[Target]:
    """Those that are full come last; the draw goes by weight and by what is left."""
    capacity: Mapping[str, float] = limits
    if any(provider not in limits for provider in known):
        weights = Counter[str]()
        for target in group:
            weights[target.provider] += target.weight
        capacity = weights

    def load_of(target: Target) -> tuple[bool, float]:
        load, provider = known[target.provider], target.provider
        share = capacity[provider] * max(load.left, _LEAST_LEFT)
        return _why_full(load, limits.get(provider)) is not None, (
            load.in_flight + load.failed
        ) / share

    return sorted(_draw(group, known, chance), key=load_of)


def _draw(group: list[Target], known: Mapping[str, Load], chance: Chance) -> list[Target]:
    left, drawn = list(group), list[Target]()
    while left[1:]:
        shares = [t.weight * max(known[t.provider].left, _LEAST_LEFT) for t in left]
        drawn.append(left.pop(draw(shares, chance)))
    return drawn + left


def _why_full(load: Load, limit: int | None) -> str | None:
    if not load.left:
        return "rate_limit"
    return "in_flight" if limit is not None and load.in_flight >= limit else None


def _describe(
    group: list[Target], known: Mapping[str, Load], limits: Mapping[str, int]
) -> list[str]:
    """As Envoy counted last: what was sent since would make every decision another one to log."""
    counted: list[str] = []
    full: list[str] = []
    less: list[str] = []
    failed: list[str] = []
    for target in group:
        load, limit, name = known[target.provider], limits.get(target.provider), name_target(target)
        counted.append(f"{name}({load.counted}{'' if limit is None else f'/{limit}'})")
        if why := _why_full(load._replace(in_flight=load.counted), limit):
            full.append(f"{name}({why})")
        elif load.left < _NEARLY_ALL:
            less.append(f"{name}({load.left:.1g})")
        if load.failed:
            failed.append(f"{name}({load.failed:.1g})")
    notes = [f"in_flight={','.join(counted)}"]
    notes += [f"rate_limit_left={','.join(less)}"] if less else []
    notes += [f"failed={','.join(failed)}"] if failed else []
    return notes + ([f"full={','.join(full)}"] if full else [])
