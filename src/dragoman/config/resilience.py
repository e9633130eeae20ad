"""What Envoy does about a provider that has too much to do, fails, or is down: sections of its
entry. Without one of them Envoy does nothing of the kind."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

Count = Annotated[int, msgspec.Meta(ge=1, le=100_000)]
Seconds = Annotated[float, msgspec.Meta(ge=0.1, le=3600)]
MAX_CONCURRENT = 100_000
"""Of what nobody limits."""


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class CircuitBreaker(_Section, frozen=True, kw_only=True):
    """How much one Envoy asks of the provider at once. What is above is answered 503: Envoy never
    sends it to the next target. None: 100,000."""

    max_requests: Count | None = None
    max_connections: Count | None = None
    """Of HTTP/1, where a connection carries one request: further ones wait for it."""
    max_pending_requests: Count | None = None
    """How many may wait for a connection."""

    @property
    def most_at_once(self) -> int:
        """How many requests get past it."""
        connections = self.max_connections or MAX_CONCURRENT
        waiting = self.max_pending_requests or MAX_CONCURRENT
        return min(self.max_requests or MAX_CONCURRENT, connections + waiting)


class OutlierDetection(_Section, frozen=True, kw_only=True):
    """When an address of the provider is left out: after requests that failed, one upon the other.
    The next target is then asked at once."""

    consecutive_failures: Count = 5
    """Answers of 5xx, refused or broken connections, no first byte in time."""
    base_ejection_seconds: Seconds = 30
    """For how long, times how often it was left out lately; 300 seconds at the most."""
    max_ejection_percent: Annotated[int, msgspec.Meta(ge=1, le=100)] = 100
    """How many of its addresses, among which the host that stands in for it counts as one: below 50
    a provider of one address is never left out."""


class HealthCheck(_Section, frozen=True, kw_only=True):
    """How Envoy asks, unprompted, whether the provider is there. While it is not, the next target
    is asked at once."""

    path: Annotated[str, msgspec.Meta(pattern=r"^/[!-~]*$")] | None = None
    """What it must answer 200 to, on GET and without a key. None: the catalogue's; where that has
    none, a connection is opened and closed, in TLS where the provider speaks it."""
    interval_seconds: Seconds = 5
    timeout_seconds: Annotated[float, msgspec.Meta(ge=0.1, le=10)] = 2
    """Envoy's start, and a changed policy, wait as long for a provider that says nothing."""
    unhealthy_threshold: Annotated[int, msgspec.Meta(ge=1, le=100)] = 2
    """Failed checks, one upon the other, after which it is left out."""
    healthy_threshold: Annotated[int, msgspec.Meta(ge=1, le=100)] = 1
    """Good ones after which it is asked again."""


Priority = Literal["low", "normal", "high"]
LagMs = Annotated[int, msgspec.Meta(ge=10, le=60_000)]


class Shedding(_Section, frozen=True, kw_only=True):
    """When a worker turns new requests away, because what it has begun takes all of its time."""

    lag_ms: LagMs = 1000
    """How late its event loop is on average."""
    low_lag_ms: LagMs | None = None
    """For requests of `priority: low`; None: half of it."""
    high_lag_ms: LagMs | None = None
    """For requests of `priority: high`; None: four times as much."""
    over_seconds: Annotated[float, msgspec.Meta(ge=0.1, le=60)] = 2
    """What was longer ago counts for less than a third."""

    def lag_of(self, priority: Priority) -> float:
        """Milliseconds, above which requests of this priority are turned away."""
        if priority == "low":
            return self.lag_ms / 2 if self.low_lag_ms is None else self.low_lag_ms
        if priority == "high":
            return self.lag_ms * 4 if self.high_lag_ms is None else self.high_lag_ms
        return self.lag_ms
