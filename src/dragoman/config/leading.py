"""How a model leads to another one, as written: by rules, by an experiment, at its end."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

import msgspec

from dragoman.config.callouts import Embedder
from dragoman.config.section import Name


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


Feature = Literal["streaming", "tools", "media", "schema", "reasoning"]
"""What a request may ask for beside text: an answer in pieces, tools, images and other media, an
answer by a schema, thinking."""


StickyBy = Annotated[
    str, msgspec.Meta(pattern=r"^(conversation|user|caller|header:[a-z0-9][a-z0-9-]{0,63})$")
]
Language = Literal[
    "ar", "de", "el", "en", "es", "fr", "he", "hi", "it", "ja", "ko", "nl", "pl", "pt", "ru", "sv",
    "th", "tr", "uk", "zh",
]  # fmt: skip
"""What a text may be told to be written in, by ISO 639-1."""
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
HeaderName = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]


class Hours(_Section, frozen=True, kw_only=True):
    """A time of day and week, on the clocks of `zone`."""

    between: Annotated[
        str, msgspec.Meta(pattern=r"^([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d$")
    ]
    """Such as `22:00-06:00`: from the one, up to the other, perhaps past midnight. It is of the day
    it began on. `00:00-00:00` is all day."""
    days: tuple[Day, ...] = ()
    """None: each."""
    zone: str = "UTC"
    """Such as `Europe/Berlin`."""


class SimilarTo(_Section, frozen=True, kw_only=True):
    """A text like one of these, by the cosine of their vectors."""

    examples: Annotated[
        tuple[Annotated[str, msgspec.Meta(min_length=1, max_length=2000)], ...],
        msgspec.Meta(min_length=1, max_length=64),
    ]
    at_least: Annotated[float, msgspec.Meta(gt=0, le=1)]
    """Of the most similar one."""
    by: Embedder
    """Who makes vectors of texts."""


class Condition(_Section, frozen=True, kw_only=True):
    """What a request has to be, in everything that is said here. Of a list, one is enough, but of
    `features` all are. `*` at an end matches any rest.
    """

    callers: tuple[str, ...] = ()
    teams: tuple[str, ...] = ()
    organizations: tuple[str, ...] = ()
    applications: tuple[str, ...] = ()
    headers: dict[HeaderName, str] = {}
    metadata: dict[str, str] = {}
    """Of the body's own `metadata`."""
    hours: Hours | None = None
    dialects: tuple[str, ...] = ()
    """Of the client."""
    operations: tuple[str, ...] = ()
    features: tuple[Feature, ...] = ()
    """All asked for."""
    input_tokens_from: Annotated[int, msgspec.Meta(ge=1)] | None = None
    input_tokens_below: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """By an estimate of the whole request."""
    languages: tuple[Language, ...] = ()
    """Of the user's last turn, by script and common words; a text too short to tell is in none."""
    code: bool | None = None
    """Whether the user's last turn holds program code, by its look."""
    words: tuple[Annotated[str, msgspec.Meta(min_length=2, max_length=256)], ...] = ()
    """One stands in the user's last turn, whole and in any case."""
    patterns: tuple[Annotated[str, msgspec.Meta(min_length=1, max_length=4096)], ...] = ()
    """One matches in the user's last turn; RE2 syntax."""
    similar_to: SimilarTo | None = None
    """What the user's last turn is like. A provider is asked for it before the request is decided
    on; without its answer it does not hold."""


class RuleEntry(_Section, frozen=True, kw_only=True):
    """Where `when` holds, the request is served as if for the model `use`."""

    use: str
    when: Condition = Condition()
    """Nothing said: always."""


class VariantEntry(_Section, frozen=True, kw_only=True):
    """One side of an experiment."""

    use: str
    """A model of this file."""
    weight: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 1


class ExperimentEntry(_Section, frozen=True, kw_only=True):
    """Who is served by which model is drawn once, by weight, and then stays so."""

    name: Name
    by: StickyBy = "conversation"
    """What is drawn for; a request that lacks it is drawn for by itself."""
    variants: Annotated[dict[Name, VariantEntry], msgspec.Meta(min_length=2)]


class RollbackEntry(_Section, frozen=True, kw_only=True):
    """How much worse a candidate may be; None: it is not looked at."""

    errors: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = 0.01
    """Of answers, more than of the stable model's: 0.01 is one of a hundred. An answer that took a
    second attempt is an error too."""
    time: Annotated[float, msgspec.Meta(ge=1)] | None = 2
    """Times the stable model's mean, until the whole answer is there."""
    cost: Annotated[float, msgspec.Meta(ge=1)] | None = None
    """The same of what an answer costs."""


class CanaryEntry(_Section, frozen=True, kw_only=True):
    """A growing share of requests is served by another model, while it is not worse."""

    name: Name
    use: str
    """The candidate: a model of this file."""
    by: StickyBy = "conversation"
    """What is drawn for: it stays where it is while the share grows."""
    steps: Annotated[
        tuple[Annotated[float, msgspec.Meta(ge=0, le=100)], ...], msgspec.Meta(min_length=1)
    ] = (1, 5, 25, 50, 100)
    """Percent. At 100 it is promoted; a last step below that waits for a hand."""
    step_seconds: Annotated[int, msgspec.Meta(ge=1, le=10**7)] = 3600
    at_least: Annotated[int, msgspec.Meta(ge=1, le=10**9)] = 100
    """Answers of the candidate, in each step, before the next."""
    rollback_on: RollbackEntry = RollbackEntry()


class ShadowEntry(_Section, frozen=True, kw_only=True):
    """Some requests are asked of another model too, whose answers nobody gets."""

    use: str
    """A model of this file, of any provider and dialect."""
    share: Annotated[float, msgspec.Meta(gt=0, le=1)]
    """Of the requests that `when` holds for: 0.05 is one of twenty."""
    when: Condition = Condition()
    """Nothing said: for all."""
    charge_to: str | None = None
    """The caller in whose quotas it counts. None: in those that hang on a provider alone."""
    answers: bool = True
    """What is answered is compared too; the service then reads both answers."""


class DeprecationEntry(_Section, frozen=True, kw_only=True):
    """A model that is to end. Answers say so in the headers `deprecation` and `sunset`."""

    since: date
    ends: date | None = None
    """The first day, in UTC, on which it is not served any more."""
    use: str | None = None
    """The model to ask for instead."""
    afterwards: Literal["refuse", "substitute"] = "refuse"
    """From `ends` on: 404 that names `use`, or `use` serves in its place."""
