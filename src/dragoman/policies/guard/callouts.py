"""What a guardrail's callout asks, and what its answer means.

A webhook is sent `{"texts": [{"path", "speaker", "text"}], "caller", "model", "request_id",
"side"}` and answers `{"allow": bool, "reason"?: str, "score"?: number}`; over gRPC the same is said
in the messages of `proto/callouts.proto`. Moderation is OpenAI's. Source:
https://platform.openai.com/docs/api-reference/moderations, November 2026.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple, cast

import msgspec

from dragoman.config.callouts import (
    FAILED,
    Callout,
    Judge,
    Moderation,
    Side,
    guardrail_callee,
)
from dragoman.config.guardrails import GuardProfile
from dragoman.errors import CalloutFailed, ContentFlagged
from dragoman.ir import Json
from dragoman.policies.questions import MAX_TEXTS, About, Fault, Question, Text, encode_texts
from dragoman.wire.protobuf import Malformed, field, read_double, read_fields

_VERDICT, _REASON, _SCORE = 1, 2, 3
"""Fields of a `JudgeResponse`."""
_SIDE = 3
"""Of a `JudgeRequest`."""
_ALLOW, _REFUSE = 1, 2
"""Its verdicts."""
_WORD = re.compile(r"[A-Za-z0-9/_.-]{1,64}")
"""What is repeated of an answer: a sentence may quote the text it is about."""


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


def make_questions(
    profile: GuardProfile, texts: Sequence[Text], about: About, side: Side = "request"
) -> list[Question]:
    """One for each callout that any of the texts is shown to."""
    questions: list[Question] = []
    for callout in profile.callouts_of(side):
        wanted = callout.speakers if side == "request" else ()
        shown = [text for text in texts if not wanted or text.speaker in wanted]
        if shown:
            paths = tuple(text.path for text in shown)
            body = None if len(texts) > MAX_TEXTS else _body(callout, shown, about, side)
            route = guardrail_callee(profile.name, callout).route
            question = Question(callout, route, paths, body)
            if callout.remember_seconds and body is not None:
                same = about._replace(request_id="")
                known = route.encode() + b"\0" + _body(callout, shown, same, side)
                question = question._replace(same=known, keeps_seconds=callout.remember_seconds)
            questions.append(question)
    return questions


def _body(callout: Callout, texts: Iterable[Text], about: About, side: Side) -> bytes:
    if isinstance(callout, Judge):
        return encode_texts(texts, about) + (field(_SIDE, b"answer") if side == "answer" else b"")
    if isinstance(callout, Moderation):
        asked: Json = {"model": callout.model, "input": [text.text for text in texts]}
    else:
        asked = {"texts": [text._asdict() for text in texts], **about._asdict(), "side": side}
    return msgspec.json.encode(asked)


class Judged(NamedTuple):
    """What callouts said together."""

    counts: dict[str, float]
    notes: tuple[str, ...]
    """The same in short."""
    refusal: ContentFlagged | CalloutFailed | None
    """Of several, what stands first in the policy."""


def judge(
    questions: Sequence[Question], answers: Sequence[bytes | Fault]
) -> tuple[Json, tuple[str, ...]]:
    """What is counted of a request that goes on, and the same in short. Raises `ContentFlagged` or
    `CalloutFailed`."""
    counts, notes, refusal = weigh(questions, answers)
    if refusal is not None:
        raise refusal
    return dict(counts), notes


def weigh(questions: Sequence[Question], answers: Sequence[bytes | Fault]) -> Judged:
    """All that they said."""
    counts: dict[str, float] = {}
    notes: list[str] = []
    refusals: list[ContentFlagged | CalloutFailed] = []
    for question, answer in zip(questions, answers, strict=True):
        callout, found = cast("Callout", question.callout), _read(question, answer)
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
    return Judged(counts, tuple(notes), next(iter(refusals), None))


def is_readable(question: Question, answer: bytes) -> bool:
    """Whether it says anything, for or against."""
    return not isinstance(_read(question, answer), str)


def _read(question: Question, answer: bytes | Fault) -> Verdict | Fault | None:
    """None: nothing was said against it."""
    if isinstance(answer, str):
        return answer
    try:
        if isinstance(question.callout, Moderation):
            return _read_moderation(question.callout, question.paths, answer)
        if isinstance(question.callout, Judge):
            return _verdict(_read_message(answer))
        return _verdict(_decode_judged(answer))
    except (msgspec.MsgspecError, Malformed, UnicodeDecodeError, RecursionError, LookupError):
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


def _read_message(answer: bytes) -> _Judged:
    """A `JudgeResponse`. Raises as `read_fields`."""
    verdict, reason, score = 0, None, None
    for number, begin, end in read_fields(answer, 0, len(answer)):
        if number == _VERDICT and end < 0:
            verdict = begin
        elif number == _REASON and end >= 0:
            reason = answer[begin:end].decode()
        elif number == _SCORE:
            score = read_double(answer, begin, end)
    if verdict not in (_ALLOW, _REFUSE):
        raise Malformed
    return _Judged(verdict == _ALLOW, reason, score)


def _verdict(judged: _Judged) -> Verdict | None:
    if judged.allow:
        return None
    words = [judged.reason] if judged.reason and _WORD.fullmatch(judged.reason) else []
    words += [f"score {judged.score:.3g}"] if judged.score is not None else []
    return Verdict(None, ", ".join(words) or "no reason told")
