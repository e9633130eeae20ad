"""The rules of a model: by who asks, what for, in which words, and when."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

from dragoman.config.leading import Condition, Hours, SimilarTo
from dragoman.config.patterns import any_of
from dragoman.config.policy import Model, Rule
from dragoman.policies.authorize import features_of, matches
from dragoman.policies.route.content import Asking, Content
from dragoman.policies.route.language import find_language

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_CODE = re.compile(
    r"^[ \t]*(?:def|class|function|import|from|package|public|private|func|fn|let|const|var)\s+\w"
    r"|^[ \t]+(?:return|raise|yield)\b"
    r"|^[ \t]*#include\b"
    r"|[{;][ \t]*$"
    r"|\w\([^()\n]*\)[ \t]?[;{:]?[ \t]*$"
    r"|^[ \t]*(?:SELECT|INSERT|UPDATE|DELETE|CREATE)\s+\S"
    r"|=>|::\w|</\w+>",
    re.MULTILINE,
)
_FENCE = "```"
_SIGNS_OF_CODE = 2
"""Lines that look like code; one may do so by chance, but a fence does not."""


_Test = Callable[[Asking], bool]


class Rules:
    """The rules of one model, made ready to be asked."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._rules = [(_compile(rule.when), rule.when.similar_to, rule.use) for rule in rules]
        self._compares = any(similar_to for _, similar_to, _ in self._rules)

    def find(self, asking: Asking) -> tuple[int, Model] | None:
        """The first that holds, counted from 0, and the model that serves; None where none does."""
        for i, (tests, similar_to, use) in enumerate(self._rules):
            if all(test(asking) for test in tests) and _is_similar(similar_to, asking.content):
                return i, use
        return None

    def wanted(self, look: Callable[[], Asking]) -> dict[int, SimilarTo]:
        """By number of the rule, what has to be known of the request's likeness to find it."""
        found: dict[int, SimilarTo] = {}
        asking = look() if self._compares else None
        for i, (tests, similar_to, _) in enumerate(self._rules if asking else ()):
            if asking and all(test(asking) for test in tests):
                if similar_to is None:
                    break
                found[i] = similar_to
        return found


def _is_similar(similar_to: SimilarTo | None, content: Content) -> bool:
    if similar_to is None:
        return True
    known = content.similar.get(similar_to) if content.last_words else None
    return known is not None and known >= similar_to.at_least


def _compile(when: Condition) -> list[_Test]:
    """What has to hold, what is cheap to tell first: a body is only read where it must be."""
    return [*_who(when), *_how(when), *_what(when)]


def _who(when: Condition) -> list[_Test]:
    tests: list[_Test] = []
    if when.callers:
        tests.append(lambda a: _one(when.callers, a.caller.name))
    for patterns, subject in (
        (when.teams, "team"),
        (when.organizations, "organization"),
        (when.applications, "application"),
    ):
        if patterns:
            tests.append(_belongs(patterns, subject))
    return tests


def _belongs(patterns: tuple[str, ...], subject: str) -> _Test:
    return lambda a: _one(patterns, a.caller.belongs.get(subject))


def _how(when: Condition) -> list[_Test]:
    tests: list[_Test] = []
    if when.headers:
        tests.append(lambda a: _all_said(when.headers, a.content.headers))
    if when.hours is not None:
        tests.append(_within(when.hours))
    if when.dialects:
        tests.append(lambda a: _one(when.dialects, a.dialect))
    if when.operations:
        tests.append(lambda a: _one(when.operations, a.operation))
    if when.metadata:
        tests.append(lambda a: _all_said(when.metadata, a.content.metadata))
    return tests


def _what(when: Condition) -> list[_Test]:
    tests: list[_Test] = []
    least, below = when.input_tokens_from, when.input_tokens_below
    if least is not None:
        tests.append(lambda a: a.content.input_tokens(None) >= least)
    if below is not None:
        tests.append(lambda a: a.content.input_tokens(None) < below)
    if when.features:
        tests.append(lambda a: set(when.features) <= _features(a))
    if when.languages:
        tests.append(lambda a: find_language(a.content.last_words) in when.languages)
    if when.code is not None:
        tests.append(lambda a: holds_code(a.content.last_words) is when.code)
    if when.words:
        tests.append(_finds((any_of(list(when.words)),)))
    if when.patterns:
        tests.append(_finds(when.patterns))
    return tests


def _finds(patterns: tuple[str, ...]) -> _Test:
    engine: Any = importlib.import_module("re2")  # for the policies that need it
    search = [engine.compile(pattern).search for pattern in patterns]
    return lambda a: any(find(a.content.last_words) is not None for find in search)


def _one(patterns: Iterable[str], name: str | None) -> bool:
    return name is not None and any(matches(pattern, name) for pattern in patterns)


def _all_said(wanted: Mapping[str, str], said: Mapping[str, object]) -> bool:
    return all(
        isinstance(value := said.get(name), str) and matches(pattern, value)
        for name, pattern in wanted.items()
    )


def _within(hours: Hours) -> _Test:
    zone = UTC if hours.zone == "UTC" else ZoneInfo(hours.zone)
    start, end = (_minutes(word) for word in hours.between.split("-"))

    def holds(asking: Asking) -> bool:
        at = datetime.fromtimestamp(asking.now, UTC).astimezone(zone)
        minute = at.hour * 60 + at.minute
        began = at - timedelta(days=1) if start >= end and minute < end else at
        inside = start <= minute < end if start < end else minute >= start or minute < end
        return inside and (not hours.days or _DAYS[began.weekday()] in hours.days)

    return holds


def _minutes(word: str) -> int:
    hour, minute = word.split(":")
    return int(hour) * 60 + int(minute)


def _features(asking: Asking) -> set[str]:
    request = asking.content.request
    found = set(features_of(request)) if request is not None else set[str]()
    return found | ({"streaming"} if asking.stream else set())


def holds_code(text: str) -> bool:
    """Whether a text holds program code, by its look."""
    signs = islice(_CODE.finditer(text), _SIGNS_OF_CODE)
    return _FENCE in text or sum(1 for _ in signs) == _SIGNS_OF_CODE
