"""Where in a document the value is that its type does not allow, by its whole path, and what would
be allowed there. Costs nothing where nothing is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from types import UnionType
from typing import Annotated, Any, Literal, Union, cast, get_args, get_origin

import msgspec


def find_fault(document: object, kind: Any) -> tuple[str, str]:
    """The JSON path of a value that `kind` does not take, and what it takes; of words and shapes
    alone: for a number's bounds it is empty."""
    path, found = _descend(document, kind, "$")
    return path, ", ".join(_allowed(found))


def _descend(value: object, kind: Any, path: str) -> tuple[str, Any]:
    """From a value that `kind` does not take to the innermost that is at fault."""
    for step, child, expected in _children(value, kind):
        if not _takes(expected, child):
            return _descend(child, expected, f"{path}{step}")
    return path, kind


def _children(value: object, kind: Any) -> list[tuple[str, object, Any]]:
    """The values within `value`, each with its step and type, where `kind` has one shape for it."""
    shapes = [one for one in _members(kind) if _is_shape(value, one)]
    if len(shapes) != 1:
        return []
    shape, arguments = shapes[0], get_args(shapes[0])
    if isinstance(value, Mapping):
        value = cast("Mapping[object, object]", value)
        if isinstance(shape, type) and issubclass(shape, msgspec.Struct):
            fields = msgspec.structs.fields(shape)
            types: dict[object, Any] = {field.encode_name: field.type for field in fields}
        else:
            types = dict.fromkeys(value, arguments[1])
        return [(f".{name}", value[name], types[name]) for name in value if name in types]
    if isinstance(value, list):
        items = cast("list[object]", value)
        return [(f"[{i}]", child, arguments[0]) for i, child in enumerate(items)]
    return []


def _members(kind: Any) -> list[Any]:
    origin = get_origin(kind)
    if origin is Annotated:
        return _members(get_args(kind)[0])
    if origin in (Union, UnionType):
        return [member for one in get_args(kind) for member in _members(one)]
    return [kind]


def _is_shape(value: object, kind: Any) -> bool:
    """Whether `kind` is an object's where `value` is one, or a list's."""
    origin = get_origin(kind)
    if isinstance(value, Mapping):
        is_struct = isinstance(kind, type) and issubclass(kind, msgspec.Struct)
        return is_struct or origin in (dict, Mapping)
    return isinstance(value, list) and origin in (list, tuple) and bool(get_args(kind))


def _takes(kind: Any, value: object) -> bool:
    try:
        msgspec.convert(value, kind)
    except (msgspec.ValidationError, RecursionError):
        return False
    return True


def _allowed(kind: Any) -> list[str]:
    """Words, and objects by their fields; nothing where any text, number or the like will do. Of a
    text with a form of its own, what it is."""
    found = [
        meta.description
        for meta in getattr(kind, "__metadata__", ())
        if isinstance(meta, msgspec.Meta) and meta.description
    ]
    for one in _members(kind):
        if get_origin(one) is Literal:
            found += [str(word) for word in get_args(one)]
        elif isinstance(one, type) and issubclass(one, msgspec.Struct):
            names = [field.encode_name for field in msgspec.structs.fields(one)]
            found.append("{" + ", ".join(f"{name}: …" for name in names) + "}")
    return found
