"""Each fault against each strategy, as `faults.py` states it: nothing lost, nothing twice."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dragoman.simulator import Simulator
from tests.envoy.faults import (
    FAULTS,
    README,
    STRATEGIES,
    Cell,
    Fault,
    Seen,
    Strategy,
    failing_gateway,
    replace,
    try_all,
)

Found = list[tuple[Cell, Seen]]


@pytest.fixture(scope="module")
def found(all_providers: Simulator) -> Iterator[Found]:
    all_providers.control.reset()
    with failing_gateway(all_providers) as gateway:
        yield try_all(gateway)
    all_providers.control.reset()


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda strategy: strategy.name)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_what_comes_of_it(found: Found, fault: Fault, strategy: Strategy) -> None:
    """The outcome, who was asked in what dialect, and how often: both clients, JSON and streams."""
    mine = [pair for pair in found if (pair[0].fault, pair[0].strategy) == (fault, strategy)]
    assert len(mine) == 4
    told = [(c.client, c.stream, s.outcome, s.asked, s.attempts, s.foreign) for c, s in mine]
    assert told == [
        (cell.client, cell.stream, cell.expected, cell.asked, 2 if cell.goes_on else 1, [])
        for cell, _ in mine
    ]


def test_the_readme_is_up_to_date() -> None:
    text = README.read_text()
    assert replace(text) == text, "run `make faults`"
