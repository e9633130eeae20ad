"""What is known of models, as data: rows of `models.toml`, found by provider and model name."""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Literal

import msgspec

from dragoman.catalog import provider_rows
from dragoman.ir import ReasoningStyle

Modality = Literal["text", "image", "audio", "video", "document", "embedding", "score"]
Parameter = Literal[
    "temperature",
    "top_p",
    "top_k",
    "stop_sequences",
    "seed",
    "frequency_penalty",
    "presence_penalty",
    "choice_count",
    "logprobs",
    "top_logprobs",
    "parallel_tool_calls",
]
"""A field of `ir.Request` that some models answer 400 to."""
_MOST_FOUND = 4096
_REGION = re.compile(r"^(?:us|us-gov|eu|apac|jp|au|ca|sa|af|me|mx|uk|global)\.(?=[a-z0-9-]+\.)")
_VERSION = re.compile(r"(?:-v\d+)?(?::\d+)?(?::\d+k|:mm)?$")
_SNAPSHOT = re.compile(r"(?:[@-](?:\d{8}|\d{4}-\d{2}-\d{2}|default)|-\d{3,4}|-\d{2}-\d{4})$")


class Rates(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """USD a million tokens of each kind; None where it is not known."""

    input: float | None = None
    output: float | None = None
    reasoning: float | None = None
    """None: reasoning costs what other output does."""
    cached: float | None = None
    cache_write: float | None = None
    cache_write_5m: float | None = None
    cache_write_1h: float | None = None
    input_audio: float | None = None
    output_audio: float | None = None
    input_image: float | None = None
    output_image: float | None = None


class Tier(Rates, frozen=True, kw_only=True):
    """The rates of a request with more than `above_tokens` tokens of input."""

    above_tokens: int


class Prices(Rates, frozen=True, kw_only=True):
    """What a model costs, and when it costs that."""

    since: date | None = None
    """The first day (UTC) on which it does; None: it always did."""
    until: date | None = None
    """The last day; None: until other prices hold, or for good."""
    request: float | None = None
    """USD a call, beside its tokens."""
    tiers: tuple[Tier, ...] = ()
    """What replaces the rates above in a request of more input tokens."""

    def hold_on(self, day: date) -> bool:
        """Whether `day` is one of theirs."""
        return (self.since or day) <= day <= (self.until or day)


class Profile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is known of one model where one provider serves it; `models.toml` explains each fact.

    None is not known, and nothing is refused for it.
    """

    title: str | None = None
    released: date | None = None
    max_input_tokens: int | None = None
    max_output_tokens: int | None = None
    input: tuple[Modality, ...] | None = None
    output: tuple[Modality, ...] | None = None
    reasoning: ReasoningStyle | None = None
    refuses: tuple[Parameter, ...] | None = None
    refuses_reasoning: tuple[Parameter, ...] | None = None
    fixed: dict[Parameter, float] | None = None
    not_both: tuple[Parameter, ...] | None = None
    token_ratio: float | None = None
    prices: Prices | tuple[Prices, ...] | None = None
    """Several, where they changed: of those that hold on a day, the one that began last."""
    retires: date | None = None
    source: str | None = None
    read: date | None = None

    def prices_on(self, day: date) -> Prices | None:
        """What is charged on `day`; None where it is not known."""
        if not isinstance(self.prices, tuple):
            return self.prices if self.prices and self.prices.hold_on(day) else None
        holding = [prices for prices in self.prices if prices.hold_on(day)]
        return max(holding, key=lambda prices: prices.since or date.min, default=None)


class _Served(Profile, frozen=True, kw_only=True):
    """One provider's way with a model: its names there, and the facts that are others there."""

    names: tuple[str, ...] = ()


class _Row(Profile, frozen=True, kw_only=True):
    """One table of `models.toml`."""

    at: dict[str, _Served]


class Override(msgspec.Struct, frozen=True, kw_only=True):
    """An operator's facts on a model, or on all that its pattern covers (`*` at the end)."""

    provider: str
    model: str
    like: str | None
    """The table of `models.toml` whose facts hold where `facts` says nothing."""
    facts: Profile


class Profiles:
    """The catalogue's facts with an operator's over them."""

    def __init__(self, overrides: Iterable[Override] = ()) -> None:
        exact: dict[tuple[str, str], Override] = {}
        patterns: list[Override] = []
        for row in overrides:
            if row.model.endswith("*"):
                patterns.append(row)
            else:
                exact[row.provider, row.model] = row
        self._exact = exact
        self._patterns = sorted(patterns, key=lambda row: len(row.model), reverse=True)
        self.find = functools.lru_cache(_MOST_FOUND)(self._find)
        """The profile of a provider's model: `find(provider, kind, model)`, by the provider's name
        in the policy, by its row in the catalogue and by the name it gives the model; or None."""

    def _find(self, provider: str, kind: str, model: str) -> Profile | None:
        known = find_row(kind, model)
        row = self._exact.get((provider, model)) or self._pattern(provider, model)
        if row is None:
            return known
        if row.like is not None:
            known = find_table(row.like)
        return _merge(row.facts, known) if known else row.facts

    def _pattern(self, provider: str, model: str) -> Override | None:
        return next(
            (
                row
                for row in self._patterns
                if row.provider == provider and model.startswith(row.model[:-1])
            ),
            None,
        )


def find_row(kind: str, model: str) -> Profile | None:
    """The catalogue's facts on `model` at a provider of this kind.

    The name as it is comes first; then without what a platform puts around it: the path before its
    last slash, Bedrock's region and version (`eu.NAME-v1:0`), a snapshot's date (`NAME-20250929`,
    `NAME@20250929`, `NAME-2025-08-07`, `NAME-001`).
    """
    provider = provider_rows().get(kind)
    rows = _index().get(provider.models_of if provider and provider.models_of else kind)
    if rows is None:
        return None
    return next((found for name in _spellings(model) if (found := rows.get(name))), None)


def find_table(name: str) -> Profile | None:
    """The facts of one table of `models.toml`, as its first provider serves the model."""
    row = _rows().get(name)
    return _merge(next(iter(row.at.values())), row) if row else None


def _spellings(model: str) -> Iterator[str]:
    """The name, and what is left of it without one thing after the other."""
    name = model.lower()
    yield name
    name = name.rpartition("/")[2]
    yield name
    for around in (_REGION, _VERSION, _SNAPSHOT):
        name = around.sub("", name)
        yield name


def _merge(first: Profile, second: Profile) -> Profile:
    """The facts of `first`, and those of `second` where it says nothing."""
    facts = {name: getattr(first, name) for name in Profile.__struct_fields__}
    return Profile(**{n: getattr(second, n) if v is None else v for n, v in facts.items()})


@functools.cache
def _rows() -> Mapping[str, _Row]:
    """All tables by name. Raises `msgspec.ValidationError` on one that is not a table."""
    text = Path(__file__).with_name("models.toml").read_text(encoding="utf-8")
    return msgspec.convert(tomllib.loads(text), dict[str, _Row])


@functools.cache
def _index() -> Mapping[str, Mapping[str, Profile]]:
    """Profiles by provider, then by the name they have there."""
    found: dict[str, dict[str, Profile]] = {}
    for table, row in _rows().items():
        for provider, served in row.at.items():
            profile = _merge(served, row)
            for name in served.names or (table,):
                found.setdefault(provider, {})[name] = profile
    return found
