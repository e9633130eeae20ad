"""Change top-level fields of a JSON object and touch nothing else."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from dragoman.wire.json import decode_fields, encode

_SPACE = rb"[ \t\r\n]*+"
_OPENS = re.compile(_SPACE + rb"\{")
_SIMPLE = re.compile(
    _SPACE + rb'"([^"\\]*+)"' + _SPACE + b":" + _SPACE
    # a string, a number or a word, and what ends it
    + rb'("(?:[^"\\]++|\\.)*+"|[-+.0-9A-Za-z]++)' + _SPACE + rb"([,}])",
    re.DOTALL,
)  # fmt: skip
_ESCAPE = b"\\u"
"""The only escape by which a name can be spelt in another way."""


def splice(raw: bytes, edits: Mapping[str, Any]) -> bytes:
    """`raw` with each field of `edits` set, or removed where its value is None.

    A field that is there keeps its place, a new one comes last. Every other value keeps its very
    bytes and its place (providers' prompt caches hit on exact prefixes); only the spaces between
    top-level fields go. Raises as `dragoman.wire.json.decode_fields` does, so that a name given
    twice never lets a second value through.
    """
    fields: dict[str, Any] = {**decode_fields(raw), **edits}
    return encode({name: value for name, value in fields.items() if value is not None})


def splice_simple(raw: bytes, edits: Mapping[str, Any]) -> bytes | None:
    """As `splice`, where a look at the beginning of `raw` is enough; None where it is not.

    It is where each edit replaces a field that stands before the first array or object, or sets one
    that is not there. `raw` is what `dragoman.wire.json.decode` took: here nothing is checked.
    Spaces stay too.
    """
    found = _places(raw, edits)
    new = [name for name in edits if name not in found]
    if not found or None in edits.values() or not all(_is_absent(name, raw) for name in new):
        return None
    pieces: list[bytes] = []
    at = 0
    for name, (start, end) in found.items():
        pieces += (raw[at:start], encode(edits[name]))
        at = end
    if new:
        closing = raw.rindex(b"}")
        pieces += (raw[at:closing], *(b",%b:%b" % (encode(n), encode(edits[n])) for n in new))
        at = closing
    return b"".join((*pieces, raw[at:]))


def _places(raw: bytes, names: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    """Where the values of those of `names` stand that come before any array or object."""
    found: dict[str, tuple[int, int]] = {}
    opening = _OPENS.match(raw)
    member = _SIMPLE.match(raw, opening.end()) if opening else None
    while member is not None:
        name = member[1].decode("utf-8", "replace")
        if name in names:
            found[name] = member.span(2)
        if member[3] == b"}" or len(found) == len(names):
            break
        member = _SIMPLE.match(raw, member.end())
    return found


def _is_absent(name: str, raw: bytes) -> bool:
    """Whether `raw` surely has no such field; it may say no where it has none."""
    return encode(name) not in raw and _ESCAPE not in raw
