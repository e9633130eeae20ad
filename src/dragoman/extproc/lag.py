"""How late a worker's event loop is, and whether new requests are turned away for it."""

from __future__ import annotations

import math
from collections.abc import Callable

from dragoman.config.resilience import Priority, Shedding
from dragoman.errors import WorkerOverloaded
from dragoman.stores.periodic import Periodic

_TICK_SECONDS = 0.1


class Lag(Periodic):
    """The mean lateness of ticks, weighted by age. What the loop has before it waits as long."""

    def __init__(self, clock: Callable[[], float], rule: Callable[[], Shedding | None]) -> None:
        """`clock` tells seconds and never goes back; `rule` is the one in force."""
        super().__init__(None, _TICK_SECONDS)
        self._clock = clock
        self._rule = rule
        self._mean = 0.0
        self._ticked = clock()

    def tick(self) -> None:
        """The loop came to what was due a tick after the last time."""
        now = self._clock()
        self._mean = self._mean_at(now)
        self._ticked = now

    def check(self, priority: Priority) -> None:
        """Raises `WorkerOverloaded` where the loop is later than the rule lets it be for such
        requests: also by a tick that is overdue, for what waited with it may be read before it."""
        rule = self._rule()
        if rule is not None and self._mean_at(self._clock()) * 1000 > rule.lag_of(priority):
            raise WorkerOverloaded

    def _mean_at(self, now: float) -> float:
        """As if the loop ticked now, where that is due."""
        rule, passed = self._rule(), now - self._ticked
        if rule is None:
            return self._mean
        kept = math.exp(-passed / rule.over_seconds)
        return self._mean * kept + max(0.0, passed - _TICK_SECONDS) * (1.0 - kept)

    async def _refresh(self) -> None:
        self.tick()
