"""What a decision tells of what was known when it was made, and what follows from it.

Nothing is drawn: each target has the share of requests for which it would come first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from typing import NamedTuple

from dragoman.config.policy import Target
from dragoman.policies.route.canary import read_note
from dragoman.policies.route.decision import Decision
from dragoman.policies.route.fastest import EXPECTED, read_expected, share_out
from dragoman.policies.route.lowered import read_incidents
from dragoman.policies.route.naming import name_target

Shares = Mapping[Target, float]
MOST_LOWERED = 10
"""Targets of a request that are reckoned with, each lowered or not."""


class Recalled(NamedTuple):
    """What was known."""

    incidents: frozenset[str]
    """Targets that were not as usual, as decisions name them."""
    expected_ms: Mapping[str, float | None]
    """How long targets were expected to take, by the same names; None: not known. Empty where the
    strategy did not go by it."""
    canary: tuple[str, bool] | None
    """The canary that was looked at, and whether the candidate served."""


def recall(decision: Decision) -> Recalled:
    """Out of the decision's notes."""
    expected: Mapping[str, float | None] = {}
    canary = None
    for note in decision.notes:
        if note.startswith(f"{EXPECTED}="):
            expected = read_expected(note)
        canary = canary or read_note(note)
    return Recalled(read_incidents(decision.notes), expected, canary)


def lowered_sets(
    affected: Sequence[Target], to: float
) -> Iterator[tuple[float, frozenset[Target]]]:
    """Each way in which some of `affected` are asked after all others, and its share of requests;
    each keeps its place for the share `to` of them."""
    for kept in product((True, False), repeat=len(affected)):
        share = 1.0
        for is_kept in kept:
            share *= to if is_kept else 1 - to
        lowered = (target for target, is_kept in zip(affected, kept, strict=True) if not is_kept)
        yield share, frozenset(lowered)


def share_by_weight(targets: Sequence[Target]) -> dict[Target, float]:
    """Drawn by weight."""
    whole = sum(target.weight for target in targets)
    return {target: target.weight / whole for target in targets}


def share_by_speed(
    group: Sequence[Target],
    left: Sequence[Target],
    expected_of: Callable[[str], float | None],
    explore: float,
) -> Shares:
    """Those `left` of a group, by speed. Who is lowered leaves its place to the fastest of them."""
    expected = [expected_of(name_target(target)) for target in group]
    drawn = share_by_weight(left)
    if all(ms is None for ms in expected):
        return drawn
    firsts = dict(zip(group, share_out([target.weight for target in group], expected), strict=True))
    ranked = sorted(
        zip(expected, group, strict=True), key=lambda row: (row[0] is None, row[0] or 0)
    )
    fastest = next(target for _, target in ranked if target in drawn)
    greedy = {target: firsts[target] for target in left}
    greedy[fastest] += sum(share for target, share in firsts.items() if target not in drawn)
    return {target: explore * drawn[target] + (1 - explore) * greedy[target] for target in left}
