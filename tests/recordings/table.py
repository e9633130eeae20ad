"""One table of a folder of recordings: each exchange in exactly one column."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import msgspec

COLUMNS = ("passed", "refused", "out of scope", "skipped", "bad line", "failed")
"""Passed: every other dialect says the same. Refused: at least one refuses it by name, the rest say
the same. Skipped: not compared in full. All but the first come with their reasons."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One exchange's place in the table."""

    provider: str
    endpoint: str
    column: str
    dialect: str = ""
    reasons: tuple[str, ...] = ()
    said: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()


def render(rows: list[Row]) -> str:
    """The table, its sum, each pair of dialects, and the reasons with how often each was given."""
    places = sorted({(row.provider, row.endpoint) for row in rows})
    wide = max((len(endpoint) for _, endpoint in places), default=0) + 2
    head = _line("provider", "endpoint", ("exchanges", *COLUMNS), wide)
    counts = Counter((row.provider, row.endpoint, row.column) for row in rows)
    lines = [
        _line(*place, _numbers([counts[(*place, column)] for column in COLUMNS]), wide)
        for place in places
    ]
    totals = [sum(row.column == column for row in rows) for column in COLUMNS]
    if sum(totals) != len(rows):
        raise AssertionError("an exchange stands in no column")
    sums = _line("all", "", _numbers(totals), wide)
    return "\n".join(["", head, *lines, sums, "", *_crossings(rows), "", *_reasons(rows)])


def _numbers(counts: list[int]) -> tuple[str, ...]:
    return tuple(str(count) for count in (sum(counts), *counts))


def _line(provider: str, endpoint: str, cells: Iterable[str], wide: int) -> str:
    return f"{provider:<14}{endpoint:<{wide}}" + "".join(f"{cell:>13}" for cell in cells)


def _crossings(rows: list[Row]) -> list[str]:
    """How many exchanges of a dialect each other one says, of how many."""
    said = Counter((row.dialect, name) for row in rows for name in row.said)
    refused = Counter((row.dialect, name) for row in rows for name in row.refused)
    pairs = sorted({*said, *refused})
    return [
        "said in full by another dialect, of all:",
        *(
            f"{source:<22} in {target:<22}{said[source, target]:>6} of "
            f"{said[source, target] + refused[source, target]}"
            for source, target in pairs
        ),
    ]


def _reasons(rows: list[Row]) -> list[str]:
    told: Counter[tuple[str, str, str]] = Counter(
        (row.column, row.dialect or f"{row.provider} {row.endpoint}", reason)
        for row in rows
        for reason in row.reasons
    )
    return ["reasons:"] + [
        f"{count:>5}  {column}: {source}: {reason}"
        for (column, source, reason), count in sorted(told.items())
    ]
