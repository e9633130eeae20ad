"""A worker's part in healing: tells the store what was seen of targets, and knows which drifted."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

import msgspec

from dragoman.config.healing import Healing
from dragoman.stores.periodic import Periodic

PERIOD_SECONDS = 0.5
"""How often the store is told, and asked."""
_MOST_TARGETS = 1024
_MOST_LETTERS = 256
"""Of a target that is told of: its model may be what a client made it."""
_FLOORS = {"first_byte_ms": 1.0, "ms_per_token": 0.01, "answer_ms": 1.0, "usd": 1e-9}
"""What is less is as much: a mean of logarithms would make too much of it."""


class Incident(msgspec.Struct, frozen=True, kw_only=True):
    """A target that is not as usual, since when (Unix seconds), and why."""

    target: str
    """PROVIDER/MODEL."""
    signals: list[str]
    reasons: list[str]
    """Such as `errors 0.9 above 0.1`."""
    since: float


class Turn(NamedTuple):
    """An incident that begins, or ends by itself."""

    recovered: bool
    incident: Incident


class Seen:
    """What was seen of one target since the last time it was told."""

    def __init__(self) -> None:
        self.sums: dict[str, tuple[float, int]] = {}
        """By signal: of errors how many there were, of others logarithms; and of how many."""

    def attempt(self, *, failed: bool) -> None:
        """Take in that it was asked."""
        self._add("errors", float(failed))

    def answer(self, signal: str, value: float) -> None:
        """Take in one answer's `value`, more than 0."""
        self._add(signal, math.log(max(value, _FLOORS.get(signal, 0.0))))

    def _add(self, signal: str, value: float) -> None:
        sum_, count = self.sums.get(signal, (0.0, 0))
        self.sums[signal] = sum_ + value, count + 1


class Source(Protocol):
    """The store. Each call raises `StoreUnavailable`."""

    async def observe(self, rule: Healing, target: str, seen: Seen, now: float) -> Turn | None: ...
    async def version(self) -> int: ...
    async def incidents(self) -> Mapping[str, Incident]: ...
    async def close(self) -> None: ...


class TargetWatch(Periodic):
    """Not thread-safe: it belongs to its event loop. Without the store it goes on with what it knew
    last; what is seen meanwhile is not told later."""

    def __init__(
        self,
        store: Source,
        rule: Callable[[], Healing | None],
        clock: Callable[[], float],
        tell: Callable[[Turn], None],
    ) -> None:
        """`rule` is the one in force, `clock` tells Unix seconds. `tell` is told of an incident
        that begins or ends, once over all workers."""
        super().__init__(store, PERIOD_SECONDS)
        self._store = store
        self._rule = rule
        self._clock = clock
        self._tell = tell
        self._seen: dict[str, Seen] = {}
        self.incidents: Mapping[str, Incident] = {}
        """By target. The targets are lowered."""
        self._version = -1

    def see(self, provider: str, model: str) -> Seen:
        """Where to put what is seen of a target."""
        target = f"{provider}/{model}"
        seen = self._seen.get(target)
        if seen is None:
            seen = Seen()
            if len(self._seen) < _MOST_TARGETS and len(target) <= _MOST_LETTERS:
                self._seen[target] = seen
        return seen

    async def _refresh(self) -> None:
        await self._send()
        version = await self._store.version()
        if version != self._version:
            self.incidents = await self._store.incidents()
            self._version = version

    async def _send(self) -> None:
        """What the store does not answer to may have been taken in: it is not sent again."""
        rule = self._rule()
        waiting, self._seen = self._seen, {}
        for target, seen in waiting.items():
            if rule is not None and seen.sums:
                turn = await self._store.observe(rule, target, seen, self._clock())
                if turn is not None:
                    self._tell(turn)
