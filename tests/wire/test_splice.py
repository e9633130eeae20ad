"""Splicing: the edits, and not one byte of the rest."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.errors import InvalidJson, InvalidRequest
from dragoman.wire.json import decode, decode_fields
from dragoman.wire.splice import splice, splice_simple
from tests.strategies import json_objects, json_values

RAW = b'{ "z": 1.50, "model": "a", "messages": [ {"x": "\\u00e9\xc3\xa9", "n": 1E2} ], "n": null}'


def test_a_field_is_replaced_where_it_stands() -> None:
    assert splice(RAW, {"model": "b"}) == (
        b'{"z":1.50,"model":"b","messages":[ {"x": "\\u00e9\xc3\xa9", "n": 1E2} ],"n":null}'
    )


def test_a_new_field_comes_last_and_none_removes() -> None:
    edits = {"z": None, "messages": None, "absent": None, "stream_options": {"include_usage": True}}

    assert splice(RAW, edits) == (b'{"model":"a","n":null,"stream_options":{"include_usage":true}}')


def test_raw_bytes_may_be_put_in() -> None:
    assert splice(b'{"a":1}', {"a": msgspec.Raw(b"null"), "b": msgspec.Raw(b"[ 2 ]")}) == (
        b'{"a":null,"b":[ 2 ]}'
    )


@pytest.mark.parametrize(
    "raw",
    [b'{"model":"a","model":"b"}', b'{"model":"a","\\u006dodel":"b"}', b'{"x":1,"model":2,"x":3}'],
)
def test_a_second_value_is_never_smuggled_through(raw: bytes) -> None:
    with pytest.raises(InvalidJson, match="more than once"):
        splice(raw, {"model": "c"})


@pytest.mark.parametrize("raw", [b"", b"{", b'{"a":1} x', b'{"a":' + b"[" * 100_000])
def test_what_is_not_json_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidJson):
        splice(raw, {"model": "c"})


def test_what_is_not_an_object_is_refused() -> None:
    with pytest.raises(InvalidRequest):
        splice(b"[1]", {})


@given(json_objects, st.dictionaries(st.sampled_from(["a", "b", "model"]), json_values | st.none()))
def test_splicing_is_dictionary_update(body: dict[str, Any], edits: dict[str, Any]) -> None:
    raw = json.dumps(body, indent=1).encode()
    wanted = {k: v for k, v in {**body, **edits}.items() if v is not None or k not in edits}
    spliced = splice(raw, edits)

    assert list(decode(spliced).items()) == list(wanted.items())
    kept = decode_fields(spliced)
    for name, value in decode_fields(raw).items():
        assert name in edits or bytes(kept[name]) == bytes(value)


def test_kept_values_cost_nothing_to_read() -> None:
    """They are skipped, not parsed: even one no parser could hold goes through as it is."""
    assert splice(b'{"a":1e999,"b":1}', {"b": 2}) == b'{"a":1e999,"b":2}'


@pytest.mark.parametrize(
    ("raw", "spliced"),
    [
        (b'{ "model" : "a\\"b" , "n": [1]} ', b'{ "model" : "c" , "n": [1]} '),
        (b'{"n":-1.5e3,"m":null,"model":"a"}', b'{"n":-1.5e3,"m":null,"model":"c"}'),
        (b'{"model":"a","x":{"model":"b"}}', b'{"model":"c","x":{"model":"b"}}'),
        (b'{"x":{"model":"b"},"model":"a"}', None),
        (b'{"mod\\u0065l":"a"}', None),
        (b"{}", None),
        (b"{ }", None),
    ],
)
def test_what_stands_before_anything_nested_is_replaced_at_a_look(
    raw: bytes, spliced: bytes | None
) -> None:
    assert splice_simple(raw, {"model": "c"}) == spliced


def test_a_field_is_only_added_where_it_is_not() -> None:
    edits = {"model": "c", "stream": True}

    assert splice_simple(b'{"model":"a","x":[]} ', edits) == b'{"model":"c","x":[],"stream":true} '
    for there in (b'{"model":"a","x":[],"stream":1}', b'{"model":"a","x":[],"stre\\u0061m":1}'):
        assert splice_simple(there, edits) is None


@given(json_objects, st.dictionaries(st.sampled_from(["a", "b", "model"]), json_values | st.none()))
def test_a_look_splices_as_reading_all_does(body: dict[str, Any], edits: dict[str, Any]) -> None:
    for indent in (None, 1):
        raw = json.dumps({"model": "a", **body, "z": 1}, indent=indent).encode()
        spliced = splice_simple(raw, edits)

        if spliced is not None:
            assert list(decode(spliced).items()) == list(decode(splice(raw, edits)).items())
