"""Finds what the rules name, in one pass over clean text and in linear time over any."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from dragoman.policies.redact.contact import CONTACT
from dragoman.policies.redact.gates import GATES, LONG_RUN, has_long_run
from dragoman.policies.redact.identity import IDENTITY
from dragoman.policies.redact.rules import Rule, is_spoken_against
from dragoman.policies.redact.secrets import SECRETS

RULES: tuple[Rule, ...] = tuple(
    sorted((*SECRETS, *IDENTITY, *CONTACT), key=lambda rule: -rule.priority)
)
"""Those that name what is found come first, so that the others need not look there again."""
_MAX_MEMORY_BYTES = 64 * 2**20
_MAX_SET_BYTES = 32 * 2**20
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
        """Raises `ValueError` naming the rule whose pattern is none, or where all are too large."""
        # the binding beneath the package: a search through its Python costs three times as much
        self._engine: Any = importlib.import_module("re2._re2")
        self._anywhere: Any = self._engine.RE2.Anchor.UNANCHORED
        self._rules: list[tuple[Rule, Any, int]] = []
        gated: dict[str, dict[str, list[int]]] = {}
        for number, rule in enumerate(rules):
            self._add(rule)
            families = gated.setdefault(GATES.get(rule.gate, rule.pattern), {})
            families.setdefault(rule.gate, []).append(number)
        long = gated.pop(LONG_RUN, {})
        self._gates: Any = self._set(list(gated))
        self._behind = [[self._family(f) for f in families.values()] for families in gated.values()]
        self._long = [self._family(family) for family in long.values()]

    def _options(self, max_mem: int) -> Any:
        options = self._engine.RE2.Options()
        options.max_mem = max_mem
        options.log_errors = False
        return options

    def _add(self, rule: Rule) -> None:
        compiled = self._engine.RE2(rule.pattern.encode(), self._options(_MAX_MEMORY_BYTES))
        if not compiled.ok():
            raise ValueError(f"{rule.name}: {compiled.error().decode('utf-8', 'replace')}")
        self._rules.append((rule, compiled.Match, min(1, compiled.NumberOfCapturingGroups())))

    def _set(self, patterns: Sequence[str]) -> Any:
        made = self._engine.Set(self._anywhere, self._options(_MAX_SET_BYTES))
        made.Add(_EVERYTHING)
        for pattern in patterns:
            made.Add(pattern.encode())
        if not made.Compile():
            raise ValueError("the rules together are too large to be compiled")
        return made.Match

    def _family(self, numbers: list[int]) -> tuple[list[int], Any]:
        """Some rules behind one gate, and what tells which of them; None: the search itself."""
        if len(numbers) == 1:
            return numbers, None
        return numbers, self._set([self._rules[number][0].pattern for number in numbers])

    def is_clean(self, text: bytes) -> bool:
        """Whether no rule's pattern is in `text`, whatever its context. The gate before `scan`."""
        return not self.hits(text)

    def hits(self, text: bytes) -> list[int]:
        """The rules whose pattern is in `text`, whatever its context, by their numbers from 0; and
        some that only may be."""
        families = [family for gate in _matched(self._gates, text) for family in self._behind[gate]]
        if self._long and has_long_run(text):
            families += self._long
        hits: list[int] = []
        for numbers, which in families:
            hits += numbers if which is None else [numbers[i] for i in _matched(which, text)]
        hits.sort()
        return hits

    def scan(self, text: bytes) -> list[Finding]:
        """What is in `text`, UTF-8, from left to right and without overlaps."""
        return self.search(text, self.hits(text))

    def search(self, text: bytes, rules: Iterable[int]) -> list[Finding]:
        """`scan` for some of the rules that `hits` gave, in its order."""
        found: list[Finding] = []
        covered = bytearray(len(text))
        for number in rules:
            self._run(number, text, found, covered)
        return resolve(found) if len(found) > 1 else found

    def find_from(self, number: int, text: bytes, at: int) -> tuple[int, int] | None:
        """Where the first match of a rule that begins at `at` or behind it stands, whatever its
        context; what is before `at` is only looked back at."""
        start, end = self._rules[number][1](self._anywhere, text, at, len(text))[0]
        return None if start < 0 else (start, end)

    def _run(self, number: int, text: bytes, found: list[Finding], covered: bytearray) -> None:
        """Add what counts of one rule's candidates, but nothing inside of what is `covered`: a rule
        before this one has found it."""
        rule, search, group = self._rules[number]
        anywhere, check, unless, size, at = self._anywhere, rule.check, rule.unless, len(text), 0
        while at < size:
            spans = search(anywhere, text, at, size)
            begin, at = span = spans[0]
            if begin < 0:
                return
            if at == begin:  # an operator's pattern may match between two letters: it finds nothing
                at += 1
                continue
            if group and spans[1][0] >= 0:
                span = spans[1]
            elif rule.begins is not None:
                span = _begins(rule.begins, text, *span)
            if covered.find(0, *span) < 0:
                continue
            if check is not None:
                span = check(text, *span)
            if span is None or (unless and is_spoken_against(rule, text, *span)):
                at = begin + 1 if rule.again else at
                continue
            start, end = span
            covered[start:end] = b"\1" * (end - start)
            found.append(Finding(start, end, rule.entity, rule.name, rule.priority))


def _begins(pattern: re.Pattern[bytes], text: bytes, start: int, end: int) -> tuple[int, int]:
    found = pattern.search(text, start, end)
    return (found.start() if found else start), end


def _matched(match: Any, text: bytes) -> list[int]:
    """Which patterns of a set are in `text`, by their numbers from 0."""
    hits: list[int] | None = match(text)
    if not hits:
        raise EngineFailure("the pattern engine gave up")
    return [number - 1 for number in hits if number] if len(hits) > 1 else []


def resolve(findings: Iterable[Finding]) -> list[Finding]:
    """`findings` without overlaps: what lies inside another goes, what crosses it joins it.

    All bytes that were found stay covered. Costs a sort and one sweep.
    """
    kept: list[Finding] = []
    for finding in sorted(findings):
        last = kept[-1] if kept else None
        if last is None or finding.start >= last.end:
            kept.append(finding)
        elif finding.start == last.start:
            kept[-1] = max(last, finding, key=_outer)
        elif finding.end > last.end:
            kept[-1] = _join(last, finding)
    return kept


def _outer(finding: Finding) -> tuple[int, int]:
    return finding.end, finding.priority


def _join(first: Finding, second: Finding) -> Finding:
    named = first if first.priority >= second.priority else second
    return named._replace(start=first.start, end=second.end)
