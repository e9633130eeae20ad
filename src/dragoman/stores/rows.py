"""Rows of JSON in the store: one that cannot be read is told of, and is as if it were not there.

What that means is each store's: a key is refused, a canary's candidate serves nobody, a target is
not lowered, a caller is not held back. All others go on as they were.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

import msgspec

from dragoman.errors import StoreUnavailable

R = TypeVar("R")
Tell = Callable[[str], None]
"""Is told where a row stands that cannot be read, `KEY FIELD`."""
_MOST_LETTERS = 100
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What a row of JSON that is none fails with."""


def say(row: str) -> None:
    """A line on standard error: what commands tell."""
    sys.stderr.write(f"dragoman: a row of the store cannot be read: {row}\n")


class Rows(Generic[R]):
    """The rows of one hash, each of `kind`."""

    def __init__(self, key: str, kind: type[R], tell: Tell) -> None:
        """`tell` is told once of a row, and again where it was good in between."""
        self._key = key
        self._decode = msgspec.json.Decoder(kind).decode
        self._tell = tell
        self._unreadable: set[bytes] = set()

    def read(self, found: Mapping[bytes, bytes]) -> dict[str, R]:
        """Those that can be read, by field."""
        rows: dict[str, R] = {}
        unreadable: set[bytes] = set()
        for field, raw in found.items():
            try:
                rows[field.decode()] = self._decode(raw)
            except UNREADABLE:
                unreadable.add(field)
        for field in sorted(unreadable - self._unreadable):
            self._tell(f"{self._key} {field[:_MOST_LETTERS].decode(errors='replace')}")
        self._unreadable = unreadable
        return rows

    def read_one(self, raw: bytes) -> R:
        """What a script answers. Raises `StoreUnavailable` where it cannot be read."""
        try:
            return self._decode(raw)
        except UNREADABLE as error:
            raise StoreUnavailable("The store holds what cannot be read.") from error
