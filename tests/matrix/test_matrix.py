"""The README says what the tests try, and nothing that can be said comes out wrong."""

from __future__ import annotations

import pytest

from tests.matrix.section import NAMES, README, cells, replace

PAIRS = [(client, provider) for client in NAMES for provider in NAMES if client != provider]


@pytest.mark.parametrize(("client", "provider"), PAIRS)
def test_what_is_not_refused_says_the_same(client: str, provider: str) -> None:
    wrong = {
        name: cell.reason
        for (one, other, name), cell in cells().items()
        if (one, other) == (client, provider) and cell.status == "failed"
    }

    assert wrong == {}


def test_the_readme_is_up_to_date() -> None:
    text = README.read_text()

    assert replace(text) == text, "run `make matrix`"
