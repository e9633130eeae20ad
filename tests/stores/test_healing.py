"""What is seen of targets against their own history, in a real store, under a clock of ours."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
import pytest

from dragoman.config.healing import Healing, TargetSignals, Usual
from dragoman.errors import NotFound
from dragoman.stores.healing import HealingStore
from dragoman.stores.incidents import Seen, TargetWatch, Turn
from tests.stores.conftest import Store

TARGET = "openai/gpt"
RULE = Healing(window_seconds=60, requests=10, half_life_seconds=6000, recovers_after=5)


def attempts(failed: int, well: int = 0) -> Seen:
    seen = Seen()
    for i in range(failed + well):
        seen.attempt(failed=i < failed)
    return seen


def answers(signal: str, *values: float) -> Seen:
    seen = Seen()
    for value in values:
        seen.answer(signal, value)
    return seen


class Opened:
    """A store and the target in it that is looked at; each call is a minute after the last."""

    def __init__(self, store: HealingStore) -> None:
        self.store = store
        self.now = 1_800_000_000.0

    async def see(self, seen: Seen, rule: Healing = RULE) -> Turn | None:
        self.now += 61
        return await self.store.observe(rule, TARGET, seen, self.now)

    async def learn(self) -> None:
        """That it answers."""
        for _ in range(2):
            assert await self.see(attempts(0, 20)) is None


def with_store(store: Store, run: Callable[[Opened], Awaitable[None]]) -> None:
    async def call() -> None:
        opened = HealingStore(store.url)
        try:
            await run(Opened(opened))
        finally:
            await opened.close()

    asyncio.run(call())


def test_a_target_that_begins_to_fail_is_found_once_and_recovers_once(store: Store) -> None:
    async def run(targets: Opened) -> None:
        for _ in range(4):
            assert await targets.see(attempts(0, 20)) is None
        version = await targets.store.version()
        turn = await targets.see(attempts(9, 1))
        assert turn is not None
        assert not turn.recovered
        assert turn.incident.target == TARGET
        assert turn.incident.signals == ["errors"]
        assert turn.incident.reasons == ["errors 0.9 above 0.1"]
        assert await targets.store.incidents() == {TARGET: turn.incident}
        assert await targets.store.version() == version + 1
        for _ in range(4):
            assert await targets.see(attempts(5)) is None
        assert await targets.see(attempts(0, 4)) is None
        over = await targets.see(attempts(0, 1))
        assert over == Turn(recovered=True, incident=turn.incident)
        assert await targets.store.incidents() == {}
        assert await targets.store.version() == version + 2
        assert await targets.see(attempts(0, 20)) is None
        again = await targets.see(attempts(20))
        assert again is not None
        assert not again.recovered

    with_store(store, run)


def test_a_target_that_was_always_bad_is_no_news(store: Store) -> None:
    async def run(targets: Opened) -> None:
        for _ in range(10):
            assert await targets.see(attempts(10, 10)) is None
        assert await targets.see(attempts(20)) is None

    with_store(store, run)


def test_of_few_requests_nothing_is_said(store: Store) -> None:
    async def run(targets: Opened) -> None:
        assert await targets.see(attempts(0, 9)) is None
        assert await targets.see(attempts(9)) is None  # no history yet: this makes it
        for _ in range(9):
            assert await targets.see(attempts(0, 10)) is None
        for _ in range(3):
            assert await targets.see(attempts(3)) is None
        turn = await targets.see(attempts(3))  # these twelve are one window
        assert turn is not None
        assert turn.incident.reasons[0].startswith("errors 1 above ")

    with_store(store, run)


@pytest.mark.parametrize("signal", ["first_byte_ms", "ms_per_token", "answer_ms", "usd"])
def test_each_signal_and_an_outlier_is_none(store: Store, signal: str) -> None:
    signals = TargetSignals(**{signal: Usual(times=3, at_least=50)})
    rule = msgspec.structs.replace(RULE, signals=signals)

    async def run(targets: Opened) -> None:
        assert await targets.see(answers(signal, *[20.0, 40.0] * 10), rule) is None
        assert await targets.see(answers(signal, *[30.0] * 19, 60_000.0), rule) is None
        turn = await targets.see(answers(signal, *[200.0] * 10), rule)
        assert turn is not None
        assert turn.incident.signals == [signal]
        assert await targets.see(attempts(0, 50), rule) is None  # says nothing of what drifted
        assert await targets.see(answers(signal, *[200.0] * 5), rule) is None
        over = await targets.see(answers(signal, *[50.0] * 5), rule)
        assert over is not None
        assert over.recovered

    with_store(store, run)


def test_answers_that_are_far_shorter_than_usual_are_a_drift(store: Store) -> None:
    async def run(targets: Opened) -> None:
        for _ in range(2):
            assert await targets.see(answers("output_tokens", *[400.0] * 10)) is None
        turn = await targets.see(answers("output_tokens", *[2.0] * 10))
        assert turn is not None
        assert turn.incident.reasons == ["output_tokens 2 below 100"]

    with_store(store, run)


def test_what_changes_slowly_is_usual(store: Store) -> None:
    rule = msgspec.structs.replace(RULE, half_life_seconds=60)

    async def run(targets: Opened) -> None:
        for i in range(40):
            assert await targets.see(answers("answer_ms", *[1000 * 1.2**i] * 10), rule) is None

    with_store(store, run)


def test_what_is_not_looked_at_any_more_holds_nobody_down(store: Store) -> None:
    off = msgspec.structs.replace(RULE, signals=TargetSignals(errors=None))

    async def run(targets: Opened) -> None:
        await targets.learn()
        assert await targets.see(attempts(20)) is not None
        over = await targets.see(answers("answer_ms", 5.0), off)
        assert over is not None
        assert over.recovered

    with_store(store, run)


def test_lifted_means_that_what_it_does_is_usual_from_now_on(store: Store) -> None:
    async def run(targets: Opened) -> None:
        with pytest.raises(NotFound):
            await targets.store.lift(TARGET)
        await targets.learn()
        turn = await targets.see(attempts(10, 10))
        assert turn is not None
        version = await targets.store.version()
        assert await targets.store.lift(TARGET) == turn.incident
        assert await targets.store.version() > version
        assert await targets.store.incidents() == {}
        for _ in range(5):
            assert await targets.see(attempts(10, 10)) is None

    with_store(store, run)


def test_no_more_targets_are_known_than_a_store_bears(store: Store) -> None:
    async def run(targets: Opened) -> None:
        await targets.learn()
        assert await targets.see(attempts(20)) is not None
        for i in range(1024):
            name = f"openai/made-up-{i}"
            assert await targets.store.observe(RULE, name, attempts(1), targets.now + i) is None
        assert await targets.store.incidents() == {}
        with pytest.raises(NotFound):
            await targets.store.lift(TARGET)

    with_store(store, run)


def test_workers_together_tell_of_it_once_and_all_know(store: Store) -> None:
    told: list[Turn] = []

    async def run() -> None:
        now = [0.0]
        watches = [
            TargetWatch(HealingStore(store.url), lambda: RULE, lambda: now[0], told.append)
            for _ in range(4)
        ]

        async def tell(*, failed: bool) -> None:
            now[0] += 61
            for watch in watches:
                for _ in range(20):
                    watch.see("openai", "gpt").attempt(failed=failed)
            await asyncio.gather(*(watch.refresh() for watch in watches))

        await tell(failed=False)
        await tell(failed=False)
        await tell(failed=True)
        await tell(failed=True)
        assert [set(watch.incidents) for watch in watches] == [{TARGET}] * 4
        await tell(failed=False)
        await asyncio.gather(*(watch.refresh() for watch in watches))
        assert [set(watch.incidents) for watch in watches] == [set()] * 4
        for watch in watches:
            await watch.close()

    asyncio.run(run())
    assert [turn.recovered for turn in told] == [False, True]


def test_without_the_store_a_worker_goes_on_with_what_it_knew(own_store: Store) -> None:
    async def run() -> None:
        now = [0.0]
        watch = TargetWatch(
            HealingStore(own_store.url), lambda: RULE, lambda: now[0], lambda _: None
        )
        for failed in (False, False, True):
            now[0] += 61
            for _ in range(20):
                watch.see("openai", "gpt").attempt(failed=failed)
            await watch.refresh()
        assert set(watch.incidents) == {TARGET}
        own_store.kill()
        watch.see("openai", "gpt").attempt(failed=False)
        await watch.refresh()
        assert set(watch.incidents) == {TARGET}
        await watch.close()

    asyncio.run(run())
