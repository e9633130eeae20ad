"""How like a text is to examples: by the cosine of vectors that a provider makes of them.

Sans-IO: who carries the question is not known here. What is sent and read is OpenAI's embeddings.
Source: https://platform.openai.com/docs/api-reference/embeddings, November 2026.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from operator import mul
from typing import NamedTuple

import msgspec

from dragoman.config.callouts import Embedder, embedder_callee
from dragoman.config.leading import SimilarTo
from dragoman.config.policy import Policy
from dragoman.policies.questions import Fault, Question
from dragoman.policies.route.residency import Demands, complies

_MOST_CHARACTERS = 8000
"""Of a text; what is behind them is not looked at."""
Vector = tuple[float, ...]
"""Of length 1."""


class _Entry(msgspec.Struct):
    index: int
    embedding: list[float]


class _Embedded(msgspec.Struct):
    data: list[_Entry]


_decode = msgspec.json.Decoder(_Embedded).decode


class Found(NamedTuple):
    """What is known of a request's likeness."""

    scores: Mapping[SimilarTo, float]
    notes: tuple[str, ...]
    """The same in short, by number of the rule; also why it is not known."""


class Comparing(NamedTuple):
    """A request whose likeness is asked about."""

    wanted: Mapping[int, SimilarTo]
    asked: tuple[tuple[Embedder, tuple[str, ...]], ...]
    """Who is asked, and which examples have to come with the text."""
    questions: tuple[Question, ...]
    """In the same order."""


class Similarity:
    """Compares under one policy; remembers the vectors of its examples."""

    def __init__(self, policy: Policy) -> None:
        self._providers = policy.providers
        self._known: dict[tuple[Embedder, str], Vector] = {}

    def compare(self, wanted: Mapping[int, SimilarTo], text: str, demands: Demands) -> Comparing:
        """What is to be asked about `text`, which has to stay where `demands` say."""
        asked = [
            (embedder, self._unknown(embedder, wanted))
            for embedder in dict.fromkeys(similar.by for similar in wanted.values())
            if text and complies(self._providers[embedder.provider].region, demands)
        ]
        questions = [
            Question(embedder, embedder_callee(embedder).route, (), _body(embedder, text, more))
            for embedder, more in asked
        ]
        return Comparing(wanted, tuple(asked), tuple(questions))

    def _unknown(self, by: Embedder, wanted: Mapping[int, SimilarTo]) -> tuple[str, ...]:
        examples = (example for s in wanted.values() if s.by == by for example in s.examples)
        return tuple(e for e in dict.fromkeys(examples) if (by, e) not in self._known)

    def read(self, comparing: Comparing, answers: Sequence[bytes | Fault]) -> Found:
        """What the answers say."""
        said = {
            embedder: self._read(embedder, more, answer)
            for (embedder, more), answer in zip(comparing.asked, answers, strict=True)
        }
        scores: dict[SimilarTo, float] = {}
        notes: list[str] = []
        for number, similar in comparing.wanted.items():
            found = self._likeness(similar, said.get(similar.by, "not_asked"))
            if isinstance(found, float):
                scores[similar] = found
            notes.append(f"similar={number}({found if isinstance(found, str) else f'{found:.2f}'})")
        return Found(scores, tuple(notes))

    def _likeness(self, similar: SimilarTo, vector: Vector | str) -> float | str:
        """To the nearest example. While this request waited, another's answer may have had the
        examples forgotten."""
        if isinstance(vector, str):
            return vector
        known = [self._known.get((similar.by, example)) for example in similar.examples]
        others = [other for other in known if other is not None]
        if len(others) < len(known):
            return "bad_answer"
        return max(float(sum(map(mul, vector, other))) for other in others)

    def _read(self, by: Embedder, more: Sequence[str], answer: bytes | Fault) -> Vector | str:
        """The text's vector; those of examples are kept."""
        if isinstance(answer, str):
            return answer
        vectors = _read_vectors(answer, 1 + len(more))
        if len({len(vector) for vector in vectors}) != 1:
            return "bad_answer"
        known = [vector for (owner, _), vector in self._known.items() if owner == by]
        if known and len(known[0]) != len(vectors[0]):  # it is another model now: ask anew
            self._known = {at: vector for at, vector in self._known.items() if at[0] != by}
            return "bad_answer"
        self._known |= {(by, e): vector for e, vector in zip(more, vectors[1:], strict=True)}
        return vectors[0]


def _body(embedder: Embedder, text: str, examples: Sequence[str]) -> bytes:
    asked = {"model": embedder.model, "input": [text[:_MOST_CHARACTERS], *examples]}
    return msgspec.json.encode(asked)


def _read_vectors(answer: bytes, count: int) -> list[Vector]:
    """As many as were asked for, in their order; empty where it is no such answer."""
    try:
        entries = sorted(_decode(answer).data, key=lambda entry: entry.index)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return []
    lengths = [math.hypot(*entry.embedding) for entry in entries]
    are_whole = [entry.index for entry in entries] == list(range(count))
    if not are_whole or not all(0 < length < math.inf for length in lengths):
        return []
    return [
        tuple(number / length for number in entry.embedding)
        for entry, length in zip(entries, lengths, strict=True)
    ]
