"""Exchanges written by hand to the providers' references, and to what servers do besides.

`tests/fixtures/exchanges` has them, one JSON line each in the form of the recordings, by dialect:
every field and event in its variants, and the nulls, gaps, repetitions and errors of the servers
that speak the dialect. `provider` says what is odd about a line.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.recordings.checks import judge
from tests.recordings.exchanges import Exchange, load

FOLDER = Path(__file__).parents[1] / "fixtures" / "exchanges"
EXCHANGES = {
    f"{line.id} {line.provider}": line for line in load(FOLDER) if isinstance(line, Exchange)
}


@pytest.mark.parametrize("exchange", EXCHANGES.values(), ids=EXCHANGES)
@pytest.mark.filterwarnings("ignore")  # the SDKs warn of words they do not know
def test_an_odd_exchange(exchange: Exchange) -> None:
    verdict = judge(exchange)

    assert verdict.failures == (), "\n".join(verdict.failures)


def test_every_line_was_read() -> None:
    assert len(EXCHANGES) == len(load(FOLDER))
