"""What a scorer is asked about an answer, and what it says.

A webhook is sent `{"texts", "answer": [{"path", "speaker", "text"}], "caller", "model",
"request_id", "target"}` and answers `{"score": number}`, from 0 to 1; over gRPC the same is said in
the messages of `proto/callouts.proto`.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from dragoman.config.callouts import ScoreCall, Scorer, scorer_callee
from dragoman.policies.questions import (
    MAX_TEXTS,
    About,
    Fault,
    Question,
    Text,
    encode_text,
    encode_texts,
)
from dragoman.wire.protobuf import Malformed, field, read_double, read_fields

_ANSWER, _TARGET = 3, 4
"""Fields of a `ScoreRequest`."""
_SCORE = 1
"""Of a `ScoreResponse`."""


class _Scored(msgspec.Struct):
    score: float


_decode_scored = msgspec.json.Decoder(_Scored).decode


def score_question(
    name: str,
    scorer: Scorer,
    texts: tuple[Sequence[Text], Sequence[Text]],
    about: About,
    target: str,
) -> Question:
    """`texts` are the request's and the answer's; the scorer is called `name`."""
    asked, answer = texts
    body = None
    if len(asked) + len(answer) <= MAX_TEXTS:
        body = _body(scorer, texts, about, target)
    return Question(scorer, scorer_callee(name, scorer).route, (), body)


def _body(
    scorer: Scorer, texts: tuple[Sequence[Text], Sequence[Text]], about: About, target: str
) -> bytes:
    asked, answer = texts
    if isinstance(scorer, ScoreCall):
        said = b"".join(field(_ANSWER, encode_text(text)) for text in answer)
        return encode_texts(asked, about) + said + field(_TARGET, target.encode())
    shown = {
        "texts": [text._asdict() for text in asked],
        "answer": [text._asdict() for text in answer],
    }
    return msgspec.json.encode({**shown, **about._asdict(), "target": target})


def read_score(scorer: Scorer, answer: bytes | Fault) -> float | Fault:
    """From 0 to 1."""
    if isinstance(answer, str):
        return answer
    try:
        score = _read_message(answer) if isinstance(scorer, ScoreCall) else _read_json(answer)
    except (msgspec.MsgspecError, Malformed, UnicodeDecodeError, RecursionError):
        return "bad_answer"
    return score if score is not None and 0 <= score <= 1 else "bad_answer"


def _read_json(answer: bytes) -> float:
    return _decode_scored(answer).score


def _read_message(answer: bytes) -> float | None:
    score = None
    for number, begin, end in read_fields(answer, 0, len(answer)):
        if number == _SCORE:
            score = read_double(answer, begin, end)
    return score
