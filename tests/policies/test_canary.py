"""Whom a canary's candidate serves."""

from __future__ import annotations

import random

from dragoman.config.leading import RollbackEntry
from dragoman.config.policy import Canary, Model
from dragoman.policies.route.canary import assign_side, read_side, tell_side
from dragoman.policies.route.content import Content

CANARY = Canary(
    name="next",
    by="caller",
    use=Model(name="next", targets=(), clamp=False),
    steps=(1, 100),
    step_seconds=1,
    at_least=1,
    rollback_on=RollbackEntry(),
    digest="d",
)


def content(caller: str) -> Content:
    return Content({}, {}, 0, None, caller)


def served(percent: float, by: str = "caller") -> set[str]:
    canary = Canary(**{f: getattr(CANARY, f) for f in CANARY.__struct_fields__} | {"by": by})
    luck = random.Random(1)
    callers = [f"caller-{i}" for i in range(4000)]
    return {c for c in callers if assign_side(canary, percent, content(c), luck.random).candidate}


def test_shares_are_kept_and_who_is_served_stays_so() -> None:
    shares = [served(percent) for percent in (0, 1, 5, 25, 50, 100)]
    assert [len(share) for share in (shares[0], shares[-1])] == [0, 4000]
    for smaller, larger in zip(shares, shares[1:], strict=False):
        assert smaller <= larger
    for share, percent in zip(shares, (0, 1, 5, 25, 50, 100), strict=True):
        assert abs(len(share) / 40 - percent) < 3


def test_a_request_that_lacks_the_key_is_drawn_for_by_itself() -> None:
    assert 800 < len(served(25, by="user")) < 1200


def test_what_the_ledger_is_told() -> None:
    for percent, candidate in ((100, True), (0, False)):
        side = assign_side(CANARY, percent, content("demo"), lambda: 0.5)
        assert read_side(tell_side("a model", side)) == ("a model", candidate)
        assert side.note == f"canary=next({'candidate' if candidate else 'stable'},{percent}%)"
