"""Words of the dialect, and how they map on the intermediate representation."""

from __future__ import annotations

from typing import Any, cast

import msgspec

from dragoman.ir import Effort, FinishReason, Json, Residue, Usage

NAME = "openai_responses"
ITEM = "item"
"""Form of an answer's part: the next word is JSON of its item's own fields."""
STRING = "string"
UNTYPED = "untyped"
LOGPROBS = "message.output_text.logprobs"
EFFORTS: tuple[Effort, ...] = ("none", "minimal", "low", "medium", "high", "xhigh")
STATE_FIELDS = ("previous_response_id", "conversation", "prompt", "background")
"""Request fields that mean something only where they were made: refused by name elsewhere."""
ECHOES = frozenset({
    "background", "completed_at", "conversation", "created_at", "error", "frequency_penalty",
    "incomplete_details", "instructions", "max_output_tokens", "max_tool_calls", "metadata",
    "object", "parallel_tool_calls", "presence_penalty", "previous_response_id", "prompt",
    "prompt_cache_key", "prompt_cache_retention", "reasoning", "safety_identifier", "service_tier",
    "status", "store", "temperature", "text", "tool_choice", "tools", "top_logprobs", "top_p",
    "truncation", "user", "billing", "moderation", "access_programs",
})  # fmt: skip
"""Fields of an answer that repeat the request or tell of its keeping: no loss without them."""


class Quirks(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a provider differs."""

    roles: bool = True
    """Whether it tells `developer` from `system`; `system` is written where it does not."""


def own(residue: Residue | None) -> Json:
    """The residue's fields if they are this dialect's; else nothing, and nothing is reported."""
    return residue.fields if residue is not None and residue.dialect == NAME else {}


def has_form(residue: Residue | None, word: str) -> bool:
    """Whether the object came in this dialect's spelling `word`."""
    return residue is not None and residue.dialect == NAME and word in residue.form


def packed(residue: Residue | None, word: str) -> Json | None:
    """The JSON that stands behind `word` in the form."""
    if residue is None or not has_form(residue, word):
        return None
    at = residue.form.index(word) + 1
    return msgspec.json.decode(residue.form[at], type=Json)


def pack(word: str, value: Json) -> tuple[str, str]:
    """A form that carries `value`, bookkeeping that no other dialect has a use for."""
    return word, msgspec.json.encode(value).decode()


def residue_of(fields: Json, *form: str) -> Residue | None:
    """A residue of this dialect; None where it would say nothing."""
    return Residue(dialect=NAME, fields=fields, form=form) if fields or form else None


def json_object(found: Any) -> Json:
    """`found` if it is an object; else an empty one."""
    return cast("Json", found) if isinstance(found, dict) else {}


def decode_usage(found: Any) -> Usage | None:
    """The input includes what was cached here too, the output the reasoning."""
    if not isinstance(found, dict):
        return None
    wire = cast("Json", found)
    read = json_object(wire.get("input_tokens_details"))
    thought = json_object(wire.get("output_tokens_details"))
    return Usage(
        input_tokens=_count(wire, "input_tokens"),
        output_tokens=_count(wire, "output_tokens"),
        cache_read_input_tokens=_count(read, "cached_tokens"),
        cache_creation_input_tokens=_count(read, "cache_write_tokens"),
        reasoning_tokens=_count(thought, "reasoning_tokens"),
        residue=residue_of({}, *pack(ITEM, wire)),
    )


def _count(wire: Json, name: str) -> int:
    found = wire.get(name)
    return found if isinstance(found, int) else 0


def encode_usage(usage: Usage) -> Json:
    """The provider's own object where it was this dialect's."""
    if (given := packed(usage.residue, ITEM)) is not None:
        return given
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cache_read_input_tokens,
            "cache_write_tokens": usage.cache_creation_input_tokens,
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


def status_of(reason: FinishReason) -> tuple[str, Json | None]:
    """`status` and `incomplete_details` of an answer that ended so."""
    match reason:
        case "length":
            return "incomplete", {"reason": "max_output_tokens"}
        case "content_filter":
            return "incomplete", {"reason": "content_filter"}
        case _:
            return "completed", None


def finish_of(wire: Json, *, calls: bool) -> FinishReason:
    """Why the answer `wire` ended; `calls`: it calls a function."""
    reason = json_object(wire.get("incomplete_details")).get("reason")
    if reason == "content_filter":
        return "content_filter"
    if reason is not None or wire.get("status") == "incomplete":
        return "length"
    return "tool_call" if calls else "stop"
