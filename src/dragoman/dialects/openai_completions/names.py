"""Words of the dialect, and how they map on the intermediate representation."""

from __future__ import annotations

from typing import Any, cast

import msgspec

from dragoman.dialects.openai_chat import usage as chat_usage
from dragoman.dialects.openai_chat.spelling import NAME as CHAT_NAME
from dragoman.dialects.residues import json_object
from dragoman.ir import FinishReason, Json, Residue, Usage
from dragoman.wire.fields import as_list

NAME = "openai_completions"
OBJECT = "text_completion"


class Quirks(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a provider differs from OpenAI."""

    include_usage: bool = True
    """Whether it takes `stream_options.include_usage`; those that do not report it always."""
    top_k: bool = False
    """Whether it takes `top_k`."""


_REASONS: dict[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "content_filter": "content_filter",
}


def decode_finish(word: str | None) -> tuple[FinishReason, Json]:
    """The reason, and the provider's own word where that says it otherwise, as a residue's field.

    vLLM and others say `eos`, `abort` and the like: they mean the end.
    """
    reason = _REASONS.get(word or "", "stop")
    return reason, {} if reason == word else {"finish_reason": word}


def encode_finish(reason: FinishReason, residue: Residue | None) -> str | None:
    """The provider's own word where it said another, else this dialect's."""
    said = own(residue)
    if "finish_reason" in said:
        return cast("str | None", said["finish_reason"])
    return reason if reason in _REASONS else "stop"


def own(residue: Residue | None) -> Json:
    """The residue's fields if they are this dialect's; else nothing, and nothing is reported."""
    return residue.fields if residue is not None and residue.dialect == NAME else {}


def is_own(residue: Residue | None) -> bool:
    """Whether the object came in this dialect."""
    return residue is not None and residue.dialect == NAME


def says(residue: Residue | None, word: str) -> bool:
    """Whether the object came from this dialect, in the spelling `word`."""
    return residue is not None and residue.dialect == NAME and word in residue.form


def decode_usage(wire: Json) -> Usage:
    """Counts, in the shape that Chat Completions has."""
    return _renamed(chat_usage.decode_usage(wire), CHAT_NAME, NAME)


def encode_usage(usage: Usage) -> Json:
    """The inverse."""
    return chat_usage.encode_usage(_renamed(usage, NAME, CHAT_NAME))


def _renamed(usage: Usage, old: str, new: str) -> Usage:
    residue = usage.residue
    if residue is None or residue.dialect != old:
        return usage
    return msgspec.structs.replace(usage, residue=msgspec.structs.replace(residue, dialect=new))


def decode_logprobs(wire: Any) -> Json | None:
    """Parallel lists to a list of tokens; None for anything else."""
    if not isinstance(wire, dict):
        return None
    lists = cast("Json", wire)
    tokens, likely = as_list(lists.get("tokens")), as_list(lists.get("token_logprobs"))
    others = as_list(lists.get("top_logprobs"))
    content = [
        {
            "token": str(token),
            "logprob": likely[i] if i < len(likely) else None,
            "bytes": None,
            "top_logprobs": _alternatives(others[i] if i < len(others) else None),
        }
        for i, token in enumerate(tokens)
    ]
    return {"content": content}


def _alternatives(found: Any) -> list[Json]:
    pairs = cast("Json", found).items() if isinstance(found, dict) else ()
    return [{"token": token, "logprob": value, "bytes": None} for token, value in pairs]


def encode_logprobs(logprobs: Json | None, offset: int = 0) -> Json | None:
    """A list of tokens to parallel lists; `offset` is where in the text the first one stands."""
    found = map(json_object, as_list((logprobs or {}).get("content")))
    tokens = [token for token in found if "token" in token]
    if logprobs is None:
        return None
    offsets: list[int] = []
    for token in tokens:
        offsets.append(offset)
        offset += len(str(token["token"]))
    alternatives = [map(json_object, as_list(token.get("top_logprobs"))) for token in tokens]
    return {
        "tokens": [token["token"] for token in tokens],
        "token_logprobs": [token.get("logprob") for token in tokens],
        "top_logprobs": [
            {str(one.get("token")): one.get("logprob") for one in all_} for all_ in alternatives
        ],
        "text_offset": offsets,
    }
