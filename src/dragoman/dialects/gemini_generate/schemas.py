"""Schemas: Google's older subset of OpenAPI's, read as the JSON Schema it means."""

from __future__ import annotations

from typing import Any, cast

from dragoman.ir import Json
from dragoman.wire.fields import as_list

_INNER = ("items", "additionalProperties")
_LISTS = ("anyOf", "prefixItems")


def to_json_schema(schema: Json) -> Json:
    """`schema` with types in lower case and `nullable` as a type; what else it says stays."""
    out: Json = {}
    for name, value in schema.items():
        if name == "type" and isinstance(value, str):
            out["type"] = value.lower()
        elif name == "properties" and isinstance(value, dict):
            found = cast("Json", value)
            out[name] = {key: _schema(inner) for key, inner in found.items()}
        elif name in _INNER:
            out[name] = _schema(value)
        elif name in _LISTS:
            out[name] = [_schema(inner) for inner in as_list(value)]
        elif name != "nullable":
            out[name] = value
    if schema.get("nullable") is True and isinstance(out.get("type"), str):
        out["type"] = [out["type"], "null"]
    return out


def _schema(value: Any) -> Any:
    return to_json_schema(cast("Json", value)) if isinstance(value, dict) else value
