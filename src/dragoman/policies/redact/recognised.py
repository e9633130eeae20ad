"""What an operator's recogniser finds, beside what the patterns do.

Both are resolved in one way (`scanner.resolve`): what lies inside another finding goes, what
crosses it joins it; where they cross, or are the same, it is named by the pattern.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from dragoman.config.callouts import Recogniser, recogniser_callee
from dragoman.errors import RecogniserFailed
from dragoman.policies.questions import MAX_TEXTS, About, Fault, Question, Text, encode_texts
from dragoman.policies.redact.scanner import Finding
from dragoman.wire.protobuf import Malformed, read_double, read_fields

_PRIORITY = 10
"""Below any pattern's: those check what they name."""
_TYPE, _START, _END, _SCORE = 1, 2, 3, 4
"""Fields of an `Entity`."""


class Entity(NamedTuple):
    """One finding, by characters of its text."""

    type: str
    start: int
    end: int
    score: float


def recognise_question(
    profile: str, recogniser: Recogniser, texts: Sequence[Text], about: About
) -> Question:
    """What the recogniser of `profile` is asked."""
    body = encode_texts(texts, about) if len(texts) <= MAX_TEXTS else None
    paths = tuple(text.path for text in texts)
    return Question(recogniser, recogniser_callee(profile, recogniser).route, paths, body)


def read_findings(
    recogniser: Recogniser, texts: Sequence[Text], answer: bytes | Fault
) -> list[list[Entity]] | Fault:
    """What it found, by text; why there is nothing, where it may be done without it. Raises
    `RecogniserFailed`."""
    if isinstance(answer, bytes):
        try:
            return _read(texts, answer)
        except (Malformed, LookupError, UnicodeDecodeError):
            answer = "bad_answer"
    if recogniser.on_failure == "block":
        raise RecogniserFailed(answer)
    return answer


def _read(texts: Sequence[Text], answer: bytes) -> list[list[Entity]]:
    found = [
        list(_entities(answer, begin, end, len(texts[i].text)))
        for i, (begin, end) in enumerate(_messages(answer, 0, len(answer)))
    ]
    if len(found) != len(texts):
        raise Malformed
    return found


def _messages(raw: bytes, at: int, end: int) -> Iterator[tuple[int, int]]:
    for number, begin, stop in read_fields(raw, at, end):
        if number == 1:
            # a number of four or eight bytes has its tag before it, and not its length
            if stop < 0 or (stop - begin in (4, 8) and raw[begin - 1] != stop - begin):
                raise Malformed
            yield begin, stop


def _entities(raw: bytes, at: int, end: int, length: int) -> Iterator[Entity]:
    for begin, stop in _messages(raw, at, end):
        found = _entity(raw, begin, stop)
        if not found.type or not 0 <= found.start < found.end <= length:
            raise Malformed
        yield found


def _entity(raw: bytes, at: int, end: int) -> Entity:
    name, start, stop, score = "", 0, 0, 1.0
    for number, begin, ends in read_fields(raw, at, end):
        if number == _TYPE and ends >= 0:
            name = raw[begin:ends].decode().lower()
        elif number == _START and ends < 0:
            start = begin
        elif number == _END and ends < 0:
            stop = begin
        elif number == _SCORE:
            score = read_double(raw, begin, ends)
    return Entity(name, start, stop, score)


def find_recognised(
    text: str, at: int, entities: Iterable[Entity], wanted: Mapping[str, object], min_score: float
) -> Iterator[Finding]:
    """Those of `entities` that are `wanted`, by the bytes of `text`, which begins at byte `at`."""
    kept = [entity for entity in entities if entity.type in wanted and entity.score >= min_score]
    places: dict[int, int] = {}
    done = 0
    for place in sorted({place for entity in kept for place in (entity.start, entity.end)}):
        at += len(text[done:place].encode())
        places[place], done = at, place
    for entity in kept:
        yield Finding(
            places[entity.start], places[entity.end], entity.type, "recogniser", _PRIORITY
        )
