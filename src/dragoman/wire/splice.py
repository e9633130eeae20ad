"""Change top-level fields of a JSON object and touch nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dragoman.wire.json import decode_fields, encode


def splice(raw: bytes, edits: Mapping[str, Any]) -> bytes:
    """`raw` with each field of `edits` set, or removed where its value is None.

    A field that is there keeps its place, a new one comes last. Every other value keeps its very
    bytes and its place (providers' prompt caches hit on exact prefixes); only the spaces between
    top-level fields go. Raises as `dragoman.wire.json.decode_fields` does, so that a name given
    twice never lets a second value through.
    """
    fields: dict[str, Any] = {**decode_fields(raw), **edits}
    return encode({name: value for name, value in fields.items() if value is not None})
