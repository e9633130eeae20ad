"""Words of the dialect, and how they map on the intermediate representation."""

from __future__ import annotations

import datetime as dt
from typing import Any

from dragoman.dialects.residues import json_object, pack, packed
from dragoman.ir import Effort, FinishReason, Json, Residue, Usage
from dragoman.wire.fields import as_list

NAME = "ollama_chat"
FINISH: dict[str, FinishReason] = {
    "": "stop",
    "stop": "stop",
    "load": "stop",
    "unload": "stop",
    "length": "length",
    "content_filter": "content_filter",
}
"""Any other word is an error of the model's."""
FINISH_OUT: dict[FinishReason, str] = {
    "stop": "stop",
    "tool_call": "stop",
    "length": "length",
    "content_filter": "content_filter",
    "error": "error",
}
"""Only the first and the third are Ollama's own; its field takes any word."""
LEVELS: dict[Effort, str] = {
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "high",
    "max": "high",
}
"""`think` for an effort asked for in another dialect."""
_COUNTS = ("prompt_eval_count", "eval_count")
_EPOCH = "1970-01-01T00:00:00Z"


def finish_of(word: str, *, has_calls: bool) -> FinishReason:
    """What `done_reason` means: that calls are to be made, only they tell."""
    reason = FINISH.get(word, "error")
    return "tool_call" if has_calls and reason == "stop" else reason


def decode_usage(wire: Json) -> Usage | None:
    """The counts among the fields of an answer; None where it has neither."""
    given = {name: wire[name] for name in _COUNTS if name in wire}
    if not given:
        return None
    read, written = (_count(given, name) for name in _COUNTS)
    residue = Residue(dialect=NAME, fields={}, form=pack("usage", given))
    return Usage(input_tokens=read, output_tokens=written, residue=residue)


def _count(wire: Json, name: str) -> int:
    found = wire.get(name)
    return found if isinstance(found, int) else 0


def encode_usage(usage: Usage | None) -> Json:
    """The provider's own counts where they were this dialect's."""
    if usage is None:
        return {}
    given: Json | None = packed(usage.residue, NAME, "usage")
    if given is not None:
        return given
    return dict(zip(_COUNTS, (usage.input_tokens, usage.output_tokens), strict=True))


def decode_logprobs(items: Any) -> Json | None:
    """OpenAI's entries, which leave out what is empty."""
    found = [json_object(item) for item in as_list(items)]
    if not found:
        return None
    return {"content": [_full(item) | {"top_logprobs": _tops(item)} for item in found]}


def _tops(item: Json) -> list[Json]:
    return [_full(json_object(one)) for one in as_list(item.get("top_logprobs"))]


def _full(item: Json) -> Json:
    return {"bytes": None, **item}


def encode_logprobs(logprobs: Json) -> list[Json]:
    """The inverse. A token of which nothing is known, as the first of an echo, is left out: clients
    take an entry for one only with a number in it."""
    found = [json_object(item) for item in as_list(logprobs.get("content"))]
    return [
        _spare(item | {"top_logprobs": [_spare(json_object(one)) for one in _tops(item)]})
        for item in found
        if item.get("logprob", 0) is not None
    ]


def _spare(item: Json) -> Json:
    return {name: value for name, value in item.items() if value is not None and value != []}


def seconds_of(created_at: Any) -> int | None:
    """Unix seconds of a time in RFC 3339; None for anything else."""
    try:
        time = dt.datetime.fromisoformat(created_at)
    except (TypeError, ValueError):
        return None
    return None if time.tzinfo is None else int(time.timestamp())


def time_of(seconds: int | None) -> str:
    """The inverse. Clients read the field as a time, so there is always one."""
    try:
        time = dt.datetime.fromtimestamp(seconds or 0, dt.UTC)
    except (ValueError, OverflowError, OSError):
        return _EPOCH
    return time.isoformat().replace("+00:00", "Z")
