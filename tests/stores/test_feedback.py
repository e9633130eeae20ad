"""Scores find the answers they are of, through a real store, whichever workers are told of both."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from dragoman.errors import StoreUnavailable
from dragoman.stores.feedback import (
    MOST_ANSWERS,
    MOST_SCORES,
    PATIENCE_SECONDS,
    FeedbackWatch,
)
from dragoman.stores.feedback_store import RedisFeedback
from dragoman.stores.latencies import Latencies, Sums
from tests.stores.conftest import Store

KEY = "86400 reward=0,0,1,1,0,0 4k whole chat fast\nopenai\nmödel"
ONE = Sums(answers=1.0, rewards=0.5)


class Worker:
    """One of several on a store, under a clock of ours."""

    def __init__(self, url: str) -> None:
        self.now = 100.0
        self.latencies = Latencies(lambda: self.now)
        self.store = RedisFeedback(url)
        self.watch = FeedbackWatch(self.store, self.latencies, lambda: self.now)

    def answer(self, request_id: str, caller: str = "demo") -> None:
        self.latencies.observe(KEY, ONE)
        self.watch.note(request_id, caller, KEY)

    async def score(self, request_id: str, score: float, caller: str = "demo") -> None:
        self.watch.score(request_id, caller, score)
        await self.watch.refresh()

    @property
    def scores(self) -> tuple[float, float]:
        """How many it learned of, and their sum."""
        self.latencies.observe(KEY, ONE)
        found = self.latencies.find(KEY)
        return pytest.approx((found.scored, found.scores), abs=0.01)


def with_workers(store: Store, run: Callable[[Worker, Worker], Awaitable[None]]) -> None:
    async def call() -> None:
        workers = Worker(store.url), Worker(store.url)
        try:
            await run(*workers)
        finally:
            for worker in workers:
                await worker.watch.close()

    asyncio.run(call())


def test_a_score_counts_once_whoever_is_told_of_it_and_its_change_takes_its_place(
    store: Store,
) -> None:
    async def run(one: Worker, other: Worker) -> None:
        one.answer("r-1")
        await one.watch.refresh()
        await other.score("r-1", 0.25)
        await other.score("r-1", 0.25)
        await one.score("r-1", 0.25)
        assert (other.scores, one.scores) == ((1.0, 0.25), (0.0, 0.0))
        await other.score("r-1", 1.0)
        assert other.scores == (1.0, 1.0)

    with_workers(store, run)


def test_a_score_waits_for_its_answer_but_not_for_long(store: Store) -> None:
    async def run(one: Worker, other: Worker) -> None:
        one.answer("r-1")
        one.answer("r-2")
        await other.score("r-1", 1.0)
        await other.score("r-1", 0.5)  # what it waits with is the last
        assert other.scores == (0.0, 0.0)
        await one.watch.refresh()
        other.now += PATIENCE_SECONDS - 1
        await other.watch.refresh()
        assert other.scores == (1.0, 0.5)
        await other.score("r-3", 1.0)
        other.now += PATIENCE_SECONDS
        await other.watch.refresh()
        other.answer("r-3")
        await other.watch.refresh()
        assert other.scores == (1.0, 0.5)

    with_workers(store, run)


def test_nobody_but_the_caller_scores_an_answer(store: Store) -> None:
    async def run(one: Worker, other: Worker) -> None:
        one.answer("r-1")
        await other.score("r-1", 0.0, caller="rival")
        await one.watch.refresh()
        await other.watch.refresh()
        await other.score("r-1", 0.0, caller="rival")
        assert other.scores == (0.0, 0.0)
        await one.score("r-1", 1.0)
        assert one.scores == (1.0, 1.0)

    with_workers(store, run)


def test_a_flood_of_scores_takes_no_room_of_others(store: Store) -> None:
    async def run(one: Worker, other: Worker) -> None:
        one.answer("r-1")
        await one.watch.refresh()
        for i in range(MOST_SCORES + 5):
            other.watch.score(f"made up {i}", "rival", 1.0)
        other.answer("mine", "rival")
        other.watch.score("mine", "rival", 1.0)  # there is no room for it
        await other.score("r-1", 1.0)
        assert other.scores == (1.0, 1.0)
        other.now += PATIENCE_SECONDS
        await other.watch.refresh()
        await other.score("mine", 1.0, "rival")
        assert other.scores == (2.0, 2.0)

    with_workers(store, run)


def test_the_store_keeps_the_newest(store: Store) -> None:
    async def run() -> None:
        kept = RedisFeedback(store.url, most=10)
        for i in range(30):
            await kept.tell({bytes([i]): KEY}, {})
        known = await kept.tell({}, {bytes([i]): 1.0 for i in range(30)})
        assert list(known) == [bytes([i]) for i in range(20, 30)]
        await kept.close()

    asyncio.run(run())


def test_a_worker_keeps_no_more_than_so_many_and_tells_them_in_turn(store: Store) -> None:
    async def run(one: Worker, other: Worker) -> None:
        for i in range(MOST_ANSWERS + 2):
            one.answer(f"r-{i}")
        await one.watch.refresh()
        await other.score(f"r-{MOST_ANSWERS - 1}", 1.0)
        assert other.scores == (1.0, 1.0)
        await other.score(f"r-{MOST_ANSWERS}", 1.0)
        assert other.scores == (1.0, 1.0)

    with_workers(store, run)


def test_without_the_store_all_waits_for_it(own_store: Store) -> None:
    async def run(one: Worker, other: Worker) -> None:
        own_store.kill()
        one.answer("r-1")
        await one.score("r-1", 1.0)
        with pytest.raises(StoreUnavailable):
            await other.store.tell({}, {b"x": 1.0})
        assert one.scores == (0.0, 0.0)
        own_store.start()
        await one.watch.refresh()
        assert one.scores == (1.0, 1.0)

    with_workers(own_store, run)
