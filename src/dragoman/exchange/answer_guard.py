"""Deny-lists at the texts of an answer, as the client would get them.

Pieces of a text may be cut anywhere: what is found in them is what is found in the whole text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from dragoman.dialects.texts import edit_texts, is_echo
from dragoman.errors import AnswerDenied, GuardrailFailed
from dragoman.exchange.redaction import ENGINE_FAULTS
from dragoman.exchange.treat import LOOKS_LIKE_JSON
from dragoman.policies.guard.guard import DenyLists
from dragoman.policies.guard.plain import is_seen, read

_ESCAPE = re.compile(r'\\(?:u([0-9A-Fa-f]{4})|(["\\/bfnrt]))')
_MEANT = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_MOST_ESCAPED = 6
"""Characters of JSON that stand for one."""
_MOST_COMPOSED = 3
"""Letters that one is made of at most (Hangul), beside marks that are none."""
_MOST_WAITING = 16 * 1024
"""Characters. What was found and has not come to its end within as many is taken as it is."""


class AnswerGuard:
    """One answer's: what was found in it so far."""

    def __init__(self, lists: DenyLists) -> None:
        self.lists = lists
        self.found: set[str] = set()
        """Names of deny-lists."""
        self.blocks = any(rule.blocks for rule in lists.rules)

    def look_at_body(self, raw: bytes) -> None:
        """At the texts of a JSON body. Raises as `look`."""
        edit_texts(raw, lambda text, _, path: self.look(text, path))

    def look(self, text: str, path: Callable[[], str]) -> None:
        """At a text in one piece, unless it only repeats the request. Raises `AnswerDenied` or
        `GuardrailFailed`."""
        if is_echo(path):
            return
        PieceGuard(self, is_json=False).close(text)

    def piecewise(self, *, is_json: bool) -> PieceGuard:
        return PieceGuard(self, is_json=is_json)

    def hit(self, number: int) -> None:
        """A match of the scanner's rule `number` is there."""
        rule = self.lists.rules[number]
        self.found.add(rule.name)
        if rule.blocks:
            raise AnswerDenied(rule.name)


class PieceGuard:
    """One text that comes in pieces. What waits is bounded; what goes out has no match in it whose
    length is within the lists' reach."""

    def __init__(self, guard: AnswerGuard, *, is_json: bool) -> None:
        self._guard = guard
        self._is_json = is_json
        self._lead = ""
        """What went out, as far as a match may reach back into it."""
        self._is_cut = False
        """The text began before `_lead`, whose first character is only looked back at."""
        self._held = ""

    @property
    def holds(self) -> bool:
        return bool(self._held)

    def feed(self, piece: str) -> str:
        self._take(piece)
        return self._release(self._search(closes=False))

    def close(self, last: str = "") -> str:
        """All that is held, with the `last` piece. Should the text go on, what was given back here
        is still looked back at."""
        self._take(last)
        self._search(closes=True)
        return self._release(len(self._held))

    def _take(self, piece: str) -> None:
        self._held += piece
        if not self._is_json and not self._is_cut:
            self._is_json = bool(LOOKS_LIKE_JSON.match(self._lead + self._held))

    def _search(self, *, closes: bool) -> int:
        """How much of what is held may go out, whatever follows."""
        cut = self._before_reach(self._held)
        try:
            for said in self._readings():
                cut = min(cut, self._search_in(said, closes=closes))
        except ENGINE_FAULTS as error:
            message = "The answer could not be looked at by its guardrail."
            raise GuardrailFailed(message) from error
        return cut

    def _readings(self) -> Iterator[str]:
        """The text as it stands, and as others read it."""
        text = self._lead + self._held
        yield text
        if (plain := read(text)[0]) != text:
            yield plain
        if self._is_json and "\\" in text:
            meant = _unescaped(text)
            yield meant
            if (plain := read(meant)[0]) != meant:
                yield plain

    def _search_in(self, said: str, *, closes: bool) -> int:
        raw, is_long = said.encode("utf-8", "replace"), len(self._held) > _MOST_WAITING
        start = len(said[:1].encode("utf-8", "replace")) if self._is_cut else 0
        cut, scanner = len(self._held), self._guard.lists.scanner
        for number in scanner.hits(raw):
            span = scanner.find_from(number, raw, start)
            if span is None:
                continue
            if closes or is_long or span[1] < len(raw):
                self._guard.hit(number)
            elif said == self._lead + self._held:
                cut = min(cut, max(0, len(raw[: span[0]].decode()) - len(self._lead)))
            else:
                cut = 0
        return cut

    def _before_reach(self, text: str) -> int:
        """Where in `text` the last characters begin that a match may have begun in."""
        left = self._guard.lists.reach
        if self._is_json:
            left *= _MOST_ESCAPED
        if text.isascii():
            return max(0, len(text) - left)
        left *= _MOST_COMPOSED
        at, lowest = len(text), max(0, len(text) - _MOST_WAITING)
        while at > lowest and left:
            at -= 1
            left -= is_seen(text[at])
        return at

    def _release(self, cut: int) -> str:
        out, self._held = self._held[:cut], self._held[cut:]
        lead = self._lead + out
        behind = max(0, self._before_reach(lead) - 1)
        self._lead, self._is_cut = lead[behind:], self._is_cut or behind > 0
        return out


def _unescaped(text: str) -> str:
    """What the strings of JSON in `text` say."""

    def meant(found: re.Match[str]) -> str:
        return chr(int(found[1], 16)) if found[1] else _MEANT.get(found[2], found[2])

    said = _ESCAPE.sub(meant, text)
    return said.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
