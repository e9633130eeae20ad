"""What follows from a standing."""

from __future__ import annotations

import pytest

from dragoman.errors import CallerSuspended, CallerThrottled
from dragoman.policies.abuse import check_standing
from dragoman.stores.standings import Standing


def standing(action: str, score: float = 4.0) -> Standing:
    facts = {"caller": "demo", "level": 1, "score": score, "reasons": [], "since": 0, "until": 100}
    return Standing(action=action, **facts)  # type: ignore[arg-type]


def test_an_alert_refuses_nothing() -> None:
    check_standing(standing("alert"), 1.0, lambda: 0.99)


def test_a_suspended_caller_is_refused_until_it_ends() -> None:
    with pytest.raises(CallerSuspended):
        check_standing(standing("suspend"), 99.9, lambda: 0.0)
    check_standing(standing("suspend"), 100.0, lambda: 0.0)


def test_of_a_throttled_caller_as_much_is_served_as_is_allowed() -> None:
    draws = [i / 1000 for i in range(1000)]
    served = 0
    for draw in draws:
        try:
            check_standing(standing("throttle"), 95.0, lambda draw=draw: draw)  # type: ignore[misc]
        except CallerThrottled as refusal:
            assert refusal.retry_after_seconds == 5.0
        else:
            served += 1
    assert served == 251
