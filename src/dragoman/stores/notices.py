"""What an operator is told of once over all workers: a worker's part, and who else told what."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import msgspec

from dragoman.stores.periodic import Periodic

_PERIOD_SECONDS = 1.0
_LOOK_SECONDS = 3600.0
"""How often it is looked for what ends soon."""
_MOST_KNOWN = 10_000
"""Names that are remembered here; of one that is forgotten the store is asked again."""
_MOST_WAITING = 1000


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """Something to tell an operator of."""

    event: str
    """Such as `model.ending`."""
    data: Mapping[str, str | int | None]
    at: str = ""
    """When it happened, RFC 3339; nothing: now."""
    name: str = ""
    """What is told once has the same."""


class Source(Protocol):
    """The store. Each call raises `StoreUnavailable`."""

    async def claim(self, name: str) -> bool:
        """Whether nobody else told what has this name; then nobody else will."""
        ...

    async def take_changes(self) -> list[Notice]:
        """What operators did to keys, each told to one caller alone."""
        ...

    async def close(self) -> None: ...


class NoticeWatch(Periodic):
    """Not thread-safe: it belongs to its event loop. What was claimed or taken, and not told when
    the worker was killed, is lost."""

    def __init__(
        self,
        store: Source,
        find_ending: Callable[[], Iterable[Notice]],
        clock: Callable[[], float],
        tell: Callable[[Notice], None],
    ) -> None:
        """`find_ending` finds what ends soon, or raises `StoreUnavailable`; `clock` tells
        seconds."""
        super().__init__(store, _PERIOD_SECONDS)
        self._store = store
        self._find_ending = find_ending
        self._clock = clock
        self._tell = tell
        self._waiting: dict[str, Notice] = {}
        self._known: set[str] = set()
        self._look_at = clock()

    def note(self, notice: Notice) -> None:
        """Have it told, unless it was. Never waits."""
        if notice.name not in self._known and len(self._waiting) < _MOST_WAITING:
            self._waiting.setdefault(notice.name, notice)

    async def _refresh(self) -> None:
        for change in await self._store.take_changes():
            self._tell(change)
        if self._clock() >= self._look_at:
            for notice in self._find_ending():
                self.note(notice)
            self._look_at = self._clock() + _LOOK_SECONDS
        for name, notice in list(self._waiting.items()):
            is_first = await self._store.claim(name)
            del self._waiting[name]
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known.add(name)
            if is_first:
                self._tell(notice)
