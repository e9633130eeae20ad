"""The README's section: what passes from each client dialect to each provider dialect."""

from __future__ import annotations

import functools
from pathlib import Path

from dragoman.dialects.registry import CHAT_NAMES
from tests.matrix.cells import Cell, dialect, is_asked, try_feature
from tests.matrix.features import FEATURES

README = Path(__file__).parents[2] / "README.md"
BEGIN = "<!-- matrix: written by `python -m tests.matrix`, from what the tests try -->"
END = "<!-- matrix: end -->"
NAMES = tuple(sorted(CHAT_NAMES))
Place = tuple[str, str, str]


@functools.cache
def cells() -> dict[Place, Cell]:
    """By client, provider and feature's name, each tried."""
    return {
        (client, provider, feature.name): try_feature(feature, dialect(client), dialect(provider))
        for client in NAMES
        for provider in NAMES
        for feature in FEATURES
        if client != provider
    }


def render() -> str:
    """The section, with its markers."""
    columns = ["client \\ provider", *(f"`{name}`" for name in NAMES), "cannot ask for"]
    lines = [_row(columns), _row(["---"] * len(columns)), *map(_client, NAMES)]
    return "\n\n".join([BEGIN, _legend(), "\n".join(lines), *_reasons(), END])


def replace(text: str) -> str:
    """`text` with the section brought up to date."""
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the README has no place for the section: {BEGIN}")
    return head + render() + tail


def _row(columns: list[str]) -> str:
    return "| " + " | ".join(columns) + " |"


def _legend() -> str:
    named = ", ".join(f"{feature.letter} {feature.name}" for feature in FEATURES)
    return (
        "Each client dialect against each provider dialect. "
        f"What was tried, request and answer: {named}. "
        "✓: all of it passes, both sides' SDKs read the same. "
        "A capital letter: refused with 400 and the JSON path, before a provider is asked. "
        "A small letter: a hint, left out and named in `x-dragoman-dropped`. "
        "=: the same dialect, passed as it is."
    )


def _client(client: str) -> str:
    unasked = [f.letter for f in FEATURES if not is_asked(f, dialect(client))]
    told = [_cell(client, provider) for provider in NAMES]
    return _row([f"`{client}`", *told, " ".join(unasked) or "-"])


def _cell(client: str, provider: str) -> str:
    if client == provider:
        return "="
    found = [
        (feature.letter, cells()[client, provider, feature.name].status) for feature in FEATURES
    ]
    refused = [letter for letter, status in found if status == "refused"]
    dropped = [letter.lower() for letter, status in found if status == "dropped"]
    return " ".join([*refused, *dropped]) or "✓"


def _reasons() -> list[str]:
    """Why, each reason once with those it holds for."""
    told: dict[tuple[str, str, str], set[str]] = {}
    letters = {feature.name: feature.letter for feature in FEATURES}
    for (_, provider, name), cell in cells().items():
        if cell.status == "refused":
            key = (letters[name], name, cell.reason)
            told.setdefault(key, set()).add(provider)
    rows = [
        _row([letter, name, ", ".join(f"`{one}`" for one in sorted(providers)), reason])
        for (letter, name, reason), providers in sorted(told.items())
    ]
    return ["\n".join([_row(["", "refused", "by", "because"]), _row(["---"] * 4), *rows])]
