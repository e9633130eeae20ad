"""Instances fit their schemas."""

import pytest

from dragoman.simulator.schemas import make_instance

NODE = {
    "type": "object",
    "required": ["v"],
    "properties": {
        "v": {"type": "integer"},
        "next": {"anyOf": [{"$ref": "#/$defs/N"}, {"type": "null"}]},
    },
}


@pytest.mark.parametrize(
    "schema, expected",
    [
        ({"type": "string"}, "sample value"),
        ({"type": "string", "maxLength": 3}, "sam"),
        ({"type": "string", "minLength": 14}, "sample valuexx"),
        ({"type": "string", "format": "date"}, "2026-01-31"),
        ({"const": 5}, 5),
        ({"enum": ["b", "a"]}, "b"),
        ({"type": ["null", "boolean"]}, True),
        ({"type": "null"}, None),
        ({"type": "integer", "exclusiveMinimum": 4}, 5),
        ({"type": "integer", "minimum": 7, "multipleOf": 5}, 10),
        ({"type": "number", "maximum": -2}, -2.0),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 2}, [1, 1]),
        ({"prefixItems": [{"const": 1}], "type": "array", "items": False}, [1]),
        (
            {"allOf": [{"properties": {"a": {"const": 1}}}, {"properties": {"b": {"const": 2}}}]},
            {"a": 1, "b": 2},
        ),
        ({"$ref": "#/$defs/X", "$defs": {"X": {"const": "y"}}}, "y"),
        ({"oneOf": [{"const": 1}, {"const": 2}]}, 1),
    ],
)
def test_instances(schema, expected):
    assert make_instance(schema) == expected


def test_recursion_ends():
    value = make_instance({"$ref": "#/$defs/N", "$defs": {"N": NODE}})
    depth = 0
    while value:
        value = value.get("next")
        depth += 1
    assert 1 < depth < 10
