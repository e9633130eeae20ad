"""Token counts on their way to Envoy's statistics and to the ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dragoman import metadata as names
from dragoman.actions import Metadata
from dragoman.catalog.counts import HEADERS
from dragoman.errors import DragomanError, UpstreamError, UpstreamProtocolError
from dragoman.ir import Usage


def usage_metadata(usage: Usage | None, *, exact: bool, dropped: Sequence[str] = ()) -> Metadata:
    """Dynamic metadata with the final counts, as numbers, and what of a stream had no place at the
    client; empty where the provider gave none of the two."""
    told: dict[str, object] = {"dropped": ", ".join(dropped)} if dropped else {}
    if usage is None:
        return {names.USAGE_NAMESPACE: told} if told else {}
    counts: dict[str, object] = {
        **told,
        "input_tokens": float(usage.input_tokens),
        "output_tokens": float(usage.output_tokens),
        "cache_read_input_tokens": float(usage.cache_read_input_tokens),
        "cache_creation_input_tokens": float(usage.cache_creation_input_tokens),
        "reasoning_tokens": float(usage.reasoning_tokens),
        "exact": "1" if exact else "0",
    }
    return {names.USAGE_NAMESPACE: counts}


def tell_broken(error: DragomanError) -> Metadata:
    """What the ledger is told of a stream that ends in `error`, if it is the provider's."""
    if not isinstance(error, UpstreamError | UpstreamProtocolError):
        return {}
    return {names.USAGE_NAMESPACE: {names.BROKEN: error.code}}


def usage_of_headers(headers: Mapping[str, str]) -> Usage | None:
    """The counts that a provider tells beside its answer; None where it tells none."""
    if HEADERS.keys().isdisjoint(headers):
        return None
    found = {
        kind: int(value)
        for name, kind in HEADERS.items()
        if (value := headers.get(name, "")).isdecimal() and value.isascii()
    }
    if not found:
        return None
    return Usage(input_tokens=found.get("input", 0), output_tokens=found.get("output", 0))
