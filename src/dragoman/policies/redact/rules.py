"""What a detection rule is. The rules themselves are tables: `contact`, `identity`, `secrets`."""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec

Span = tuple[int, int]
Check = Callable[[bytes, int, int], Span | None]
"""Looks at a candidate in its text, by byte offsets: the span that is meant, or None for no hit."""

_BEFORE = 48
_AFTER = 12
"""Bytes around a candidate in which a word, a whole one behind it, may speak against it."""
_LETTERS = bytes(
    byte if byte >= 0x80 or chr(byte).isalpha() else 0x20 for byte in bytes(range(256)).lower()
)
"""Small letters, and a space for all that is none."""


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to look for, as data.

    A candidate is what `pattern` finds (its first group, if it has one). It counts unless one of
    the words `unless` stands around it, and if `check` agrees.
    """

    name: str
    entity: str
    gate: str = ""
    """The name in `GATES` of what must be in a text, if it is not all that `pattern` is."""
    pattern: str
    """RE2 syntax. Repetitions are bounded, or end with the class they repeat."""
    priority: int = 50
    """Of two findings that overlap, the higher names what is found."""
    unless: frozenset[bytes] = frozenset()
    despite: frozenset[bytes] = frozenset()
    """Words that say it is meant after all: of those before a candidate the nearest is right."""
    check: Check | None = None
    begins: re.Pattern[bytes] | None = None
    """Where in a candidate what is meant begins, which a group would say at many times the cost."""
    again: bool = False
    """A candidate that is none may hide another that begins inside it."""


def words(text: str) -> frozenset[bytes]:
    """Whole words, lower case, that stand in `text`."""
    return frozenset(text.encode().split())


def after(names: str, pattern: str, gap: str = r"\D") -> str:
    """`pattern` where one of `names`, separated by `|`, stands up to 40 characters before it."""
    return rf"(?:^|[^A-Za-z])(?i:{names}){gap}{{0,40}}?({pattern})"


def is_spoken_against(rule: Rule, text: bytes, start: int, end: int) -> bool:
    """Whether a word around `text[start:end]` says that it is something else."""
    against, despite = rule.unless, rule.despite
    for word in reversed(text[max(0, start - _BEFORE) : start].translate(_LETTERS).split()):
        if word in against:
            return True
        if word in despite:
            return False
    behind = text[end : end + _AFTER + 1].translate(_LETTERS)
    if len(behind) > _AFTER:
        behind = behind[: behind.rfind(b" ") + 1]
    return not against.isdisjoint(behind.split())
