"""Each fault against each strategy, as `faults.py` states it: nothing lost, nothing twice."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dragoman.simulator import Simulator
from tests.envoy.faults import FAULTS, NEXT, README, STRATEGIES, Fault, Strategy, replace
from tests.envoy.trials import LATER, Seen, Trial, count_first, failing_gateway, try_all, try_later

Found = tuple[list[Trial], list[Trial]]
LEARNING = [strategy for strategy in STRATEGIES if strategy.learns]


@pytest.fixture(scope="module")
def found(all_providers: Simulator) -> Iterator[Found]:
    """At first, and once strategies have learned of it."""
    all_providers.control.reset()
    with failing_gateway(all_providers) as gateway:
        yield try_all(gateway), try_later(gateway)
    all_providers.control.reset()


def pick(trials: list[Trial], fault: Fault, strategy: Strategy) -> list[Trial]:
    mine = [trial for trial in trials if (trial[0].fault, trial[0].strategy) == (fault, strategy)]
    assert len(mine) == 4
    return mine


def hold(trials: list[Trial]) -> None:
    """The outcome, who was asked in what dialect, and how often: both clients, JSON and streams."""
    told = [(c.client, c.stream, s.came, s.foreign) for c, tries in trials for s in tries]
    stated = [(c.client, c.stream, c.expect(s.first), []) for c, tries in trials for s in tries]
    assert told == stated


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda strategy: strategy.name)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_what_comes_of_it(found: Found, fault: Fault, strategy: Strategy) -> None:
    mine = pick(found[0], fault, strategy)
    hold(mine)
    assert [tries[-1].first for _, tries in mine] == [cell.targets[0] for cell, _ in mine]


@pytest.mark.parametrize("strategy", LEARNING, ids=lambda strategy: strategy.name)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_nothing_else_comes_of_it_once_it_was_learned_of(
    found: Found, fault: Fault, strategy: Strategy
) -> None:
    hold(pick(found[1], fault, strategy))


def again(found: Found, strategy: str) -> Iterator[tuple[str, int]]:
    """Of cells in which the next target answered: the fault, and how often who failed was asked
    first again."""
    for (cell, tries), later in zip(_learning(found[0]), found[1], strict=True):
        if cell.strategy.name == strategy and _fell_back(tries[-1]):
            yield cell.fault.name, count_first(*later)


def _learning(trials: list[Trial]) -> list[Trial]:
    return [trial for trial in trials if trial[0].strategy.learns]


def _fell_back(seen: Seen) -> bool:
    return (seen.outcome, seen.attempts) == (NEXT, 2)


def test_the_fastest_never_asks_first_who_only_fails(found: Found) -> None:
    assert {count for _, count in again(found, "fastest")} == {0}


def test_the_bandit_seldom_asks_first_who_only_fails(found: Found) -> None:
    """By inverse gaps one in thirteen after two observations."""
    counts = [count for _, count in again(found, "bandit")]
    assert sum(counts) < len(counts) * LATER / 5


def test_the_least_loaded_waits_as_long_as_it_was_told_to(found: Found) -> None:
    paused = [count for name, count in again(found, "least_loaded") if name.endswith(": 60")]
    assert paused == [0] * 4


def test_the_readme_is_up_to_date() -> None:
    text = README.read_text()
    assert replace(text) == text, "run `make faults`"
