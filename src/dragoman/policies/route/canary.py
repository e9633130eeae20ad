"""Canaries: a growing share of conversations, users, callers or requests goes to another model."""

from __future__ import annotations

import hashlib
from typing import NamedTuple, Protocol

from dragoman.config.policy import Canary, Policy
from dragoman.policies.route.content import Content
from dragoman.policies.route.sticky import find_key
from dragoman.policies.route.weighted import Chance

_POINTS = 1 << 53
_NOTE = "canary="
_CANDIDATE, _STABLE = "candidate", "stable"


class Shares(Protocol):
    """How far canaries are."""

    def percent(self, model: str, canary: Canary) -> float:
        """The share of requests for `model` that the candidate serves."""
        ...


class Nobody:
    """Where nobody watches canaries: they serve nobody."""

    def percent(self, model: str, canary: Canary) -> float:
        """Nothing."""
        del model, canary
        return 0.0


NOBODY = Nobody()


class Side(NamedTuple):
    """Who serves a request, and what the decision says of it."""

    candidate: bool
    note: str


def find_canaries(policy: Policy) -> dict[str, Canary]:
    """Those of the policy's models, by model."""
    return {name: model.canary for name, model in policy.models.items() if model.canary}


def assign_side(canary: Canary, percent: float, content: Content, chance: Chance) -> Side:
    """Whoever the candidate serves at some share, it serves at each larger one."""
    key = find_key(canary.by, content)
    point = chance() if key is None else _point(canary.name, key)
    candidate = point * 100 < percent
    word = _CANDIDATE if candidate else _STABLE
    return Side(candidate, f"{_NOTE}{canary.name}({word},{percent:g}%)")


def read_note(note: str) -> tuple[str, bool] | None:
    """The canary that a decision's note names, and whether the candidate served; None where it is
    no such note."""
    if not note.startswith(_NOTE):
        return None
    name, _, told = note.removeprefix(_NOTE).rpartition("(")
    return name, told.startswith(f"{_CANDIDATE},")


def tell_side(model: str, side: Side) -> str:
    """What `read_side` reads."""
    return f"{_CANDIDATE if side.candidate else _STABLE} {model}"


def read_side(told: str) -> tuple[str, bool]:
    """The model whose canary it was, and whether the candidate served."""
    word, _, model = told.partition(" ")
    return model, word == _CANDIDATE


def _point(name: str, key: bytes) -> float:
    """In [0, 1), the same for the same."""
    digest = hashlib.blake2b(name.encode(), digest_size=8, key=key).digest()
    return (int.from_bytes(digest) % _POINTS) / _POINTS
