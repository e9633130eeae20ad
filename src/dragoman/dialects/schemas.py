"""JSON Schemas on their way to a provider that takes a part of the language only."""

from __future__ import annotations

from typing import Any, cast

from dragoman.errors import Unrepresentable
from dragoman.ir import Json
from dragoman.wire.fields import as_list

_MAPS = ("properties", "$defs", "definitions", "patternProperties")
_LISTS = ("anyOf", "allOf", "oneOf", "prefixItems")
_INNER = ("items", "not", "if", "then", "else", "contains")


def close_objects(schema: Json, path: str, dialect: str) -> Json:
    """`schema` with every object closed: `additionalProperties` false where nothing else is said.

    For a provider that insists on it. What it writes then still fits the schema as it was. Raises
    `Unrepresentable` where the schema asks for open objects.
    """
    out = {name: _close(name, value, path, dialect) for name, value in schema.items()}
    if schema.get("type") != "object" and "properties" not in schema:
        return out
    if schema.get("additionalProperties") not in (None, False):
        where = f"{path}.additionalProperties"
        raise Unrepresentable(where, dialect, "its objects have no properties but those named")
    return {**out, "additionalProperties": False}


def _close(name: str, value: Any, path: str, dialect: str) -> Any:
    at = f"{path}.{name}"
    if name in _MAPS and isinstance(value, dict):
        inner = cast("Json", value)
        return {key: _closed(one, f"{at}.{key}", dialect) for key, one in inner.items()}
    if name in _LISTS:
        return [_closed(one, f"{at}[{i}]", dialect) for i, one in enumerate(as_list(value))]
    return _closed(value, at, dialect) if name in _INNER else value


def _closed(value: Any, path: str, dialect: str) -> Any:
    if not isinstance(value, dict):
        return value
    return close_objects(cast("Json", value), path, dialect)
