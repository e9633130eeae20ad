"""The last step of the decide stage: what an admitted request takes of the quotas is reserved."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import ceil
from typing import NamedTuple, Protocol, TypeVar

import msgspec

from dragoman import metadata as names
from dragoman.actions import Mutate, Respond, amend
from dragoman.catalog.costs import NANODOLLARS
from dragoman.config.policy import Caller, Quota
from dragoman.errors import DragomanError, QuotaExceeded
from dragoman.policies.quotas import QuotaLevels, QuotaPolicy, encode_holds
from dragoman.stores.keeper import Reached
from dragoman.stores.leases import Counter, Demand, Exceeded, Hold, Shortage, State

_NOBODY = frozenset[str]()
Found = tuple[Hold, ...] | Exceeded | DragomanError
"""What the store said of a request's demands."""
Refuse = Callable[[DragomanError], Respond]
Action = TypeVar("Action", Mutate, Respond)


class Quotas(Protocol):
    """What this worker may spend of the quotas that all workers share."""

    def reserve(self, demands: tuple[Demand, ...]) -> tuple[Hold, ...] | Shortage | Exceeded: ...
    def state(self, counter: Counter) -> State: ...
    def is_spent(self, counter: Counter) -> bool: ...
    def next_reached(self) -> Reached | None: ...


class Unlimited:
    """`Quotas` that nobody keeps: for a policy that has none."""

    def reserve(self, demands: tuple[Demand, ...]) -> tuple[Hold, ...]:
        del demands
        return ()

    def state(self, counter: Counter) -> State:
        return State(counter.limit, counter.limit)

    def is_spent(self, counter: Counter) -> bool:
        del counter
        return False

    def next_reached(self) -> None:
        return None


class Spending(NamedTuple):
    """A request that is admitted if the quotas let it."""

    who: tuple[Caller, str]
    """The caller, and the model as the policy file names it, or empty. Who has no name is nobody:
    what he asks counts in the quotas of providers alone."""
    amounts: Mapping[str, int]
    """What it takes, by unit."""
    offer: Callable[[frozenset[str]], Mutate]
    """What becomes of it without these providers, of which one at least is left."""
    refuse: Refuse


class Pending(msgspec.Struct, frozen=True, kw_only=True):
    """A request that waits for the store: have `demands` reserved there, then `resume`."""

    demands: tuple[Demand, ...]
    resume: Callable[[Found], Mutate | Respond | Pending]


class Reserve:
    """Reserves for requests under one policy; holds nothing of a request."""

    def __init__(
        self, policy: tuple[Quota, ...], quotas: Quotas, clock: Callable[[], float]
    ) -> None:
        """`clock` tells Unix seconds."""
        self._policy = QuotaPolicy(policy)
        self._levels = QuotaLevels(policy)
        self._quotas = quotas
        self._clock = clock

    @property
    def counts(self) -> bool:
        """There is a quota."""
        return bool(self._policy)

    @property
    def counts_dollars(self) -> bool:
        """Some quota needs to know what a request costs."""
        return "usd" in self._policy.units

    @property
    def counts_providers(self) -> bool:
        """Some quota hangs on who serves."""
        return self._policy.counts_providers

    def admit(
        self, spending: Spending, providers: Sequence[str] = ()
    ) -> Mutate | Respond | Pending:
        """What `spending` offers, once the quotas have what it takes to give.

        `providers` is its order, where some quota hangs on it: reserved is of the first, and use
        counts at whichever serves. One whose quota is spent is left out of the offer.
        """
        if not self._policy:
            return spending.offer(_NOBODY)
        return self._admit(spending, tuple(dict.fromkeys(providers)), _NOBODY)

    def _admit(
        self, spending: Spending, providers: tuple[str, ...], spent: frozenset[str]
    ) -> Mutate | Respond | Pending:
        now = self._clock()
        try:
            demands: tuple[Demand, ...] = ()
            if spending.who[0].name:
                demands = self._policy.demands(*spending.who, spending.amounts, now)
            of_each = self._of_each(spending, providers, now)
        except DragomanError as error:
            return spending.refuse(error)
        first, *later = of_each or [()]
        all_demands = (*demands, *first, *(Demand(d.counter, 0) for own in later for d in own))

        def resume(found: Found) -> Mutate | Respond | Pending:
            if isinstance(found, Exceeded):
                if providers[1:] and any(found.counter == demand.counter for demand in first):
                    return self._admit(spending, providers[1:], spent | {providers[0]})
                return self._announce(spending.refuse(_exceeded(found)))
            if isinstance(found, DragomanError):
                return self._announce(spending.refuse(found))
            gone = spent | self._spent(zip(providers[1:], later, strict=False))
            admitted = spending.offer(gone)
            return self._announce(self._note(admitted, (*demands, *first), found, now))

        found = self._quotas.reserve(all_demands)
        if isinstance(found, Shortage):
            return Pending(demands=all_demands, resume=resume)
        return resume(found)

    def _of_each(
        self, spending: Spending, providers: tuple[str, ...], now: float
    ) -> list[tuple[Demand, ...]]:
        """What is taken of each provider's own quotas, where it serves."""
        return [
            self._policy.demands(*spending.who, spending.amounts, now, provider)
            for provider in providers
        ]

    def _spent(self, providers: Iterable[tuple[str, tuple[Demand, ...]]]) -> frozenset[str]:
        return frozenset(
            provider
            for provider, demands in providers
            if any(self._quotas.is_spent(demand.counter) for demand in demands)
        )

    def _announce(self, action: Action) -> Action:
        """`action`, with a level of some quota that was reached since the one before."""
        reached = self._quotas.next_reached()
        if reached is None:
            return action
        told = self._levels.describe(reached)
        facts = {
            names.REACHED_QUOTA: told["quota"],
            names.REACHED_PERCENT: str(told["percent"]),
        }
        spaces = amend(action.metadata, {names.NAMESPACE: facts})
        return msgspec.structs.replace(action, metadata=spaces)

    def _note(
        self, admitted: Mutate, demands: tuple[Demand, ...], holds: tuple[Hold, ...], now: float
    ) -> Mutate:
        """`admitted` with what was reserved, for whoever settles it, and what is left, for the
        client."""
        if not demands:
            return admitted
        told = {
            names.NAMESPACE: {names.QUOTA: encode_holds(holds)},
            names.RATE_LIMIT_NAMESPACE: self._rate_limits(demands, now),
        }
        return msgspec.structs.replace(admitted, metadata=amend(admitted.metadata, told))

    def _rate_limits(self, demands: tuple[Demand, ...], now: float) -> dict[str, str]:
        """The tightest quota of each unit, as the usual response headers tell it."""
        tightest: dict[str, tuple[State, Counter]] = {}
        for counter, _ in demands:
            state = self._quotas.state(counter)
            known = tightest.get(counter.unit)
            if known is None or state.remaining < known[0].remaining:
                tightest[counter.unit] = state, counter
        told: dict[str, str] = {}
        for unit, (state, counter) in tightest.items():
            told[f"limit-{unit}"] = _digits(state.limit, unit)
            told[f"remaining-{unit}"] = _digits(state.remaining, unit)
            told[f"reset-{unit}"] = f"{max(ceil(counter.ends_at - now), 0)}s"
        return told


def _digits(amount: int, unit: str) -> str:
    return f"{amount / NANODOLLARS:.12g}" if unit == "usd" else str(amount)


def _exceeded(found: Exceeded) -> QuotaExceeded:
    counter = found.counter
    limit = counter.limit / NANODOLLARS if counter.unit == "usd" else counter.limit
    message = f"The quota {counter.quota} of {limit:g} {counter.unit} is used up."
    return QuotaExceeded(message, retry_after_seconds=found.retry_after_seconds)
