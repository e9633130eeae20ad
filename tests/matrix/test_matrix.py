"""The dialects' README says what the tests try, and nothing that can be said comes out wrong."""

from __future__ import annotations

import pytest

from tests.matrix.section import README, SECTIONS, Section, cells, replace

PAIRS = [
    pytest.param(section, client, provider, id=f"{client}-{provider}")
    for section in SECTIONS
    for client in section.names
    for provider in section.names
    if client != provider
]


@pytest.mark.parametrize(("section", "client", "provider"), PAIRS)
def test_what_is_not_refused_says_the_same(section: Section, client: str, provider: str) -> None:
    wrong = {
        name: cell.reason
        for (one, other, name), cell in cells(section).items()
        if (one, other) == (client, provider) and cell.status == "failed"
    }

    assert wrong == {}


def test_the_readme_is_up_to_date() -> None:
    text = README.read_text()

    assert replace(text) == text, "run `make matrix`"
