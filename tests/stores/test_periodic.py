"""What is done again and again: nothing ends it but `close`, and what fails is said once."""

from __future__ import annotations

import asyncio

from dragoman.errors import StoreUnavailable
from dragoman.stores.periodic import Periodic


class Store:
    """Whom a part asks; it is closed with that."""

    closed = 0

    async def close(self) -> None:
        self.closed += 1


class Part(Periodic):
    """Fails with each of `failures` in turn (None: not), then no more."""

    def __init__(self, *failures: Exception | None, seconds: float = 0.0) -> None:
        self.store = Store()
        super().__init__(self.store, seconds)
        self.failures = list(failures)
        self.refreshed = 0
        self.through = asyncio.Event()

    async def _refresh(self) -> None:
        self.refreshed += 1
        if not self.failures:
            self.through.set()
            return
        failure = self.failures.pop(0)
        if failure is not None:
            raise failure


def gone(why: str = "gone") -> StoreUnavailable:
    return StoreUnavailable(why)


def test_what_it_fails_with_is_said_once_and_when_it_no_longer_does() -> None:
    wrong = ValueError("an answer of a later version's store")
    first, again = gone(), gone("otherwise")
    told: list[Exception | None] = []

    async def run() -> Part:
        part = Part(None, first, again, wrong, ValueError(), None, None, gone())
        part.start(told.append)
        await part.through.wait()
        await part.close()
        return part

    part = asyncio.run(run())
    assert told[:3] == [first, wrong, None]
    assert [type(one) for one in told[3:]] == [StoreUnavailable, type(None)]
    assert part.store.closed == 1


def test_it_need_not_wait_for_its_time() -> None:
    async def run() -> None:
        part = Part(seconds=3600.0)
        part.start()
        await part.through.wait()
        part.through.clear()
        part.hasten()
        await part.through.wait()
        assert part.refreshed == 2
        await part.close()
        assert part.refreshed == 3

    asyncio.run(run())


def test_it_ends_also_where_the_last_time_fails() -> None:
    async def run() -> Part:
        part = Part(gone(), ValueError(), RuntimeError())
        await part.refresh()
        await part.close()
        return part

    assert asyncio.run(run()).store.closed == 1
