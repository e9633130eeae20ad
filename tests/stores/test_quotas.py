"""Quotas on a real store: no interleaving of reserving, settling, dying and repeating miscounts."""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dragoman.errors import StoreUnavailable
from dragoman.stores.keeper import Batch, Levels, QuotaKeeper, Reached, Settled, Settlement
from dragoman.stores.leases import HOLD_SECONDS, Counter, Demand, Exceeded, Taken, Want
from dragoman.stores.quotas import RedisQuotas
from tests.envoy.gateway import wait_until
from tests.stores.conftest import Store
from tests.stores.hammer import COUNTER as NOBODY


def counter(**fields: Any) -> Counter:
    return NOBODY._replace(**fields)


def fields(store: Store, key: str = "{q}") -> dict[str, int]:
    """Used and out, as the store has them."""
    with redis.Redis.from_url(store.url, decode_responses=True) as client:
        found = client.hgetall(key)
    used = sum(int(value) for name, value in found.items() if name.startswith("u:"))
    out = sum(int(value) for name, value in found.items() if name.startswith("l:"))
    return {"used": used, "out": out}


def on(store: Store, scenario: Callable[[RedisQuotas], Awaitable[Any]], **options: Any) -> Any:
    async def run() -> Any:
        quotas = RedisQuotas(store.url, **options)
        try:
            return await scenario(quotas)
        finally:
            await quotas.close()

    return asyncio.run(run())


def keeper(store: Store, name: str = "w", clock: Callable[[], float] = time.time) -> QuotaKeeper:
    return QuotaKeeper(RedisQuotas(store.url), name, clock)


async def spend(quota: QuotaKeeper, of: Counter, tries: int) -> int:
    """How many of `tries` requests got through, each settled soon after."""
    got = 0
    for _ in range(tries):
        found = await quota.acquire((Demand(of, 1),))
        if isinstance(found, Exceeded):
            await asyncio.sleep(0.002)
            continue
        got += 1
        quota.settle(found, {"requests": 1})
    return got


# --- one store, many workers -------------------------------------------------------------------


def test_the_limit_is_exact_whoever_spends_it(store: Store) -> None:
    async def run() -> int:
        keepers = [keeper(store, f"w{i}") for i in range(8)]
        for one in keepers:
            one.start()
        got = await asyncio.gather(*(spend(one, NOBODY, 150) for one in keepers for _ in range(4)))
        for one in keepers:
            await one.close()
        return sum(got)

    assert asyncio.run(run()) == 1000
    assert fields(store) == {"used": 1000, "out": 0}


def test_workers_that_are_killed_leave_no_more_than_they_held(store: Store, tmp_path: Path) -> None:
    written = [tmp_path / f"p{i}" for i in range(8)]
    workers = []
    for path in written:
        arguments = [sys.executable, "-m", "tests.stores.hammer", store.url, path.name]
        with path.open("wb") as out:
            workers.append(subprocess.Popen(arguments, stdout=out))

    def got() -> int:
        return sum(path.stat().st_size for path in written)

    wait_until(lambda: got() > 200, 30, "the first requests")
    for victim in workers[:2]:
        victim.kill()
        victim.wait()
    assert [worker.wait(60) for worker in workers[2:]] == [0] * 6
    left = fields(store)
    assert left["used"] + left["out"] == 1000
    assert left["used"] <= got() <= 1000
    assert got() + left["out"] >= 1000


# --- the functions in the store -----------------------------------------------------------------


def test_a_lease_that_is_given_up_comes_back(store: Store) -> None:
    async def run(quotas: RedisQuotas) -> None:
        (first,) = await quotas.take([Want(counter(), "dead", 1000, 1000)])
        assert first == Taken(1000, 0, 1000, 1000, 0)
        (none,) = await quotas.take([Want(counter(), "live", 1, 1)])
        assert none == Taken(0, 0, 1000, 1000, 1000)
        await asyncio.sleep(0.06)
        (again,) = await quotas.take([Want(counter(), "live", 1, 1)])
        assert again == Taken(1, 0, 1, 1000, 0)
        late = Batch("{q}", 600, 1, (Settlement("dead", 5, 0, 5, 0),))
        await quotas.settle("w", late)

    on(store, run, lease_seconds=0.05)
    assert fields(store) == {"used": 5, "out": 1}


def test_what_was_reserved_is_held_for_as_long_as_its_request_is_told_to_go_on(
    store: Store,
) -> None:
    def held_seconds() -> list[float]:
        with redis.Redis.from_url(store.url, decode_responses=True) as client:
            (seconds, micros), found = client.time(), client.hgetall("{q}")
        now = seconds + micros / 1e6
        return [int(v.split()[0]) / 1000 - now for k, v in found.items() if k.startswith("x:")]

    async def run() -> list[float]:
        of = counter(limit=10)
        first, other = keeper(store, "first"), keeper(store, "other")
        holds = await first.acquire((Demand(of, 1),))
        assert not isinstance(holds, Exceeded)
        await first.close()
        told = held_seconds()
        lapses = Settlement(holds[0].lease, 0, 0, 0, 5_000)
        quotas = RedisQuotas(store.url)
        await quotas.settle("w", Batch("{q}", 600, 1, (lapses,)))
        await quotas.close()
        told += held_seconds()
        other.renew(holds)
        await other.refresh()
        told += held_seconds()
        other.settle(holds, {"requests": 1})
        await other.close()
        return [*told, *held_seconds()]

    first, lapsing, renewed = asyncio.run(run())
    assert HOLD_SECONDS - 5 < first <= HOLD_SECONDS
    assert 0 < lapsing <= 5
    assert HOLD_SECONDS - 5 < renewed <= HOLD_SECONDS
    assert fields(store) == {"used": 1, "out": 0}


def test_what_is_in_use_is_told_from_what_may_come_back(store: Store) -> None:
    async def run(quotas: RedisQuotas) -> list[tuple[int, int]]:
        of = counter(limit=10)
        await quotas.take([Want(of, "a", 10, 10)])
        seen = [(await quotas.take([Want(of, "b", 1, 1)]))[0]]
        await quotas.settle("w", Batch("{q}", 600, 1, (Settlement("a", 2, 0, 0, 60_000),)))
        seen += [(await quotas.take([Want(of, "b", 5, 5)]))[0]]
        seen += [(await quotas.take([Want(of, "b", 5, 5)]))[0]]
        return [(taken.granted, taken.spare) for taken in seen]

    assert on(store, run) == [(0, 10), (2, 0), (0, 0)]


def test_near_its_end_a_limit_is_given_out_one_by_one(store: Store) -> None:
    async def run(quotas: RedisQuotas) -> list[int]:
        wants = [Want(counter(limit=20), f"w{i}", 1, 100) for i in range(16)]
        return [(await quotas.take([want]))[0].granted for want in wants]

    assert on(store, run) == [5, 3, 3, 2, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0]


def test_a_rolling_window_forgets_its_oldest_part(store: Store) -> None:
    async def run(quotas: RedisQuotas) -> list[int]:
        for bucket in range(10):
            parts = (Settlement("x", 0, bucket, 10, 0),)
            await quotas.settle("w", Batch("{q}", 600, bucket + 1, parts))
        wants = [Want(counter(limit=100, oldest=i), "l", 1, 1) for i in (0, 1, 5)]
        return [(await quotas.take([want]))[0].used for want in wants]

    assert on(store, run) == [100, 90, 50]


@pytest.mark.parametrize(("used", "carried"), [(0, 100), (30, 70), (130, 0)])
def test_what_a_window_left_over_is_carried_into_the_next(
    store: Store, used: int, carried: int
) -> None:
    async def run(quotas: RedisQuotas) -> int:
        parts = (Settlement("x", 0, 0, used, 0),)
        await quotas.settle("w", Batch("{q}1", 600, 1, parts))
        second = counter(key="{q}2", before="{q}1", limit=100)
        await quotas.take([Want(second, "l", 1, 1)])
        return (await quotas.take([Want(second, "l", 1, 1)]))[0].limit

    assert on(store, run) == 100 + carried


def test_use_counts_at_the_provider_that_served_and_what_is_spent_is_known(store: Store) -> None:
    first = counter(key="{a}", limit=2, provider="a")
    other = counter(key="{b}", limit=2, provider="b")

    async def run() -> list[bool]:
        spent = list[bool]()
        for life, served in enumerate(("a", "b", "b")):
            quota = keeper(store, f"w{life}")
            holds = await quota.acquire((Demand(first, 1), Demand(other, 0)))
            assert not isinstance(holds, Exceeded)
            spent.append(quota.is_spent(other))
            quota.settle(holds, {"requests": 1}, served)
            await quota.close()
        quota = keeper(store, "last")
        holds = await quota.acquire((Demand(other, 0),))
        spent.append(quota.is_spent(other))
        await quota.close()
        return spent

    assert asyncio.run(run()) == [False, False, False, True]
    assert fields(store, "{a}") == {"used": 1, "out": 0}
    assert fields(store, "{b}") == {"used": 2, "out": 0}


def test_a_provider_that_did_not_serve_costs_the_store_nothing(store: Store) -> None:
    async def run() -> None:
        quota = keeper(store)
        other = counter(key="{b}", before="{b}", provider="b")
        holds = await quota.acquire((Demand(counter(), 1), Demand(other, 0)))
        assert not isinstance(holds, Exceeded)
        quota.settle(holds, {"requests": 1}, "a")
        await quota.refresh()
        with redis.Redis.from_url(store.url, decode_responses=True) as client:
            assert client.hgetall("{b}") == {}
        await quota.close()

    asyncio.run(run())


def test_a_level_is_told_once_whoever_reaches_it_and_however_often_it_is_asked(
    store: Store,
) -> None:
    levels = Levels(limit=100, oldest=0, parts=(0.5, 0.8))

    async def run() -> list[Reached]:
        told: list[Reached] = []
        keepers = [
            QuotaKeeper(RedisQuotas(store.url), f"w{i}", time.time, lambda *_: levels, told.append)
            for i in range(8)
        ]
        for one in keepers:
            one.start()
        await asyncio.gather(*(spend(one, counter(limit=100), 40) for one in keepers))
        for one in keepers:
            await one.close()
        return told

    told = asyncio.run(run())
    assert sorted(reached.part for reached in told) == [0.5, 0.8]
    assert all(
        reached.used >= reached.part * 100 == reached.limit * reached.part for reached in told
    )
    assert fields(store)["used"] == 100


def test_a_batch_whose_answer_was_lost_is_answered_again(store: Store) -> None:
    async def run(quotas: RedisQuotas) -> list[Settled]:
        levels = Levels(100, 0, (0.5,))
        batches = [Batch("{q}", 600, i, (Settlement("x", 0, 0, 30, 0),), levels) for i in (1, 2, 3)]
        found = [await quotas.settle("w", batches[0]), await quotas.settle("w", batches[1])]
        found += [await quotas.settle("w", batches[1]), await quotas.settle("other", batches[0])]
        return [*found, await quotas.settle("w", batches[2])]

    found = on(store, run)
    assert [(settled.used, settled.reached) for settled in found] == [
        (30, ()),
        (60, (0.5,)),
        (60, (0.5,)),
        (90, ()),
        (120, ()),
    ]


def test_a_rolling_window_may_reach_a_level_again(store: Store) -> None:
    async def run(quotas: RedisQuotas) -> list[tuple[float, ...]]:
        found: list[tuple[float, ...]] = []
        for number, bucket in enumerate((0, 0, 4, 4), 1):
            parts = (Settlement("x", 0, bucket, 30, 0),)
            levels = Levels(100, bucket, (0.5,))
            found.append(
                (await quotas.settle("w", Batch("{q}", 600, number, parts, levels))).reached
            )
        return found

    assert on(store, run) == [(), (0.5,), (), (0.5,)]


def test_levels_are_of_the_limit_with_what_was_carried(store: Store) -> None:
    async def run(quotas: RedisQuotas) -> list[tuple[float, ...]]:
        second = counter(key="{q}2", before="{q}1", limit=100)
        await quotas.settle("w", Batch("{q}1", 600, 1, (Settlement("x", 0, 0, 0, 0),)))
        await quotas.take([Want(second, "l", 1, 1)])
        levels, found = Levels(100, 0, (0.5,)), list[tuple[float, ...]]()
        for number in (1, 2):
            parts = (Settlement("x", 0, 0, 60, 0),)
            found.append(
                (await quotas.settle("w", Batch("{q}2", 600, number, parts, levels))).reached
            )
        return found

    assert on(store, run) == [(), (0.5,)]


def test_however_many_counters_are_asked_at_once_the_connections_are_few(store: Store) -> None:
    async def run(quotas: RedisQuotas) -> tuple[int, int]:
        wants = [Want(counter(key=f"{{q{i}}}", before=f"{{q{i}}}"), "l", 1, 1) for i in range(300)]
        taken = await quotas.take(wants)
        with redis.Redis.from_url(store.url) as client:
            return sum(one.granted for one in taken), len(client.client_list())

    granted, connections = on(store, run)
    assert granted == 300
    assert connections < 50


# --- any interleaving ---------------------------------------------------------------------------

steps = st.lists(
    st.tuples(
        st.sampled_from(["take", "settle", "again", "old again", "over"]),
        st.integers(0, 3),
        st.integers(0, 30),
        st.integers(0, 40),
    ),
    max_size=30,
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps)
def test_any_interleaving_counts_each_settlement_once(store: Store, steps: list) -> None:
    """Against a model: what was settled is used, what was taken and not returned is out."""
    store.clear()
    out: dict[int, int] = {}
    used = 0
    sent: list[tuple[str, Batch]] = []
    numbers = itertools.count(1)

    async def run(quotas: RedisQuotas) -> None:
        nonlocal used
        for kind, who, amount, actual in steps:
            if kind == "take":
                (taken,) = await quotas.take([Want(counter(limit=100), f"l{who}", amount, amount)])
                free = 100 - used - sum(out.values())
                assert taken.granted == max(min(amount, free), 0)
                out[who] = out.get(who, 0) + taken.granted
            elif kind == "settle":
                returned = min(amount, out.get(who, 0))
                batch = Batch(
                    "{q}", 600, next(numbers), (Settlement(f"l{who}", returned, 0, actual, 0),)
                )
                await quotas.settle(f"w{who}", batch)
                sent.append((f"w{who}", batch))
                out[who] = out.get(who, 0) - returned
                used += actual
            elif sent and kind == "again":
                await quotas.settle(*sent[-1])
            elif sent and kind == "old again":
                await quotas.settle(*sent[amount % len(sent)])
            elif kind == "over":
                rest = (Settlement(f"l{who}", out.pop(who, 0), 0, 0, 60_000),)
                await quotas.settle(f"w{who}", Batch("{q}", 600, next(numbers), rest))

    on(store, run)
    assert fields(store) == {"used": used, "out": sum(out.values())}


# --- without the store --------------------------------------------------------------------------


def test_an_open_quota_goes_on_without_the_store_and_counts_when_it_is_back(
    own_store: Store,
) -> None:
    async def run() -> None:
        quota = keeper(own_store)
        assert await spend(quota, counter(is_open=True), 10) == 10
        await quota.refresh()
        own_store.kill()
        assert await spend(quota, counter(is_open=True), 50) == 50
        for _ in range(3):
            await quota.refresh()
        own_store.start()
        await quota.close()

    asyncio.run(run())
    assert fields(own_store) == {"used": 60, "out": 0}


def test_a_closed_quota_refuses_without_the_store(own_store: Store) -> None:
    async def run() -> None:
        quota = keeper(own_store)
        own_store.kill()
        with pytest.raises(StoreUnavailable):
            await quota.acquire((Demand(counter(), 1), Demand(counter(key="{o}", is_open=True), 1)))
        with pytest.raises(StoreUnavailable):
            await quota.acquire((Demand(counter(), 1),))
        await quota.close()

    asyncio.run(run())


def test_what_the_store_acknowledged_survives_its_death(own_store: Store) -> None:
    async def run() -> None:
        quota = keeper(own_store)
        await spend(quota, counter(limit=50), 25)
        await quota.refresh()
        own_store.kill()
        own_store.start()
        assert await spend(quota, counter(limit=50), 60) == 25
        await quota.close()

    asyncio.run(run())
    assert fields(own_store) == {"used": 50, "out": 0}
