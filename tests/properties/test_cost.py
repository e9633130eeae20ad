"""Cost grows with the input, not with its square, however a stream is cut."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from dragoman.dialects import ChatDialect
from dragoman.ir.events import (
    ChoiceEnd,
    Delta,
    Event,
    Finish,
    PartEnd,
    PartStart,
    Start,
)
from tests.properties.cases import PAIRS, encode_stream, sayable, translate_stream

GROWTH = 16
MOST = 4 * GROWTH
"""A square would be 16 times `GROWTH`: far from both, so that a busy machine does not matter."""


def _events(kind: str, deltas: list[str]) -> list[Event]:
    head = (
        PartStart(kind="tool_call", id="t", name="f")
        if kind == "tool_call"
        else PartStart(kind="text")
    )
    said: list[Event] = [Delta(content=content) for content in deltas]
    tail: list[Event] = [PartEnd(), ChoiceEnd(reason="stop"), Finish()]
    return [Start(id="i", model="m"), head, *said, *tail]


SHAPES: dict[str, tuple[Callable[[int], list[Event]], int]] = {
    "many small deltas": (lambda n: _events("text", ["word "] * (20 * n)), 7),
    "one long delta": (lambda n: _events("text", ["word " * (1000 * n)]), 64),
    "many pieces of arguments": (
        lambda n: _events("tool_call", ['{"a":"', *["b"] * (20 * n), '"}']),
        7,
    ),
}


@pytest.mark.parametrize(("shape", "size"), SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize(("source", "target"), PAIRS.values(), ids=PAIRS)
def test_cost_is_linear(
    source: ChatDialect, target: ChatDialect, shape: Callable[[int], list[Event]], size: int
) -> None:
    small, large = (encode_stream(source, sayable(shape(n), source, target)) for n in (1, GROWTH))

    cost = lambda wire: _cpu_seconds(source, target, wire, size)  # noqa: E731 - reads as a formula
    assert cost(large) < MOST * max(cost(small), 1e-4)


def _cpu_seconds(source: ChatDialect, target: ChatDialect, wire: bytes, size: int) -> float:
    """The best of three, so that one pause does not count."""
    pieces = [wire[at : at + size] for at in range(0, len(wire), size)]
    return min(_timed(source, target, pieces) for _ in range(3))


def _timed(source: ChatDialect, target: ChatDialect, pieces: list[bytes]) -> float:
    before = time.process_time()
    translate_stream(source, target, pieces)
    return time.process_time() - before
