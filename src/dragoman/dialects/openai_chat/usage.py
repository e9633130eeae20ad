"""Token counts."""

from __future__ import annotations

from typing import cast

from dragoman.dialects.openai_chat.spelling import NAME, is_own, merge
from dragoman.ir import Json, Residue, Usage

_COUNTS = {
    "cached_tokens": "prompt_tokens_details",
    "cache_write_tokens": "prompt_tokens_details",
    "reasoning_tokens": "completion_tokens_details",
}
"""Counts within the details, by the object they stand in. OpenRouter reports cache writes."""
_TOTAL = "total_tokens"
_MAIN = ("prompt_tokens", "completion_tokens")


def decode_usage(wire: Json) -> Usage:
    """Counts of a body or a chunk. What is not a number counts as none and stays as residue."""
    left = dict(wire)
    form: list[str] = []
    found: dict[str, int] = {}
    for name, place in _COUNTS.items():
        details = left.get(place)
        if isinstance(details, dict) and _is_count(cast("Json", details).get(name)):
            inner = dict(cast("Json", details))
            found[name] = int(inner.pop(name))
            left[place] = inner
            form.append(name)
    form += [name for name in _MAIN if _is_count(left.get(name))]
    prompt, completion = _take(left, "prompt_tokens"), _take(left, "completion_tokens")
    reasoning = found.get("reasoning_tokens", 0)
    output = completion
    if left.get(_TOTAL) == prompt + completion:
        del left[_TOTAL]
        form.append(_TOTAL)
    elif reasoning and left.get(_TOTAL) == prompt + completion + reasoning:
        # xAI counts reasoning beside the completion, the others within it. Seen November 2026.
        output += reasoning
        left["completion_tokens"] = completion
    hit = left.get("prompt_cache_hit_tokens")
    cached = found.get("cached_tokens", hit if isinstance(hit, int) else 0)  # DeepSeek's name
    return Usage(
        input_tokens=prompt,
        output_tokens=output,
        cache_read_input_tokens=cached,
        cache_creation_input_tokens=found.get("cache_write_tokens", 0),
        reasoning_tokens=reasoning,
        audio_input_tokens=_audio(wire, "prompt_tokens_details"),
        audio_output_tokens=_audio(wire, "completion_tokens_details"),
        residue=Residue(dialect=NAME, fields=left, form=tuple(form)),
    )


def encode_usage(usage: Usage) -> Json:
    """In OpenAI's shape, details included; in the very shape it came in where it was its own."""
    values = {
        "cached_tokens": usage.cache_read_input_tokens,
        "cache_write_tokens": usage.cache_creation_input_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
    }
    residue = usage.residue
    known: Json = {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        _TOTAL: usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {},
        "completion_tokens_details": {},
    }
    if residue is not None and is_own(residue):
        words, extra = residue.form, residue.fields
    else:
        words, extra = (*_MAIN, "cached_tokens", "reasoning_tokens", _TOTAL), Json()
        words += ("cache_write_tokens",) if usage.cache_creation_input_tokens else ()
        known |= _audio_details(usage)
    for word in words:
        if word in _COUNTS:
            known[_COUNTS[word]][word] = values[word]
    for name in (*_MAIN, _TOTAL):
        if name not in words:
            del known[name]
    kept = {name: value for name, value in known.items() if value != {}}
    return _restore(extra, kept)


def _audio(wire: Json, place: str) -> int:
    """What of the tokens was sound. It stays where it is, for its own dialect."""
    details = wire.get(place)
    found = cast("Json", details).get("audio_tokens") if isinstance(details, dict) else None
    return int(found) if isinstance(found, int) else 0


def _audio_details(usage: Usage) -> Json:
    """The details, begun, of a usage with sound in it."""
    sounds = {
        "prompt_tokens_details": usage.audio_input_tokens,
        "completion_tokens_details": usage.audio_output_tokens,
    }
    return {place: {"audio_tokens": count} for place, count in sounds.items() if count}


def _restore(extra: Json, known: Json) -> Json:
    """`known` completed by `extra`, which wins where it holds a count as the provider sent it."""
    out = merge(extra, known)
    return {name: extra[name] if _is_count(extra.get(name)) else out[name] for name in out}


def _take(fields: Json, name: str) -> int:
    return int(fields.pop(name)) if _is_count(fields.get(name)) else 0


def _is_count(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
