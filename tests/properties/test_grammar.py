"""The checker itself: it must refuse what breaks the grammar."""

from __future__ import annotations

import pytest
from hypothesis import given

from dragoman.ir import Usage
from dragoman.ir.events import (
    ChoiceEnd,
    Delta,
    Event,
    Finish,
    PartEnd,
    PartStart,
    Start,
    UsageUpdate,
)
from tests.properties.grammar import Broken, check
from tests.strategies import streams

START, OPEN, SAY, SHUT = (
    Start(id="", model=""),
    PartStart(kind="text"),
    Delta(content="x"),
    PartEnd(),
)
END, FINISH, USAGE = ChoiceEnd(reason="stop"), Finish(), UsageUpdate(usage=Usage())


@given(streams())
def test_generated_streams_keep_the_grammar(events: list[Event]) -> None:
    check(events)


def test_usage_may_come_with_the_head() -> None:
    check([USAGE, START, OPEN, SAY, SHUT, END, FINISH])


def test_choices_may_interleave() -> None:
    other = [
        PartStart(kind="text", choice=1),
        PartEnd(choice=1),
        ChoiceEnd(reason="stop", choice=1),
    ]

    check([START, OPEN, other[0], SAY, other[1], SHUT, USAGE, other[2], END, USAGE, FINISH])


@pytest.mark.parametrize(
    "events",
    [
        [],
        [FINISH],
        [START],
        [OPEN, START],
        [START, START, FINISH],
        [START, FINISH, USAGE],
        [START, SAY, FINISH],
        [START, SHUT, FINISH],
        [START, OPEN, FINISH],
        [START, OPEN, OPEN, SHUT, FINISH],
        [START, OPEN, END, FINISH],
        [START, END, OPEN, SHUT, FINISH],
        [START, END, END, FINISH],
    ],
)
def test_broken_streams_are_refused(events: list[Event]) -> None:
    with pytest.raises(Broken):
        check(events)
