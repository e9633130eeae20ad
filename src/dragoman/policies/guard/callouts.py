"""What a callout asks, and what its answer means. Sans-IO: who carries it is not known here.

A webhook is sent `{"texts": [{"path", "speaker", "text"}], "caller", "model", "request_id"}` and
answers `{"allow": bool, "reason"?: str, "score"?: number}`. Moderation is OpenAI's. Source:
https://platform.openai.com/docs/api-reference/moderations, November 2026.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import msgspec

from dragoman.config.callouts import FAILED, Callout, Moderation, route_of
from dragoman.config.guardrails import GuardProfile
from dragoman.dialects.speakers import Speaker
from dragoman.errors import CalloutFailed, ContentFlagged
from dragoman.ir import Json

Fault = Literal["timeout", "unreachable", "status", "too_long", "bad_answer"]
"""Why there is no answer."""
MAX_TEXTS = 10_000
"""Of a request with more nobody is asked: what is sent may be many times what came."""
_WORD = re.compile(r"[A-Za-z0-9/_.-]{1,64}")
"""What is repeated of an answer: a sentence may quote the text it is about."""


class Text(NamedTuple):
    """One text of a request."""

    path: str
    speaker: Speaker
    text: str


class About(NamedTuple):
    """Whose request it is."""

    caller: str
    model: str
    request_id: str


class Question(NamedTuple):
    """What one callout is asked."""

    callout: Callout
    route: str
    """The path that leads to whoever is asked."""
    paths: tuple[str, ...]
    """Of the texts in it, in their order."""
    body: bytes | None
    """None: there is too much to ask about."""


class Verdict(NamedTuple):
    """What one callout had to say against a request."""

    path: str | None
    """Of the text it is about; None: all of them."""
    why: str
    """In a few words, none of them the request's."""


class _Scores(msgspec.Struct):
    category_scores: dict[str, float | None]


class _Moderated(msgspec.Struct):
    results: list[_Scores]


class _Judged(msgspec.Struct):
    allow: bool
    reason: str | None = None
    score: float | None = None


_decode_moderated = msgspec.json.Decoder(_Moderated).decode
_decode_judged = msgspec.json.Decoder(_Judged).decode


def make_questions(profile: GuardProfile, texts: Sequence[Text], about: About) -> list[Question]:
    """One for each callout that any of the texts is shown to."""
    questions: list[Question] = []
    for callout in profile.callouts:
        wanted = callout.speakers
        shown = [text for text in texts if not wanted or text.speaker in wanted]
        if shown:
            paths = tuple(text.path for text in shown)
            is_much = len(texts) > MAX_TEXTS
            body = None if is_much else msgspec.json.encode(_body(callout, shown, about))
            questions.append(Question(callout, route_of(profile.name, callout), paths, body))
    return questions


def _body(callout: Callout, texts: Iterable[Text], about: About) -> Json:
    if isinstance(callout, Moderation):
        return {"model": callout.model, "input": [text.text for text in texts]}
    return {"texts": [text._asdict() for text in texts], **about._asdict()}


def judge(
    questions: Sequence[Question], answers: Sequence[bytes | Fault]
) -> tuple[Json, tuple[str, ...]]:
    """What is counted of a request that goes on, and the same in short. Raises `ContentFlagged` or
    `CalloutFailed`: of several, what stands first in the policy."""
    counts: dict[str, float] = {}
    notes: list[str] = []
    refusals: list[ContentFlagged | CalloutFailed] = []
    for question, answer in zip(questions, answers, strict=True):
        callout, found = question.callout, _read(question, answer)
        if isinstance(found, Verdict):
            counts[callout.name] = 1.0
            notes.append(f"{callout.name}=({found.why})")
            if callout.action == "block":
                refusals.append(ContentFlagged(found.path, callout.name, found.why, counts))
        elif found is not None:
            counts[f"{callout.name}{FAILED}"] = 1.0
            notes.append(f"{callout.name}{FAILED}=({found})")
            if callout.on_failure == "block":
                refusals.append(CalloutFailed(callout.name, found, counts))
    if refusals:
        raise refusals[0]
    return dict(counts), tuple(notes)


def _read(question: Question, answer: bytes | Fault) -> Verdict | Fault | None:
    """None: nothing was said against it."""
    if isinstance(answer, str):
        return answer
    try:
        if isinstance(question.callout, Moderation):
            return _read_moderation(question.callout, question.paths, answer)
        return _read_judgement(answer)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, LookupError):
        return "bad_answer"


def _read_moderation(
    callout: Moderation, paths: Sequence[str], answer: bytes
) -> Verdict | Fault | None:
    """The text with the highest score of those that reach their limit. Raises `LookupError` where a
    category is not there that the policy names."""
    results = _decode_moderated(answer).results
    if len(results) != len(paths):
        return "bad_answer"
    reached: list[tuple[float, str, str, float]] = []
    for path, result in zip(paths, results, strict=True):
        scores = {k: v for k, v in result.category_scores.items() if v is not None}
        if not scores:
            return "bad_answer"
        limits = callout.categories or dict.fromkeys(scores, callout.threshold or 1.0)
        for category, limit in limits.items():
            if scores[category] >= limit:
                reached.append((scores[category], category, path, limit))
    if not reached:
        return None
    score, category, path, limit = max(reached)
    if not _WORD.fullmatch(category):
        return "bad_answer"
    return Verdict(path, f"{category} {score:.3g}, limit {limit:g}")


def _read_judgement(answer: bytes) -> Verdict | None:
    judged = _decode_judged(answer)
    if judged.allow:
        return None
    words = [judged.reason] if judged.reason and _WORD.fullmatch(judged.reason) else []
    words += [f"score {judged.score:.3g}"] if judged.score is not None else []
    return Verdict(None, ", ".join(words) or "no reason told")
