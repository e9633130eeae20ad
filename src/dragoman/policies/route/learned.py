"""Who is asked first where what is seen of targets has a say; and a look at the others.

What is learned is kept apart for each public model, operation, size of the request, streamed or
not, and target. Until a target was seen it gets the share of its weight.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from dragoman.config.policy import Model, Target
from dragoman.config.schema import Reward
from dragoman.policies.route.content import Asking
from dragoman.policies.route.naming import name_target
from dragoman.policies.route.reward import encode_reward, find_reward
from dragoman.policies.route.weighted import Chance, draw, draw_all, group_targets
from dragoman.stores.latencies import Latencies, Sums

_FRESH_SECONDS = 0.5
"""How long expectations stand: reckoning them anew for each request would cost more than they
change."""
_MOST_KNOWN = 1024
_SIZES = ((4 << 10, "4k"), (32 << 10, "32k"), (256 << 10, "256k"))
"""Bodies below so many bytes are alike."""
_STREAMED = "stream"
PROPENSITY = "propensity="
"""Begins the note of how likely the first target was; of another order it says nothing."""


class Judgement(NamedTuple):
    """What is expected of targets, each in its place."""

    note: str
    """What the decision calls it."""
    ranks: Sequence[float | None]
    """The lowest is asked first; None: not known."""
    shares: Sequence[float]
    """How likely each is to be the first; together 1."""
    told: Sequence[str]
    """In the decision's words."""


class Judge(Protocol):
    """A strategy, as far as it goes by what is known."""

    def __call__(
        self,
        weights: Sequence[int],
        every: Sequence[Sums],
        *,
        streamed: bool,
        reward: Reward | None,
    ) -> Judgement: ...


def latency_key(model: Model, asking: Asking) -> str:
    """What is seen of a request is learned under, together with its target; with the reward in it,
    since by another one something else is learned."""
    half_life = model.learning.half_life_seconds if model.learning else 0
    reward = f"{encode_reward(model.reward)} " if model.reward else ""
    bytes_ = asking.content.size_bytes
    size = next((word for below, word in _SIZES if bytes_ < below), "more")
    way = _STREAMED if asking.stream else "whole"
    return f"{half_life} {reward}{size} {way} {asking.operation} {model.name}"


def target_key(key: str, provider: str, model: str) -> str:
    """`key` of one target."""
    return f"{key}\n{provider}\n{model}"


def share_known(weights: Sequence[int], pulls: Sequence[float | None]) -> list[float]:
    """Shares by pull, of which some are above 0; what is not known keeps that of its weight."""
    whole = sum(weights)
    pulled = sum(pull for pull in pulls if pull is not None)
    known = sum(w for w, pull in zip(weights, pulls, strict=True) if pull is not None)
    return [
        weight / whole if pull is None else known / whole * pull / pulled
        for weight, pull in zip(weights, pulls, strict=True)
    ]


class _Group(NamedTuple):
    """Targets of one priority."""

    targets: list[Target]
    shares: Sequence[float]
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


class Learned:
    """Orders targets as `judge` has it, by what `latencies` knows of them."""

    def __init__(
        self, judge: Judge, latencies: Latencies, chance: Chance, clock: Callable[[], float]
    ) -> None:
        """`clock` tells seconds."""
        self._judge = judge
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
        note, reward = "", find_reward(key)
        for group in group_targets(targets):
            keys = [target_key(key, target.provider, target.model) for target in group]
            sums = [self._latencies.find(key) for key in keys]
            weights = [target.weight for target in group]
            judged = self._judge(weights, sums, streamed=asking.stream, reward=reward)
            groups.append(_group(group, judged, explore))
            if group[1:]:
                note, pairs = judged.note, zip(group, judged.told, strict=True)
                words += [f"{name_target(target)}({told})" for target, told in pairs]
        return _Outlook(now, groups, f"{note}={','.join(words)}" if words else "")


def _group(targets: list[Target], judged: Judgement, explore: float) -> _Group:
    ranked = sorted((rank is None, rank or 0.0, i) for i, rank in enumerate(judged.ranks))
    ordered = [targets[i] for *_, i in ranked]
    orders = [[first, *(t for t in ordered if t is not first)] for first in targets]
    known = frozenset(targets[i] for is_unknown, _, i in ranked if not is_unknown)
    whole = sum(target.weight for target in targets)
    told: dict[Target, str] = {}
    for target, share in zip(targets, judged.shares, strict=True):
        likely = explore * target.weight / whole + (1 - explore) * share
        told[target] = f"{PROPENSITY}{name_target(target)}({likely:.4g})"
    return _Group(targets, judged.shares, known, orders, told)
