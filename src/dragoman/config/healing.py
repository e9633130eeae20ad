"""The section of `dragoman.yaml` on targets that are not as they used to be."""

from __future__ import annotations

from typing import Annotated

import msgspec


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class Usual(_Section, frozen=True, kw_only=True):
    """A target has drifted where what is seen of it lately is more than `times` what is usual for
    it, and more than `at_least`."""

    times: Annotated[float, msgspec.Meta(ge=1, le=10**6)]
    at_least: Annotated[float, msgspec.Meta(gt=0, le=10**9)]


class TargetSignals(_Section, frozen=True, kw_only=True):
    """What is looked at; None: it is not. Of all but errors the geometric mean, so that one answer
    that took an hour makes nobody slow."""

    errors: Usual | None = Usual(times=3, at_least=0.1)
    """The share of attempts that failed."""
    first_byte_ms: Usual | None = Usual(times=3, at_least=1000)
    """Of streamed answers."""
    ms_per_token: Usual | None = Usual(times=3, at_least=100)
    """Of streamed answers, after the first byte."""
    answer_ms: Usual | None = Usual(times=3, at_least=2000)
    """Of answers in one piece."""
    output_tokens: Usual | None = Usual(times=4, at_least=20)
    """Of an answer. Also far fewer than usual are a drift, where `at_least` are usual."""
    usd: Usual | None = Usual(times=4, at_least=0.001)
    """Of an answer."""


class Healing(_Section, frozen=True, kw_only=True):
    """Targets (PROVIDER/MODEL) are held against their own history; one that drifts is asked after
    the others until it is as usual again."""

    signals: TargetSignals = TargetSignals()
    window_seconds: Annotated[int, msgspec.Meta(ge=1, le=86_400)] = 60
    """How long lately is. A window goes on until `requests` were seen."""
    requests: Annotated[int, msgspec.Meta(ge=2, le=10**6)] = 20
    """From how many on something is said; also the least that has to be known of before."""
    half_life_seconds: Annotated[int, msgspec.Meta(ge=60, le=10**8)] = 86_400
    """After so long what was seen counts for half in what is usual."""
    to: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.1
    """The share of requests for which a lowered target keeps its place in the order."""
    recovers_after: Annotated[int, msgspec.Meta(ge=1, le=10**6)] = 10
    """Over so many requests it has to be as usual."""
