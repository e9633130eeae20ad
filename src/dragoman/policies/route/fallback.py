"""Whether the next target is to be asked for an answer, by what the answer says."""

from __future__ import annotations

import re
from collections.abc import Container

import msgspec

from dragoman.config.schema import FallbackReason
from dragoman.errors import DragomanError, UpstreamError
from dragoman.ir import Choice, Reasoning, Response, ResponseFormat, Text, ToolCall

_TOO_LARGE = 413
_CLIENT_FAULTS = {400, 403, _TOO_LARGE, 422}
"""With these a provider says that it does not like the request itself."""
_READ = 4096
"""Characters of a message: what is wrong stands at its beginning."""
_TOO_LONG_CODES = {
    "context_length_exceeded",
    "model_context_window_exceeded",
    "string_above_max_length",
}
_TOO_LONG = re.compile(
    r"context (?:length|window|limit|size)|maximum (?:context|input|number of tokens)"
    r"|(?:prompt|input|request|message)s? (?:is|are) too (?:long|large)|too many (?:input )?tokens"
    r"|token count .{0,40}exceeds|exceeds? .{0,60}(?:token|context)|reduce the length"
    r"|range of input length|tokens.{0,60} must be <=",
    re.IGNORECASE,
)
_FILTER_CODES = {
    "ResponsibleAIPolicyViolation",
    "content_filter",
    "content_filtered",
    "content_policy_violation",
    "data_inspection_failed",
    "moderation_blocked",
}
_FILTERED = re.compile(
    r"content (?:management )?polic|content filter|flagged|usage polic|safety (?:system|filter)"
    r"|inappropriate content|responsible ai",
    re.IGNORECASE,
)


class AnswerRefused(DragomanError):
    """The answer of one target, that the policy wants another's for. Its status is one that Envoy
    tries the next target on."""

    status = 503
    code = "fell_back"

    def __init__(self, reason: FallbackReason) -> None:
        super().__init__(f"The upstream's answer is not used: {reason}.")
        self.reason: FallbackReason = reason


def judge_error(error: DragomanError, wanted: Container[str]) -> None:
    """Raises `AnswerRefused` for an error that `wanted` has the reason of."""
    if not isinstance(error, UpstreamError) or error.status not in _CLIENT_FAULTS:
        return
    codes, words = {error.upstream_code, error.kind}, error.message[:_READ]
    if error.status == _TOO_LARGE or codes & _TOO_LONG_CODES:
        _refuse("context_length", wanted)
    elif codes & _FILTER_CODES or _FILTERED.search(words):
        _refuse("content_filter", wanted)
    elif _TOO_LONG.search(words):
        _refuse("context_length", wanted)


def judge_answer(response: Response, shape: ResponseFormat | None, wanted: Container[str]) -> None:
    """Raises `AnswerRefused` for an answer none of whose choices can be used. `shape` is what the
    client asked the text to be."""
    choices = response.choices
    if all(choice.finish_reason == "content_filter" for choice in choices) and choices:
        _refuse("content_filter", wanted)
    if not any(map(_says_something, choices)):
        _refuse("empty", wanted)
    if shape is not None and shape.kind != "text" and not all(map(_is_json, choices)):
        _refuse("invalid", wanted)


def _refuse(reason: FallbackReason, wanted: Container[str]) -> None:
    if reason in wanted:
        raise AnswerRefused(reason)


def _text(choice: Choice) -> str:
    return "".join(part.content for part in choice.parts if isinstance(part, Text))


def _says_something(choice: Choice) -> bool:
    """Thinking alone says nothing; a part that only its dialect knows may."""
    others = any(not isinstance(part, Text | Reasoning) for part in choice.parts)
    return others or bool(_text(choice).strip())


def _is_json(choice: Choice) -> bool:
    """Whether the text of the choice is JSON; a call has arguments instead."""
    if any(isinstance(part, ToolCall) for part in choice.parts):
        return True
    try:
        msgspec.json.decode(_text(choice))
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return False
    return True
