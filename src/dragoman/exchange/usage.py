"""Token counts on their way to Envoy's statistics and to the ledger."""

from __future__ import annotations

from dragoman import metadata as names
from dragoman.actions import Metadata
from dragoman.ir import Usage


def usage_metadata(usage: Usage | None, *, exact: bool) -> Metadata:
    """Dynamic metadata with the final counts, as numbers; empty where the provider gave none."""
    if usage is None:
        return {}
    counts: dict[str, object] = {
        "input_tokens": float(usage.input_tokens),
        "output_tokens": float(usage.output_tokens),
        "cache_read_input_tokens": float(usage.cache_read_input_tokens),
        "cache_creation_input_tokens": float(usage.cache_creation_input_tokens),
        "reasoning_tokens": float(usage.reasoning_tokens),
        "exact": "1" if exact else "0",
    }
    return {names.USAGE_NAMESPACE: counts}


def observed_metadata(usage: Usage | None) -> Metadata:
    """The same under the names the native filters write: what a translation counted wins.

    Of those names the input's three are added up, so the tokens written to a cache are taken out
    of the first.
    """
    if usage is None:
        return {}
    written = usage.cache_creation_input_tokens
    counts: dict[str, object] = {
        "prompt_tokens": float(usage.input_tokens - written),
        "completion_tokens": float(usage.output_tokens),
        "cached_tokens": float(usage.cache_read_input_tokens),
        "anthropic_cache_creation": float(written),
        "openai_reasoning_tokens": float(usage.reasoning_tokens),
    }
    return {names.USAGE_NAMESPACE: counts}
