"""Why a choice ended."""

from __future__ import annotations

from typing import cast

from dragoman.dialects.openai_chat.spelling import NAME
from dragoman.ir import FinishReason, Residue

_REASONS: dict[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_call",
    "content_filter": "content_filter",
    "error": "error",
    "function_call": "tool_call",
    "model_length": "length",
    "max_tokens": "length",
    "max_output_tokens": "length",
    "tool_use": "tool_call",
    "safety": "content_filter",
    "sensitive": "content_filter",
    "recitation": "content_filter",
    "insufficient_system_resource": "error",
    "network_error": "error",
}
"""OpenAI's words, and those that other servers of this dialect send, in lower case."""
_WORDS = {
    "stop": "stop",
    "length": "length",
    "tool_call": "tool_calls",
    "content_filter": "content_filter",
    "error": "error",
}
_FIELD = "finish_reason"


def decode_finish(word: str | None, *, has_calls: bool) -> tuple[FinishReason, Residue | None]:
    """The reason, and the provider's own word where that says it otherwise.

    A word unknown here means "stop". So does a forced tool call to OpenAI, although the answer is
    nothing but a call that waits for its result.
    """
    reason = _REASONS.get((word or "stop").lower(), "stop")
    if reason == "stop" and has_calls:
        reason = "tool_call"
    if _WORDS[reason] == word:
        return reason, None
    return reason, Residue(dialect=NAME, fields={_FIELD: word})


def encode_finish(reason: FinishReason, residue: Residue | None) -> str | None:
    """The provider's own word where it said another, else this dialect's."""
    if residue is not None and residue.dialect == NAME and _FIELD in residue.fields:
        return cast("str | None", residue.fields[_FIELD])
    return _WORDS[reason]
