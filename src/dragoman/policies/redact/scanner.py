"""Finds what the rules name, in one pass over clean text and in linear time over any."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from dragoman.policies.redact.contact import CONTACT
from dragoman.policies.redact.identity import IDENTITY
from dragoman.policies.redact.rules import Rule, is_spoken_against
from dragoman.policies.redact.secrets import SECRETS

RULES: tuple[Rule, ...] = tuple(
    sorted((*SECRETS, *IDENTITY, *CONTACT), key=lambda rule: -rule.priority)
)
"""Those that name what is found come first, so that the others need not look there again."""
_MAX_MEMORY_BYTES = 64 * 2**20
_EVERYTHING = rb"\z"
"""Matches any text: a set that finds not even this has failed, and so must the request. It matches
at the end alone, for a set that matches at each byte notes it at each."""


class Finding(NamedTuple):
    """What stands at `text[start:end]`, by byte offsets."""

    start: int
    end: int
    entity: str
    rule: str
    priority: int


class EngineFailure(RuntimeError):
    """The pattern engine gave up on a text: it must not be taken for clean."""


class Scanner:
    """The compiled rules; holds nothing of a text, so any number may share one."""

    def __init__(self, rules: Sequence[Rule] = RULES) -> None:
        """Raises `ValueError` naming the rule whose pattern is none."""
        # the binding beneath the package: a search through its Python costs three times as much
        engine: Any = importlib.import_module("re2._re2")
        options = engine.RE2.Options()
        options.max_mem = _MAX_MEMORY_BYTES
        options.log_errors = False
        self._anywhere: Any = engine.RE2.Anchor.UNANCHORED
        self._set: Any = engine.Set(self._anywhere, options)
        self._set.Add(_EVERYTHING)
        self._rules: list[tuple[Rule, Any, int]] = []
        for rule in rules:
            self._add(rule, engine.RE2(rule.pattern.encode(), options))
        if not self._set.Compile():
            raise EngineFailure("the rules together are too large to be compiled")

    def _add(self, rule: Rule, compiled: Any) -> None:
        if not compiled.ok() or self._set.Add(rule.pattern.encode()) < 0:
            raise ValueError(f"{rule.name}: {compiled.error().decode('utf-8', 'replace')}")
        self._rules.append((rule, compiled.Match, min(1, compiled.NumberOfCapturingGroups())))

    def is_clean(self, text: bytes) -> bool:
        """Whether no rule's pattern is in `text`, whatever its context. The gate before `scan`."""
        return len(self._match(text)) == 1

    def hits(self, text: bytes) -> list[int]:
        """The rules whose pattern is in `text`, whatever its context, by their numbers from 0."""
        return sorted(number - 1 for number in self._match(text) if number)

    def scan(self, text: bytes) -> list[Finding]:
        """What is in `text`, UTF-8, from left to right and without overlaps."""
        return self.search(text, self.hits(text))

    def search(self, text: bytes, rules: Iterable[int]) -> list[Finding]:
        """`scan` for some of the rules that `hits` gave, in its order."""
        found: dict[int, Finding] = {}
        for number in rules:
            self._run(number, text, found)
        return resolve(found.values()) if len(found) > 1 else list(found.values())

    def find_from(self, number: int, text: bytes, at: int) -> tuple[int, int] | None:
        """Where the first match of a rule that begins at `at` or behind it stands, whatever its
        context; what is before `at` is only looked back at."""
        start, end = self._rules[number][1](self._anywhere, text, at, len(text))[0]
        return None if start < 0 else (start, end)

    def _match(self, text: bytes) -> list[int]:
        hits: list[int] | None = self._set.Match(text)
        if not hits:
            raise EngineFailure("the pattern engine gave up")
        return hits

    def _run(self, number: int, text: bytes, found: dict[int, Finding]) -> None:
        """Keep what counts of one rule's candidates.

        `found` is by start, the longest: what begins where another does, and ends before it, adds
        nothing.
        """
        rule, search, group = self._rules[number]
        at, size = 0, len(text)
        while at < size:
            spans = search(self._anywhere, text, at, size)
            begin, at = spans[0]
            if begin < 0:
                return
            start, end = spans[group] if spans[group][0] >= 0 else spans[0]
            known = found.get(start)
            if known is not None and known.end >= end:
                continue
            span = (start, end) if rule.check is None else rule.check(text, start, end)
            if span is None or (rule.unless and is_spoken_against(rule, text, *span)):
                at = begin + 1 if rule.again else at
                continue
            start, end = span
            known = found.get(start)
            if known is None or known.end < end:
                found[start] = Finding(start, end, rule.entity, rule.name, rule.priority)


def resolve(findings: Iterable[Finding]) -> list[Finding]:
    """`findings` without overlaps: what lies inside another goes, what crosses it joins it.

    All bytes that were found stay covered. Costs a sort and one sweep.
    """
    ordered = sorted(findings, key=lambda f: (f.start, -f.end, -f.priority))
    kept: list[Finding] = []
    for finding in ordered:
        if not kept or finding.start >= kept[-1].end:
            kept.append(finding)
        elif finding.end > kept[-1].end:
            kept[-1] = _join(kept[-1], finding)
    return kept


def _join(first: Finding, second: Finding) -> Finding:
    named = first if first.priority >= second.priority else second
    return named._replace(start=first.start, end=second.end)
