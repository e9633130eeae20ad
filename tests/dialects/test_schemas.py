"""Schemas for providers that take a part of JSON Schema only: one case a rule."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from dragoman.dialects.registry import client_dialect
from dragoman.dialects.schema_subsets import CLAUDE, GEMINI, OPENAI, Subset
from dragoman.dialects.schemas import fit
from dragoman.errors import InvalidRequest, Unrepresentable
from dragoman.ir import Json
from dragoman.ir.losses import Losses


def _object(*, required: bool = True, **properties: Any) -> Json:
    needed = {"required": list(properties)} if required and properties else {}
    return {"type": "object", "properties": properties, **needed}


def _closed(**properties: Any) -> Json:
    return {**_object(**properties), "additionalProperties": False}


STRING: Json = {"type": "string"}
TAGGED = [_object(t={"const": word}) for word in "ab"]
CASES: dict[str, tuple[Subset, Json, Json, list[str]]] = {
    "an object is closed": (CLAUDE, _object(a=_object()), _closed(a=_closed()), []),
    "one that may be null too": (
        CLAUDE,
        {**_object(a=STRING), "type": ["object", "null"]},
        {**_closed(a=STRING), "type": ["object", "null"]},
        [],
    ),
    "everywhere": (
        CLAUDE,
        {"type": "array", "items": {"anyOf": [_object(), {"type": "null"}]}},
        {"type": "array", "items": {"anyOf": [_closed(), {"type": "null"}]}},
        [],
    ),
    "Gemini's stay open": (GEMINI, _object(a=_object()), _object(a=_object()), []),
    "a map stays one": (
        GEMINI,
        {"type": "object", "additionalProperties": STRING},
        {"type": "object", "additionalProperties": STRING},
        [],
    ),
    "bounds are told": (
        CLAUDE,
        {"type": "string", "description": "A code.", "minLength": 2, "pattern": "^a+$"},
        {"type": "string", "description": 'A code.\n\n{"minLength":2}', "pattern": "^a+$"},
        ["$.s.minLength"],
    ),
    "values of a keyword it does not take": (
        CLAUDE,
        {"type": "array", "items": {"type": "string", "format": "byte"}, "minItems": 2},
        {
            "type": "array",
            "items": {"type": "string", "description": '{"format":"byte"}'},
            "description": '{"minItems":2}',
        },
        ["$.s.items.format", "$.s.minItems"],
    ),
    "a pattern it cannot follow": (
        CLAUDE,
        {"pattern": r"(?=a)"},
        {"description": '{"pattern":"(?=a)"}'},
        ["$.s.pattern"],
    ),
    "notes are left out": (
        OPENAI,
        {**_closed(a={**STRING, "default": "x"}), "$schema": "https://json-schema.org/"},
        _closed(a=STRING),
        ["$.s.properties.a.default", "$.s.$schema"],
    ),
    "const as enum": (GEMINI, {"const": "a"}, {"enum": ["a"]}, []),
    "no other word for a boolean": (
        GEMINI,
        {"const": True},
        {"description": '{"const":true}'},
        ["$.s.const"],
    ),
    "null beside words": (
        GEMINI,
        {"type": ["string", "null"], "enum": ["a", None], "title": "T"},
        {"title": "T", "anyOf": [{"type": "string", "enum": ["a"]}, {"type": "null"}]},
        [],
    ),
    "null that its type rules out": (
        GEMINI,
        {"type": "string", "enum": ["a", None]},
        {"anyOf": [{"type": "string", "enum": ["a"]}]},
        [],
    ),
    "null by its type": (
        GEMINI,
        {"type": ["null"], "enum": ["a", None]},
        {"anyOf": [{"type": "null"}]},
        [],
    ),
    "null alone": (GEMINI, {"const": None}, {"anyOf": [{"type": "null"}]}, []),
    "one of those that a word tells apart": (
        GEMINI,
        {"oneOf": TAGGED},
        {"anyOf": [_object(t={"enum": ["a"]}), _object(t={"enum": ["b"]})]},
        [],
    ),
    "one of those that no word tells apart": (
        GEMINI,
        {"oneOf": [_object(t=STRING), _object(t={"type": "null"})]},
        {"anyOf": [_object(t=STRING), _object(t={"type": "null"})]},
        ["$.s.oneOf"],
    ),
    "one of several types": (
        CLAUDE,
        {"oneOf": [STRING, {"type": "null"}]},
        {"anyOf": [STRING, {"type": "null"}]},
        [],
    ),
    "one of those that overlap": (
        CLAUDE,
        {"oneOf": [{"type": "integer"}, {"type": "number"}]},
        {"anyOf": [{"type": "integer"}, {"type": "number"}]},
        ["$.s.oneOf"],
    ),
    "all of one": (
        OPENAI,
        _closed(a={"allOf": [STRING]}),
        _closed(a={"anyOf": [STRING]}),
        [],
    ),
    "all of what are no objects": (
        CLAUDE,
        {"allOf": [{"type": "integer"}, {"enum": [1, 2]}]},
        {"allOf": [{"type": "integer"}, {"enum": [1, 2]}]},
        [],
    ),
    "a tuple of older drafts": (
        GEMINI,
        {"type": "array", "items": [STRING]},
        {"type": "array", "prefixItems": [STRING]},
        [],
    ),
    "an order of properties": (
        CLAUDE,
        {**_object(a=STRING, b=STRING), "propertyOrdering": ["b", "a"]},
        {**_closed(b=STRING, a=STRING), "required": ["a", "b"]},
        [],
    ),
    "closed by another word": (
        CLAUDE,
        {**_object(a=STRING), "unevaluatedProperties": False},
        _closed(a=STRING),
        [],
    ),
    "a reference stands alone": (
        GEMINI,
        {"$ref": "#/$defs/A", "description": "d", "$defs": {"A": STRING}},
        {"description": "d", "anyOf": [{"$ref": "#/$defs/A"}], "$defs": {"A": STRING}},
        [],
    ),
    "definitions of two drafts": (
        OPENAI,
        {
            **_closed(a={"$ref": "#/definitions/A"}, b={"$ref": "#/$defs/A"}),
            "$defs": {"A": STRING, "A_2": {"type": "string"}},
            "definitions": {"A": {"type": "null"}},
        },
        {
            **_closed(a={"$ref": "#/$defs/A_2_"}, b={"$ref": "#/$defs/A"}),
            "$defs": {"A": STRING, "A_2": STRING, "A_2_": {"type": "null"}},
        },
        [],
    ),
    "what is referred to is defined": (
        CLAUDE,
        _object(a=_object(b=STRING), c={"$ref": "#/properties/a"}),
        {
            **_closed(a={"$ref": "#/$defs/shared"}, c={"$ref": "#/$defs/shared"}),
            "$defs": {"shared": _closed(b=STRING)},
        },
        [],
    ),
    "names of definitions are escaped": (
        GEMINI,
        {"$ref": "#/$defs/a~1b%20c", "$defs": {"a/b c": STRING}},
        {"$ref": "#/$defs/a~1b c", "$defs": {"a/b c": STRING}},
        [],
    ),
    "a schema in an optional property of itself": (
        GEMINI,
        _object(required=False, a={"$ref": "#"}),
        _object(required=False, a={"$ref": "#"}),
        [],
    ),
    "or in any": (OPENAI, _closed(a={"$ref": "#"}), _closed(a={"$ref": "#"}), []),
}


@pytest.mark.parametrize(("subset", "schema", "fitting", "reported"), CASES.values(), ids=CASES)
def test_a_schema_is_made_to_fit(
    subset: Subset, schema: Json, fitting: Json, reported: list[str]
) -> None:
    before = copy.deepcopy(schema)
    losses = Losses("there")

    assert fit(schema, "$.s", subset, losses) == fitting
    assert losses.paths == reported
    assert schema == before


REFUSED: dict[str, tuple[Subset, Json, str]] = {
    "an object with properties of any name": (
        CLAUDE,
        _object(a={"type": "object", "additionalProperties": STRING}),
        "$.s.properties.a.additionalProperties",
    ),
    "an object of no known properties": (CLAUDE, _object(a={"type": "object"}), "$.s.properties.a"),
    "a property that is required and not named": (
        CLAUDE,
        {**_object(a=STRING), "required": ["a", "b"]},
        "$.s.required",
    ),
    "an object said in several places": (
        CLAUDE,
        {"allOf": [_object(a=STRING), {"$ref": "#/$defs/B"}], "$defs": {"B": _object(b=STRING)}},
        "$.s.allOf",
    ),
    "an object and a reference": (
        CLAUDE,
        {**_object(a=STRING), "$ref": "#/$defs/B", "$defs": {"B": _object(b=STRING)}},
        "$.s.$ref",
    ),
    "an object and a union of them": (
        CLAUDE,
        {**_object(a=STRING), "anyOf": [_object(b=STRING), _object(c=STRING)]},
        "$.s.anyOf",
    ),
    "what must not be": (CLAUDE, {"not": {"type": "object"}}, "$.s.not"),
    "conditions": (OPENAI, _closed(a={"if": {}, "then": {}}), "$.s.properties.a.if"),
    "all of several": (GEMINI, {"allOf": [STRING, {"minLength": 1}]}, "$.s.allOf"),
    "two unions": (GEMINI, {"anyOf": [STRING], "oneOf": [STRING]}, "$.s.oneOf"),
    "a union beside a reference": (
        GEMINI,
        {"$ref": "#/$defs/A", "anyOf": [STRING], "$defs": {"A": STRING}},
        "$.s.anyOf",
    ),
    "values that are no scalars": (GEMINI, {"enum": [[1]]}, "$.s.enum"),
    "a property that is not required": (
        OPENAI,
        _object(required=False, a=STRING),
        "$.s.properties.a",
    ),
    "no object": (OPENAI, STRING, "$.s"),
    "a schema that holds itself": (
        CLAUDE,
        _object(required=False, a={"$ref": "#"}),
        "$.s.properties.a.$ref",
    ),
    "one that must": (GEMINI, _object(a={"$ref": "#"}), "$.s.properties.a.$ref"),
    "one that is nothing else": (
        OPENAI,
        {**_closed(a={"$ref": "#/$defs/A"}), "$defs": {"A": {"$ref": "#/$defs/A"}}},
        "$.s.$defs.A.$ref",
    ),
    "a reference to elsewhere": (GEMINI, {"$ref": "https://example.com/"}, "$.s.$ref"),
    "a reference to what is no schema": (
        GEMINI,
        {"properties": {"a": {"$ref": "#/properties"}}},
        "$.s.properties.a.$ref",
    ),
}


@pytest.mark.parametrize(("subset", "schema", "path"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_said_is_refused_by_its_path(
    subset: Subset, schema: Json, path: str
) -> None:
    with pytest.raises(Unrepresentable) as refusal:
        fit(schema, "$.s", subset, Losses("there"))

    assert refusal.value.path == path


@pytest.mark.parametrize("words", [1, "#/$defs/none", "#/required/0", "#/required/7", "#/type/a"])
def test_a_reference_that_leads_nowhere_is_the_clients_error(words: Any) -> None:
    schema = {"type": "object", "required": ["a"], "properties": {"a": {"$ref": words}}}
    with pytest.raises(InvalidRequest) as error:
        fit(schema, "$.s", GEMINI, Losses("there"))

    assert error.value.path == "$.s.properties.a.$ref"


@pytest.mark.parametrize("target", ["anthropic_messages", "bedrock_converse"])
def test_a_strict_tool_that_claude_cannot_hold_goes_without_strict(target: str) -> None:
    losses = Losses(target)
    function = {"name": "t", "parameters": _closed(a={"$ref": "#"}), "strict": True}
    tools = [{"type": "function", "function": function}]
    asked = {"model": "m", "messages": [{"role": "user", "content": "a"}], "tools": tools}
    request = client_dialect("openai_chat").decode_request(asked)
    body = client_dialect(target).encode_request(request, losses)

    tool = body["toolConfig"]["tools"][0]["toolSpec"] if "toolConfig" in body else body["tools"][0]
    assert "strict" not in tool
    assert tool.get("input_schema", tool.get("inputSchema", {}).get("json")) == _closed(
        a={"$ref": "#"}
    )
    assert losses.paths == ["$.tools[0].function.strict"]


def _strict_tool(parameters: Json) -> Json:
    tool = {"name": "t", "input_schema": parameters, "strict": True}
    turn = {"role": "user", "content": "a"}
    return {"model": "m", "max_tokens": 9, "messages": [turn], "tools": [tool]}


@pytest.mark.parametrize("target", ["openai_chat", "openai_responses"])
def test_a_strict_tool_that_openai_cannot_hold_goes_without_strict(target: str) -> None:
    losses = Losses(target)
    source, dialect = client_dialect("anthropic_messages"), client_dialect(target)
    parameters = {**_object(required=False, a=STRING), "additionalProperties": False}
    body = dialect.encode_request(source.decode_request(_strict_tool(parameters)), losses)

    tool = body["tools"][0].get("function", body["tools"][0])
    assert tool["parameters"] == parameters
    assert not tool.get("strict")
    assert losses.paths == ["$.tools[0].strict"]


@pytest.mark.parametrize("target", ["openai_chat", "openai_responses"])
def test_a_strict_tool_that_openai_can_hold_is_held(target: str) -> None:
    losses = Losses(target)
    source, dialect = client_dialect("anthropic_messages"), client_dialect(target)
    given = _closed(a={**STRING, "maxLength": 3})
    body = dialect.encode_request(source.decode_request(_strict_tool(given)), losses)

    tool = body["tools"][0].get("function", body["tools"][0])
    assert tool["parameters"] == _closed(a={**STRING, "description": '{"maxLength":3}'})
    assert tool["strict"] is True
    assert losses.paths == ["$.tools[0].input_schema.properties.a.maxLength"]


@pytest.mark.parametrize("given", [{"parameters": {"type": "object"}}, {}])
@pytest.mark.parametrize("strict", [True, False])
def test_a_tool_is_fitted_for_claude_where_it_is_strict(strict: bool, given: Json) -> None:  # noqa: FBT001 - a case
    function = {"name": "t", **given, "strict": strict}
    tools = [{"type": "function", "function": function}]
    asked = {"model": "m", "messages": [{"role": "user", "content": "a"}], "tools": tools}
    request = client_dialect("openai_chat").decode_request(asked)

    for target, tool in (
        ("anthropic_messages", "input_schema"),
        ("bedrock_converse", "inputSchema"),
    ):
        body = client_dialect(target).encode_request(request, Losses(target))
        found = body.get("tools") or [one["toolSpec"] for one in body["toolConfig"]["tools"]]
        schema = found[0][tool].get("json", found[0][tool])
        assert schema == (_closed() if strict else given.get("parameters", _object()))
