"""Means and shares, each with the interval that holds the true figure 19 times of 20: Wilson's for
shares, the normal one for means, which needs some dozens of numbers.
"""

from __future__ import annotations

import math

import msgspec

_Z = 1.959964
"""Of the normal distribution, 95 % lie within."""


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """A mean or a share, and the interval around it."""

    value: float
    low: float
    high: float


class Mean:
    """Of numbers that come one by one, in Welford's way."""

    def __init__(self) -> None:
        self._count, self._mean, self._squares = 0, 0.0, 0.0

    def add(self, number: float | None) -> None:
        """One more; None is none."""
        if number is None:
            return
        self._count += 1
        off = number - self._mean
        self._mean += off / self._count
        self._squares += off * (number - self._mean)

    def estimate(self) -> Estimate | None:
        """None for fewer than two numbers."""
        if self._count <= 1:
            return None
        around = _Z * math.sqrt(self._squares / (self._count - 1) / self._count)
        low, high = self._mean - around, self._mean + around
        return Estimate(value=self._mean, low=low, high=high)


def bounded(found: Estimate | None) -> Estimate | None:
    """The interval without what no score can be."""
    if found is None:
        return None
    return Estimate(value=found.value, low=max(0.0, found.low), high=min(1.0, found.high))


def share(some: int, of: int) -> Estimate:
    """`some / of`, with Wilson's interval; `of` is at least 1."""
    part, squared = some / of, _Z * _Z / of
    middle = (part + squared / 2) / (1 + squared)
    around = _Z * math.sqrt(part * (1 - part) / of + squared / (4 * of)) / (1 + squared)
    low, high = max(0.0, middle - around), min(1.0, middle + around)
    return Estimate(value=part, low=low, high=high)
