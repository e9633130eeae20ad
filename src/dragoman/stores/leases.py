"""Leases: slices of counters, taken from the store in one call and spent here without one.

Sans-IO. Grammar of a counter's life in a worker:

    reserve -> holds                 where the leases here suffice
    reserve -> Shortage, wants -> (the store's take) -> granted, reserve again
    reserve -> Exceeded              while the store said so, and that still holds

Overshoot. The store gives out no more than a limit, so the sum of reservations never exceeds it.
What was used exceeds it by no more than what requests in flight use above their reservations. Where
a worker dies, its leases are given up after `LEASE_SECONDS`: requests it admitted that are still in
flight then, or whose settlement died with it, are no longer held against the limit. What it was to
settle on leases of others is held for `HOLD_SECONDS` after these gave them back.
"""

from __future__ import annotations

from itertools import count
from typing import NamedTuple

import msgspec

from dragoman.metadata import RUNNING_SECONDS

LEASE_SECONDS = 15.0
"""After which the store gives up a lease that nobody renewed."""
HOLD_SECONDS = 3.0 * RUNNING_SECONDS + 10.0
"""How long the store keeps what was reserved on a lease that its worker gave back, from when a
request under it was last told to go on: what nobody tells of any more is free again."""
_SPENDABLE_SECONDS = 10.0
"""Shorter than the store's own limit, so that a stalled worker does not spend what was given up."""
_IDLE_SECONDS = 0.15
_AHEAD_SECONDS = 0.5
"""A lease is for as much as was spent in the last while of this length."""
_MIN_AGE_SECONDS = 0.05
_ROTATED_SECONDS = 60.0
"""The longest that a lease is added to: what a worker that died was to settle on it is held for as
long as it is renewed."""
_REFUSED_SECONDS = 0.1
"""How long a refusal stands where all that is out is in use, and may come back in part."""


class Counter(NamedTuple):
    """One counter in one window."""

    key: str
    """In the store."""
    before: str
    """The window before, whose rest is carried over; the key itself where nothing is."""
    quota: str
    unit: str
    limit: int
    bucket: int
    """The part of the window that use is settled in."""
    oldest: int
    """The first bucket that still counts."""
    ends_at: float
    """When something of what is used comes back, Unix seconds; 0: as other requests end."""
    life_seconds: int
    """How long the store keeps it unused."""
    is_open: bool
    """Without the store, requests go on."""
    provider: str = ""
    """Whose use alone it counts; empty: it counts whoever served."""


class Demand(NamedTuple):
    """What one request takes of one counter."""

    counter: Counter
    amount: int


class Hold(NamedTuple):
    """One reservation; it travels with the request, and whoever sees its end settles it."""

    key: str
    lease: str
    amount: int
    unit: str
    bucket: int
    life_seconds: int
    provider: str = ""
    """Who must have served for use to count; empty: whoever did."""


class Want(NamedTuple):
    """What to ask the store for."""

    counter: Counter
    lease: str
    needed: int
    wanted: int


class Taken(NamedTuple):
    """The store's answer to a `Want`."""

    granted: int
    used: int
    """Settled, by anybody."""
    out: int
    """On leases, of anybody."""
    limit: int
    """With what was carried over."""
    spare: int
    """What others may give back unused: it is not all in use."""


class Shortage(NamedTuple):
    """The leases here do not suffice: ask the store, then reserve again."""

    demands: tuple[Demand, ...]


class Exceeded(NamedTuple):
    """The store has no more."""

    counter: Counter
    retry_after_seconds: float


class State(NamedTuple):
    """What a client may be told of a counter."""

    limit: int
    remaining: int
    """By the store's last word; other workers may have spent of it since."""


class _Lease(msgspec.Struct, kw_only=True):
    """What this worker has of one counter."""

    counter: Counter
    id: str
    is_lent: bool = False
    """The store knows nothing of it."""
    asked: int = 0
    """How often the store is being asked to add to it: it must not be given back meanwhile."""
    available: int = 0
    spent: int = 0
    """Since the last take."""
    begun_at: float = 0.0
    taken_at: float = 0.0
    used_at: float = 0.0
    refused_until: float = 0.0
    last: Taken = Taken(0, 0, 0, 0, 0)


class Retired(NamedTuple):
    """A lease to give back: what of it was never reserved."""

    counter: Counter
    lease: str
    unspent: int


class LeaseBook:
    """All leases of one worker. `now` is always Unix seconds."""

    def __init__(self, worker: str) -> None:
        """`worker` is a name no other process has, not even an earlier life of this one."""
        self._worker = worker
        self._numbers = count()
        self._leases: dict[str, _Lease] = {}
        """By counter."""
        self._replaced: list[_Lease] = []
        """Older ones, still to be given back."""

    def reserve(
        self, demands: tuple[Demand, ...], now: float
    ) -> tuple[Hold, ...] | Shortage | Exceeded:
        """All of it, or nothing."""
        short: list[Demand] = []
        for demand in demands:
            lease = self._leases.get(demand.counter.key)
            if lease is not None and _spendable(lease, now) >= demand.amount:
                continue
            if lease is not None and now < lease.refused_until:
                return Exceeded(demand.counter, _wait(lease, now))
            short.append(demand)
        if short:
            return Shortage(tuple(short))
        return tuple(self._spend(demand, now) for demand in demands)

    def _spend(self, demand: Demand, now: float) -> Hold:
        counter, amount = demand
        lease = self._leases[counter.key]
        lease.available -= amount
        lease.spent += amount
        lease.used_at = now
        hold = Hold(
            counter.key, lease.id, amount, counter.unit, counter.bucket, counter.life_seconds
        )
        return hold._replace(provider=counter.provider) if counter.provider else hold

    def want(self, counter: Counter, needed: int, now: float) -> Want:
        """What to take for requests that need `needed` now, and those to come."""
        lease = self._leases.get(counter.key)
        if lease is None or lease.is_lent or _is_worn(lease, now):
            if lease is not None:
                self._replaced.append(lease)
            lease = _Lease(
                counter=counter,
                id=f"{self._worker}-{next(self._numbers)}",
                begun_at=now,
                taken_at=now,
            )
            self._leases[counter.key] = lease
        lease.counter = counter
        lease.asked += 1
        age = max(now - lease.taken_at, _MIN_AGE_SECONDS)
        ahead = int(lease.spent / age * _AHEAD_SECONDS)
        return Want(counter, lease.id, needed, needed + ahead)

    def granted(self, want: Want, taken: Taken, now: float) -> None:
        """Take in what the store said."""
        lease = self._leases[want.counter.key]
        lease.asked -= 1
        lease.available += taken.granted
        lease.last = taken
        lease.taken_at = lease.used_at = now
        lease.spent = 0
        lease.refused_until = 0.0
        if taken.granted < want.needed and not taken.spare:
            is_over = taken.used >= taken.limit and want.counter.ends_at > 0
            lease.refused_until = want.counter.ends_at if is_over else now + _REFUSED_SECONDS

    def forget(self, counter: Counter) -> None:
        """Nobody knows what the store has out on this lease: leave it to be given up."""
        self._leases.pop(counter.key, None)

    def lend(self, counter: Counter, amount: int, now: float) -> None:
        """Without the store: `amount` on no lease of its; settling it adds only what was used."""
        lease = self._leases.get(counter.key)
        if lease is None or not lease.is_lent:
            lease = _Lease(counter=counter, id=f"{self._worker}-lent", is_lent=True)
            self._leases[counter.key] = lease
        lease.available += amount
        lease.taken_at = lease.used_at = now

    def state(self, counter: Counter) -> State:
        """What is left of `counter`, as far as this worker knows."""
        lease = self._leases.get(counter.key)
        if lease is None:
            return State(counter.limit, counter.limit)
        last = lease.last
        remaining = last.limit - last.used - last.out + lease.available
        return State(last.limit or counter.limit, max(remaining, 0))

    def is_spent(self, counter: Counter) -> bool:
        """Whether the store's last word was that nothing of `counter` is left."""
        lease = self._leases.get(counter.key)
        if lease is None or lease.is_lent or not lease.last.limit:
            return False
        return lease.last.used + lease.last.out - lease.available >= lease.last.limit

    def sweep(self, now: float) -> list[Retired]:
        """The leases that are idle, old, or of a window that is over; they are forgotten here."""
        return self._retire([lease for lease in self._leases.values() if _is_over(lease, now)])

    def release(self, key: str) -> list[Retired]:
        """The lease of the counter `key`, if there is one with something to spare."""
        lease = self._leases.get(key)
        spare = lease is not None and lease.available > 0 and not lease.asked
        return self._retire([lease]) if lease is not None and spare else []

    def close(self) -> list[Retired]:
        """All leases."""
        return self._retire(list(self._leases.values()))

    def _retire(self, leases: list[_Lease]) -> list[Retired]:
        for lease in leases:
            del self._leases[lease.counter.key]
        taken = [lease for lease in (*self._replaced, *leases) if not lease.is_lent]
        self._replaced = []
        return [Retired(lease.counter, lease.id, lease.available) for lease in taken]


def _is_over(lease: _Lease, now: float) -> bool:
    if lease.asked:
        return False
    is_idle = now - lease.used_at > _IDLE_SECONDS and now >= lease.refused_until
    is_old = now - lease.taken_at > _SPENDABLE_SECONDS / 2
    return is_idle or is_old or 0 < lease.counter.ends_at < now - _IDLE_SECONDS


def _is_worn(lease: _Lease, now: float) -> bool:
    """Whether a new one is to be taken in its place."""
    is_old = now - lease.begun_at > _ROTATED_SECONDS and not lease.asked
    return is_old or now - lease.taken_at > _SPENDABLE_SECONDS


def _spendable(lease: _Lease, now: float) -> int:
    return lease.available if now - lease.taken_at <= _SPENDABLE_SECONDS else 0


def _wait(lease: _Lease, now: float) -> float:
    """Until something comes back: the end of the window where all is used, else a second."""
    last = lease.last
    if last.used >= last.limit and lease.counter.ends_at > now:
        return lease.counter.ends_at - now
    return 1.0
