"""A typed cursor over one JSON object: take the fields you know, keep the rest."""

from __future__ import annotations

from typing import Any, TypeVar, cast

from dragoman.errors import InvalidRequest
from dragoman.ir import Json, Residue

T = TypeVar("T")

_NAMES: dict[type, str] = {
    str: "a string",
    int: "an integer",
    float: "a number",
    bool: "a boolean",
    dict: "an object",
    list: "an array",
    object: "a value",
}


def as_list(found: Any) -> list[Any]:
    """`found` if it is an array; else an empty one."""
    match found:
        case [*items]:
            return items
        case _:
            return []


def _counted(found: Any) -> Any:
    """`100.0`, as some clients count, as the integer it is; anything else as it is."""
    return int(found) if isinstance(found, float) and found.is_integer() else found


class Fields:
    """Reads each field at most once; what was never read is the residue.

    Absent and `null` are the same to every `take`: both mean "not given". A `null` and an empty
    list stay in the residue, so that a round trip gives them back. Raises `InvalidRequest` with
    the JSON path on another type.
    """

    def __init__(self, value: Any, path: str) -> None:
        if not isinstance(value, dict):
            raise InvalidRequest(path, _NAMES[dict])
        self._left: Json = dict(cast("Json", value))
        self.path = path

    def __contains__(self, name: str) -> bool:
        """Whether `name` is given, not null, and not yet taken."""
        return self._left.get(name) is not None

    def at(self, name: str) -> str:
        """The JSON path of the field `name`."""
        return f"{self.path}.{name}"

    def peek(self, name: str) -> Any:
        """What stands in `name`, left where it is; None if nothing does."""
        return self._left.get(name)

    def put(self, name: str, value: Any) -> None:
        """Gives back what is left of a field that was taken; an empty object says nothing."""
        if value:
            self._left[name] = value

    def take(self, name: str, kind: type[T]) -> T:
        """A field that must be there."""
        found = self.take_optional(name, kind)
        if found is None:
            raise InvalidRequest(self.at(name), _NAMES[kind])
        return found

    def take_optional(self, name: str, kind: type[T]) -> T | None:
        """A field that may be missing. An integer is taken where a number is asked for."""
        found = self._left.get(name)
        if found is None:
            return None
        del self._left[name]
        if kind is float and type(found) is int:
            return found  # type: ignore[return-value]  # an int is a number; its digits stay as sent
        if kind is int:
            found = _counted(found)
        if not isinstance(found, kind) or (kind is int and isinstance(found, bool)):
            raise InvalidRequest(self.at(name), _NAMES[kind])
        return found

    def word(self, name: str, words: tuple[str, ...]) -> str | None:
        """A string that must be one of `words`, if it is given."""
        found = self.take_optional(name, str)
        if found is not None and found not in words:
            raise InvalidRequest(self.at(name), "one of " + ", ".join(words))
        return found

    def json(self, name: str) -> Json | None:
        """A free-form object (a schema, a tool's input) as it is."""
        return cast("Json | None", self.take_optional(name, dict))

    def object(self, name: str) -> Fields:
        """A nested object that must be there, as a cursor of its own."""
        return Fields(self.take(name, dict), self.at(name))

    def object_optional(self, name: str) -> Fields | None:
        """A nested object as a cursor of its own, if it is given."""
        found = self.json(name)
        return None if found is None else Fields(found, self.at(name))

    def items(self, name: str) -> list[tuple[str, Any]]:
        """A list, each item beside its JSON path; absent is empty."""
        if self._left.get(name) == []:
            return []
        found = cast("list[Any]", self.take_optional(name, list) or [])
        return [(f"{self.at(name)}[{i}]", item) for i, item in enumerate(found)]

    def one_or_many(self, name: str) -> list[tuple[str, Any]]:
        """One string or a list, as a list; absent is empty."""
        one = self._left.get(name)
        if isinstance(one, str):
            del self._left[name]
            return [(self.at(name), one)]
        return self.items(name)

    def strings(self, name: str) -> tuple[str, ...]:
        """One string or a list of strings."""
        found = self.one_or_many(name)
        for path, item in found:
            if not isinstance(item, str):
                raise InvalidRequest(path, _NAMES[str])
        return tuple(item for _, item in found)

    def rest(self, dialect: str) -> Residue | None:
        """All that was not taken, None if nothing is left."""
        return Residue(dialect=dialect, fields=self._left) if self._left else None
