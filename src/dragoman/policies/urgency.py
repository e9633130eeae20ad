"""How urgent a request is: which are turned away first where the service has too much to do."""

from __future__ import annotations

from typing import Protocol

from dragoman.config.policy import Caller, Model
from dragoman.config.resilience import Priority

_DOWNWARDS: list[Priority] = ["high", "normal", "low"]


class Lateness(Protocol):
    """How late this worker is."""

    def check(self, priority: Priority) -> None:
        """Raises `WorkerOverloaded` where it is too late for requests of this priority."""
        ...


def find_priority(caller: Caller, model: Model | None) -> Priority | None:
    """The caller's own, or the highest of its roles', or the model's; None where nothing says."""
    if caller.priority is not None:
        return caller.priority
    said = {role.priority for role in caller.roles.values()}
    for priority in _DOWNWARDS:
        if priority in said:
            return priority
    return model.priority if model is not None else None
