"""How much providers have to do: what Envoy counted last, and what was sent to them since."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from dragoman.stores.periodic import Periodic

LOOK_SECONDS = 0.2
"""How often a worker asks Envoy."""
_FAILED_SECONDS = 10.0
"""After so long an attempt that failed counts for half."""
_LEAST_FAILED = 0.1
"""Less is nothing: one attempt is forgotten after some three half-lives."""
_STALE_SECONDS = 2.0
"""What was counted longer ago is not known any more."""


class Counted(NamedTuple):
    """What Envoy's statistics say of a provider."""

    in_flight: int = 0
    """Requests, those that wait for a connection among them."""
    left: float = 1.0
    """The share of its own rate limits that its latest answer said is left."""
    resets_at: float = 0.0
    """When all of it is there again, in Unix seconds."""
    paused_until: float = 0.0
    """Until when it wants to be asked nothing."""
    failed: int = 0
    """Attempts, since Envoy began."""


IDLE = Counted()


class Load(NamedTuple):
    """What is thought of a provider now."""

    counted: int
    """As Envoy had it."""
    in_flight: int
    """The same, and what was sent since."""
    left: float
    """The share of its rate limits that is left; 0: it wants to be asked nothing."""
    failed: float = 0.0
    """Attempts, fewer the longer ago they were."""


class _Failed(NamedTuple):
    """Attempts that failed, as they counted at a time."""

    since: float = 0.0
    attempts: float = 0.0

    def left_at(self, now: float) -> float:
        left = self.attempts * 0.5 ** (max(0.0, now - self.since) / _FAILED_SECONDS)
        return left if left >= _LEAST_FAILED else 0.0


class _Limited(NamedTuple):
    """A share that was left at a time."""

    since: float
    left: float
    resets_at: float

    def left_at(self, now: float) -> float:
        """It comes back little by little, as a bucket is filled."""
        if now >= self.resets_at or self.resets_at <= self.since:
            return 1.0
        passed = max(0.0, now - self.since) / (self.resets_at - self.since)
        return self.left + (1.0 - self.left) * passed if self.left else 0.0


class Loads:
    """What one worker knows. Not thread-safe: it belongs to its event loop."""

    def __init__(self, clock: Callable[[], float], workers: int = 1) -> None:
        """`clock` tells Unix seconds. Each of so many `workers` is given as many requests, sees the
        same and picks alike: so each pick here counts for one of every worker."""
        self._clock = clock
        self._workers = workers
        self._counted: Mapping[str, Counted] | None = None
        self._counted_at = 0.0
        self._limited: dict[str, _Limited] = {}
        self._failed: dict[str, _Failed] = {}
        self._picked = Counter[str]()
        """Sent since Envoy was asked what `_counted` tells."""
        self._before = Counter[str]()
        """Of these, what was sent before Envoy was asked again; it has not answered yet."""

    def pick(self, provider: str) -> None:
        """A request goes to this provider."""
        self._picked[provider] += self._workers

    def begin_look(self) -> None:
        """Envoy is asked now, and counts what was picked until now."""
        self._before = self._picked.copy()

    def end_look(self, counted: Mapping[str, Counted]) -> None:
        """What it answered."""
        now, former = self._clock(), self._counted
        self._counted, self._counted_at = counted, now
        self._picked -= self._before
        if former is not None:
            self._add_failed(now, former, counted)
        for provider, told in counted.items():
            before = self._limited.get(provider)
            if before is None or (before.left, before.resets_at) != (told.left, told.resets_at):
                self._limited[provider] = _Limited(now, told.left, told.resets_at)

    def _add_failed(
        self, now: float, former: Mapping[str, Counted], counted: Mapping[str, Counted]
    ) -> None:
        """What failed since the last look; of an Envoy that began anew, all it counted."""
        for provider, told in counted.items():
            before = former.get(provider, IDLE).failed
            if told.failed != before:
                more = told.failed - before if told.failed > before else told.failed
                left = self._failed.get(provider, _Failed()).left_at(now)
                self._failed[provider] = _Failed(now, left + more)

    def find(self, provider: str) -> Load | None:
        """None where Envoy does not answer, or has not yet."""
        now = self._clock()
        if self._counted is None or not 0 <= now - self._counted_at < _STALE_SECONDS:
            return None
        counted = self._counted.get(provider, IDLE)
        limited = self._limited.get(provider)
        left = limited.left_at(now) if limited else 1.0
        left = 0.0 if now < counted.paused_until else left
        failed = self._failed.get(provider, _Failed()).left_at(now)
        return Load(counted.in_flight, counted.in_flight + self._picked[provider], left, failed)


class Statistics(Protocol):
    """Envoy's."""

    async def read(self) -> Mapping[str, Counted]:
        """By provider. Raises `StatisticsUnavailable`."""
        ...

    async def close(self) -> None: ...


class LoadWatch(Periodic):
    """Keeps `loads` as Envoy counts it."""

    def __init__(self, loads: Loads, statistics: Statistics) -> None:
        super().__init__(statistics, LOOK_SECONDS)
        self._loads = loads
        self._statistics = statistics

    async def _refresh(self) -> None:
        self._loads.begin_look()
        self._loads.end_look(await self._statistics.read())
