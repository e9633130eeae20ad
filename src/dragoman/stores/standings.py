"""A worker's part in finding abuse: tells the store what callers did, and knows what it found."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec

from dragoman.catalog.costs import NANODOLLARS
from dragoman.config.callouts import FAILED
from dragoman.config.governance import Abuse
from dragoman.errors import CallerSuspended
from dragoman.stores.periodic import Periodic

PERIOD_SECONDS = 0.5
"""How often the store is told, and asked."""
_CLIENT_ERRORS = range(400, 500)
_NO_FAULT = 429
_MOST_ADDRESSES = 1000
"""That one tally counts; more are as many, for any limit worth setting."""


class Did(Protocol):
    """What is looked at of a request that is over."""

    @property
    def status(self) -> int: ...
    @property
    def details(self) -> str: ...
    @property
    def cost_nanodollars(self) -> int | None: ...
    @property
    def guardrails(self) -> Mapping[str, int] | None: ...


class Tally:
    """What one caller did since the last time it was told."""

    def __init__(self) -> None:
        self.requests = 0
        self.errors = 0
        self.guardrails = 0
        self.usd = 0.0
        self.addresses: set[str] = set()

    def add(self, did: Did, address: str) -> None:
        """Take in a request from `address`, an IP without a port."""
        self.requests += 1
        self.usd += (did.cost_nanodollars or 0) / NANODOLLARS
        self.errors += _is_error(did)
        self.guardrails += any(not rule.endswith(FAILED) for rule in did.guardrails or ())
        if address and len(self.addresses) < _MOST_ADDRESSES:
            self.addresses.add(address)


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller is found to be, until when (Unix seconds), and why."""

    caller: str
    action: str
    level: int
    score: float
    """How many times over what is allowed, by the worst signal."""
    reasons: list[str]
    """Such as `requests 700 of 600`."""
    since: float
    until: float


class Source(Protocol):
    """The store. Each call raises `StoreUnavailable`."""

    async def observe(
        self, rule: Abuse, caller: str, tally: Tally, now: float
    ) -> Standing | None: ...
    async def version(self) -> int: ...
    async def standings(self) -> Mapping[str, Standing]: ...
    async def close(self) -> None: ...


class AbuseWatch(Periodic):
    """Not thread-safe: it belongs to its event loop. Without the store it goes on with what it knew
    last, and what callers do meanwhile is told later, as if done then."""

    def __init__(
        self,
        store: Source,
        rule: Callable[[], Abuse | None],
        clock: Callable[[], float],
        tell: Callable[[Standing], None],
    ) -> None:
        """`rule` is the one in force, `clock` tells Unix seconds. `tell` is told of a caller whose
        standing becomes worse, once over all workers."""
        super().__init__(store, PERIOD_SECONDS)
        self._store = store
        self._rule = rule
        self._clock = clock
        self._tell = tell
        self._tallies: dict[str, Tally] = {}
        self._standings: Mapping[str, Standing] = {}
        self._version = -1

    def note(self, caller: str, did: Did, address: str) -> None:
        """Have a request taken in that is over. Never waits."""
        tally = self._tallies.get(caller)
        if tally is None:
            tally = self._tallies[caller] = Tally()
        tally.add(did, address)

    def find(self, caller: str) -> Standing | None:
        """What was found of `caller`; it may have ended. None too where abuse is no longer looked
        for."""
        return self._standings.get(caller) if self._rule() is not None else None

    async def _refresh(self) -> None:
        await self._send()
        version = await self._store.version()
        if version != self._version:
            self._standings = await self._store.standings()
            self._version = version

    async def _send(self) -> None:
        """A tally that the store does not answer to may have been taken in: it is not sent again,
        because counting twice would accuse."""
        rule = self._rule()
        for caller in list(self._tallies):
            tally = self._tallies.pop(caller)
            if rule is not None:
                worse = await self._store.observe(rule, caller, tally, self._clock())
                if worse is not None:
                    self._tell(worse)


def _is_error(did: Did) -> bool:
    """Whether it is the caller's own: not a limit's, and not what abuse is answered with."""
    suspended = did.details == f"dragoman_{CallerSuspended.code}"
    return did.status in _CLIENT_ERRORS and did.status != _NO_FAULT and not suspended
