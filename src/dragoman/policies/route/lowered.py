"""Targets that are not as usual are asked after the others, but for a share of requests.

It changes an order, never who is in it; where all are lowered, it is as if none were.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from dragoman.config.policy import Target
from dragoman.policies.route.naming import name_target
from dragoman.policies.route.weighted import Chance
from dragoman.stores.incidents import Incident

_LOWERED, _PROBE = "lowered", "probe"


class Incidents(Protocol):
    """What is known of targets."""

    @property
    def incidents(self) -> Mapping[str, Incident]:
        """By PROVIDER/MODEL."""
        ...


def lower(
    order: Sequence[Target], incidents: Mapping[str, Incident], to: float, chance: Chance
) -> tuple[list[Target], list[str]] | None:
    """The new order, and what is to be said of it; None where it stays as it is, unsaid.

    `to` is the share of requests for which a target keeps its place.
    """
    of_each = ((target, incidents.get(f"{target.provider}/{target.model}")) for target in order)
    found = {target: incident for target, incident in of_each if incident is not None}
    if not found or len(found) == len(order):
        return None
    first: list[Target] = []
    last: list[Target] = []
    notes: list[str] = []
    for target in order:
        incident = found.get(target)
        goes_last = incident is not None and chance() >= to
        (last if goes_last else first).append(target)
        if incident is not None:
            word, why = _LOWERED if goes_last else _PROBE, "+".join(incident.signals)
            notes.append(f"{word}={name_target(target)}({why})")
    return first + last, notes


def read_incidents(notes: Iterable[str]) -> frozenset[str]:
    """The targets that `lower` said are not as usual, as decisions name them."""
    pairs = (note.partition("=") for note in notes)
    return frozenset(
        told.rpartition("(")[0] for word, _, told in pairs if word in {_LOWERED, _PROBE}
    )
