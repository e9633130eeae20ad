"""Words of the dialect, and how they map on the intermediate representation."""

from __future__ import annotations

from typing import Any

from dragoman.dialects.residues import json_object, pack, packed
from dragoman.ir import FinishReason, Json, Residue, Usage
from dragoman.wire.fields import as_list

NAME = "cohere_chat"
FINISH: dict[str, FinishReason] = {
    "COMPLETE": "stop",
    "STOP_SEQUENCE": "stop",
    "MAX_TOKENS": "length",
    "TOOL_CALL": "tool_call",
    "ERROR_LIMIT": "length",
    "ERROR_TOXIC": "content_filter",
}
"""Any other word is an error of the model's: `ERROR`, `TIMEOUT`. The last two are API v1's."""
FINISH_OUT: dict[FinishReason, str] = {
    "stop": "COMPLETE",
    "length": "MAX_TOKENS",
    "tool_call": "TOOL_CALL",
    "content_filter": "ERROR_TOXIC",
    "error": "ERROR",
}
"""A filter has no word in API v2; API v1's is the one that its clients may know."""


def finish_of(word: str, *, has_calls: bool) -> FinishReason:
    """What `finish_reason` means. Calls are what an answer that is complete ends for."""
    reason = FINISH.get(word, "error")
    return "tool_call" if has_calls and reason == "stop" else reason


def decode_usage(found: Any) -> Usage | None:
    """`tokens` is what the model read and wrote, the preamble and what was cached included.

    `billed_units` is less than that: it counts what the client sent. It stands in where there are
    no `tokens`.
    """
    if not isinstance(found, dict):
        return None
    wire = json_object(found)
    counts = json_object(wire.get("tokens")) or json_object(wire.get("billed_units"))
    return Usage(
        input_tokens=_count(counts, "input_tokens"),
        output_tokens=_count(counts, "output_tokens"),
        cache_read_input_tokens=_count(wire, "cached_tokens"),
        residue=Residue(dialect=NAME, fields={}, form=pack("usage", wire)),
    )


def _count(wire: Json, name: str) -> int:
    """The API says that counts are numbers, and an SDK may have written them with a point."""
    found = wire.get(name)
    return int(found) if isinstance(found, int | float) else 0


def encode_usage(usage: Usage) -> Json:
    """The provider's own object where it was this dialect's."""
    given: Json | None = packed(usage.residue, NAME, "usage")
    if given is not None:
        return given
    tokens = {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens}
    return {"tokens": tokens, "cached_tokens": usage.cache_read_input_tokens}


def decode_logprobs(items: Any) -> Json | None:
    """A text of several tokens is one entry, as likely as all of them: none has its own text."""
    found = [json_object(item) for item in as_list(items)]
    return {"content": [_entry(item) for item in found]} if found else None


def _entry(item: Json) -> Json:
    text = item.get("text")
    token = text if isinstance(text, str) else ""
    numbers = [n for n in as_list(item.get("logprobs")) if isinstance(n, int | float)]
    return {
        "token": token,
        "logprob": sum(numbers),
        "bytes": list(token.encode()),
        "top_logprobs": [],
    }


def encode_logprobs(logprobs: Json) -> list[Json]:
    """One item a token; another provider's numbers of them mean nothing here."""
    found = [json_object(item) for item in as_list(logprobs.get("content"))]
    return [
        {"text": item.get("token"), "token_ids": [], "logprobs": [item.get("logprob")]}
        for item in found
    ]


def encode_piece_logprobs(logprobs: Json) -> Json:
    """The same for one piece of a stream, which has one item for all its tokens."""
    items = encode_logprobs(logprobs)
    return {
        "text": "".join(str(item["text"]) for item in items),
        "token_ids": [],
        "logprobs": [number for item in items for number in item["logprobs"]],
    }
