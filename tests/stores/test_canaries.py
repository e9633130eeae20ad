"""How canaries go on, in a real store."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import pytest

from dragoman.config.leading import RollbackEntry
from dragoman.config.policy import Canary, Model
from dragoman.errors import NotFound
from dragoman.stores.canaries import CanaryWatch, Progress, Sums, Tally
from dragoman.stores.canary_store import CanaryStore
from tests.stores.conftest import Store

MODEL = "fast"


class Answered(NamedTuple):
    status: int = 200
    attempts: int = 1
    provider: str | None = "p"
    duration_ms: float | None = 100.0
    cost_nanodollars: int | None = 1_000_000
    broken: str | None = None


def canary(**changes: Any) -> Canary:
    facts: dict[str, Any] = {
        "name": "next",
        "by": "caller",
        "use": Model(name="next", targets=(), clamp=False),
        "steps": (1, 25, 100),
        "step_seconds": 60,
        "at_least": 50,
        "rollback_on": RollbackEntry(),
        "digest": "one",
    }
    return Canary(**facts | changes)


def sums(count: int, answered: Answered = Answered()) -> Sums:
    found = Sums()
    for _ in range(count):
        found.add(answered)
    return found


def with_store(store: Store, run: Callable[[CanaryStore], Awaitable[None]]) -> None:
    async def call() -> None:
        opened = CanaryStore(store.url)
        try:
            await run(opened)
        finally:
            await opened.close()

    asyncio.run(call())


NOTHING = Tally(Sums(), Sums())


def test_it_grows_step_by_step_to_all(store: Store) -> None:
    async def run(canaries: CanaryStore) -> None:
        async def observe(count: int, now: float) -> tuple[str, float] | None:
            tally = Tally(sums(count), sums(count))
            happened = await canaries.observe(MODEL, canary(), tally, now)
            return happened and (happened[0], happened[1].percent)

        assert await observe(0, 0.0) == ("started", 1.0)
        assert await observe(49, 100.0) is None, "too few answers"
        assert await observe(1, 101.0) == ("step", 25.0)
        assert await observe(80, 160.0) is None, "too soon"
        assert await observe(0, 161.0) == ("promoted", 100.0)
        assert await observe(90, 999.0) is None
        (found,) = (await canaries.progress()).values()
        assert (found.state, found.percent) == ("promoted", 100.0)

    with_store(store, run)


@pytest.mark.parametrize(
    ("worse", "limits", "why"),
    [
        (Answered(status=500), RollbackEntry(), "errors 30 of 30 against 0 of 100"),
        (Answered(attempts=2), RollbackEntry(), "errors 30 of 30 against 0 of 100"),
        (Answered(broken="x"), RollbackEntry(), "errors 30 of 30 against 0 of 100"),
        (Answered(duration_ms=250.0), RollbackEntry(), "ms 250 against 100"),
        (Answered(cost_nanodollars=4_000_000), RollbackEntry(cost=3), "usd 0.004 against 0.001"),
    ],
)
def test_what_is_worse_is_rolled_back_for_good(
    store: Store, worse: Answered, limits: RollbackEntry, why: str
) -> None:
    async def run(canaries: CanaryStore) -> None:
        definition = canary(rollback_on=limits)
        await canaries.observe(MODEL, definition, NOTHING, 0.0)
        tally = Tally(sums(30, worse), sums(100))
        happened = await canaries.observe(MODEL, definition, tally, 1.0)
        assert happened is not None
        event, progress = happened
        assert (event, progress.percent, progress.why) == ("rolled_back", 0.0, why)
        for now in (100.0, 1000.0):
            tally = Tally(sums(100), sums(100))
            assert await canaries.observe(MODEL, definition, tally, now) is None
        changed = canary(rollback_on=limits, digest="two")
        again = await canaries.observe(MODEL, changed, NOTHING, 2000.0)
        assert again is not None
        assert (again[0], again[1].percent) == ("started", 1.0)

    with_store(store, run)


def test_what_is_within_the_limits_or_not_looked_at_goes_on(store: Store) -> None:
    async def run(canaries: CanaryStore) -> None:
        definition = canary(rollback_on=RollbackEntry(errors=None, time=2, cost=None))
        await canaries.observe(MODEL, definition, NOTHING, 0.0)
        slower = Answered(duration_ms=190.0, cost_nanodollars=10**9, status=500)
        tally = Tally(sums(200, slower), sums(200))
        happened = await canaries.observe(MODEL, definition, tally, 61.0)
        assert happened is not None
        assert happened[0] == "step"

    with_store(store, run)


def test_noise_rolls_nothing_back(store: Store) -> None:
    """Twenty canaries that are as good as what they are to replace, looked at ten times each."""
    luck = random.Random(7)

    def drawn(count: int) -> Sums:
        found = Sums()
        for _ in range(count):
            status = 500 if luck.random() < 0.05 else 200
            found.add(Answered(status=status, duration_ms=luck.expovariate(0.01)))
        return found

    async def run(canaries: CanaryStore) -> None:
        definition = canary(rollback_on=RollbackEntry(errors=0, time=1), step_seconds=10_000)
        for i in range(20):
            await canaries.observe(f"m{i}", definition, NOTHING, 0.0)
            for now in range(10):
                tally = Tally(drawn(10), drawn(100))
                assert await canaries.observe(f"m{i}", definition, tally, now + 1.0) is None

    with_store(store, run)


def test_by_hand(store: Store) -> None:
    async def run(canaries: CanaryStore) -> None:
        definition = canary(steps=(0, 100))
        with pytest.raises(NotFound):
            await canaries.change(MODEL, "promoted", definition, 1.0)
        await canaries.observe(MODEL, definition, NOTHING, 0.0)
        for state, percent in (("promoted", 100.0), ("rolled_back", 0.0), ("running", 0.0)):
            await canaries.change(MODEL, state, definition, 5.0)
            (found,) = (await canaries.progress()).values()
            assert (found.state, found.percent, found.since) == (state, percent, 5.0)
            assert await canaries.observe(MODEL, definition, NOTHING, 99.0) is None

    with_store(store, run)


def test_workers_tell_once_and_know_soon(store: Store) -> None:
    told: list[tuple[str, Progress]] = []

    async def run() -> None:
        clock, definition = 0.0, canary()
        watches = [
            CanaryWatch(
                CanaryStore(store.url),
                lambda: {MODEL: definition},
                lambda: clock,
                lambda event, progress: told.append((event, progress)),
            )
            for _ in range(4)
        ]
        assert watches[0].percent(MODEL, definition) == 0.0, "not known yet: nobody"
        for _ in range(2):
            await asyncio.gather(*(watch.refresh() for watch in watches))
        assert {watch.percent(MODEL, definition) for watch in watches} == {1.0}
        for watch in watches:
            for _ in range(20):
                watch.note(MODEL, Answered(), candidate=True)
                watch.note(MODEL, Answered(status=404), candidate=True)
                watch.note(MODEL, Answered(), candidate=False)
        clock = 61.0
        for _ in range(2):
            await asyncio.gather(*(watch.refresh() for watch in watches))
        assert {watch.percent(MODEL, definition) for watch in watches} == {25.0}
        assert watches[0].percent(MODEL, canary(digest="other")) == 0.0
        for watch in watches:
            await watch.close()

    asyncio.run(run())
    assert [event for event, _ in told] == ["started", "step"]
