"""Whether an answer is valid against its request's schema, whatever that schema costs."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dragoman.policies.validity import judge

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1, "pattern": "^[A-Z]"},
        "age": {"type": "integer", "minimum": 0},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "uniqueItems": True},
        "next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}
ADA = {"name": "Ada", "age": 36}


@pytest.mark.parametrize(
    ("value", "is_valid"),
    [
        (ADA, True),
        (ADA | {"next": ADA | {"next": None}, "tags": ["a", "b"]}, True),
        (ADA | {"age": -1}, False),
        (ADA | {"age": "36"}, False),
        (ADA | {"name": "ada"}, False),
        (ADA | {"more": 1}, False),
        (ADA | {"tags": ["a", "a"]}, False),
        (ADA | {"next": {"name": "B"}}, False),
        ({"name": "Ada"}, False),
        ([], False),
    ],
)
def test_what_fits_is_told_from_what_does_not(value: Any, *, is_valid: bool) -> None:
    assert judge(value, PERSON) == ("valid" if is_valid else "invalid")


@pytest.mark.parametrize(
    ("items", "is_valid"),
    [
        ([1, 1.0], False),
        ([1, True], True),
        ([0, False, [], {}], True),
        ([{"a": [1]}, {"a": [1.0]}], False),
    ],
)
def test_items_are_compared_by_what_they_say(items: list[Any], *, is_valid: bool) -> None:
    assert judge(items, {"uniqueItems": True}) == ("valid" if is_valid else "invalid")


def doubling(levels: int) -> dict[str, Any]:
    """As many paths as two to the power of `levels`."""
    defs: dict[str, Any] = {
        f"a{i}": {"allOf": [{"$ref": f"#/$defs/a{i + 1}"}] * 2} for i in range(levels)
    }
    return {"$ref": "#/$defs/a0", "$defs": defs | {f"a{levels}": {"type": "object"}}}


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


TWICE = {"allOf": [{"items": {"$ref": "#"}}, {"items": {"$ref": "#"}}]}
BEYOND: dict[str, tuple[Any, Any]] = {
    "itself": ({}, {"$ref": "#"}),
    "doubling": ({}, doubling(60)),
    "doubling_by_depth": (nested(60), TWICE),
    "deep": (nested(900), {"items": {"$ref": "#"}}),
    "remote": ({}, {"$ref": "http://127.0.0.1:9/x.json"}),
    "file": ({}, {"$ref": "file:///etc/hostname"}),
    "nowhere": ({}, {"$ref": "#/$defs/none"}),
    "draft_inside": ({}, {"$defs": {"a": {"$schema": "http://json-schema.org/draft-07/schema#"}}}),
    "names_by_pattern": ({"a": 1}, {"patternProperties": {"(a+)+$": {}}}),
    "lookahead": ("a", {"pattern": "(?=a)a"}),
    "no_type": ({}, {"type": "person"}),
    "no_number": (5, {"minimum": "few"}),
    "by_nothing": (5, {"multipleOf": 0}),
    "long": ([{}] * 30_000, {"items": {"type": "object", "properties": {"a": {}}}}),
}


@pytest.mark.parametrize(("value", "schema"), BEYOND.values(), ids=BEYOND)
def test_what_cannot_be_told_is_not_guessed(value: Any, schema: dict[str, Any]) -> None:
    assert judge(value, schema) == "unknown"


def test_a_pattern_that_cannot_be_read_is_in_no_log(capfd: pytest.CaptureFixture[str]) -> None:
    assert judge("a", {"pattern": "(?=secret)a"}) == "unknown"
    assert capfd.readouterr() == ("", "")


def test_a_pattern_takes_no_longer_than_its_text() -> None:
    assert judge("a" * 50_000 + "!", {"pattern": "^(a+)+$"}) == "invalid"
    many = [{"n": i} for i in range(5_000)]
    assert judge(many, {"uniqueItems": True}) == "valid"


scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=4)
)
trees = st.recursive(
    scalars, lambda t: st.lists(t, max_size=4) | st.dictionaries(st.text(max_size=9), t, max_size=4)
)
words = st.sampled_from(
    ["type", "items", "properties", "allOf", "not", "$ref", "$id", "enum", "required", "pattern",
     "uniqueItems", "unevaluatedProperties", "if", "then", "$anchor", "$dynamicRef", "contains"]
)  # fmt: skip
schemas = st.recursive(
    scalars | st.sampled_from(["#", "#/items", "object", "array"]),
    lambda t: st.lists(t, max_size=3) | st.dictionaries(words, t, max_size=4),
)


@settings(max_examples=150, deadline=None)
@given(value=trees, schema=st.dictionaries(words, schemas, max_size=4))
def test_whatever_a_client_calls_a_schema(value: Any, schema: dict[str, Any]) -> None:
    assert judge(value, schema) in {"valid", "invalid", "unknown"}
    assert judge(json.loads(json.dumps(value)), {}) == "valid"
