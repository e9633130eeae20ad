"""Whether the next target is to be asked for an answer, by what the answer says."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import msgspec

from dragoman.config.schema import FallbackReason
from dragoman.errors import DragomanError, UpstreamError
from dragoman.ir import Choice, Json, Reasoning, Refusal, Response, ResponseFormat, Text, ToolCall

Reason = FallbackReason | Literal["shorter_than", "scored_below"]

_TOO_LARGE = 413
_CLIENT_FAULTS = {400, 403, _TOO_LARGE, 422}
"""With these a provider says that it does not like the request itself."""
_NONE = object()
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

    def __init__(self, reason: Reason) -> None:
        super().__init__(f"The upstream's answer is not used: {reason}.")
        self.reason: Reason = reason


class Criteria(NamedTuple):
    """What an answer is judged by."""

    wanted: frozenset[str] = frozenset()
    """Each a `Reason`."""
    at_least: int = 0
    """Characters, for `shorter_than`."""
    shape: ResponseFormat | None = None
    """What the client asked the text to be."""
    is_limited: bool = False
    """How many tokens the answer may have was said, so that to end there is no fault of it."""
    tools: Mapping[str, Json] = MappingProxyType({})
    """The schemas of arguments that a tool holds the model to (`strict`), by the tool's name."""


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


def judge_answer(response: Response, criteria: Criteria) -> None:
    """Raises `AnswerRefused` for an answer none of whose choices can be used, or one of which is
    not the JSON that was asked for."""
    choices, shape, wanted = response.choices, criteria.shape, criteria.wanted
    ends = {choice.finish_reason for choice in choices}
    if ends == {"content_filter"}:
        _refuse("content_filter", wanted)
    if choices and all(map(declines, choices)):
        _refuse("refusal", wanted)
    if not any(map(_says_something, choices)):
        _refuse("empty", wanted)
    if shape is not None and shape.kind != "text" and not all(map(_is_json, choices)):
        _refuse("invalid", wanted)
    if "schema" in wanted and not all(_fits(choice, criteria) for choice in choices):
        _refuse("schema", wanted)
    if ends == {"length"} and not criteria.is_limited:
        _refuse("truncated", wanted)
    if all(_is_shorter(choice, criteria.at_least) for choice in choices):
        _refuse("shorter_than", wanted)


def is_as_asked(response: Response, criteria: Criteria) -> bool:
    """Whether each choice is the JSON that was asked for. What declines is an answer of its own
    kind."""
    shape = criteria.shape
    wants_json = shape is not None and shape.kind != "text"
    return all(
        declines(choice)
        or choice.finish_reason == "content_filter"
        or (_fits(choice, criteria) and (not wants_json or _is_json(choice)))
        for choice in response.choices
    )


def _refuse(reason: Reason, wanted: Container[str]) -> None:
    if reason in wanted:
        raise AnswerRefused(reason)


def _text(choice: Choice) -> str:
    return "".join(part.content for part in choice.parts if isinstance(part, Text))


def declines(choice: Choice) -> bool:
    """Whether it says no, in the words its dialect has for that."""
    return any(isinstance(part, Refusal) and part.content.strip() for part in choice.parts)


def _says_something(choice: Choice) -> bool:
    """Thinking alone says nothing; a part that only its dialect knows may."""
    return not _is_shorter(choice, 1)


def _is_shorter(choice: Choice, characters: int) -> bool:
    """Calls and media have no length."""
    if not all(isinstance(part, Text | Refusal | Reasoning) for part in choice.parts):
        return False
    words = "".join(part.content for part in choice.parts if isinstance(part, Text | Refusal))
    return len(words.strip()) < characters


def _is_json(choice: Choice) -> bool:
    """Whether the text of the choice is JSON; a call has arguments instead."""
    return _calls(choice) or _decoded(_text(choice)) is not _NONE


def _calls(choice: Choice) -> bool:
    return any(isinstance(part, ToolCall) for part in choice.parts)


def _decoded(text: str) -> Any:
    """What `text` says as JSON, `_NONE` where it is none."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return _NONE


def _fits(choice: Choice, criteria: Criteria) -> bool:
    """Whether text and calls are what the request's own schemas say. What those do not tell for
    sure (`policies.validity`) is taken to fit."""
    calls = [part for part in choice.parts if isinstance(part, ToolCall)]
    held = [(call.arguments or "{}", criteria.tools.get(call.name)) for call in calls]
    if not all(schema is None or _fits_schema(arguments, schema) for arguments, schema in held):
        return False
    shape = criteria.shape
    if shape is None or shape.kind != "json_schema" or shape.schema is None or calls:
        return True
    return _fits_schema(_text(choice), shape.schema)


def _fits_schema(text: str, schema: Json) -> bool:
    from dragoman.policies.validity import judge  # noqa: PLC0415 - seldom wanted

    value = _decoded(text)
    return value is not _NONE and judge(value, schema) != "invalid"
