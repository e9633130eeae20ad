"""JSON bodies: read whole or as top-level fields, and never half.

What `decode` accepts every later step can handle: valid Unicode, finite numbers, bounded depth and
no top-level name given twice (two parsers may pick different ones, so that a policy would judge
one model and the provider serve another).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, TypeVar, cast

import msgspec

from dragoman.errors import DragomanError, InvalidJson, InvalidRequest
from dragoman.ir import Json

MAX_DEPTH = 128
"""Objects and arrays inside each other, the outermost counted."""
_LONG = 4096
"""Bytes of a body, beyond which its brackets are not counted."""

T = TypeVar("T")


class _Name:
    """A name as it stands in the text: equal to no other, so that a repeated one is not lost."""

    __slots__ = ("text",)

    def __init__(self, _kind: type, text: str) -> None:
        """As a decoder's `dec_hook`."""
        self.text = text


_read_values = msgspec.json.Decoder(dict[_Name, Any], dec_hook=_Name).decode
_read_any = msgspec.json.Decoder().decode
_read_items = msgspec.json.Decoder(list[msgspec.Raw]).decode
_read_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_read_fields = msgspec.json.Decoder(dict[_Name, msgspec.Raw], dec_hook=_Name).decode
_STARTS_VECTOR = re.compile(rb"\[[ \t\r\n]*[-0-9]")
_LOOK_AHEAD = 64
_NESTS = (dict, list)
_STARTS_OBJECT = re.compile(rb"[ \t\r\n]*\{")
_CUT_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_TOO_DEEP = f"The body is not readable JSON: nested deeper than {MAX_DEPTH} levels."

encode = msgspec.json.encode
"""JSON text of a value or of `msgspec.Raw`, without spaces, keys in their order."""


def decode(raw: bytes) -> Json:
    """The object in `raw`.

    Raises `InvalidJson` for what is not JSON (with the byte where reading stopped, if known), for
    a lone surrogate, a number no double holds, a top-level name given twice and for more than
    `MAX_DEPTH` levels; `InvalidRequest` for JSON that is not an object.
    """
    try:
        body = _unique(_read_values(raw).items())
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _refusal(raw, error) from error
    if _may_be_deep(raw) and _is_too_deep(body):
        raise InvalidJson(_TOO_DEEP)
    return body


def decode_fields(raw: bytes) -> dict[str, msgspec.Raw]:
    """The top-level fields of the object in `raw`, each value its very bytes, in their order.

    Raises as `decode` does, but looks into no value: its Unicode, numbers and depth are unchecked.
    """
    try:
        return _unique(_read_fields(raw).items())
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _refusal(raw, error) from error


def decode_around_vectors(raw: bytes) -> Any:
    """The value in `raw`, in which an array of nothing but numbers stays `msgspec.Raw`.

    For answers that are vectors by the thousand, of which nobody needs the numbers: those are
    checked for JSON's grammar and not read, so that one may be larger than a double holds. Raises
    as `decode` does.
    """
    try:
        return _around_vectors(msgspec.Raw(raw.strip()), MAX_DEPTH)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _refusal(raw, error) from error


def _around_vectors(raw: msgspec.Raw, levels: int) -> Any:
    if levels == 0:
        raise InvalidJson(_TOO_DEEP)
    start = bytes(memoryview(raw)[:_LOOK_AHEAD])
    if start[:1] == b"{":
        found = _read_members(raw)
        return {name: _around_vectors(value, levels - 1) for name, value in found.items()}
    if start[:1] != b"[":
        return _read_any(raw)
    items = None if _STARTS_VECTOR.match(start) and _is_flat(bytes(raw)) else _read_items(raw)
    return raw if items is None else [_around_vectors(item, levels - 1) for item in items]


def _is_flat(array: bytes) -> bool:
    """Whether an array that begins with a number holds no string and nothing nested."""
    return array.find(b'"') < 0 and array.find(b"[", 1) < 0 and array.find(b"{") < 0


def _unique(items: Iterable[tuple[_Name, T]]) -> dict[str, T]:
    fields: dict[str, T] = {}
    for name, value in items:
        if name.text in fields:
            path = f"$.{name.text}"
            raise InvalidJson(f"{path}: the name is given more than once", path=path)
        fields[name.text] = value
    return fields


def _may_be_deep(raw: bytes) -> bool:
    """Whether there are enough brackets for it, in strings or not: most bodies have too few.

    In a long body, of which most is text, they cost more to count than its values to look at. What
    is left without them is made four times as fast as they are counted.
    """
    if len(raw) > _LONG:
        return True
    braces = len(raw) - len(raw.replace(b"{", b"", MAX_DEPTH + 1))
    return braces + len(raw) - len(raw.replace(b"[", b"", MAX_DEPTH + 1)) > MAX_DEPTH


def _is_too_deep(body: Json) -> bool:
    """Level by level rather than recursively: costs a look at each value, and no stack."""
    level: list[Any] = [body]
    for _ in range(MAX_DEPTH):
        level = [value for node in level for value in _children(node) if isinstance(value, _NESTS)]
        if not level:
            return False
    return True


def _children(node: Any) -> Iterable[Any]:
    return cast("Json", node).values() if isinstance(node, dict) else cast("list[Any]", node)


def _refusal(raw: bytes, error: Exception) -> DragomanError:
    """Says what is wrong with a body that the parser refused."""
    if isinstance(error, RecursionError):
        return InvalidJson(_TOO_DEEP)
    if not raw.strip():
        return InvalidJson("The body is empty; expected a JSON object.")
    if isinstance(error, UnicodeDecodeError):
        return InvalidJson(f"The body is not readable JSON: invalid UTF-8 {_utf8_place(raw)}.")
    if not isinstance(error, msgspec.ValidationError):
        return InvalidJson(f"The body is not readable JSON: {_cause(raw, error)}.")
    if _STARTS_OBJECT.match(raw):
        return InvalidJson("The body is not readable JSON: a number is out of range.")
    return InvalidRequest("$", "an object")


def _utf8_place(raw: bytes) -> str:
    """The parser tells the place within its string only."""
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        return f"(byte {error.start})"
    return "(place unknown)"  # pragma: no cover - a second decoder that disagrees with the first


def _cause(raw: bytes, error: Exception) -> str:
    """The parser's words. It takes a surrogate cut off by the string's end for the body's end."""
    cause = str(error).removeprefix("JSON is malformed: ")
    if "truncated" in cause and _CUT_SURROGATE.search(raw) and raw.rstrip().endswith(b"}"):
        return "invalid utf-16 surrogate pair"
    return cause[0].lower() + cause[1:]
