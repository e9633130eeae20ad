"""Abuse: what follows from a caller's standing for its next request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from dragoman.errors import CallerSuspended, CallerThrottled
from dragoman.stores.standings import Standing

_RETRY_SECONDS = 10.0
"""Another try has its chance again at any time; this keeps them apart."""


class Standings(Protocol):
    """What is known of callers."""

    def find(self, caller: str) -> Standing | None: ...


def check_standing(standing: Standing, now: float, chance: Callable[[], float]) -> None:
    """Raises `CallerSuspended`, or `CallerThrottled` for all but so large a part of the requests as
    would keep the caller within what is allowed."""
    left = standing.until - now
    if left <= 0 or standing.action == "alert":
        return
    if standing.action == "suspend":
        raise CallerSuspended("Your requests are refused for a while: they look like abuse.")
    if chance() * standing.score > 1:
        message = "You send far more than you use to: only a part of it is served for a while."
        raise CallerThrottled(message, retry_after_seconds=min(left, _RETRY_SECONDS))
