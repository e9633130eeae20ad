"""A worker's quotas: reserves from leases at once, and talks to the store when it must."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from dragoman.errors import StoreUnavailable
from dragoman.stores.leases import (
    HOLD_SECONDS,
    Counter,
    Demand,
    Exceeded,
    Hold,
    LeaseBook,
    Retired,
    Shortage,
    State,
    Taken,
    Want,
)
from dragoman.stores.periodic import Periodic

FLUSH_SECONDS = 0.1
"""How often settlements go to the store: what a worker that is killed may not have told."""
_MAX_TRIES = 100
"""How often a request asks for what others may have to spare; then it is refused."""
_PAUSE_SECONDS = 0.02
_MOST_UNTOLD = 1000
_DOWN_SECONDS = 1.0
_HOLD_MS = int(HOLD_SECONDS * 1000)

Clock = Callable[[], float]


class Settlement(NamedTuple):
    """What came of one lease: `returned` is no longer out, `used` is counted."""

    lease: str
    returned: int
    bucket: int
    used: int
    hold_ms: int
    """More than 0: nothing will be reserved on it again, and the rest is awaited for so long."""


class Levels(NamedTuple):
    """What is to be told of a counter: when what was used reaches some part of its limit."""

    limit: int = 0
    oldest: int = 0
    """The first bucket that still counts."""
    parts: tuple[float, ...] = ()
    """Such as 0.8; none: nothing is told."""


class Batch(NamedTuple):
    """Settlements of one counter by one writer. Sent again under its number, it counts once."""

    key: str
    life_seconds: int
    number: int
    settlements: tuple[Settlement, ...]
    levels: Levels = Levels()


class Settled(NamedTuple):
    """The store's answer to a `Batch`."""

    is_short: bool
    """Somebody is short of what others have on leases."""
    used: int = 0
    limit: int = 0
    """With what was carried over."""
    reached: tuple[float, ...] = ()
    """The levels that were reached with this batch: nobody else is told of them."""


class Reached(NamedTuple):
    """A counter has reached a level."""

    key: str
    part: float
    used: int
    limit: int


class QuotaStore(Protocol):
    """The counters that workers share. Each call raises `StoreUnavailable`; then it may or may not
    have been carried out."""

    async def take(self, wants: Sequence[Want]) -> list[Taken]: ...
    async def settle(self, writer: str, batch: Batch) -> Settled: ...
    async def close(self) -> None: ...


class _Sum:
    """What one counter's next batch will say."""

    def __init__(self, life_seconds: int) -> None:
        self.life_seconds = life_seconds
        self.parts: dict[tuple[str, int], list[int]] = {}
        """Returned, used, and how long to hold the rest, by lease and bucket."""

    def add(self, lease: str, bucket: int, returned: int, used: int, hold_ms: int = 0) -> None:
        part = self.parts.setdefault((lease, bucket), [0, 0, 0])
        part[0] += returned
        part[1] += used
        part[2] = max(part[2], hold_ms)

    def batch(self, key: str, number: int, levels: Levels) -> Batch:
        settlements = tuple(
            Settlement(lease, returned, bucket, used, hold_ms)
            for (lease, bucket), (returned, used, hold_ms) in self.parts.items()
        )
        return Batch(key, self.life_seconds, number, settlements, levels)


class QuotaKeeper(Periodic):
    """All quotas of one worker. Not thread-safe: it belongs to its event loop."""

    def __init__(
        self,
        store: QuotaStore,
        worker: str,
        clock: Clock,
        levels: Callable[[str, float], Levels] = lambda _key, _now: Levels(),
        tell: Callable[[Reached], None] = lambda _: None,
    ) -> None:
        """`worker` is a name no other process has, not even an earlier life of this one. `levels`
        says which of a counter's are to be told; `tell` is told, once over all workers."""
        super().__init__(store, FLUSH_SECONDS)
        self._levels = levels
        self._tell = tell
        self._untold: deque[Reached] = deque(maxlen=_MOST_UNTOLD)
        """Levels that Envoy's statistics do not have yet."""
        self._store = store
        self._worker = worker
        self._clock = clock
        self._book = LeaseBook(worker)
        self._wanted: dict[Counter, int] = {}
        """What requests are waiting for."""
        self._asking: asyncio.Task[None] | None = None
        self._down_until = 0.0
        """The store did not answer a moment ago: it is not asked again before."""
        self._sums: dict[str, _Sum] = {}
        """By counter; not yet in a batch."""
        self._batches: dict[str, Batch] = {}
        """By counter: sent, perhaps in vain. The next waits, so that its number comes later and
        the memory of a store that is down stays bounded."""
        self._number = 0

    def reserve(self, demands: tuple[Demand, ...]) -> tuple[Hold, ...] | Shortage | Exceeded:
        """All of `demands` from the leases here, or why not."""
        return self._book.reserve(demands, self._clock())

    async def acquire(self, demands: tuple[Demand, ...]) -> tuple[Hold, ...] | Exceeded:
        """All of `demands`, with the store's help. Raises `StoreUnavailable` where one of them may
        not go on without it."""
        for attempt in range(_MAX_TRIES):
            found = self.reserve(demands)
            if not isinstance(found, Shortage):
                return found
            if attempt:
                await asyncio.sleep(_PAUSE_SECONDS)
            if self._clock() < self._down_until:
                self._do_without(found)
            else:
                await self._refill(found)
        return Exceeded(demands[0].counter, 1.0)

    async def _refill(self, shortage: Shortage) -> None:
        """Ask for what is short, together with whoever asks in the same moment."""
        for counter, amount in shortage.demands:
            self._wanted[counter] = self._wanted.get(counter, 0) + amount
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask())
        await asyncio.shield(self._asking)

    async def _ask(self) -> None:
        await asyncio.sleep(0)
        wanted, self._wanted, self._asking = self._wanted, {}, None
        now = self._clock()
        wants = [self._book.want(counter, amount, now) for counter, amount in wanted.items()]
        try:
            answers = await self._store.take(wants)
        except StoreUnavailable:
            self._down_until = self._clock() + _DOWN_SECONDS
            for counter in wanted:
                self._book.forget(counter)
            return
        for want, taken in zip(wants, answers, strict=True):
            self._book.granted(want, taken, self._clock())

    def _do_without(self, shortage: Shortage) -> None:
        """Lend what is short, where all of it may be."""
        for counter, _ in shortage.demands:
            if not counter.is_open:
                raise StoreUnavailable(f"The quota {counter.quota} cannot be asked for now.")
        for counter, amount in shortage.demands:
            self._book.lend(counter, amount, self._clock())

    def state(self, counter: Counter) -> State:
        """What is left, as far as is known here."""
        return self._book.state(counter)

    def is_spent(self, counter: Counter) -> bool:
        """Whether nothing of `counter` is left, as far as is known here."""
        return self._book.is_spent(counter)

    def next_reached(self) -> Reached | None:
        """A level that was reached, once, for whoever tells Envoy."""
        return self._untold.popleft() if self._untold else None

    def settle(
        self, holds: Iterable[Hold], used: Mapping[str, int], provider: str | None = None
    ) -> None:
        """Take in how a request ended: `used` of each unit, at `provider` if one served it. Never
        waits."""
        for hold in holds:
            counts = not hold.provider or hold.provider == provider
            amount = used.get(hold.unit, 0) if counts else 0
            if hold.amount or amount:
                total = self._sum(hold.key, hold.life_seconds)
                total.add(hold.lease, hold.bucket, hold.amount, amount)

    def renew(self, holds: Iterable[Hold]) -> None:
        """Take in that a request goes on: what it has reserved is held on. Never waits."""
        for hold in holds:
            if hold.amount:
                total = self._sum(hold.key, hold.life_seconds)
                total.add(hold.lease, hold.bucket, 0, 0, _HOLD_MS)

    def _sum(self, key: str, life_seconds: int) -> _Sum:
        if key not in self._sums:
            self._sums[key] = _Sum(life_seconds)
        return self._sums[key]

    async def _refresh(self) -> None:
        """Send what has come together. What the store did not take is sent again the next time."""
        for lease in self._book.sweep(self._clock()):
            self._give_back(lease)
        await self._send()

    async def _finish(self) -> None:
        """Settle the rest, and give back every lease."""
        for lease in self._book.close():
            self._give_back(lease)
        await self.refresh()

    def _give_back(self, lease: Retired) -> None:
        counter = lease.counter
        total = self._sum(counter.key, counter.life_seconds)
        total.add(lease.lease, counter.bucket, lease.unspent, 0, _HOLD_MS)

    async def _send(self) -> None:
        for key in [key for key in self._sums if key not in self._batches]:
            self._number += 1
            levels = self._levels(key, self._clock())
            self._batches[key] = self._sums.pop(key).batch(key, self._number, levels)
        for key, batch in list(self._batches.items()):
            self._batches[key] = self._batches.pop(key)  # if it fails, the others come first
            settled = await self._store.settle(self._worker, batch)
            del self._batches[key]
            for part in settled.reached:
                reached = Reached(key, part, settled.used, settled.limit)
                self._untold.append(reached)
                self._tell(reached)
            if settled.is_short:
                for lease in self._book.release(key):
                    self._give_back(lease)
