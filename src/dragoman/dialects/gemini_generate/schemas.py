"""Schemas: Google's older subset of OpenAPI's, read as the JSON Schema it means.

Source: https://ai.google.dev/api/caching#Schema
"""

from __future__ import annotations

import re
from typing import Any, cast

from dragoman.dialects.schemas import in_order
from dragoman.ir import Json
from dragoman.wire.fields import as_list

_COUNTS = ("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties")
"""64 bits wide, which JSON of protocol buffers writes as strings."""
_INNER = ("items", "additionalProperties")
_LISTS = ("anyOf", "prefixItems")
_MAPS = ("properties", "$defs")
_NAMES = {
    "additional_properties": "additionalProperties",
    "any_of": "anyOf",
    "defs": "$defs",
    "prefix_items": "prefixItems",
    "property_ordering": "propertyOrdering",
    "ref": "$ref",
    **{re.sub("[A-Z]", lambda m: f"_{m[0].lower()}", name): name for name in _COUNTS},
}
"""Google's names, and its other spelling of them, by JSON Schema's."""
_NULL: Json = {"type": "null"}
_NUMBERS = {"integer": re.compile(r"-?\d{1,18}"), "number": re.compile(r"-?\d{1,18}(\.\d{1,18})?")}
_REF = "#/defs/"


def to_json_schema(schema: Json) -> Json:
    """`schema` in JSON Schema's names and types, accepting the same values.

    `format` `enum` and the type `TYPE_UNSPECIFIED` say nothing, so they go; properties stand in
    their `propertyOrdering`. What else it says stays. No deeper than a body is, it may recurse.
    """
    out: Json = {}
    for given, value in schema.items():
        name = _NAMES.get(given, given)
        if name == "nullable" or (name == "format" and value == "enum"):
            continue
        if name == "type" and value == "TYPE_UNSPECIFIED":
            continue
        out[name] = _value(name, value)
    if isinstance(known := out.get("properties"), dict):
        out["properties"] = in_order(cast("Json", known), out.pop("propertyOrdering", None))
    form = _NUMBERS.get(str(out.get("type")))
    if form is not None and isinstance(out.get("enum"), list):
        out["enum"] = [_number(one, form) for one in out["enum"]]
    return _nullable(out) if schema.get("nullable") is True else out


def spellings(text: str) -> dict[str, str]:
    """How the keywords of the schema with this JSON text are spelled, where not as JSON Schema's.

    A property's name that looks like one is taken for it: this serves to name places only.
    """
    return {name: given for given, name in _NAMES.items() if f'"{given}":' in text}


def _value(name: str, value: Any) -> Any:
    if name in _MAPS and isinstance(value, dict):
        found = cast("Json", value)
        return {key: _schema(inner) for key, inner in found.items()}
    if name in _LISTS:
        return [_schema(inner) for inner in as_list(value)]
    if name in _INNER:
        return _schema(value)
    if not isinstance(value, str):
        return value
    if name == "type":
        return value.lower()
    if name == "$ref" and value.startswith(_REF):
        return "#/$defs/" + value.removeprefix(_REF)
    return _number(value, _NUMBERS["integer"]) if name in _COUNTS else value


def _schema(value: Any) -> Any:
    return to_json_schema(cast("Json", value)) if isinstance(value, dict) else value


def _number(value: Any, form: re.Pattern[str]) -> Any:
    """Numbers stand in `enum`, and counts everywhere, as strings; what is none stays as it is."""
    if not isinstance(value, str) or form.fullmatch(value) is None:
        return value
    return float(value) if "." in value else int(value)


def _nullable(schema: Json) -> Json:
    """`schema`, accepting null too, whatever restricts it."""
    out = dict(schema)
    if "$ref" in out:
        out["anyOf"] = [{"$ref": out.pop("$ref")}, *out.get("anyOf", [])]
    if "anyOf" in out:
        out["anyOf"] = [*out["anyOf"], _NULL]
    if isinstance(out.get("type"), str):
        out["type"] = [out["type"], "null"]
    if isinstance(out.get("enum"), list) and None not in out["enum"]:
        out["enum"] = [*out["enum"], None]
    return out
