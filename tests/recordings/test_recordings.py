"""What real providers received and answered, through the translation and the other sides' SDKs.

`RECORDINGS=DIR make test-recordings` runs it over any folder of such recordings.
"""

from __future__ import annotations

import functools

import pytest

from tests.recordings.checks import Verdict, judge
from tests.recordings.exchanges import ASKED_FOR, FOLDER, Aside, Exchange, load
from tests.recordings.table import Row, render

LINES = load()
EXCHANGES = {line.id: line for line in LINES if isinstance(line, Exchange)}
needs_recordings = pytest.mark.skipif(
    not LINES and not ASKED_FOR,
    reason=f"no recorded exchanges in {FOLDER} (set RECORDINGS to their folder)",
)


@functools.cache
def verdict_on(place: str) -> Verdict:
    return judge(EXCHANGES[place])


@needs_recordings
@pytest.mark.filterwarnings("ignore")  # the SDKs warn of words they do not know, and of old models
@pytest.mark.parametrize("place", EXCHANGES)
def test_an_exchange(place: str) -> None:
    verdict = verdict_on(place)

    assert verdict.failures == (), "\n".join(verdict.failures)


@needs_recordings
@pytest.mark.filterwarnings("ignore")
def test_the_table_counts_every_exchange_once(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [_row(line) for line in LINES]
    with capsys.disabled():
        print(render(rows))

    assert any(row.column == "passed" for row in rows), f"nothing to run over in {FOLDER}"


def _row(line: Exchange | Aside) -> Row:
    if isinstance(line, Aside):
        return Row(
            provider=line.provider,
            endpoint=line.endpoint,
            column=line.column,
            reasons=(line.reason,),
        )
    verdict = verdict_on(line.id)
    return Row(
        provider=line.provider,
        endpoint=line.endpoint,
        column=verdict.column,
        dialect=line.dialect.name,
        reasons=verdict.reasons,
        said=verdict.said,
        refused=verdict.refused,
    )
