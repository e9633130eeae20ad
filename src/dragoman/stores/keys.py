"""Callers' keys in the store: issued by an operator, known to every worker within a second.

A worker has a copy. It asks for no more than a number that grows with each change, while there is
none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

import msgspec

from dragoman.errors import StoreUnavailable
from dragoman.stores.periodic import Periodic

_ID_DIGITS = 12
POLL_SECONDS = 0.3
"""How often a worker asks whether something changed."""


class IssuedKey(msgspec.Struct, frozen=True, kw_only=True):
    """One key, as the store has it. Times are Unix seconds."""

    digest: str
    caller: str
    label: str = ""
    created_at: int
    expires_at: int | None = None
    disabled: bool = False
    revoked: bool = False
    user: str | None = None
    application: str | None = None
    """Whom it is given to, where the policy's caller names none."""
    addresses: tuple[str, ...] = ()
    """Networks it may be used from; none: from wherever its caller may."""

    @property
    def id(self) -> str:
        """The first digits of the digest: enough to name it, and no secret."""
        return self.digest[:_ID_DIGITS]

    def is_valid(self, now: float) -> bool:
        """Whether requests may carry it."""
        expired = self.expires_at is not None and self.expires_at <= now
        return not (self.disabled or self.revoked or expired)


class KeySource(Protocol):
    """The store, as a worker asks it. Each call raises `StoreUnavailable`."""

    async def version(self) -> int:
        """Grows with each change."""
        ...

    async def all(self) -> dict[str, IssuedKey]:
        """Every key, by digest."""
        ...

    async def close(self) -> None: ...


class KeyWatch(Periodic):
    """A worker's copy of the keys. Without the store it goes on with what it knew last."""

    def __init__(self, store: KeySource, clock: Callable[[], float]) -> None:
        """`clock` tells Unix seconds."""
        super().__init__(store, POLL_SECONDS)
        self._store = store
        self._clock = clock
        self._keys: dict[str, IssuedKey] | None = None
        self._version = -1

    def find(self, digest: str) -> IssuedKey | None:
        """The valid key that has this digest. Raises `StoreUnavailable` before the first
        time the store answered: then it is not known whose it is."""
        if self._keys is None:
            raise StoreUnavailable("The keys are not known yet.")
        row = self._keys.get(digest)
        return row if row is not None and row.is_valid(self._clock()) else None

    def known(self) -> Iterable[IssuedKey]:
        """All keys. Raises `StoreUnavailable` before the first time the store answered."""
        if self._keys is None:
            raise StoreUnavailable("The keys are not known yet.")
        return self._keys.values()

    async def _refresh(self) -> None:
        version = await self._store.version()
        if version != self._version:
            self._keys = await self._store.all()
            self._version = version
