"""A worker's way into the audit trail."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Protocol

from dragoman.stores.chain import Event
from dragoman.stores.periodic import Periodic

_FLUSH_SECONDS = 0.1
"""What a worker that is killed may not have entered."""
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


class AuditTrail(Periodic):
    """A worker's way into the chain: takes events at once and enters them soon after.

    While the store is down they wait, up to a number; what is above it is counted, and the count
    entered in their place. No request ever waits for it or is lost by it.
    """

    def __init__(self, store: Sink, worker: str, clock: Callable[[], float]) -> None:
        """`worker` signs what is entered of its own; `clock` tells Unix seconds."""
        super().__init__(store, _FLUSH_SECONDS)
        self._store = store
        self.worker = worker
        self._clock = clock
        self._waiting: deque[Event] = deque()
        self._batch: list[Event] = []
        """Given to the store, and not yet known to be there."""
        self._lost = 0

    def note(
        self, event: str, who: str | None, what: Mapping[str, str | int | None], why: str = ""
    ) -> None:
        """Have it entered. Never waits."""
        if len(self._waiting) >= _MOST_WAITING:
            self._lost += 1
            return
        at = time_of(self._clock())
        self._waiting.append(Event(event=event, time=at, who=who, what=what, why=why))

    async def _refresh(self) -> None:
        """Enter what waits. What the store did not take stays for the next time."""
        while self._batch or self._waiting or self._lost:
            if not self._batch:
                self._batch = self._next_batch()
            await self._store.append(self._batch)
            self._batch = []

    def _next_batch(self) -> list[Event]:
        taken = [self._waiting.popleft() for _ in range(min(_BATCH, len(self._waiting)))]
        if self._lost and not self._waiting:
            at, what = time_of(self._clock()), {"count": self._lost}
            why = "more happened than could wait for the store"
            taken.append(Event(event="audit.lost", time=at, who=self.worker, what=what, why=why))
            self._lost = 0
        return taken
