"""What guardrails say of a request that goes on."""

from __future__ import annotations

from typing import NamedTuple

from dragoman.ir import Json


class Seen(NamedTuple):
    """What was found in it, and whether its answer is looked at."""

    counts: Json
    """Texts by rule, and the highest score; empty where nothing was found."""
    note: tuple[str, ...] = ()
    """The same in short."""
    answers: str = ""
    """The profile that looks at the answer; empty: none does."""
