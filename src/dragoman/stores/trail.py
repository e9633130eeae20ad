"""A worker's way into the audit trail."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Protocol

from dragoman.errors import StoreUnavailable
from dragoman.stores.chain import Event

_FLUSH_SECONDS = 0.5
_MOST_WAITING = 10_000
"""Events that wait for the store; more are counted and their number is entered."""
_BATCH = 200


def time_of(seconds: float) -> str:
    """Unix seconds as entries have them."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class Sink(Protocol):
    """Where events are entered."""

    async def append(self, events: Sequence[Event]) -> None: ...
    async def close(self) -> None: ...


class AuditTrail:
    """A worker's way into the chain: takes events at once and enters them soon after.

    While the store is down they wait, up to a number; what is above it is counted, and the count
    entered in their place. No request ever waits for it or is lost by it.
    """

    def __init__(
        self, store: Sink, worker: str, clock: Callable[[], float], warn: Callable[[int], None]
    ) -> None:
        """`worker` signs what is entered of its own; `clock` tells Unix seconds; `warn` is told,
        once for each time the store cannot be reached, how many events wait."""
        self._store = store
        self.worker = worker
        self._clock = clock
        self._warn = warn
        self._waiting: deque[Event] = deque()
        self._batch: list[Event] = []
        """Given to the store, and not yet known to be there."""
        self._lost = 0
        self._is_down = False
        self._flushing: asyncio.Task[None] | None = None

    def note(
        self, event: str, who: str | None, what: Mapping[str, str | int | None], why: str = ""
    ) -> None:
        """Have it entered. Never waits."""
        if len(self._waiting) >= _MOST_WAITING:
            self._lost += 1
            return
        at = time_of(self._clock())
        self._waiting.append(Event(event=event, time=at, who=who, what=what, why=why))

    def start(self) -> None:
        """Enter events from now on, until `close`."""
        self._flushing = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(_FLUSH_SECONDS)
            await self.flush()

    async def flush(self) -> None:
        """Enter what waits. What the store did not take stays for the next time."""
        while self._batch or self._waiting or self._lost:
            if not self._batch:
                self._batch = self._next_batch()
            try:
                await self._store.append(self._batch)
            except StoreUnavailable:
                if not self._is_down:
                    self._warn(len(self._batch) + len(self._waiting))
                self._is_down = True
                return
            self._is_down = False
            self._batch = []

    def _next_batch(self) -> list[Event]:
        taken = [self._waiting.popleft() for _ in range(min(_BATCH, len(self._waiting)))]
        if self._lost and not self._waiting:
            at, what = time_of(self._clock()), {"count": self._lost}
            why = "more happened than could wait for the store"
            taken.append(Event(event="audit.lost", time=at, who=self.worker, what=what, why=why))
            self._lost = 0
        return taken

    async def close(self) -> None:
        """Enter the rest, if the store takes it."""
        if self._flushing is not None:
            self._flushing.cancel()
            await asyncio.gather(self._flushing, return_exceptions=True)
        await self.flush()
        await self._store.close()
