"""Words of the dialect, and how they map on the intermediate representation."""

from __future__ import annotations

from typing import Any, cast

import msgspec

from dragoman.ir import FinishReason, Json, Modality, Residue, Usage
from dragoman.wire.fields import as_list

NAME = "bedrock_converse"
ANTHROPIC = "anthropic_messages"
"""Whose signatures Claude's thinking has here as well."""


class Quirks(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a provider differs."""

    thinking: bool = True
    """Whether its models take `thinking` among the additional fields, as Claude does."""


FINISH: dict[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_call",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
}
"""Any other word is an error of the model's."""
FINISH_OUT: dict[FinishReason, str] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_call": "tool_use",
    "content_filter": "content_filtered",
    "error": "end_turn",
}
MEDIA: dict[str, Modality] = {
    "image": "image",
    "document": "document",
    "video": "video",
    "audio": "audio",
}
MIMES: dict[str, str] = {
    "pdf": "application/pdf",
    "csv": "text/csv",
    "doc": "application/msword",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "xls": "application/vnd.ms-excel",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "html": "text/html",
    "txt": "text/plain",
    "md": "text/markdown",
    "png": "image/png",
    "jpeg": "image/jpeg",
    "gif": "image/gif",
    "webp": "image/webp",
    "mp4": "video/mp4",
    "mov": "video/quicktime",
    "mkv": "video/x-matroska",
    "webm": "video/webm",
    "mp3": "audio/mpeg",
    "wav": "audio/wav",
}
FORMATS = {mime: word for word, mime in MIMES.items()} | {"image/jpg": "jpeg"}


def own(residue: Residue | None) -> Json:
    """The residue's fields if they are this dialect's; else nothing, and nothing is reported."""
    return residue.fields if residue is not None and residue.dialect == NAME else {}


def is_own(residue: Residue | None) -> bool:
    """Whether the object came in this dialect."""
    return residue is not None and residue.dialect == NAME


def has_form(residue: Residue | None, word: str) -> bool:
    """Whether the object came in this dialect's spelling `word`."""
    return residue is not None and residue.dialect == NAME and word in residue.form


def pack(word: str, value: Any) -> tuple[str, str]:
    """A form that carries `value`, bookkeeping that no other dialect has a use for."""
    return word, msgspec.json.encode(value).decode()


def packed(residue: Residue | None, word: str) -> Any:
    """What stands behind `word` in the form; None where nothing does."""
    if residue is None or residue.dialect != NAME or word not in residue.form:
        return None
    return msgspec.json.decode(residue.form[residue.form.index(word) + 1])


def json_object(found: Any) -> Json:
    """`found` if it is an object; else an empty one."""
    return cast("Json", found) if isinstance(found, dict) else {}


def decode_usage(found: Any) -> Usage | None:
    """Cached tokens stand beside `inputTokens` here and within them in `Usage`."""
    if not isinstance(found, dict):
        return None
    wire = cast("Json", found)
    read, written = _count(wire, "cacheReadInputTokens"), _count(wire, "cacheWriteInputTokens")
    return Usage(
        input_tokens=_count(wire, "inputTokens") + read + written,
        output_tokens=_count(wire, "outputTokens"),
        cache_read_input_tokens=read,
        cache_creation_input_tokens=written,
        cache_creation_1h_input_tokens=_written_for("1h", wire),
        residue=Residue(dialect=NAME, fields={}, form=pack("usage", wire)),
    )


def _written_for(ttl: str, wire: Json) -> int:
    details = map(json_object, as_list(wire.get("cacheDetails")))
    return sum(_count(one, "inputTokens") for one in details if one.get("ttl") == ttl)


def _count(wire: Json, name: str) -> int:
    found = wire.get(name)
    return found if isinstance(found, int) else 0


def encode_usage(usage: Usage) -> Json:
    """The provider's own object where it was this dialect's."""
    if (given := packed(usage.residue, "usage")) is not None:
        return cast("Json", given)
    read, written = usage.cache_read_input_tokens, usage.cache_creation_input_tokens
    hour = usage.cache_creation_1h_input_tokens
    tiers = [("1h", hour), ("5m", written - hour)]
    details = [{"ttl": ttl, "inputTokens": count} for ttl, count in tiers if count]
    return {
        "inputTokens": max(0, usage.input_tokens - read - written),
        "outputTokens": usage.output_tokens,
        "totalTokens": usage.input_tokens + usage.output_tokens,
        "cacheReadInputTokens": read,
        "cacheWriteInputTokens": written,
        **({"cacheDetails": details} if details else {}),
    }
