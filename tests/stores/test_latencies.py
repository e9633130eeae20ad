"""Sums that fade: in a worker, and shared through a real store."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.errors import StoreUnavailable
from dragoman.stores.latencies import LEAST_WEIGHT, MOST_KEYS, Latencies, LatencySharing, Sums
from dragoman.stores.latency_store import RedisLatencies
from tests.stores.conftest import Store

KEY = "10 4k whole chat fast\nopenai\nmödel \udc80"
ONE = Sums(1.0, 100.0, 40.0, 7.0, 49.0, 700.0, rewards=0.5)


class Clock:
    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


def test_after_its_half_life_a_sum_is_half_and_in_the_end_nothing() -> None:
    clock = Clock()
    latencies = Latencies(clock)
    latencies.observe(KEY, ONE)
    clock.now += 10
    assert latencies.find(KEY) == pytest.approx(ONE.times(0.5))
    latencies.observe(KEY, ONE)
    clock.now += 10
    assert latencies.find(KEY) == pytest.approx(ONE.times(0.75))
    clock.now += 30
    assert latencies.find(KEY) == Sums()
    assert latencies.send() == {}
    clock.now -= 100  # a clock set back makes nothing of more weight
    latencies.observe(KEY, ONE)
    assert latencies.find(KEY) == pytest.approx(ONE)


steps = st.lists(st.sampled_from(["observe", "wait", "send", "receive", "keep"]), max_size=40)


@given(steps)
def test_whatever_becomes_of_what_is_sent_it_counts_here_once(taken: list[str]) -> None:
    """`receive` is given what the store would say: all that was ever sent, faded."""
    clock = Clock()
    latencies, told, alone = Latencies(clock), Latencies(clock), Latencies(clock)
    sent: Mapping[str, Sums] = {}
    sent_at = clock.now
    for step in taken:
        if step == "observe":
            latencies.observe(KEY, ONE)
            alone.observe(KEY, ONE)
        elif step == "wait":
            clock.now += 1
        elif step == "send" and not sent:
            sent, sent_at = latencies.send(), clock.now
        elif step == "keep":
            latencies.keep()
            sent = {}
        elif step == "receive" and sent:
            for key, sums in sent.items():
                told.observe(key, sums.times(0.5 ** ((clock.now - sent_at) / 10)))
            latencies.receive({KEY: told.find(KEY)})
            sent = {}
        found, known = latencies.find(KEY), alone.find(KEY)
        if known.weight > 2 * LEAST_WEIGHT:
            assert found.weight == pytest.approx(known.weight, abs=2 * LEAST_WEIGHT)


def test_what_one_worker_saw_all_know(store: Store) -> None:
    async def run() -> None:
        workers = [Latencies(Clock()) for _ in range(3)]
        shares = [LatencySharing(known, RedisLatencies(store.url)) for known in workers]
        workers[0].observe(KEY, ONE)
        workers[1].observe(KEY, ONE)
        workers[1].observe("9 other", Sums(failures=1.0, failed_ms=5.0))
        for _ in range(2):
            for sharing in shares:
                await sharing.refresh()
        seen = KEY.encode("utf-8", "replace").decode()
        for known in workers:
            assert known.find(seen) == pytest.approx(ONE.times(2), rel=0.1)
            assert known.find("9 other").failures == pytest.approx(1.0, rel=0.1)
        for sharing in shares:
            await sharing.close()

    asyncio.run(run())


def test_the_store_forgets_and_takes_no_more_than_so_many(store: Store) -> None:
    async def run() -> None:
        shared = RedisLatencies(store.url)
        faint = Sums(answers=LEAST_WEIGHT / 2)
        assert await shared.share({"1 faint": faint}) == {}
        many = {f"86400 {i}": ONE for i in range(MOST_KEYS + 5)}
        assert len(await shared.share(many)) == MOST_KEYS
        again = await shared.share({"86400 1": ONE})
        assert again["86400 1"].answers == pytest.approx(2.0, rel=0.01)
        await shared.close()

    asyncio.run(run())


def test_without_the_store_a_worker_goes_on_with_its_own_and_tells_it_later(
    own_store: Store,
) -> None:
    async def run() -> None:
        known, other = Latencies(Clock()), Latencies(Clock())
        sharing = LatencySharing(known, RedisLatencies(own_store.url))
        own_store.kill()
        with pytest.raises(StoreUnavailable):
            await RedisLatencies(own_store.url).share({})
        known.observe("99 a", ONE)
        await sharing.refresh()
        known.observe("99 a", ONE)
        await sharing.refresh()
        assert known.find("99 a") == pytest.approx(ONE.times(2))
        own_store.start()
        await sharing.close()
        later = LatencySharing(other, RedisLatencies(own_store.url))
        await later.refresh()
        assert other.find("99 a") == pytest.approx(ONE.times(2), rel=0.05)
        await later.close()

    asyncio.run(run())
