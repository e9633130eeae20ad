"""Gemini's subset of OpenAPI's schemas, read as JSON Schema."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.dialects.gemini_generate.schemas import to_json_schema
from dragoman.ir import Json
from tests.json_schemas import KINDS, accepts

STRING = {"type": "STRING"}
READ: list[tuple[Json, Json]] = [
    ({"type": "STRING", "nullable": True}, {"type": ["string", "null"]}),
    (
        {"type": "STRING", "format": "enum", "enum": ["a"], "nullable": True},
        {"type": ["string", "null"], "enum": ["a", None]},
    ),
    (
        {"any_of": [STRING], "nullable": True},
        {"anyOf": [{"type": "string"}, {"type": "null"}]},
    ),
    (
        {"ref": "#/defs/Pet", "nullable": True, "defs": {"Pet": STRING}},
        {
            "anyOf": [{"$ref": "#/$defs/Pet"}, {"type": "null"}],
            "$defs": {"Pet": {"type": "string"}},
        },
    ),
    ({"nullable": True}, {}),
    ({"type": "TYPE_UNSPECIFIED", "title": "t"}, {"title": "t"}),
    (
        {"type": "ARRAY", "items": STRING, "minItems": "1", "max_items": 3},
        {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 3},
    ),
    ({"type": "ARRAY", "minItems": "many"}, {"type": "array", "minItems": "many"}),
    (
        {"type": "INTEGER", "format": "enum", "enum": ["101", "x"]},
        {"type": "integer", "enum": [101, "x"]},
    ),
    ({"type": "NUMBER", "enum": ["1.5", "2"]}, {"type": "number", "enum": [1.5, 2]}),
    ({"type": "STRING", "enum": ["101"]}, {"type": "string", "enum": ["101"]}),
    (
        {"type": "OBJECT", "properties": {"nullable": STRING, "any_of": STRING}},
        {
            "type": "object",
            "properties": {"nullable": {"type": "string"}, "any_of": {"type": "string"}},
        },
    ),
    (
        {
            "type": "OBJECT",
            "properties": {"a": STRING, "b": STRING},
            "property_ordering": ["b", "none"],
        },
        {"type": "object", "properties": {"b": {"type": "string"}, "a": {"type": "string"}}},
    ),
    (
        {"type": ["STRING"], "enum": ["1"]},
        {"type": ["STRING"], "enum": ["1"]},
    ),
    (
        {"type": "OBJECT", "additional_properties": STRING},
        {"type": "object", "additionalProperties": {"type": "string"}},
    ),
]


@pytest.mark.parametrize(("schema", "meant"), READ)
def test_a_schema_is_read_as_what_it_means_and_left_alone(schema: Json, meant: Json) -> None:
    before = copy.deepcopy(schema)

    found = to_json_schema(schema)
    assert found == meant
    assert list(found.get("properties", ())) == list(meant.get("properties", ()))
    assert schema == before


SCALARS = st.one_of(
    st.just({"type": "STRING"}),
    st.just({"type": "STRING", "format": "enum", "enum": ["a", "b"]}),
    st.just({"type": "STRING", "minLength": "2"}),
    st.just({"type": "INTEGER", "enum": ["1", "2"]}),
    st.just({"type": "BOOLEAN"}),
    st.just({"type": "TYPE_UNSPECIFIED"}),
)


def _larger(inner: st.SearchStrategy[Json]) -> st.SearchStrategy[Json]:
    names = st.sampled_from(["a", "nullable"])
    return st.one_of(
        st.builds(
            lambda one, n: {"type": "ARRAY", "items": one, "minItems": n}, inner, st.just("1")
        ),
        st.builds(
            lambda found: {"type": "OBJECT", "properties": found, "required": list(found)},
            st.dictionaries(names, inner, max_size=2),
        ),
        st.builds(
            lambda found, key: {key: found},
            st.lists(inner, min_size=1, max_size=2),
            st.sampled_from(["anyOf", "any_of"]),
        ),
        st.builds(lambda one: {**one, "nullable": True}, inner),
    )


SCHEMAS = st.recursive(SCALARS, _larger, max_leaves=5)
VALUES = st.recursive(
    st.sampled_from([None, True, 1, 2, 3, "a", "b", "ab", "1"]),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2),
        st.dictionaries(st.sampled_from(["a", "nullable"]), inner, max_size=2),
    ),
    max_leaves=4,
)


@given(SCHEMAS, VALUES)
def test_it_accepts_the_same_values(schema: Json, value: Any) -> None:
    assert accepts(to_json_schema(schema), value) == _accepts(schema, value)


def _accepts(schema: Json, value: Any) -> bool:
    """By Google's rules: null where `nullable` says so, numbers of `enum` written as strings."""
    if value is None and schema.get("nullable"):
        return True
    kind = schema.get("type", "TYPE_UNSPECIFIED").lower()
    if kind in KINDS and type(value) not in KINDS[kind]:
        return False
    if "enum" in schema and str(value) not in schema["enum"]:
        return False
    branches = schema.get("anyOf", schema.get("any_of"))
    if branches is not None and not any(_accepts(one, value) for one in branches):
        return False
    return _contains(schema, value)


def _contains(schema: Json, value: Any) -> bool:
    if isinstance(value, str):
        return len(value) >= int(schema.get("minLength", 0))
    if isinstance(value, list):
        items = schema.get("items", {})
        return len(value) >= int(schema.get("minItems", 0)) and all(
            _accepts(items, v) for v in value
        )
    if isinstance(value, dict):
        known = schema.get("properties", {})
        needed = all(name in value for name in schema.get("required", ()))
        return needed and all(_accepts(known.get(name, {}), one) for name, one in value.items())
    return True
