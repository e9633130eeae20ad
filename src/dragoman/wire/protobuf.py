"""Protobuf by hand, for the few messages of every request: a third of what building them costs.

Source: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from struct import Struct
from typing import Generic, TypeVar, cast

from dragoman.ir import Json

_VARINT, _FIXED_64, _DELIMITED, _FIXED_32 = 0, 1, 2, 5
_SIZES = {_FIXED_64: 8, _FIXED_32: 4}
_MAX_SHIFT = 63
_MAX_DEPTH = 64
"""Of objects and lists in each other."""
_DOUBLE = Struct("<d")
_NULL_VALUE = b"\x08\x00"
_MOST_KNOWN = 1024
"""Entries that are remembered."""

_NUMBER, _STRING, _BOOL, _OBJECT, _LIST = 2, 3, 4, 5, 6
"""Fields of a `google.protobuf.Value`."""

_FIRST, _SECOND, _TEXT = (number << 3 | _DELIMITED for number in (1, 2, _STRING))
_SHORT = 0x80
"""Lengths below it are one byte."""
Pieces = list[bytes]
"""A message that is not joined yet, so that a large body is copied once."""


V = TypeVar("V")


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


class Entries(Generic[V]):
    """Reads the entries of a map or a list of pairs: messages in the field 1, and nothing beside.

    Most of one message are those of the message before, though perhaps in another order: short
    ones are remembered, each by itself.
    """

    def __init__(self, read: Callable[[bytes], tuple[str, V] | None]) -> None:
        """`read` makes one of its bytes; None where it is of no use."""
        self._read = read
        self._known: dict[bytes, tuple[str, V]] = {}
        """By their bytes, with their heads."""

    def read(self, raw: bytes) -> list[tuple[str, V]]:
        """All of them, in their order. Raises as `read_fields` does, or `UnicodeDecodeError`."""
        found: list[tuple[str, V]] = []
        at, end, known = 0, len(raw), self._known
        while at < end:
            entry = raw[at : at + 2 + raw[at + 1]]
            pair = known.get(entry)
            if pair is None:
                pair, at = self._read_first(raw, at, end)
                if pair is None:
                    continue
            else:
                at += len(entry)
            found.append(pair)
        return found

    def _read_first(self, raw: bytes, at: int, end: int) -> tuple[tuple[str, V] | None, int]:
        """The entry at `at`, and where the next one begins."""
        _, begin, stop = next(read_fields(raw, at, end))
        if stop < 0:
            raise Malformed
        pair = self._read(raw[begin:stop])
        if pair is not None and stop - at < _SHORT:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[raw[at:stop]] = pair
        return pair, stop


def _read_scalar(entry: bytes) -> tuple[str, str | float] | None:
    """An entry of a struct, if it is a text or a number."""
    size = len(entry)
    middle = 2 + entry[1] if size > 1 else size
    if (
        size < _SHORT
        and middle + 4 <= size
        and entry[0] == _FIRST
        and entry[middle] == _SECOND
        and entry[middle + 2] == _TEXT
        and middle + 4 + entry[middle + 3] == size
    ):  # the usual entry: a short name, then a short text
        return entry[2:middle].decode(), entry[middle + 4 :].decode()
    name, value = "", (0, 0)
    for number, first, last in read_fields(entry, 0, size):
        if number == 1:
            name = entry[first:last].decode()
        else:
            value = first, last
    for number, first, last in read_fields(entry, *value):
        if number == _STRING:
            return name, entry[first:last].decode()
        if number == _NUMBER:
            return name, read_double(entry, first, last)
    return None


def _read_text(entry: bytes) -> tuple[str, str] | None:
    """The same; a number as a whole one, in digits."""
    found = _read_scalar(entry)
    if found is None:
        return None
    name, said = found
    return name, said if isinstance(said, str) else f"{said:.0f}"


def _read_flat(entry: bytes) -> tuple[str, str | float | dict[str, str | float]] | None:
    """An entry of a struct, if it is a text, a number, or an object of such."""
    scalar = _read_scalar(entry)
    if scalar is not None:
        return scalar
    fields = {number: (first, last) for number, first, last in read_fields(entry, 0, len(entry))}
    for number, first, last in read_fields(entry, *fields.get(2, (0, 0))):
        if number == _OBJECT:
            found = dict(_SCALARS.read(entry[first:last]))
            return entry[slice(*fields.get(1, (0, 0)))].decode(), found
    return None


_SCALARS, _TEXTS, _VALUES = Entries(_read_scalar), Entries(_read_text), Entries(_read_flat)


def read_values(raw: bytes) -> Mapping[str, str | float | dict[str, str | float]]:
    """The texts and numbers of a `google.protobuf.Struct`, and those of objects in it. Never
    changed: parts of it are remembered."""
    return dict(_VALUES.read(raw))


def read_struct(raw: bytes | bytearray, at: int, end: int) -> dict[str, str]:
    """The same of a part of `raw`; numbers as whole ones, in digits."""
    return dict(_TEXTS.read(bytes(raw[at:end])))


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


def wrap(outer: int, inner: int, pieces: Pieces) -> Pieces:
    """A message in pieces as the field `inner` of another, which is the field `outer` of a third;
    both up to 15."""
    size = sum(map(len, pieces))
    head = message_head(inner, size)
    return [message_head(outer, size + len(head)), head, *pieces]


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
    if isinstance(value, float) or (isinstance(value, str) and len(value) < _SHORT):
        return _known_member(name, value)
    return _entry(name, _value(value))


@lru_cache(_MOST_KNOWN)
def _known_member(name: str, value: str | float) -> bytes:
    """The same of what is often said again."""
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
