"""Canaries: how far each is, and a worker's part in judging them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec

from dragoman.catalog.costs import NANODOLLARS
from dragoman.config.policy import Canary
from dragoman.stores.periodic import Periodic

_PERIOD_SECONDS = 0.5
"""How often the store is told, and asked."""
_FAILED = 500
_LIMITED = 429
_NO_ANSWER = range(400, 500)


class Answered(Protocol):
    """What is looked at of a request that is over."""

    @property
    def status(self) -> int: ...
    @property
    def attempts(self) -> int: ...
    @property
    def provider(self) -> str | None: ...
    @property
    def duration_ms(self) -> float | None: ...
    @property
    def cost_nanodollars(self) -> int | None: ...
    @property
    def broken(self) -> str | None: ...


class Sums:
    """What one side's answers add up to."""

    def __init__(self) -> None:
        self.answers = self.errors = 0
        self.ms = self.ms2 = self.usd = self.usd2 = 0.0

    def add(self, answered: Answered) -> None:
        """Take in an answer. One that took a second attempt or broke off counts as an error; what
        the client did wrong or left does not count."""
        status = answered.status
        if status == 0 or (status in _NO_ANSWER and status != _LIMITED):
            return
        self.answers += 1
        failed = status >= _FAILED or status == _LIMITED or answered.broken is not None
        self.errors += failed or answered.attempts > 1
        ms, usd = answered.duration_ms or 0.0, (answered.cost_nanodollars or 0) / NANODOLLARS
        self.ms += ms
        self.ms2 += ms * ms
        self.usd += usd
        self.usd2 += usd * usd


class Tally(msgspec.Struct):
    """Both sides of a canary."""

    candidate: Sums
    stable: Sums


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a canary is."""

    model: str
    digest: str
    """Of the definition it is about."""
    state: str
    """`running`, `promoted` or `rolled_back`."""
    step: int
    percent: float
    """Of requests that the candidate serves."""
    since: float
    """Unix seconds."""
    why: str = ""


class Source(Protocol):
    """The store. Each call raises `StoreUnavailable`."""

    async def observe(
        self, model: str, canary: Canary, tally: Tally, now: float
    ) -> tuple[str, Progress] | None: ...
    async def version(self) -> int: ...
    async def progress(self) -> Mapping[str, Progress]: ...
    async def close(self) -> None: ...


class CanaryWatch(Periodic):
    """Not thread-safe: it belongs to its event loop. Without the store it goes on with what it knew
    last; where it never knew, the candidate serves nobody."""

    def __init__(
        self,
        store: Source,
        canaries: Callable[[], Mapping[str, Canary]],
        clock: Callable[[], float],
        tell: Callable[[str, Progress], None],
    ) -> None:
        """`canaries` are those in force, by model; `clock` tells Unix seconds. `tell` is told of
        what happens to one, once over all workers: `started`, `step`, `promoted` or
        `rolled_back`."""
        super().__init__(store, _PERIOD_SECONDS)
        self._store = store
        self._canaries = canaries
        self._clock = clock
        self._tell = tell
        self._tallies: dict[str, Tally] = {}
        self._progress: Mapping[str, Progress] = {}
        self._version = -1

    def percent(self, model: str, canary: Canary) -> float:
        """The share of requests for `model` that the candidate serves."""
        found = self._progress.get(model)
        return found.percent if found is not None and found.digest == canary.digest else 0.0

    def note(self, model: str, answered: Answered, *, candidate: bool) -> None:
        """Have a request taken in that is over. Never waits."""
        tally = self._tallies.setdefault(model, Tally(Sums(), Sums()))
        (tally.candidate if candidate else tally.stable).add(answered)

    async def _refresh(self) -> None:
        await self._send()
        version = await self._store.version()
        if version != self._version:
            self._progress = await self._store.progress()
            self._version = version

    async def _send(self) -> None:
        """What the store does not answer to is not told again: it may have been counted."""
        for model, canary in self._canaries().items():
            tally = self._tallies.pop(model, None)
            found = self._progress.get(model)
            if tally is not None or found is None or found.digest != canary.digest:
                tally = tally or Tally(Sums(), Sums())
                happened = await self._store.observe(model, canary, tally, self._clock())
                if happened is not None:
                    self._tell(*happened)
