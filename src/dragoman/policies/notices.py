"""What an operator is told of before it hurts: keys and models that end soon, and that models are
still asked for which end or have ended."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime

from dragoman.config.policy import Model, Policy
from dragoman.policies.describe import find_retirements
from dragoman.policies.lifecycle import state_of
from dragoman.stores.keys import IssuedKey
from dragoman.stores.notices import Notice
from dragoman.stores.trail import time_of

_DAYS = (0, 1, 7, 30)
"""So many before its end a model is told of."""
_DAY_SECONDS = 86_400
_KEY_SECONDS = 7 * _DAY_SECONDS
_KEY_SHARE = 0.25
"""Of its life: a key that does not live long is told of later."""


def find_asked(model: Model, caller: str, now: float) -> Notice | None:
    """That `caller` asked for a model which is to end, once a day; None where it is not."""
    today = datetime.fromtimestamp(now, UTC).date()
    state, planned = state_of(model, today), model.deprecated
    if planned is None or state == "current":
        return None
    is_served = state == "ended" and planned.substitute is not None
    event = f"model.{'substituted' if is_served else state}"
    data = {"model": model.name, "caller": caller, "use": planned.use, "ends": _day(planned.ends)}
    return Notice(event=event, data=data, name=f"{event} {model.name} {today}")


def find_ending(policy: Policy, keys: Iterable[IssuedKey], now: float) -> Iterator[Notice]:
    """What ends soon, or has: each is found again, under the same name, until the next step."""
    today = datetime.fromtimestamp(now, UTC).date()
    for model in policy.models.values():
        planned = model.deprecated
        if planned is not None and planned.ends is not None:
            data = {"model": model.name, "use": planned.use}
            yield from _find_step("model.ending", model.name, planned.ends, today, data)
    for found in find_retirements(policy, today):
        target = f"{found.target.provider}/{found.target.model}"
        yield from _find_step("target.ending", target, found.retires, today, {"target": target})
    for key in keys:
        yield from _find_expiring(key, now)


def _find_step(
    event: str, what: str, ends: date, today: date, data: dict[str, str | None]
) -> Iterator[Notice]:
    left = max(0, (ends - today).days)
    steps = [days for days in _DAYS if left <= days]
    if steps:
        told = {**data, "ends": _day(ends), "days": left}
        yield Notice(event=event, data=told, name=f"{event} {what} {ends} {steps[0]}")


def _find_expiring(key: IssuedKey, now: float) -> Iterator[Notice]:
    if key.expires_at is None or not key.is_valid(now):
        return
    life = key.expires_at - key.created_at
    if key.expires_at - now <= min(_KEY_SECONDS, _KEY_SHARE * life):
        data = {"key": key.id, "caller": key.caller, "until": time_of(key.expires_at)}
        name = f"key.expiring {key.id} {key.expires_at}"
        yield Notice(event="key.expiring", data=data, name=name)


def _day(ends: date | None) -> str | None:
    return None if ends is None else ends.isoformat()
