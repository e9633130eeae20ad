"""Attempts that failed, from Envoy's entry of each to the request's own in the ledger.

Envoy tells of an attempt when it ends, and of the request when that ends: on one stream, for both
are logged by one thread with one logger. So an attempt waits here for a request on its own stream.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from dragoman.metadata import Order

MOST_WAITING = 4096
"""Requests whose attempts are kept, a stream. Of more, those that came first are let go: their
entries then lack these attempts, and say so."""


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One as Envoy's log tells it."""

    cluster: str
    started: float
    """Unix seconds."""
    duration_ms: float
    status: int
    """As the translate stage left it; 0: no answer came."""
    flags: tuple[str, ...]
    failure: str
    """Why there was no connection, in Envoy's words."""


class FailedAttempt(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One in the ledger."""

    attempt: int
    """Its number, from 1."""
    provider: str
    model: str | None
    """None: it is not known which, for Envoy's own routes chose the provider."""
    start_ms: float
    """Since the request came."""
    duration_ms: float
    status: int = 0
    """0: no answer came."""
    flags: str = ""
    """Envoy's short names, by commas."""
    failure: str = ""
    """Why there was no connection, in Envoy's words."""


class Waiting:
    """Attempts of requests that go on."""

    def __init__(self, most: int = MOST_WAITING) -> None:
        self._most = most
        self._by_request: dict[str, list[Attempt]] = {}

    def add(self, request_id: str, attempt: Attempt) -> None:
        """Keep `attempt` for its request."""
        if request_id not in self._by_request and len(self._by_request) >= self._most:
            del self._by_request[next(iter(self._by_request))]
        self._by_request.setdefault(request_id, []).append(attempt)

    def take(self, request_id: str) -> list[Attempt]:
        """Those of a request that is over, in the order in which they ended."""
        return self._by_request.pop(request_id, [])


def place(
    attempts: Iterable[Attempt], began: float, order: Order, models: Mapping[str, object]
) -> Iterator[FailedAttempt]:
    """The attempts of a request that came at `began` (Unix seconds), each with its number.

    `order` is whom the request was to ask, `models` what each cluster was asked for where no order
    says it. A number that was passed over is of an attempt that is not known.
    """
    number = 0
    for attempt in attempts:
        while number < len(order) and order[number][0] != attempt.cluster:
            number += 1
        model = order[number][1] if number < len(order) else models.get(attempt.cluster)
        number += 1
        yield FailedAttempt(
            attempt=number,
            provider=attempt.cluster,
            model=model if isinstance(model, str) else None,
            start_ms=round((attempt.started - began) * 1000, 3),
            duration_ms=attempt.duration_ms,
            status=attempt.status,
            flags=",".join(attempt.flags),
            failure=attempt.failure,
        )
