"""Answers in one piece that a service of the operator's scores: the next target is asked for those
that it thinks too little of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from dragoman import metadata as names
from dragoman.actions import Action, Chunk, Mutate, amend
from dragoman.config.callouts import Scorer
from dragoman.config.policy import Policy
from dragoman.dialects import AnyDialect
from dragoman.errors import DragomanError
from dragoman.exchange.answers import replace_answer
from dragoman.exchange.fitting import AnswerReader
from dragoman.exchange.guard import find_texts
from dragoman.exchange.heads import Asking, AttemptHead, ResponseEditor, Steps
from dragoman.exchange.judging import whole_texts
from dragoman.exchange.watch import Watch, tell_kept
from dragoman.ir import Json, Response
from dragoman.policies.questions import About, Fault, Question, Text
from dragoman.policies.route.fallback import AnswerRefused
from dragoman.policies.route.scores import read_score, score_question

_ERROR_STATUS = 400


class Scoring(NamedTuple):
    """By whom one attempt's answer is scored, and what it is shown of the request."""

    name: str
    scorer: Scorer
    watch: Watch
    texts: Sequence[Text]
    about: About

    def ask(self, response: Response) -> Question:
        texts = (self.texts, whole_texts(response, b""))
        return score_question(self.name, self.scorer, texts, self.about, self.watch.target)

    def hear(self, answer: bytes | Fault) -> str | None:
        """Why the answer is the client's all the same, where another's is wanted; None where it is
        good. Raises `AnswerRefused`."""
        score = read_score(self.scorer, answer)
        if isinstance(score, str) and self.scorer.on_failure == "keep":
            return f"{names.SCORED_BELOW}({score})"
        if isinstance(score, float) and score >= self.watch.least_score:
            return None
        return self.watch.refuse("scored_below")


def scoring_for(
    policy: Policy, head: AttemptHead, watch: Watch, raw: bytes, body: Json
) -> Scoring | None:
    """What the decide stage wants of the attempt, whose request is `raw` and reads as `body`."""
    name = head.metadata.get(names.SCORER, "")
    scorer = policy.scorers.get(name)
    if scorer is None or not watch.least_score:
        return None
    told = (head.metadata.get(names.CALLER, ""), head.metadata.get(names.MODEL, ""))
    return Scoring(name, scorer, watch, find_texts(raw, body), About(*told, head.request_id))


class ScoringEditor:
    """What another editor makes of an answer in one piece, held until it has its score."""

    def __init__(
        self, inner: ResponseEditor, scoring: Scoring, client: AnyDialect, reader: AnswerReader
    ) -> None:
        """`reader` gets what the client would. What it cannot read goes on without a score."""
        self._inner = inner
        self._scoring = scoring
        self._client = client
        self._reader = reader
        self._status = 0
        self._is_lost = False
        self._held: list[Action] = []

    def on_headers(self, headers: Mapping[str, str], *, end_of_stream: bool) -> list[Action]:
        self._status = int(headers.get(":status", "0"))
        actions = self._inner.on_headers(headers, end_of_stream=end_of_stream)
        return actions if end_of_stream else self._hold(actions)

    def on_body(self, data: bytes, *, end_of_stream: bool) -> Steps:
        held = self._hold(self._inner.on_body(data, end_of_stream=end_of_stream))
        return self._score() if end_of_stream and not held else held

    def on_trailers(self) -> Steps:
        return self._hold(self._inner.on_trailers()) or self._score()

    def _hold(self, actions: list[Action]) -> list[Action]:
        """What goes on without a score."""
        self._held += actions
        for action in actions:
            if isinstance(action, Mutate):
                self._status = int(action.set_headers.get(":status", self._status))
                self._is_lost |= names.KEPT_HEADER in action.set_headers
            elif isinstance(action, Chunk):
                self._read(action.body)
        if self._is_lost or self._status >= _ERROR_STATUS:
            return self._take()
        return []

    def _read(self, data: bytes) -> None:
        try:
            self._reader.feed(data)
        except DragomanError:
            self._is_lost = True

    def _take(self) -> list[Action]:
        held, self._held = self._held, []
        return held

    def _score(self) -> Steps:
        held = self._take()
        if not held or self._scoring.watch.limit() is not None:
            return held
        try:
            response = self._reader.close()
        except DragomanError:
            return held

        def resume(answers: Sequence[bytes | Fault]) -> Steps:
            return self._hear(held, answers[0])

        return Asking((self._scoring.ask(response),), resume)

    def _hear(self, held: list[Action], answer: bytes | Fault) -> list[Action]:
        last = held[-1]
        ends_stream = isinstance(last, Chunk) and last.end_of_stream
        try:
            kept = self._scoring.hear(answer)
        except AnswerRefused as error:
            told = self._scoring.watch.tell(error)
            return replace_answer(error, self._client, told, ends_stream=ends_stream)
        return held if kept is None else _with_kept(held, kept)


def _with_kept(held: list[Action], kept: str) -> list[Action]:
    """An answer that is the client's although it has no score that would do."""
    headers, told = tell_kept(kept)
    out: list[Action] = []
    for action in held:
        if isinstance(action, Mutate):
            said = {**action.set_headers, **headers}
            out.append(msgspec.structs.replace(action, set_headers=said))
        elif isinstance(action, Chunk):
            metadata = amend(action.metadata, told)
            out.append(msgspec.structs.replace(action, metadata=metadata))
    return out
