"""How much a text looks like an attack on the model, and why: heuristics, and no more than that.

Each sign that is found counts with its weight; the score is what remains of certainty once all are
in: 1 - Π(1 - weight) ** times. Linear in the text, whatever it is.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping

from dragoman.dialects.speakers import Speaker
from dragoman.policies.guard.phrases import CHAINS, CODE, ENCODED, HIDDEN, PHRASES, TOPIC, WEIGHTS
from dragoman.policies.guard.plain import decoded
from dragoman.policies.redact.rules import Rule
from dragoman.policies.redact.scanner import Finding, Scanner

TIMES: Mapping[Speaker, float] = {
    "system": 0,
    "user": 1,
    "declaration": 1,
    "assistant": 0.5,
    "tool": 2,
    "document": 2,
}
"""How often a sign counts by whose words it is in: nobody has to give orders in a tool's result."""
_MENTIONED = 0.25
"""How often one does that is only quoted, in a text about such attacks."""
_TOPIC, _CODE, _LINK = "topic", "code", "link"
_QUOTES = frozenset("\"'`“”«»".encode())
"""Bytes of quotation marks; those of the longer ones stand for all that share them."""
_REACH = 48
"""Bytes around a phrase in which its quotation marks stand."""
_LINKED = 100
"""Bytes between two links of a chain."""


class Scorer:
    """The compiled phrases; holds nothing of a text."""

    def __init__(self) -> None:
        found = [(_TOPIC, TOPIC), (_CODE, CODE)]
        found += [(phrase.name, pattern) for phrase in PHRASES for pattern in phrase.patterns]
        self._chains: list[tuple[str, range]] = []
        for chain in CHAINS:
            self._chains.append((chain.name, range(len(found), len(found) + len(chain.links))))
            found += [(_LINK, link) for link in chain.links]
        self._names = [name for name, _ in found]
        self._scanner = Scanner([Rule(name=n, entity=n, pattern=p) for n, p in found])

    def signs(self, plain: str, *, hides: bool) -> dict[str, float]:
        """The signs in a text as `plain.read` gives it, and how often each counts: once, or less
        where it is a mention."""
        raw = plain.encode("utf-8", "replace")
        hits = self._scanner.hits(raw)
        found = self._weigh(raw, hits) if hits else {}
        if hides:
            found[HIDDEN.name] = 1.0
        if any(self._names[hit] == _CODE for hit in hits) and self._says_more(plain):
            found[ENCODED.name] = 1.0
        return found

    def _weigh(self, raw: bytes, hits: list[int]) -> dict[str, float]:
        is_about = any(self._names[hit] == _TOPIC for hit in hits)
        found: dict[str, float] = {}
        for hit in hits:
            name = self._names[hit]
            if name not in WEIGHTS:
                continue
            times = 1.0
            if is_about and all(_is_quoted(raw, one) for one in self._scanner.search(raw, [hit])):
                times = _MENTIONED
            found[name] = max(times, found.get(name, 0))
        for name, links in self._chains:
            if name not in found and set(links) <= set(hits) and self._is_chained(raw, links):
                found[name] = 1.0
        return found

    def _is_chained(self, raw: bytes, links: range) -> bool:
        """Whether the links stand one after the other somewhere, near enough to each other."""
        ends: list[int] | None = None
        for link in links:
            found = self._scanner.search(raw, [link])
            ends = [one.end for one in found if ends is None or _is_after(one, ends)]
        return bool(ends)

    def _says_more(self, text: str) -> bool:
        """Whether something encoded in `text` has a sign in it."""
        return any(
            self._weigh(raw, self._scanner.hits(raw))
            for raw in (said.encode() for said in decoded(text))
        )


def score(signs: Mapping[str, float], speaker: Speaker) -> float:
    """From 0 to 1, in hundredths."""
    left = 1.0
    for name, times in signs.items():
        left *= (1 - WEIGHTS[name]) ** (times * TIMES[speaker])
    return round(1 - left, 2)


def _is_quoted(raw: bytes, found: Finding) -> bool:
    """Whether quotation marks or backticks stand around what was found, on its line."""
    before = raw[max(0, found.start - _REACH) : found.start].rpartition(b"\n")[2]
    after = raw[found.end : found.end + _REACH].partition(b"\n")[0]
    return not (_QUOTES.isdisjoint(before) or _QUOTES.isdisjoint(after))


def _is_after(found: Finding, ends: list[int]) -> bool:
    """Whether it begins soon after one of `ends`, which are in order."""
    before = bisect_right(ends, found.start)
    return before > 0 and found.start - ends[before - 1] <= _LINKED
