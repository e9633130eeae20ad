"""One simulator for all tests of this folder, cleared before each."""

from collections.abc import Iterator

import pytest

from dragoman.simulator import Simulator
from dragoman.simulator.server import Options


@pytest.fixture(scope="session")
def running() -> Iterator[Simulator]:
    options = Options(keyless=frozenset({"local"}), max_body_bytes=1024 * 1024)
    with Simulator(["openai", "anthropic", "local"], options) as simulator:
        yield simulator


@pytest.fixture
def simulator(running: Simulator) -> Simulator:
    running.control.reset()
    return running
