"""The fields of a request's body that every stage may need, whatever its content type."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any

from dragoman.dialects import BodyKind
from dragoman.dialects.texts import Change
from dragoman.errors import InvalidRequest
from dragoman.ir import Json
from dragoman.wire.json import decode
from dragoman.wire.multipart import find_fields, replace_field, text_parts
from dragoman.wire.splice import splice, splice_simple

CONTENT_TYPES: dict[BodyKind, str] = {"json": "application/json", "form": "multipart/form-data"}
"""What a body of each kind must say it is."""
_FORM_FIELDS = ("model", "stream")


def read_body(kind: BodyKind, raw: bytes) -> Json:
    """The whole object, or of a form the two fields that matter here. Raises as `decode` does."""
    if kind == "json":
        return decode(raw)
    found = {name: raw[at] for name, at in find_fields(raw, _FORM_FIELDS).items()}
    body: Json = {}
    for name, value in found.items():
        try:
            body[name] = value.decode()
        except UnicodeDecodeError as error:
            raise InvalidRequest(f"$.{name}", "UTF-8 text") from error
    if "stream" in body:
        body["stream"] = body["stream"].lower() == "true"
    return body


def edit_body(kind: BodyKind, raw: bytes, edits: Mapping[str, Any]) -> bytes | None:
    """`raw`, which `read_body` took, with top-level fields set, or removed where None; None where
    nothing changes."""
    if not edits:
        return None
    if kind == "json":
        return splice_simple(raw, edits) or splice(raw, edits)
    for name, value in edits.items():
        raw = replace_field(raw, name, str(value))
    return raw


def form_texts(raw: bytes) -> list[tuple[str, str]]:
    """The fields of a form with their paths; its files are not read. Raises `InvalidRequest`."""
    return [(path, text) for path, _, text in _fields(raw)]


def edit_form(raw: bytes, change: Change) -> bytes | None:
    """As `dialects.texts.edit_texts`, of a form's fields. Raises `InvalidRequest`."""
    pieces: list[bytes] = []
    at = 0
    for path, part, text in _fields(raw):
        changed = change(text, "", functools.partial(str, path))
        if changed is not None:
            pieces += (raw[at : part.start], changed.encode())
            at = part.stop
    return b"".join((*pieces, raw[at:])) if pieces else None


def _fields(raw: bytes) -> Iterator[tuple[str, slice, str]]:
    for name, part in text_parts(raw):
        try:
            text = raw[part].decode()
        except UnicodeDecodeError as error:
            raise InvalidRequest(f"$.{name}", "UTF-8 text") from error
        yield f"$.{name}", part, text
