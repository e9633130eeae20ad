"""The fastest first, by how long targets have lately taken to answer; and a look at the others.

Who is asked first is drawn, and the slower a target is, the less often it is: were the fastest
always asked, then where load makes slow it would be overrun until the next one is the fastest, and
so on in turn. The others follow as fallbacks, the fastest first.

What is learned is kept apart for each public model, operation, size of the request, streamed or
not, and target. An expectation is the time of an answer of as many tokens as those targets' answers
had on average, so that long answers make nobody slow. Until a target was seen it gets the share
of its weight.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from dragoman.config.policy import Model, Target
from dragoman.policies.route.content import Asking
from dragoman.policies.route.naming import name_target
from dragoman.policies.route.weighted import Chance, draw, draw_all, group_targets
from dragoman.stores.latencies import Latencies, Sums

_FRESH_SECONDS = 0.5
"""How long expectations stand: reckoning them anew for each request would cost more than they
change."""
_MOST_KNOWN = 1024
_COST_OF_FAILURE = 10
"""A failed attempt counts as so many answers."""
_LEAST_ANSWERS = 1e-6
"""Of fewer nothing can be reckoned: all were long ago, and what came since were failures."""
_MOST_SAID_MS = 1e8
_STEEPNESS = 4
"""Who takes twice as long is asked 2 to this power times less often. At 2 too many requests go to
whoever is slow; at 6, targets that load makes slow are overrun in turn."""
_SIZES = ((4 << 10, "4k"), (32 << 10, "32k"), (256 << 10, "256k"))
"""Bodies below so many bytes are alike."""
_STREAMED = "stream"


def latency_key(model: Model, asking: Asking) -> str:
    """What the times of a request are learned under, together with its target."""
    half_life = model.learning.half_life_seconds if model.learning else 0
    bytes_ = asking.content.size_bytes
    size = next((word for below, word in _SIZES if bytes_ < below), "more")
    way = _STREAMED if asking.stream else "whole"
    return f"{half_life} {size} {way} {asking.operation} {model.name}"


def target_key(key: str, provider: str, model: str) -> str:
    """`key` of one target."""
    return f"{key}\n{provider}\n{model}"


def expect_ms(every: Sequence[Sums], *, streamed: bool) -> list[float | None]:
    """How long each would take for an answer as long as all their answers were on average.

    None where nothing is known, infinite where nothing but failures is.
    """
    answers = sum(sums.answers for sums in every)
    tokens = sum(sums.tokens for sums in every) / answers if answers else 0.0
    return [_expect(sums, tokens, streamed=streamed) if sums.weight else None for sums in every]


def _expect(sums: Sums, tokens: float, *, streamed: bool) -> float:
    """The time until an answer comes, those that failed before it included."""
    answers = sums.answers
    if answers < _LEAST_ANSWERS:
        return math.inf
    mean_tokens = sums.tokens / answers
    ms = sums.ms / answers + _ms_a_token(sums, streamed=streamed) * (tokens - mean_tokens)
    if not sums.failures:
        return ms
    failed_ms = max(_COST_OF_FAILURE * ms, sums.failed_ms / sums.failures)
    return ms + failed_ms * sums.failures / answers


def _ms_a_token(sums: Sums, *, streamed: bool) -> float:
    """Of a stream, what follows its first byte over its tokens; of other answers, the slope of time
    over tokens, which says the same less exactly."""
    if not sums.tokens:
        return 0.0
    if streamed:
        return (sums.ms - sums.first_ms) / sums.tokens
    answers = sums.answers
    spread = sums.squared_tokens / answers - (sums.tokens / answers) ** 2
    together = sums.ms_tokens / answers - sums.ms * sums.tokens / answers**2
    steepest = sums.ms / sums.tokens
    return min(max(together / spread, 0.0), steepest) if spread > 1.0 else 0.0


def share_out(weights: Sequence[int], expected: Sequence[float | None]) -> list[float]:
    """How likely each is to be asked first: by weight and by speed.

    What is not known keeps the share of its weight, and what only fails gets none while an answer
    of any other is known.
    """
    whole = sum(weights)
    pulls = _pulls(weights, expected)
    pulled = sum(pulls)
    known = sum(w for w, ms in zip(weights, expected, strict=True) if ms is not None)
    return [
        weight / whole if ms is None else known / whole * pull / pulled
        for weight, ms, pull in zip(weights, expected, pulls, strict=True)
    ]


def _pulls(weights: Sequence[int], expected: Sequence[float | None]) -> list[float]:
    """Weights of what is known, less for the slower."""
    least = min((ms for ms in expected if ms is not None), default=math.inf)
    if least == math.inf:
        return [
            0.0 if ms is None else float(weight)
            for weight, ms in zip(weights, expected, strict=True)
        ]
    return [
        0.0 if ms is None else weight * (least / ms if ms > least else 1.0) ** _STEEPNESS
        for weight, ms in zip(weights, expected, strict=True)
    ]


class _Group(NamedTuple):
    """Targets of one priority."""

    targets: list[Target]
    shares: list[float]
    known: frozenset[Target]
    orders: list[list[Target]]
    """By which is the first, as in `targets`."""
    told: Mapping[Target, str]
    """How likely each was to be asked first."""


class _Outlook(NamedTuple):
    """What is expected of a model's targets, for requests alike."""

    at: float
    groups: list[_Group]
    expected: str


class Fastest:
    """Orders targets by what `latencies` knows of them."""

    def __init__(self, latencies: Latencies, chance: Chance, clock: Callable[[], float]) -> None:
        """`clock` tells seconds."""
        self._latencies = latencies
        self._chance = chance
        self._clock = clock
        self._outlooks: dict[tuple[str, tuple[Target, ...]], _Outlook] = {}

    def rank(
        self, targets: Sequence[Target], key: str, asking: Asking, explore: float
    ) -> tuple[list[Target], list[str]]:
        """All of `targets`, priority by priority, and what is to be said of their order.

        `key` is that of the request; of so many requests as `explore` says the order is drawn.
        """
        outlook = self._outlook(tuple(targets), key, asking, explore)
        ordered: list[Target] = []
        notes = [outlook.expected] if outlook.expected else []
        for group in outlook.groups:
            if not group.targets[1:]:
                ordered += group.targets
                continue
            order, explored = self._order(group, explore)
            if not ordered:
                notes += [f"explore={name_target(order[0])}"] if explored else []
                notes.append(group.told[order[0]])
            ordered += order
        return ordered, notes

    def _order(self, group: _Group, explore: float) -> tuple[list[Target], bool]:
        """And whether the first is asked to learn of it."""
        if not group.known or self._chance() < explore:
            return draw_all(group.targets, self._chance), True
        order = group.orders[draw(group.shares, self._chance)]
        return order, order[0] not in group.known

    def _outlook(
        self, targets: tuple[Target, ...], key: str, asking: Asking, explore: float
    ) -> _Outlook:
        now = self._clock()
        found = self._outlooks.get((key, targets))
        if found is None or not 0 <= now - found.at < _FRESH_SECONDS:
            if len(self._outlooks) >= _MOST_KNOWN:
                self._outlooks.clear()
            found = self._look(now, targets, key, asking, explore)
            self._outlooks[key, targets] = found
        return found

    def _look(
        self, now: float, targets: tuple[Target, ...], key: str, asking: Asking, explore: float
    ) -> _Outlook:
        groups: list[_Group] = []
        words: list[str] = []
        for group in group_targets(targets):
            keys = [target_key(key, target.provider, target.model) for target in group]
            sums = [self._latencies.find(key) for key in keys]
            expected = expect_ms(sums, streamed=asking.stream)
            groups.append(_group(group, expected, explore))
            if group[1:]:
                pairs = zip(group, expected, strict=True)
                words += [f"{name_target(target)}({_say(ms)})" for target, ms in pairs]
        return _Outlook(now, groups, f"expected_ms={','.join(words)}" if words else "")


def _group(targets: list[Target], expected: list[float | None], explore: float) -> _Group:
    ranked = sorted((ms is None, ms or 0.0, i) for i, ms in enumerate(expected))
    ordered = [targets[i] for *_, i in ranked]
    orders = [[first, *(t for t in ordered if t is not first)] for first in targets]
    known = frozenset(targets[i] for is_unknown, _, i in ranked if not is_unknown)
    weights = [target.weight for target in targets]
    shares = share_out(weights, expected)
    whole = sum(weights)
    told: dict[Target, str] = {}
    for target, share in zip(targets, shares, strict=True):
        likely = explore * target.weight / whole + (1 - explore) * share
        told[target] = f"propensity={name_target(target)}({likely:.4g})"
    return _Group(targets, shares, known, orders, told)


def _say(ms: float | None) -> str:
    """Two digits: what changes less changes no decision, and no header."""
    if ms is None:
        return "unknown"
    if ms > _MOST_SAID_MS:
        return "failing"
    return f"{float(f'{ms:.2g}'):.0f}" if ms >= 1 else "1"
