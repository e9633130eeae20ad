"""What callouts said of texts a while ago, so that they are not asked the same again.

A worker's own, and bounded. Known are digests under a key that nobody else has, no texts; and only
what could be read as an answer.
"""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import NamedTuple

from dragoman.policies.guard.callouts import is_readable
from dragoman.policies.questions import Fault, Question

MOST_KNOWN = 4096
_MOST_BYTES = 4096
"""Of an answer that is kept."""
_DIGEST_BYTES = 16


class _Known(NamedTuple):
    until: float
    answer: bytes


class Verdicts:
    """Of one worker under one policy."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` tells seconds."""
        self._clock = clock
        self._secret = secrets.token_bytes()
        self._known: OrderedDict[bytes, _Known] = OrderedDict()

    def open(self, questions: Sequence[Question]) -> Round:
        """`questions`, and what is known of them."""
        keys = tuple(map(self._key, questions))
        return Round(self, tuple(questions), keys, tuple(map(self._find, keys)))

    def keep(self, key: bytes, answer: bytes, seconds: int) -> None:
        self._known[key] = _Known(self._clock() + seconds, answer)
        self._known.move_to_end(key)
        if len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)

    def _key(self, question: Question) -> bytes:
        """Empty: it is asked each time."""
        if not question.same:
            return b""
        return blake2b(question.same, digest_size=_DIGEST_BYTES, key=self._secret).digest()

    def _find(self, key: bytes) -> bytes | None:
        found = self._known.get(key) if key else None
        if found is None or found.until <= self._clock():
            return None
        return found.answer


class Round(NamedTuple):
    """Questions that are asked together."""

    verdicts: Verdicts
    all: tuple[Question, ...]
    keys: tuple[bytes, ...]
    known: tuple[bytes | None, ...]

    @property
    def questions(self) -> tuple[Question, ...]:
        """Those that have to be asked."""
        pairs = zip(self.all, self.known, strict=True)
        return tuple(question for question, known in pairs if known is None)

    def fill(self, answers: Sequence[bytes | Fault]) -> list[bytes | Fault]:
        """The answers to all of them, `answers` being those to `questions`."""
        heard = iter(answers)
        return [
            self._keep(question, key, next(heard)) if known is None else known
            for question, key, known in zip(self.all, self.keys, self.known, strict=True)
        ]

    def _keep(self, question: Question, key: bytes, answer: bytes | Fault) -> bytes | Fault:
        if key and isinstance(answer, bytes) and len(answer) <= _MOST_BYTES:
            seconds = question.keeps_seconds if is_readable(question, answer) else 0
            if seconds:
                self.verdicts.keep(key, answer, seconds)
        return answer
