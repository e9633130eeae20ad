"""What callers do against their own history, in a real store."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

import pytest

from dragoman.config.governance import Abuse, Signal, Signals
from dragoman.errors import NotFound
from dragoman.stores.abuse import AbuseStore
from dragoman.stores.standings import AbuseWatch, Standing, Tally
from tests.stores.conftest import Store

RULE = Abuse(
    window_seconds=60,
    half_life_seconds=600,
    signals=Signals(requests=Signal(times=3, at_least=10)),
    throttle=2,
    suspend=4,
    lasts_seconds=300,
)


class Did(NamedTuple):
    status: int = 200
    details: str = ""
    cost_nanodollars: int | None = None
    guardrails: Mapping[str, int] | None = None


def tally(count: int, did: Did = Did(), *addresses: str) -> Tally:
    found = Tally()
    for i in range(count):
        found.add(did, addresses[i % len(addresses)] if addresses else "")
    return found


def with_store(store: Store, run: Callable[[AbuseStore], Awaitable[None]]) -> None:
    async def call() -> None:
        opened = AbuseStore(store.url)
        try:
            await run(opened)
        finally:
            await opened.close()

    asyncio.run(call())


def test_the_score_is_how_far_above_what_is_allowed_and_is_told_once(store: Store) -> None:
    async def run(abuse: AbuseStore) -> None:
        assert await abuse.observe(RULE, "demo", tally(10), 0.0) is None
        alert = await abuse.observe(RULE, "demo", tally(1), 1.0)
        assert alert is not None
        assert (alert.action, alert.score, alert.until) == ("alert", 1.1, 301.0)
        assert alert.reasons == ["requests 11 of 10"]
        assert await abuse.observe(RULE, "demo", tally(1), 2.0) is None
        throttle = await abuse.observe(RULE, "demo", tally(10), 3.0)
        assert throttle is not None
        assert (throttle.action, throttle.score) == ("throttle", 2.2)
        suspend = await abuse.observe(RULE, "demo", tally(30), 4.0)
        assert suspend is not None
        assert suspend.action == "suspend"
        assert await abuse.observe(RULE, "other", tally(10), 4.0) is None
        assert await abuse.standings() == {"demo": suspend}

    with_store(store, run)


def test_it_goes_by_what_the_caller_used_to_do(store: Store) -> None:
    async def run(abuse: AbuseStore) -> None:
        for window in range(40):
            assert await abuse.observe(RULE, "busy", tally(10 + window), window * 60.0) is None
        assert await abuse.observe(RULE, "busy", tally(100), 2400.0) is None
        assert await abuse.observe(RULE, "busy", tally(60), 2401.0) is not None

    with_store(store, run)


def test_abuse_does_not_soon_become_what_is_usual(store: Store) -> None:
    async def run(abuse: AbuseStore) -> None:
        found = [await abuse.observe(RULE, "demo", tally(1000), w * 60.0) for w in range(3)]
        assert found[0] is not None
        (standing,) = (await abuse.standings()).values()
        assert standing.since == 0.0
        assert standing.until == 420.0
        assert standing.score > 10

    with_store(store, run)


def test_a_night_off_does_not_make_the_morning_suspicious(store: Store) -> None:
    async def run(abuse: AbuseStore) -> None:
        for window in range(60):
            assert await abuse.observe(RULE, "busy", tally(10 + window), window * 60.0) is None
        assert await abuse.observe(RULE, "busy", tally(100), 100_000.0) is None

    with_store(store, run)


@pytest.mark.parametrize(
    ("signal", "did", "reason"),
    [
        ("errors", Did(status=403), "errors 4 of 3"),
        ("usd", Did(cost_nanodollars=10**9), "usd 4 of 3"),
        ("guardrails", Did(guardrails={"secret_plan": 1}), "guardrails 4 of 3"),
    ],
)
def test_each_signal(store: Store, signal: str, did: Did, reason: str) -> None:
    rule = Abuse(signals=Signals(**{signal: Signal(times=2, at_least=3)}))

    async def run(abuse: AbuseStore) -> None:
        assert await abuse.observe(rule, "demo", tally(3, did), 0.0) is None
        found = await abuse.observe(rule, "demo", tally(1, did), 1.0)
        assert found is not None
        assert found.reasons == [reason]

    with_store(store, run)


def test_what_is_no_fault_of_the_caller(store: Store) -> None:
    few = Signal(times=2, at_least=3)
    rule = Abuse(signals=Signals(errors=few, guardrails=few))
    faultless = [Did(429), Did(500), Did(403, "dragoman_caller_suspended"), Did(200)]
    faultless.append(Did(503, guardrails={"house:failed": 1}))

    async def run(abuse: AbuseStore) -> None:
        for did in faultless:
            assert await abuse.observe(rule, "demo", tally(20, did), 0.0) is None

    with_store(store, run)


def test_addresses_are_counted_once_each_and_not_kept(store: Store) -> None:
    rule = Abuse(signals=Signals(addresses=Signal(times=2, at_least=3)))
    places = [f"10.0.0.{i}" for i in range(9)]

    async def run(abuse: AbuseStore) -> None:
        for now in range(3):
            assert await abuse.observe(rule, "demo", tally(30, Did(), *places[:3]), now) is None
        found = await abuse.observe(rule, "demo", tally(9, Did(), *places), 4.0)
        assert found is not None
        assert found.reasons == ["addresses 9 of 3"]
        assert await abuse.observe(rule, "demo", tally(3, Did(), *places[:3]), 60.0) is None

    with_store(store, run)


def test_lifted_means_lifted(store: Store) -> None:
    async def run(abuse: AbuseStore) -> None:
        with pytest.raises(NotFound):
            await abuse.lift("demo", 0.0)
        assert await abuse.observe(RULE, "demo", tally(100), 0.0) is not None
        version = await abuse.version()
        former = await abuse.lift("demo", 300.0)
        assert former.action == "suspend"
        assert await abuse.version() > version
        assert await abuse.standings() == {}
        again = await abuse.observe(RULE, "demo", tally(100), 1.0)
        assert again is not None
        assert again.action == "alert"
        worse = await abuse.observe(RULE, "demo", tally(200), 301.0)
        assert worse is not None
        assert worse.action == "suspend"

    with_store(store, run)


def test_workers_together_tell_of_it_once_and_all_know(store: Store) -> None:
    told: list[Standing] = []

    async def run() -> None:
        clock = 5.0
        watches = [
            AbuseWatch(AbuseStore(store.url), lambda: RULE, lambda: clock, told.append)
            for _ in range(4)
        ]
        for watch in watches:
            for _ in range(15):
                watch.note("demo", Did(), "10.0.0.1")
        await asyncio.gather(*(watch.refresh() for watch in watches))
        await asyncio.gather(*(watch.refresh() for watch in watches))
        actions = {found.action for watch in watches if (found := watch.find("demo"))}
        assert actions == {"suspend"}
        assert all(watch.find("other") is None for watch in watches)
        for watch in watches:
            await watch.close()

    asyncio.run(run())
    assert sorted(standing.action for standing in told) == ["alert", "suspend", "throttle"]


def test_a_store_that_is_down_accuses_nobody_twice(own_store: Store) -> None:
    told: list[Standing] = []

    async def run() -> None:
        watch = AbuseWatch(AbuseStore(own_store.url), lambda: RULE, lambda: 1.0, told.append)
        own_store.kill()
        for _ in range(3):
            for _ in range(6):
                watch.note("demo", Did(), "")
            await watch.refresh()
        assert watch.find("demo") is None
        await watch.close()

    asyncio.run(run())
    assert told == []
