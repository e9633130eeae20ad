"""Schemas for providers that take a part of JSON Schema only."""

from __future__ import annotations

import copy

import pytest

from dragoman.dialects.schemas import close_objects
from dragoman.errors import Unrepresentable

OPEN = {
    "type": "object",
    "properties": {
        "place": {"$ref": "#/$defs/place"},
        "list": {"type": "array", "items": {"type": "object", "properties": {}}},
        "either": {"anyOf": [{"type": "object"}, {"type": "null"}]},
    },
    "$defs": {"place": {"type": "object", "properties": {"city": {"type": "string"}}}},
}


def test_every_object_is_closed_and_the_input_left_alone() -> None:
    before = copy.deepcopy(OPEN)
    closed = close_objects(OPEN, "$", "d")

    assert closed["additionalProperties"] is False
    assert closed["properties"]["list"]["items"]["additionalProperties"] is False
    assert closed["properties"]["either"]["anyOf"][0]["additionalProperties"] is False
    assert closed["$defs"]["place"]["additionalProperties"] is False
    assert closed["properties"]["place"] == {"$ref": "#/$defs/place"}
    assert before == OPEN
    assert close_objects(closed, "$", "d") == closed


def test_an_object_that_must_be_open_is_refused_by_its_path() -> None:
    schema = {"properties": {"a": {"type": "object", "additionalProperties": {"type": "string"}}}}
    with pytest.raises(Unrepresentable) as refusal:
        close_objects(schema, "$.schema", "d")

    assert refusal.value.path == "$.schema.properties.a.additionalProperties"
