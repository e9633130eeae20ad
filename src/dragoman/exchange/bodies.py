"""The fields of a request's body that every stage may need, whatever its content type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dragoman.dialects import BodyKind
from dragoman.errors import InvalidRequest
from dragoman.ir import Json
from dragoman.wire.json import decode
from dragoman.wire.multipart import find_fields, replace_field
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
