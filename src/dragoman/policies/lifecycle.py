"""Models that are to end: until when they serve, and what does after that."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from typing import Literal, NamedTuple

from dragoman import metadata as names
from dragoman.config.policy import Deprecation, Model
from dragoman.errors import NotFound
from dragoman.policies.route.naming import quote_name

State = Literal["current", "deprecated", "ended"]


class Serving(NamedTuple):
    """The model that serves, and what is told of the one asked for."""

    model: Model
    told: tuple[tuple[str, str], ...] = ()
    """Response headers."""
    notes: tuple[str, ...] = ()
    """For the decision."""


def state_of(model: Model, today: date) -> State:
    """Where the model stands on a day in UTC."""
    planned = model.deprecated
    if planned is None or today < planned.since:
        return "current"
    return "ended" if planned.ends is not None and today >= planned.ends else "deprecated"


def find_serving(model: Model, now: float) -> Serving:
    """What serves for `model` at Unix time `now`. Raises `NotFound` where it ended."""
    planned = model.deprecated
    if planned is None:
        return Serving(model)
    state = state_of(model, datetime.fromtimestamp(now, UTC).date())
    if state == "current":
        return Serving(model)
    told = _headers(planned)
    if state == "deprecated":
        return Serving(model, told, (f"deprecated={quote_name(model.name)}",))
    if planned.substitute is not None:
        return Serving(planned.substitute, told, (f"in_place_of={quote_name(model.name)}",))
    instead = f" Ask for {planned.use!r}." if planned.use else ""
    raise NotFound(f"The model {model.name!r} ended on {planned.ends}.{instead}", path="$.model")


def _headers(planned: Deprecation) -> tuple[tuple[str, str], ...]:
    """Source: RFC 9745 (deprecation) and RFC 8594 (sunset)."""
    since = int(datetime.combine(planned.since, time(), UTC).timestamp())
    told = [(names.DEPRECATION, f"@{since}")]
    if planned.ends is not None:
        from email.utils import format_datetime  # noqa: PLC0415 - heavy, and few models end

        ends = datetime.combine(planned.ends, time(), UTC)
        told.append((names.SUNSET, format_datetime(ends, usegmt=True)))
    return tuple(told)
