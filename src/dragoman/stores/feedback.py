"""A worker's part in learning from clients' scores: tells the store which answers there were, and
asks whose a score is.

A score comes to any worker, perhaps before the answer's own worker has told of it: it waits a while
for that. An answer is known by its request and its caller together, so that the score of anybody
else is of no answer at all.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping
from itertools import islice
from typing import NamedTuple, Protocol

from dragoman.stores.latencies import Latencies, Sums
from dragoman.stores.periodic import Periodic

PERIOD_SECONDS = 1.0
"""How often the store is told, and asked."""
PATIENCE_SECONDS = 10.0
"""How long a score waits for its answer."""
MOST_ANSWERS = 16_384
"""Of those that the store is still to be told of; further ones cannot be scored."""
MOST_SCORES = 256
"""Of one caller's that wait; further ones are not learned from."""
_MOST_AT_ONCE = 2048
"""Of answers and of scores, in one call."""
_MOST_LETTERS = 256
"""Of a key that is learned under."""


class Known(NamedTuple):
    """What a score changes."""

    key: str
    """What the answer is learned under."""
    sums: Sums
    """To be added there; nothing where it was scored so before."""


class FeedbackStore(Protocol):
    """The newest answers of all workers, by name."""

    async def tell(
        self, answers: Mapping[bytes, str], scores: Mapping[bytes, float]
    ) -> Mapping[bytes, Known]:
        """Take in answers with their keys, then scores; of which those come back whose answers are
        known. Raises `StoreUnavailable`; then it may or may not have been done."""
        ...

    async def close(self) -> None: ...


class _Waiting(NamedTuple):
    """A score."""

    caller: str
    score: float
    until: float


class FeedbackWatch(Periodic):
    """Not thread-safe: it belongs to its event loop. While the store does not answer, what there is
    to tell waits, within its bounds."""

    def __init__(
        self, store: FeedbackStore, latencies: Latencies, clock: Callable[[], float]
    ) -> None:
        """`latencies` are told what scores change; `clock` tells seconds."""
        super().__init__(store, PERIOD_SECONDS)
        self._store = store
        self._latencies = latencies
        self._clock = clock
        self._answers: dict[bytes, str] = {}
        self._scores: dict[bytes, _Waiting] = {}
        self._waiting = Counter[str]()
        """Scores, by caller."""

    def note(self, request_id: str, caller: str, key: str) -> None:
        """Have an answer known that may be scored. Never waits."""
        if len(self._answers) < MOST_ANSWERS and len(key) <= _MOST_LETTERS:
            self._answers[_name(request_id, caller)] = key

    def score(self, request_id: str, caller: str, score: float) -> None:
        """Have a score, from 0 to 1, count. Never waits."""
        name = _name(request_id, caller)
        if name not in self._scores:
            if self._waiting[caller] >= MOST_SCORES:
                return
            self._waiting[caller] += 1
        self._scores[name] = _Waiting(caller, score, self._clock() + PATIENCE_SECONDS)

    async def _refresh(self) -> None:
        while len(self._answers) > _MOST_AT_ONCE:
            await self._share({})
        await self._ask()

    async def _ask(self) -> None:
        """Of all scores; who waited long enough, waits no longer."""
        names = list(self._scores)
        for start in range(0, len(names), _MOST_AT_ONCE) or (0,):
            asked = names[start : start + _MOST_AT_ONCE]
            rows = {name: self._scores[name] for name in asked}
            known = await self._share({name: row.score for name, row in rows.items()})
            for name, row in rows.items():
                if name in known or row.until <= self._clock():
                    self._forget(name, row)
            for key, sums in known.values():
                if sums.news:
                    self._latencies.observe(key, sums)

    def _forget(self, name: bytes, row: _Waiting) -> None:
        if self._scores.get(name) is not row:
            return  # scored anew meanwhile
        del self._scores[name]
        self._waiting[row.caller] -= 1
        if not self._waiting[row.caller]:
            del self._waiting[row.caller]

    async def _share(self, scores: Mapping[bytes, float]) -> Mapping[bytes, Known]:
        answers = dict(islice(self._answers.items(), _MOST_AT_ONCE))
        if not answers and not scores:
            return {}
        known = await self._store.tell(answers, scores)
        for name in answers:
            self._answers.pop(name, None)
        return known


def _name(request_id: str, caller: str) -> bytes:
    """Of an answer: short, and nobody's who does not know both."""
    return hashlib.blake2b(f"{request_id} {caller}".encode(), digest_size=16).digest()
