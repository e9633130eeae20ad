"""The sections of the dialects' README: what passes from each client dialect to each provider dialect."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import NamedTuple

import dragoman.dialects
from dragoman.dialects import CHAT, EMBEDDINGS, RERANK
from dragoman.dialects.registry import names_of
from tests.matrix.cells import Cell, dialect, is_asked, try_feature
from tests.matrix.features import FEATURES, Feature
from tests.matrix.unary import EMBEDDING_FEATURES, RERANK_FEATURES

README = Path(dragoman.dialects.__file__).parent / "README.md"
Place = tuple[str, str, str]


class Section(NamedTuple):
    """One operation's matrix."""

    operation: str
    features: tuple[Feature, ...]
    begin: str
    """Where it stands in the README."""
    end: str

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(sorted(names_of(self.operation)))


CHAT_SECTION = Section(
    CHAT,
    FEATURES,
    "<!-- matrix: written by `python -m tests.matrix`, from what the tests try -->",
    "<!-- matrix: end -->",
)
SECTIONS = (
    CHAT_SECTION,
    *(
        Section(
            operation,
            features,
            f"<!-- matrix of {operation}: written by `python -m tests.matrix` -->",
            f"<!-- matrix of {operation}: end -->",
        )
        for operation, features in ((EMBEDDINGS, EMBEDDING_FEATURES), (RERANK, RERANK_FEATURES))
    ),
)


def cells(section: Section) -> dict[Place, Cell]:
    """By client, provider and feature's name, each tried."""
    return _cells(section.operation)


@functools.cache
def _cells(operation: str) -> dict[Place, Cell]:
    section = next(section for section in SECTIONS if section.operation == operation)
    return {
        (client, provider, feature.name): try_feature(feature, dialect(client), dialect(provider))
        for client in section.names
        for provider in section.names
        for feature in section.features
        if client != provider
    }


def render(section: Section) -> str:
    """The section, with its markers."""
    names = section.names
    columns = ["client \\ provider", *(f"`{name}`" for name in names), "cannot ask for"]
    lines = [_row(columns), _row(["---"] * len(columns))]
    lines += [_client(section, name) for name in names]
    table = "\n".join(lines)
    return "\n\n".join([section.begin, _legend(section), table, *_reasons(section), section.end])


def replace(text: str) -> str:
    """`text` with each section brought up to date."""
    for section in SECTIONS:
        head, begin, rest = text.partition(section.begin)
        _, end, tail = rest.partition(section.end)
        if not begin or not end:
            raise ValueError(f"the README has no place for the section: {section.begin}")
        text = head + render(section) + tail
    return text


def _row(columns: list[str]) -> str:
    return "| " + " | ".join(columns) + " |"


def _legend(section: Section) -> str:
    named = ", ".join(f"{feature.letter} {feature.name}" for feature in section.features)
    if section is not CHAT_SECTION:
        return f"Tried and written likewise: {named}."
    return (
        "Each client dialect against each provider dialect. "
        f"What was tried, request and answer: {named}. "
        "✓: all of it passes, both sides' SDKs read the same. "
        "A capital letter: refused with 400 and the JSON path, before a provider is asked. "
        "A small letter: a hint, left out and named in `x-dragoman-dropped`. "
        "=: the same dialect, passed as it is."
    )


def _client(section: Section, client: str) -> str:
    unasked = [f.letter for f in section.features if not is_asked(f, dialect(client))]
    told = [_cell(section, client, provider) for provider in section.names]
    return _row([f"`{client}`", *told, " ".join(unasked) or "-"])


def _cell(section: Section, client: str, provider: str) -> str:
    if client == provider:
        return "="
    found = [
        (feature.letter, cells(section)[client, provider, feature.name].status)
        for feature in section.features
    ]
    refused = [letter for letter, status in found if status == "refused"]
    dropped = [letter.lower() for letter, status in found if status == "dropped"]
    return " ".join([*refused, *dropped]) or "✓"


def _reasons(section: Section) -> list[str]:
    """Why, each reason once with those it holds for."""
    told: dict[tuple[str, str, str], set[str]] = {}
    letters = {feature.name: feature.letter for feature in section.features}
    for (_, provider, name), cell in cells(section).items():
        if cell.status == "refused":
            key = (letters[name], name, cell.reason)
            told.setdefault(key, set()).add(provider)
    rows = [
        _row([letter, name, ", ".join(f"`{one}`" for one in sorted(providers)), reason])
        for (letter, name, reason), providers in sorted(told.items())
    ]
    return ["\n".join([_row(["", "refused", "by", "because"]), _row(["---"] * 4), *rows])]
