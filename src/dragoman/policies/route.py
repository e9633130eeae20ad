"""Which upstreams, in which order."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from operator import attrgetter

import msgspec

from dragoman.config.policy import Model, Target

Chance = Callable[[], float]
"""A number in [0, 1), such as `random.random`."""


def order_targets(model: Model, name: str, chance: Chance) -> list[Target]:
    """All targets of `model`, priority by priority; within one, drawn by weight.

    The rest of a priority follows its winner, so that each is the others' fallback. `name` is what
    the client asked for: it fills the `*` of a pattern's targets.
    """
    if len(model.targets) == 1 and not model.name.endswith("*"):
        return list(model.targets)
    ordered: list[Target] = []
    targets = name_targets(model, name)
    for _, group in groupby(sorted(targets, key=attrgetter("priority")), attrgetter("priority")):
        left = list(group)
        while left:
            ordered.append(left.pop(_draw([t.weight for t in left], chance) if left[1:] else 0))
    return ordered


def name_targets(model: Model, name: str) -> list[Target]:
    """The targets of `model`, a pattern's with what `name` fills its `*` with."""
    if not model.name.endswith("*"):
        return list(model.targets)
    rest = name[len(model.name) - 1 :]
    return [msgspec.structs.replace(t, model=t.model.replace("*", rest)) for t in model.targets]


def _draw(weights: list[int], chance: Chance) -> int:
    """An index, as likely as its weight."""
    point = chance() * sum(weights)
    for i, weight in enumerate(weights):
        point -= weight
        if point < 0:
            return i
    return len(weights) - 1
