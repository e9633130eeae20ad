"""How long upstreams took, as sums that fade: what a worker saw itself, and what others told it.

Each key has sums of its own. A key begins with its half-life in whole seconds and a space: after
that long without news all its sums are half of what they were.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from dragoman.stores.periodic import Periodic

SHARE_SECONDS = 1.0
"""How often a worker tells the store what it saw, and asks what all saw."""
LEAST_WEIGHT = 0.125
"""Sums of less weight are forgotten: of one observation, what is left after three half-lives."""
MOST_KEYS = 512
"""Of those under which something is known; what more there are is not learned."""
_MOST_LETTERS = 256
"""Of a key: the model in it may be what a client made it."""


class Sums(NamedTuple):
    """Sums over observations, each weighted by its age. Times are milliseconds."""

    answers: float = 0.0
    ms: float = 0.0
    """Until the end of the answer."""
    first_ms: float = 0.0
    """Until its first byte."""
    tokens: float = 0.0
    squared_tokens: float = 0.0
    ms_tokens: float = 0.0
    """Of products of the two."""
    failures: float = 0.0
    failed_ms: float = 0.0
    """Until each was known to be one."""
    rewards: float = 0.0
    """Of answers, each from 0 to 1, where they are rewarded."""
    scored: float = 0.0
    """Answers that a client scored; its score may come long after them, and change."""
    scores: float = 0.0
    """From 0 to 1 each."""

    @property
    def weight(self) -> float:
        """Observations."""
        return self.answers + self.failures

    @property
    def news(self) -> float:
        """What there is to tell, scores that came alone as well."""
        return self.weight + self.scored + abs(self.scores)

    def plus(self, other: Sums) -> Sums:
        """The sums of both."""
        return Sums(*[mine + its for mine, its in zip(self, other, strict=True)])

    def times(self, share: float) -> Sums:
        """A share of each."""
        return Sums(*[mine * share for mine in self])


_NOTHING = Sums()


class _Faded(NamedTuple):
    """Sums as they were at a time."""

    at: float
    sums: Sums

    def sums_at(self, now: float, half_life: float) -> Sums:
        age = max(0.0, now - self.at)
        return self.sums.times(0.5 ** (age / half_life))


class Latencies:
    """What one worker knows. Not thread-safe: it belongs to its event loop."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` tells seconds."""
        self._clock = clock
        self._told: dict[str, _Faded] = {}
        """All workers' sums, as the store gave them last."""
        self._sent: dict[str, _Faded] = {}
        """Seen here; the store has not answered yet."""
        self._seen: dict[str, _Faded] = {}
        """Seen here, and not sent."""

    def observe(self, key: str, sums: Sums) -> None:
        """Add one observation or more. Never waits."""
        before = self._seen.get(key)
        now = self._clock()
        if before is not None:
            sums = before.sums_at(now, half_life_of(key)).plus(sums)
        elif len(self._seen) >= MOST_KEYS or len(key) > _MOST_LETTERS:
            return
        self._seen[key] = _Faded(now, sums)

    def find(self, key: str) -> Sums:
        """What is known now; nothing where it is too little to count."""
        now, found = self._clock(), _NOTHING
        for part in (self._told, self._sent, self._seen):
            row = part.get(key)
            if row is not None:
                found = row.sums_at(now, half_life_of(key)).plus(found)
        return found if found.weight >= LEAST_WEIGHT else _NOTHING

    def send(self) -> Mapping[str, Sums]:
        """What the store is to be told; it counts here until `receive`, or `keep`."""
        now = self._clock()
        self._seen = {
            key: _Faded(now, sums)
            for key, row in self._seen.items()
            if (sums := row.sums_at(now, half_life_of(key))).news >= LEAST_WEIGHT
        }
        self._sent, self._seen = self._seen, {}
        return {key: row.sums for key, row in self._sent.items()}

    def receive(self, told: Mapping[str, Sums]) -> None:
        """What all workers saw until now, with what was sent."""
        now = self._clock()
        self._told = {key: _Faded(now, sums) for key, sums in told.items()}
        self._sent = {}

    def keep(self) -> None:
        """The store did not take what was sent: it is sent again with what comes next."""
        sent, self._sent = self._sent, {}
        for key, row in sent.items():
            self.observe(key, row.sums_at(self._clock(), half_life_of(key)))


def half_life_of(key: str) -> int:
    """Seconds."""
    return int(key.partition(" ")[0])


class LatencyStore(Protocol):
    """The sums of all workers."""

    async def share(self, seen: Mapping[str, Sums]) -> Mapping[str, Sums]:
        """Add `seen`, and return all there is. Raises `StoreUnavailable`; then it may or may not
        have been added."""
        ...

    async def close(self) -> None: ...


class LatencySharing(Periodic):
    """Tells the store what this worker saw and takes in what all saw, once a second.

    Without the store a worker goes on with what it sees itself. What the store did not confirm is
    sent again, so that after a lost answer something may count twice until it has faded.
    """

    def __init__(self, latencies: Latencies, store: LatencyStore) -> None:
        super().__init__(store, SHARE_SECONDS)
        self._latencies = latencies
        self._store = store

    async def _refresh(self) -> None:
        self._latencies.keep()  # where the last time failed, or was cut short
        self._latencies.receive(await self._store.share(self._latencies.send()))
