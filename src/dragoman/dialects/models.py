"""What a client is told of the public models, and how a list of them is cut into pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from urllib.parse import parse_qsl

import msgspec

from dragoman.errors import InvalidRequest


class ModelCard(msgspec.Struct, frozen=True, kw_only=True):
    """One public model. None, or empty, is not known."""

    id: str
    """The public name."""
    title: str = ""
    created: date | None = None
    max_input_tokens: int | None = None
    max_output_tokens: int | None = None
    input: tuple[str, ...] = ()
    """Modalities it takes: text, image, audio, video, document."""
    output: tuple[str, ...] = ()
    reasons: bool | None = None
    """Whether it thinks before it answers."""
    retires: date | None = None

    @property
    def name(self) -> str:
        """What a person reads."""
        return self.title or self.id


def read_query(query: str) -> Mapping[str, str]:
    """A query's parameters, unquoted; the last of a name wins."""
    return dict(parse_qsl(query))


def page_size(values: Mapping[str, str], name: str, default: int, most: int) -> int:
    """How many models a page holds. Raises `InvalidRequest` naming the query's parameter."""
    given = values.get(name)
    if given is None:
        return default
    if not given.isascii() or not given.isdigit() or not 1 <= int(given[:9]) <= most:
        raise InvalidRequest(name, f"a number from 1 to {most}")
    return int(given)


def place_of(cards: Sequence[ModelCard], model: str, parameter: str) -> int:
    """Where the model a page begins or ends at stands. Raises `InvalidRequest` where it is none."""
    found = next((i for i, card in enumerate(cards) if card.id == model), None)
    if found is None:
        raise InvalidRequest(parameter, "the name of a model of an earlier page")
    return found


def timestamp(day: date | None) -> str:
    """Midnight of a day by RFC 3339; the epoch where the day is not known."""
    return f"{(day or date(1970, 1, 1)).isoformat()}T00:00:00Z"


def unix_seconds(day: date | None) -> int:
    """Midnight of a day in Unix time; 0 where the day is not known."""
    if day is None:
        return 0
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
