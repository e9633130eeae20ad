"""What a client says of an answer it got: a score for the ledger, and no word besides."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from dragoman import metadata as names
from dragoman.actions import Respond
from dragoman.dialects import FEEDBACK
from dragoman.errors import InvalidRequest
from dragoman.exchange.answers import answer
from dragoman.exchange.asked import Asker
from dragoman.ir import Json
from dragoman.policies.authorize import Wish, authorize

_FIELDS = ("request_id", "score")
_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""As Envoy makes them up: whatever else a client writes is kept nowhere."""
_MOST_NAME = 80
_TAKEN = "dragoman_feedback"


def take_feedback(body: Json, asker: Asker) -> Respond:
    """Answers `{"request_id": ..., "score": ...}`, and tells the ledger who said it.

    Raises `InvalidRequest`, and `PermissionDenied` where the caller's roles do not allow it. That
    the request was the caller's is for the ledger's readers to see.
    """
    caller = asker.caller
    authorize(caller, Wish(FEEDBACK, asker.client.name))
    request_id, score = _read(body)
    facts = {names.OPERATION: FEEDBACK, names.CALLER: caller.name}
    said = {names.FEEDBACK_OF: request_id, names.FEEDBACK_SCORE: score}
    spaces: dict[str, Mapping[str, object]] = {names.NAMESPACE: {**facts, **said}}
    if caller.stated:
        spaces[names.SUBJECT_NAMESPACE] = caller.stated
    taken = answer({"object": FEEDBACK, "request_id": request_id, "score": score}, _TAKEN)
    return msgspec.structs.replace(taken, metadata=spaces)


def _read(body: Json) -> tuple[str, float]:
    """The request's id and the score. Raises `InvalidRequest`."""
    for name in body:
        if name not in _FIELDS:
            raise InvalidRequest(f"$.{name[:_MOST_NAME]}", f"no field but {' and '.join(_FIELDS)}")
    request_id, score = body.get("request_id"), body.get("score")
    if not isinstance(request_id, str) or _ID.fullmatch(request_id) is None:
        raise InvalidRequest("$.request_id", "an id as x-dragoman-request-id tells it")
    if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 1:
        raise InvalidRequest("$.score", "a number from 0 to 1")
    return request_id, float(score)
