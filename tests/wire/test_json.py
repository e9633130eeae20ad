"""Bodies that cannot be read whole are refused, with a reason; the rest is read exactly."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.errors import InvalidJson, InvalidRequest
from dragoman.wire.json import MAX_DEPTH, decode, decode_fields, encode
from tests.strategies import json_objects


def _nested(depth: int, opening: str, closing: str) -> bytes:
    """An object with `depth` levels in all."""
    return f'{{"a":{opening * (depth - 1)}{closing * (depth - 1)}}}'.encode()


UNREADABLE = {
    "empty": (b"", "empty"),
    "blank": (b" \r\n\t", "empty"),
    "cut off": (b'{"a": 1', "truncated"),
    "cut off in a string": (b'{"a": "b', "truncated"),
    "no quotes": (b"{a: 1}", r"byte 1"),
    "trailing comma": (b'{"a": 1,}', r"byte 8"),
    "two values": (b'{"a": 1}{', r"trailing characters"),
    "comment": (b'{"a": 1 /* x */}', r"byte 8"),
    "NaN": (b'{"a": NaN}', r"byte 6"),
    "Infinity": (b'{"a": -Infinity}', "byte"),
    "leading zero": (b'{"a": 01}', "byte"),
    "raw control character": (b'{"a": "\n"}', r"byte 7"),
    "byte order mark": (b'\xef\xbb\xbf{"a": 1}', r"byte 0"),
    "UTF-16": ('{"a": 1}'.encode("utf-16"), "byte 0"),
    "number too large": (b'{"a": [1e400]}', "number is out of range"),
    "integer too long": (b'{"a": ' + b"1" * 5000 + b"}", "number is out of range"),
    "invalid UTF-8": (b'{"a": "b", "c": "\xff"}', r"invalid UTF-8 \(byte 17\)"),
    "invalid UTF-8 in a name": (b'{"a\xff": 1}', r"invalid UTF-8 \(byte 3\)"),
    "surrogate in UTF-8": (b'{"a": "\xed\xa0\x80"}', "invalid UTF-8"),
    "lone high surrogate": (rb'{"a": "\ud800"}', "surrogate"),
    "lone high surrogate in text": (rb'{"a": "x \uDBFF y and more"}', "surrogate"),
    "lone low surrogate": (rb'{"a": "\udc00"}', "surrogate"),
    "two high surrogates": (rb'{"a": "\ud800\ud800\udc00"}', "surrogate"),
    "deep objects": (_nested(MAX_DEPTH + 1, '{"a":', "}").replace(b":}", b":1}"), "128 levels"),
    "deep arrays": (_nested(MAX_DEPTH + 1, "[", "]"), "128 levels"),
    "deeper than the stack": (_nested(100_000, "[", "]"), "128 levels"),
    "name twice": (b'{"model": "a", "n": 1, "model": "b"}', r"^\$\.model: .* more than once"),
    "name twice, escaped": (rb'{"model": "a", "mod\u0065l": "b"}', r"^\$\.model: "),
}


@pytest.mark.parametrize(("raw", "reason"), UNREADABLE.values(), ids=UNREADABLE)
def test_unreadable_bodies_say_why(raw: bytes, reason: str) -> None:
    with pytest.raises(InvalidJson, match=reason) as caught:
        decode(raw)
    assert caught.value.status == 400


@pytest.mark.parametrize("raw", [b"[]", b' [{"a": 1}]', b'"text"', b"1", b"null", b"true"])
def test_other_values_than_objects_are_refused(raw: bytes) -> None:
    for read in (decode, decode_fields):
        with pytest.raises(InvalidRequest, match=r"^\$: expected an object$") as caught:
            read(raw)
        assert caught.value.path == "$"


def test_a_pair_of_surrogates_is_one_character() -> None:
    assert decode(rb'{"a": "\ud83d\ude00"}') == {"a": "😀"}


def test_the_deepest_body_is_read() -> None:
    assert decode(_nested(MAX_DEPTH, "[", "]"))["a"] is not None


def test_brackets_in_a_text_are_no_depth() -> None:
    text = "[{" * MAX_DEPTH
    assert decode(encode({"a": text})) == {"a": text}


def test_names_below_the_top_may_repeat() -> None:
    """Only top-level fields are judged by policies; what a provider makes of others is its own."""
    assert decode(b'{"a": {"b": 1, "b": 2}}') == {"a": {"b": 2}}


@given(json_objects)
def test_what_any_writer_wrote_is_read(value: dict[str, Any]) -> None:
    for raw in (encode(value), json.dumps(value).encode(), json.dumps(value, indent=2).encode()):
        assert decode(raw) == value
        assert {k: msgspec.json.decode(v) for k, v in decode_fields(raw).items()} == value
        assert list(decode(raw)) == list(decode_fields(raw)) == list(value)


@given(st.binary(max_size=60) | st.binary(max_size=60).map(lambda b: b'{"a":' + b + b"}"))
def test_no_bytes_break_the_reader(raw: bytes) -> None:
    """Either an object, or one of two errors; what is read can be written."""
    try:
        body = decode(raw)
    except (InvalidJson, InvalidRequest):
        return
    assert decode(encode(body)) == body


def test_fields_keep_their_very_bytes() -> None:
    raw = b'{"b": [ 1.0, 1e3 ] , "a" : "\\u00e9" }'

    assert {k: bytes(v) for k, v in decode_fields(raw).items()} == {
        "b": b"[ 1.0, 1e3 ]",
        "a": b'"\\u00e9"',
    }
