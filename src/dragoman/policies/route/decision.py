"""A choice in one line, for a header and the ledger: written, and read back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from dragoman.policies.route.naming import name_target

if TYPE_CHECKING:
    from dragoman.policies.route.choose import Choice

ENVOY = "envoy"
"""The strategy of models whose upstream the operator's own Envoy routes choose."""
_STRATEGY, _ORDER, _LEFT_OUT = "strategy=", "order=", "left_out="


class Skipped(msgspec.Struct, frozen=True):
    """A target that is not asked, as `PROVIDER/MODEL`, and the word for why."""

    target: str
    reason: str


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """A choice as its line tells it."""

    strategy: str
    notes: tuple[str, ...] = ()
    """As they were written, such as `rule=1(coder)`."""
    order: tuple[str, ...] = ()
    """`PROVIDER/MODEL` each."""
    left_out: tuple[Skipped, ...] = ()


def describe_choice(choice: Choice) -> str:
    """The choice in one line for a header: strategy, order, what was left out and why.

    Names alone: nothing of the request but the model it asks for, and no character that a header
    may not hold.
    """
    if not choice.order:
        return "; ".join([f"{_STRATEGY}{ENVOY}", *choice.notes])
    words = [f"{_STRATEGY}{choice.strategy}", *choice.notes]
    words.append(f"{_ORDER}{','.join(map(name_target, choice.order))}")
    if choice.left_out:
        named = [f"{name_target(target)}({reason})" for target, reason in choice.left_out]
        words.append(f"{_LEFT_OUT}{','.join(named)}")
    return "; ".join(words)


def read_decision(line: str) -> Decision | None:
    """What `describe_choice` wrote; None where it is no such line."""
    first, *words = line.split("; ")
    if not first.startswith(_STRATEGY):
        return None
    notes: list[str] = []
    order, left_out = tuple[str, ...](), tuple[Skipped, ...]()
    for word in words:
        if word.startswith(_ORDER):
            order = tuple(word.removeprefix(_ORDER).split(","))
        elif word.startswith(_LEFT_OUT):
            left_out = tuple(map(_read_skipped, word.removeprefix(_LEFT_OUT).split(",")))
        else:
            notes.append(word)
    strategy = first.removeprefix(_STRATEGY)
    return Decision(strategy=strategy, notes=tuple(notes), order=order, left_out=left_out)


def _read_skipped(word: str) -> Skipped:
    target, _, reason = word.rpartition("(")
    return Skipped(target, reason.removesuffix(")"))
