"""Words of the dialect, and how they map on the intermediate representation."""

from __future__ import annotations

from typing import Any, cast

import msgspec

from dragoman.ir import FinishReason, Json, Residue, Usage

NAME = "anthropic_messages"
INVOKE = "invoke_model"
"""The framing of Bedrock's InvokeModel: Anthropic's events inside AWS's."""
VERSION = "anthropic_version"
BETAS = "anthropic_beta"
WHOLE = "whole"
"""Spelling of a text that came as a document or a search result, which stands behind this word."""
UNSIGNED = "unsigned"
"""Spelling of a thought that has no signature at all, as some servers of this dialect write it."""


class Quirks(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a provider differs."""

    default_max_tokens: int = 4096
    """`max_tokens` is required here and nowhere else: what to ask for when the client did not."""
    version: str | None = None
    """`anthropic_version` that it wants in the body. The model then stands in the path alone."""
    invoke_model: bool = False
    """Bedrock's InvokeModel: whether to stream stands in the path, beta features stand in the
    body, and streams and errors are AWS's."""


FINISH: dict[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_call",
    "refusal": "content_filter",
}
FINISH_OUT: dict[FinishReason, str] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_call": "tool_use",
    "content_filter": "refusal",
    "error": "end_turn",
}

MIN_BUDGET = 1024
"""The least thinking budget the API takes."""

HEAD = ("id", "type", "role", "model", "stop_reason", "stop_sequence", "usage")
"""Fields of an answer besides its content."""
_COUNTS = (
    "input_tokens",
    "output_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
)


def own(residue: Residue | None) -> Json:
    """The residue's fields if they are this dialect's; else nothing, and nothing is reported."""
    return residue.fields if residue is not None and residue.dialect == NAME else {}


def has_form(residue: Residue | None, word: str) -> bool:
    """Whether the object came in this dialect's spelling `word`."""
    return residue is not None and residue.dialect == NAME and word in residue.form


def finish_word(reason: FinishReason, stop_sequence: str | None, residue: Residue | None) -> str:
    """The stop reason: the provider's own word where it was this dialect's."""
    word: str | None = own(residue).get("stop_reason")
    if word is not None:
        return word
    return "stop_sequence" if stop_sequence is not None else FINISH_OUT[reason]


def own_reason(word: str, stop_sequence: str | None) -> Residue | None:
    """Keeps a stop reason that its meaning alone would not give back."""
    if stop_sequence is not None and word == "stop_sequence":
        return None
    if FINISH_OUT[FINISH.get(word, "stop")] == word:
        return None
    return Residue(dialect=NAME, fields={"stop_reason": word})


def decode_usage(wire: Json) -> Usage:
    """Cached tokens stand beside `input_tokens` here and within them in `Usage`."""
    fresh, output, read, written = (_count(wire, name) for name in _COUNTS)
    details = json_object(wire.get("output_tokens_details"))
    given = tuple(name for name in _COUNTS if isinstance(wire.get(name), int))
    rest = {name: value for name, value in wire.items() if name not in given}
    return Usage(
        input_tokens=fresh + read + written,
        output_tokens=output,
        cache_read_input_tokens=read,
        cache_creation_input_tokens=written,
        cache_creation_1h_input_tokens=_count(
            json_object(wire.get("cache_creation")), "ephemeral_1h_input_tokens"
        ),
        reasoning_tokens=_count(details, "thinking_tokens"),
        residue=Residue(dialect=NAME, fields=rest, form=given),
    )


def json_object(found: Any) -> Json:
    """`found` if it is an object; else an empty one."""
    return cast("Json", found) if isinstance(found, dict) else {}


def _count(wire: Json, name: str) -> int:
    """A count that is missing, or is none, must not cost the client its answer."""
    found = wire.get(name)
    return found if isinstance(found, int) else 0


def encode_usage(usage: Usage) -> Json:
    """The inverse: what was cached is taken out of `input_tokens`."""
    cached = usage.cache_read_input_tokens + usage.cache_creation_input_tokens
    counts = (
        max(0, usage.input_tokens - cached),
        usage.output_tokens,
        usage.cache_read_input_tokens,
        usage.cache_creation_input_tokens,
    )
    residue = usage.residue
    given = residue.form if residue is not None and residue.dialect == NAME else _COUNTS
    known = {name: count for name, count in zip(_COUNTS, counts, strict=True) if name in given}
    if given is not _COUNTS:
        return {**known, **own(residue)}
    return {**known, **_details(usage)}


def _details(usage: Usage) -> Json:
    """What another dialect told of the counts, where it told any."""
    out: Json = {}
    if usage.cache_creation_input_tokens:
        hour = usage.cache_creation_1h_input_tokens
        out["cache_creation"] = {
            "ephemeral_5m_input_tokens": usage.cache_creation_input_tokens - hour,
            "ephemeral_1h_input_tokens": hour,
        }
    if usage.reasoning_tokens:
        out["output_tokens_details"] = {"thinking_tokens": usage.reasoning_tokens}
    return out
