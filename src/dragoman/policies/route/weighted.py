"""By priority, and within one by weight."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from operator import attrgetter

import msgspec

from dragoman.config.policy import Model, Target

Chance = Callable[[], float]
"""A number in [0, 1), such as `random.random`."""


def group_targets(targets: Iterable[Target]) -> list[list[Target]]:
    """Those of one priority together, in their order; the priority that is asked first is first."""
    by_priority = attrgetter("priority")
    groups = groupby(sorted(targets, key=by_priority), by_priority)
    return [list(group) for _, group in groups]


def draw_groups(groups: list[list[Target]], chance: Chance) -> list[Target]:
    """All targets, group by group; the rest of a group follows its winner, so that each is the
    others' fallback."""
    ordered: list[Target] = []
    for group in groups:
        ordered += draw_all(group, chance) if group[1:] else group
    return ordered


def draw_all(targets: list[Target], chance: Chance) -> list[Target]:
    """All of `targets`, each place drawn by weight among those that are left."""
    left, ordered = list(targets), list[Target]()
    while left[1:]:
        ordered.append(left.pop(draw([t.weight for t in left], chance)))
    return ordered + left


def name_targets(model: Model, name: str) -> list[Target]:
    """The targets of `model`, a pattern's with what `name` fills its `*` with."""
    if not model.name.endswith("*"):
        return list(model.targets)
    rest = name[len(model.name) - 1 :]
    return [msgspec.structs.replace(t, model=t.model.replace("*", rest)) for t in model.targets]


def draw(weights: Sequence[float], chance: Chance) -> int:
    """An index, as likely as its weight."""
    point = chance() * sum(weights)
    for i, weight in enumerate(weights):
        point -= weight
        if point < 0:
            return i
    return len(weights) - 1
