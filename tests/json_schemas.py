"""JSON Schemas for the tests: what accepts a value, by the rules of the language, and samples."""

from __future__ import annotations

import json
import re
from typing import Any

from hypothesis import strategies as st

Json = dict[str, Any]

KINDS: dict[str, tuple[type, ...]] = {
    "string": (str,), "integer": (int,), "number": (int, float), "boolean": (bool,),
    "array": (list,), "object": (dict,), "null": (type(None),),
}  # fmt: skip


def accepts(schema: Any, value: Any, root: Json | None = None, *, closed: bool = False) -> bool:
    """Whether `value` fits. `closed`: objects have no properties but those their schema names."""
    if isinstance(schema, bool):
        return schema
    root = schema if root is None else root
    inner = lambda one, item: accepts(one, item, root, closed=closed)  # noqa: E731 - a short name
    kinds = schema.get("type", list(KINDS))
    return (
        any(type(value) in KINDS[kind] for kind in ([kinds] if isinstance(kinds, str) else kinds))
        and _is_among(schema, value)
        and all(inner(one, value) for one in schema.get("allOf", []))
        and ("$ref" not in schema or inner(_target(root, schema["$ref"]), value))
        and ("anyOf" not in schema or any(inner(one, value) for one in schema["anyOf"]))
        and ("oneOf" not in schema or sum(inner(one, value) for one in schema["oneOf"]) == 1)
        and ("not" not in schema or not inner(schema["not"], value))
        and _is_within(schema, value)
        and _holds(schema, value, inner, closed=closed)
    )


def _is_among(schema: Json, value: Any) -> bool:
    found = [schema["const"]] if "const" in schema else []
    return all(_same(one, value) for one in found) and (
        "enum" not in schema or any(_same(one, value) for one in schema["enum"])
    )


def _same(one: Any, other: Any) -> bool:
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def _target(root: Json, words: str) -> Any:
    found: Any = root
    for step in words.split("/")[1:]:
        found = found[int(step) if isinstance(found, list) else step]
    return found


def _is_within(schema: Json, value: Any) -> bool:
    match value:
        case bool():
            return True
        case int() | float():
            return schema.get("minimum", value) <= value <= schema.get("maximum", value)
        case str():
            fits = re.search(schema.get("pattern", ""), value) is not None
            return fits and _is_long_enough(schema, value, "Length")
        case list():
            return _is_long_enough(schema, value, "Items")
        case dict():
            return _is_long_enough(schema, value, "Properties")
        case _:
            return True


def _is_long_enough(schema: Json, value: Any, what: str) -> bool:
    return bool(schema.get(f"min{what}", 0) <= len(value) <= schema.get(f"max{what}", 99))


def _holds(schema: Json, value: Any, inner: Any, *, closed: bool) -> bool:
    if isinstance(value, list):
        first = schema.get("prefixItems", [])
        rest = schema.get("items", True)
        return all(map(inner, first, value)) and all(
            inner(rest, item) for item in value[len(first) :]
        )
    if not isinstance(value, dict):
        return True
    known = schema.get("properties", {})
    own = {"properties", "additionalProperties"} & schema.keys() or "object" in schema.get(
        "type", ()
    )
    more = schema.get("additionalProperties", not (closed and own))
    return all(name in value for name in schema.get("required", ())) and all(
        inner(known.get(name, more), item) for name, item in value.items()
    )


NAMES = st.sampled_from(["a", "b"])
SCALARS: st.SearchStrategy[Any] = st.sampled_from([None, True, 1, 2, 3, "a", "b", "ab"])
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=2)),
    max_leaves=5,
)
_LEAVES = st.one_of(
    st.sampled_from(
        [
            {"type": "string"},
            {"type": "string", "minLength": 2},
            {"type": "string", "pattern": "^a"},
            {"type": "string", "pattern": r"^a\b"},
            {"type": "string", "const": "a"},
            {"type": "integer", "minimum": 2},
            {"type": ["string", "null"], "enum": ["a", None]},
            {"type": ["integer", "null"], "maximum": 2},
            {"const": True},
            {"const": None},
            {"enum": [1, "a", None], "title": "t"},
            {"type": "boolean"},
            {},
        ]
    ),
    st.sampled_from([{"$ref": "#/$defs/A"}, {"$ref": "#/definitions/B", "description": "d"}]),
)


def _larger(inner: st.SearchStrategy[Json]) -> st.SearchStrategy[Json]:
    return st.one_of(
        st.builds(_object, st.dictionaries(NAMES, inner, max_size=2), st.booleans(), st.booleans()),
        st.builds(lambda one, n: {"type": "array", "items": one, "minItems": n}, inner, _COUNT),
        st.builds(lambda one: {"type": "array", "items": one, "maxItems": 2}, inner),
        st.builds(lambda one: {"type": "array", "prefixItems": [one]}, inner),
        st.builds(lambda one: {"allOf": [one], "title": "t"}, inner),
        st.builds(
            lambda word, found: {word: found},
            st.sampled_from(["anyOf", "oneOf", "allOf"]),
            st.lists(inner, min_size=1, max_size=2),
        ),
    )


_COUNT = st.integers(0, 2)


def _object(properties: Json, required: bool, closed: bool) -> Json:  # noqa: FBT001 - drawn
    found: Json = {"type": "object", "properties": properties}
    if required:
        found["required"] = list(properties)
    return {**found, "additionalProperties": False} if closed else found


SCHEMAS = st.builds(
    lambda whole, one, other: {
        "type": "object",
        "properties": {"a": whole},
        "required": ["a"],
        "$defs": {"A": one},
        "definitions": {"B": other, "C": {"type": "null"}},
    },
    st.recursive(_LEAVES, _larger, max_leaves=6),
    st.recursive(_LEAVES, _larger, max_leaves=2),
    st.just({"type": "object", "properties": {"a": {"$ref": "#/definitions/C"}}}) | _LEAVES,
).map(lambda schema: json.loads(json.dumps(schema)))
"""Of an object with the property `a`: most keywords that a provider takes, some that none does.
As a client's body gives it: no object in two places."""
