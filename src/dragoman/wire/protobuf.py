"""Protobuf by hand, for the few messages of every request: a third of what building them costs.

Source: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from struct import Struct
from typing import cast

from dragoman.ir import Json

_VARINT, _FIXED_64, _DELIMITED, _FIXED_32 = 0, 1, 2, 5
_SIZES = {_FIXED_64: 8, _FIXED_32: 4}
_MAX_SHIFT = 63
_MAX_DEPTH = 64
"""Of objects and lists in each other."""
_DOUBLE = Struct("<d")
_NULL_VALUE = b"\x08\x00"
_KNOWN: dict[bytes, tuple[str, str | float, int]] = {}
"""Short entries of structs as they were written: name, value and size."""
_MOST_KNOWN = 1024

_NUMBER, _STRING, _BOOL, _OBJECT, _LIST = 2, 3, 4, 5, 6
"""Fields of a `google.protobuf.Value`."""

_FIRST, _SECOND, _TEXT = (number << 3 | _DELIMITED for number in (1, 2, _STRING))
_SHORT = 0x80
"""Lengths below it are one byte."""
_TEXT_ENTRY = b"\x0a%c\x0a%c%b\x12%c\x1a%c%b"
"""An entry of a struct with such lengths: its own, a name with its, a text with its, twice."""

_NUMBER_ENTRY, _NUMBER_BYTES = b"\x0a%c\x0a%c%b\x12\x09\x11%b", 13
"""The same of a number, and what it has beside the name."""

Pieces = list[bytes]
"""A message that is not joined yet, so that a large body is copied once."""


class Malformed(ValueError):
    """Not a protobuf message."""


def read_varint(raw: bytes | bytearray, at: int) -> tuple[int, int]:
    """The number at `at`, and where it ends. Raises `IndexError` or `Malformed`."""
    value, shift = raw[at], 0
    if value < _SHORT:
        return value, at + 1
    value = 0
    while True:
        byte = raw[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 - the bit that says whether another follows
            return value, at
        shift += 7
        if shift > _MAX_SHIFT:
            raise Malformed


def read_fields(raw: bytes | bytearray, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Number, begin and end of each field between `at` and `end`, in their order.

    A varint is given as its own value and -1. Raises `IndexError` or `Malformed`.
    """
    while at < end:
        tag = raw[at]
        at += 1
        if tag >= 0x80:  # noqa: PLR2004 - the bit that says whether another follows
            tag, at = read_varint(raw, at - 1)
        kind = tag & 7
        if kind == _DELIMITED:
            length = raw[at]
            at += 1
            if length >= 0x80:  # noqa: PLR2004 - as above
                length, at = read_varint(raw, at - 1)
            begin, at = at, at + length
            if at > end:
                raise Malformed
            yield tag >> 3, begin, at
        elif kind == _VARINT:
            value, at = read_varint(raw, at)
            yield tag >> 3, value, -1
        elif kind in _SIZES:
            begin, at = at, at + _SIZES[kind]
            if at > end:
                raise Malformed
            yield tag >> 3, begin, at
        else:
            raise Malformed


def read_double(raw: bytes | bytearray, at: int, end: int) -> float:
    """The number of a field that `read_fields` found. Raises `Malformed`."""
    if end - at != _DOUBLE.size:
        raise Malformed
    value: float = _DOUBLE.unpack_from(raw, at)[0]
    return value


def read_struct(raw: bytes | bytearray, at: int, end: int) -> dict[str, str]:
    """The texts and numbers of a `google.protobuf.Struct`; numbers as whole ones, in digits."""
    found = read_scalars(bytes(raw[at:end]))
    return {name: said if isinstance(said, str) else f"{said:.0f}" for name, said in found.items()}


def read_scalars(raw: bytes) -> dict[str, str | float]:
    """The texts and numbers of a `google.protobuf.Struct`.

    Most entries of a request's are those of the one before, though Envoy writes them in any order:
    short ones are remembered, each by itself.
    """
    found: dict[str, str | float] = {}
    at, end = 0, len(raw)
    while at < end:
        known = _KNOWN.get(raw[at : at + 2 + raw[at + 1]])
        if known is None:
            at = _read_entry(raw, at, end, found)
        else:
            name, found[name], size = known
            at += size
    return found


def _read_entry(raw: bytes, at: int, end: int, found: dict[str, str | float]) -> int:
    """Reads the entry of a struct at `at` into `found`, and says where the next one begins."""
    _, begin, stop = next(read_fields(raw, at, end))
    text = begin + 2 + raw[begin + 1] if stop - begin > 1 else stop
    if (
        stop - at < _SHORT
        and text + 4 <= stop
        and raw[begin] == _FIRST
        and raw[text] == _SECOND
        and raw[text + 2] == _TEXT
        and text + 4 + raw[text + 3] == stop
    ):  # the usual entry: a short name, then a short text
        key = raw[begin + 2 : text].decode()
        found[key] = raw[text + 4 : stop].decode()
    else:
        key = _read_any_entry(raw, begin, stop, found)
    if key in found and stop - at < _SHORT:
        if len(_KNOWN) >= _MOST_KNOWN:
            _KNOWN.clear()
        _KNOWN[raw[at:stop]] = key, found[key], stop - at
    return stop


def _read_any_entry(raw: bytes, at: int, end: int, found: dict[str, str | float]) -> str:
    """The name of an entry, whose value is in `found` then if it is a text or a number."""
    name, value = "", (0, 0)
    for number, first, last in read_fields(raw, at, end):
        if number == 1:
            name = raw[first:last].decode()
        else:
            value = first, last
    for number, first, last in read_fields(raw, *value):
        if number == _STRING:
            found[name] = raw[first:last].decode()
        elif number == _NUMBER:
            found[name] = read_double(raw, first, last)
    return name


def read_json(raw: bytes | bytearray, at: int, end: int, depth: int = 0) -> Json:
    """A `google.protobuf.Struct`, whole; numbers are floats, as there. Raises `Malformed`."""
    found: Json = {}
    for _, begin, stop in read_fields(raw, at, end):
        name, value = "", (0, 0)
        for number, first, last in read_fields(raw, begin, stop):
            if number == 1:
                name = raw[first:last].decode()
            else:
                value = first, last
        found[name] = _read_value(raw, *value, depth)
    return found


def _read_value(raw: bytes | bytearray, at: int, end: int, depth: int) -> object:
    if depth > _MAX_DEPTH:
        raise Malformed
    for number, first, last in read_fields(raw, at, end):
        if number == _NUMBER and last - first == _SIZES[_FIXED_64]:
            return _DOUBLE.unpack_from(raw, first)[0]
        if number == _STRING:
            return raw[first:last].decode()
        if number == _BOOL:
            return bool(first)
        if number == _OBJECT:
            return read_json(raw, first, last, depth + 1)
        if number == _LIST:
            items = read_fields(raw, first, last)
            return [_read_value(raw, begin, stop, depth + 1) for _, begin, stop in items]
    return None


def varint(value: int) -> bytes:
    """A number that is not negative."""
    if value < _SHORT << 7:
        return bytes((value & 0x7F | 0x80, value >> 7)) if value >= _SHORT else bytes((value,))
    out = bytearray()
    while value >= 0x80:  # noqa: PLR2004 - the bit that says whether another follows
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(number: int, payload: bytes) -> bytes:
    """A field of text, bytes or a message, numbered up to 15."""
    return message_head(number, len(payload)) + payload


def wrap(number: int, pieces: Pieces) -> Pieces:
    """A message in pieces as the field `number`, up to 15, of another."""
    return [message_head(number, sum(map(len, pieces))), *pieces]


def message_head(number: int, length: int) -> bytes:
    """What goes before a field of text, bytes or a message of so many bytes."""
    tag = number << 3 | _DELIMITED
    if length < _SHORT:
        return bytes((tag, length))
    if length < _SHORT << 7:
        return bytes((tag, length & 0x7F | 0x80, length >> 7))
    return bytes((tag,)) + varint(length)


def encode_struct(fields: Mapping[str, object]) -> bytes:
    """A `google.protobuf.Struct`. Numbers are doubles, as JSON's."""
    return b"".join([_member(name, value) for name, value in fields.items()])


def _member(name: str, value: object) -> bytes:
    if isinstance(value, str):
        key, text = name.encode(), value.encode()
        n, t = len(key), len(text)
        if n + t + 6 < _SHORT:  # the usual entry, as `read_struct` knows it
            return _TEXT_ENTRY % (6 + n + t, n, key, 2 + t, t, text)
    elif isinstance(value, float):
        key = name.encode()
        if (n := len(key)) + _NUMBER_BYTES < _SHORT:
            return _NUMBER_ENTRY % (_NUMBER_BYTES + n, n, key, _DOUBLE.pack(value))
    return _entry(name, _value(value))


def encode_member(name: str, struct: bytes) -> bytes:
    """An object, encoded already, as a member of the `google.protobuf.Struct` around it."""
    key, size = name.encode(), varint(len(struct))
    head = b"%b\x12%b\x2a%b" % (field(1, key), varint(1 + len(size) + len(struct)), size)
    return b"\x0a%b%b%b" % (varint(len(head) + len(struct)), head, struct)


def _entry(name: str, value: bytes) -> bytes:
    return field(1, field(1, name.encode()) + field(2, value))


def _value(value: object) -> bytes:
    match value:
        case str():
            return field(_STRING, value.encode())
        case bool():
            return bytes((_BOOL << 3, value))
        case int() | float():
            return bytes((_NUMBER << 3 | _FIXED_64,)) + _DOUBLE.pack(value)
        case None:
            return _NULL_VALUE
        case list() | tuple():
            items = cast("list[object]", value)
            return field(_LIST, b"".join([field(1, _value(item)) for item in items]))
        case _:
            return field(_OBJECT, encode_struct(cast("Mapping[str, object]", value)))
