"""Schemas as a provider takes them: what fits them fits the client's, up to what is reported."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.dialects import ChatDialect
from dragoman.dialects.schema_subsets import CLAUDE, GEMINI, OPENAI, Subset
from dragoman.dialects.schemas import fit
from dragoman.errors import DragomanError, Unrepresentable
from dragoman.ir import Json, Message, Request, ResponseFormat, Text, Tool
from dragoman.ir.losses import Losses
from tests.json_schemas import SCHEMAS, VALUES, accepts
from tests.properties.cases import DIALECTS
from tests.properties.test_cost import GROWTH, MOST

SUBSETS = {"claude": CLAUDE, "openai": OPENAI, "gemini": GEMINI}
by_subset = pytest.mark.parametrize("subset", SUBSETS.values(), ids=SUBSETS)


def _fitted(schema: Json, subset: Subset) -> tuple[Json, list[str]] | None:
    """The schema and what is reported; None where it is refused, by its path."""
    losses = Losses("there")
    try:
        return fit(schema, "$", subset, losses), losses.paths
    except Unrepresentable as refusal:
        assert refusal.path
        return None


@by_subset
@given(SCHEMAS, st.builds(lambda value: {"a": value}, VALUES) | VALUES)
def test_it_accepts_the_same_values(subset: Subset, schema: Json, value: Any) -> None:
    """Of the client's schema as closed as the provider wants it, and without what is reported."""
    before = copy.deepcopy(schema)
    found = _fitted(schema, subset)
    assert schema == before
    if found is not None:
        less = _without(schema, set(found[1]))
        assert accepts(found[0], value) == accepts(less, value, closed=subset.closed)


def _without(schema: Any, reported: set[str], path: str = "$") -> Any:
    """`schema` without the keywords at the paths reported; `oneOf` is then any of them."""
    if isinstance(schema, list):
        return [_without(one, reported, f"{path}[{i}]") for i, one in enumerate(schema)]
    if not isinstance(schema, dict):
        return schema
    kept = {n: _without(one, reported, f"{path}.{n}") for n, one in schema.items()}
    lost = {name for name in kept if f"{path}.{name}" in reported}
    more = {"anyOf": kept["oneOf"]} if "oneOf" in lost else {}
    return {**{name: one for name, one in kept.items() if name not in lost}, **more}


@by_subset
@given(SCHEMAS)
def test_what_fits_stays(subset: Subset, schema: Json) -> None:
    if (found := _fitted(schema, subset)) is not None:
        assert _fitted(found[0], subset) == (found[0], [])


@by_subset
@given(SCHEMAS)
def test_bounds_are_told_to_the_model(subset: Subset, schema: Json) -> None:
    fitting, reported = _fitted(schema, subset) or ({}, [])

    text = json.dumps(fitting)
    assert all(path.rpartition(".")[2] in ("oneOf", *_words(text)) for path in reported)


def _words(text: str) -> list[str]:
    words = ("const", "enum", "minLength", "pattern", "minimum", "maximum", "minItems", "maxItems")
    return [word for word in words if f'\\"{word}\\":' in text]


KEYWORDS = st.sampled_from(
    [
        "type", "properties", "required", "items", "prefixItems", "anyOf", "oneOf", "allOf", "enum",
        "const", "$ref", "$defs", "definitions", "additionalProperties", "propertyOrdering", "not",
        "minItems", "min_items", "nullable", "format", "pattern", "description", "any_of", "ref",
        "unevaluatedProperties", "a",
    ]
)  # fmt: skip
WORDS = st.sampled_from(
    ["object", "string", "OBJECT", "null", "a", "#", "#/$defs/a", "#/items", "1"]
)
ANYTHING = st.recursive(
    WORDS | st.none() | st.booleans() | st.integers(-1, 3) | st.just(0.5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYWORDS, inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)
@given(st.dictionaries(KEYWORDS, ANYTHING, max_size=5))
def test_anything_is_written_or_refused(dialect: ChatDialect, schema: Json) -> None:
    told = Message(role="user", parts=(Text(content="a"),), at="$.messages[0]")
    shape = ResponseFormat(kind="json_schema", schema=schema, at="$.f", schema_at="$.f.schema")
    tool = Tool(name="t", parameters=schema, strict=True, strict_at="$.s", parameters_at="$.p")
    for asked in (
        Request(model="m", messages=(told,), response_format=shape),
        Request(model="m", messages=(told,), tools=(tool,)),
    ):
        try:
            body = dialect.encode_request(asked, Losses(dialect.name))
        except DragomanError as refusal:
            assert refusal.path
            continue
        assert dialect.encode_request(dialect.decode_request(body), Losses(dialect.name)) == body


@pytest.mark.parametrize("field", ["responseSchema", "responseJsonSchema"])
@given(st.dictionaries(KEYWORDS, ANYTHING, max_size=5))
def test_anything_of_gemini_s_is_read_and_written(field: str, schema: Json) -> None:
    config = {"responseMimeType": "application/json", field: schema}
    body = {"contents": [{"role": "user", "parts": [{"text": "a"}]}], "generationConfig": config}
    request = DIALECTS["gemini_generate"].decode_request(body)
    for name, dialect in DIALECTS.items():
        try:
            dialect.encode_request(request, Losses(name))
        except DragomanError as refusal:
            assert refusal.path


# --- hostile schemas ----------------------------------------------------------------------------


def _nested(word: str, levels: int) -> Json:
    found: Json = {"type": "string"}
    for _ in range(levels):
        found = {word: found}
    return found


@by_subset
@pytest.mark.parametrize("word", ["items", "not", "additionalProperties"])
def test_a_schema_too_deep_is_refused(subset: Subset, word: str) -> None:
    with pytest.raises(Unrepresentable):
        fit(_nested(word, 5000), "$", subset, Losses("there"))


def _defined(n: int, one: Callable[[int], Json]) -> Json:
    return {
        "type": "object",
        "properties": {"a": {"$ref": "#/$defs/0"}},
        "required": ["a"],
        "$defs": {str(i): one(i) for i in range(n)},
    }


def _bomb(n: int) -> Json:
    """Each definition holds the next one twice: as a tree it is of the size 2**n."""
    end: Json = {"type": "string"}
    both = lambda i: {"anyOf": [{"$ref": f"#/$defs/{i + 1}"}] * 2}  # noqa: E731 - reads as a formula
    return _defined(n, lambda i: both(i) if i + 1 < n else end)


def _fan(n: int) -> Json:
    """Many references to places that are no definitions."""
    known = {f"p{i}": {"type": "string"} for i in range(n)}
    known |= {f"r{i}": {"$ref": f"#/properties/p{i}"} for i in range(n)}
    return {"type": "object", "properties": known, "required": list(known)}


def _long_names(n: int) -> Json:
    """A name as long as the rest together, above a bound in each of many properties."""
    bound: Json = {"type": "string", "minLength": 1}
    known = {f"p{i}": dict(bound) for i in range(n)}
    inner: Json = {"type": "object", "properties": known, "required": list(known)}
    long = "x" * (10 * n)
    return {"type": "object", "properties": {long: inner}, "required": [long]}


def _tagged(n: int) -> Json:
    """One of many, told apart by a word."""
    one = lambda i: {"type": "object", "properties": {"t": {"const": str(i)}}, "required": ["t"]}  # noqa: E731
    both: Json = {"oneOf": [one(i) for i in range(n)]}
    return {"type": "object", "properties": {"a": both}, "required": ["a"]}


HOSTILE = {f.__name__: f for f in (_bomb, _fan, _long_names, _tagged)}


@by_subset
@pytest.mark.parametrize("shape", HOSTILE.values(), ids=HOSTILE)
def test_cost_is_linear(subset: Subset, shape: Callable[[int], Json]) -> None:
    small, large = shape(200), shape(200 * GROWTH)

    assert _cpu_seconds(large, subset) < MOST * max(_cpu_seconds(small, subset), 1e-4)


def _cpu_seconds(schema: Json, subset: Subset) -> float:
    return min(_timed(schema, subset) for _ in range(3))


def _timed(schema: Json, subset: Subset) -> float:
    before = time.process_time()
    fit(schema, "$", subset, Losses("there"))
    return time.process_time() - before


@by_subset
def test_what_is_reported_stays_short(subset: Subset) -> None:
    losses = Losses("there")
    fit(_long_names(1000), "$.schema", subset, losses)

    assert losses.paths[0] == "$.schema"  # the name leads further than a path may
    assert len(losses.paths) <= 65


@by_subset
def test_a_long_circle_is_found(subset: Subset) -> None:
    schema = _defined(3000, lambda i: {"anyOf": [{"$ref": f"#/$defs/{(i + 1) % 3000}"}]})
    with pytest.raises(Unrepresentable) as refusal:
        fit(schema, "$", subset, Losses("there"))

    assert str(refusal.value.path).endswith(".$ref")
