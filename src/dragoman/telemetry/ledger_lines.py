"""The ledger's lines, read one by one and as they are, whoever wrote into the file beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import BinaryIO, TypeVar

import msgspec

MOST_NAMED = 20
"""Broken lines that are named; the rest is counted."""
_MOST_LINE_BYTES = 1 << 20

T = TypeVar("T")


class Broken(msgspec.Struct):
    """Lines that could not be read."""

    count: int = 0
    at: list[str] = msgspec.field(default_factory=list[str])
    """The first of them, as FILE:LINE."""

    def add(self, name: str, number: int) -> None:
        """Line `number`, from 1, of the file `name`."""
        self.count += 1
        if len(self.at) < MOST_NAMED:
            self.at.append(f"{name}:{number}")


def read_lines(
    lines: BinaryIO, decode: Callable[[bytes], T], broken: Callable[[int], None]
) -> Iterator[tuple[int, T]]:
    """Number, from 1, and content of each line; `broken` is told the numbers of those that are no
    such thing."""
    for number, raw in enumerate(_whole_lines(lines), 1):
        try:
            line = decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            broken(number)
        else:
            yield number, line


def _whole_lines(lines: BinaryIO) -> Iterator[bytes]:
    """Line by line; of one that is too long, its beginning, which is then no JSON."""
    while line := lines.readline(_MOST_LINE_BYTES):
        yield line
        while len(line) == _MOST_LINE_BYTES and not line.endswith(b"\n"):
            line = lines.readline(_MOST_LINE_BYTES)
