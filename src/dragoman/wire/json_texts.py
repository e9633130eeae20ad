"""The strings of a JSON text, rewritten where they stand: every other byte stays as it was.

One pass over the tokens. The text must have been read by a parser before: nothing is checked here.
"""

from __future__ import annotations

import re
from typing import Protocol

import msgspec

_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[{}\[\],]|-?[0-9][0-9.eE+-]*', re.DOTALL)
_OPENS, _QUOTE, _COMMA = b"{[", ord('"'), ord(",")


class Place:
    """Where a string stands: the containers around it, outermost first."""

    __slots__ = ("free", "is_object", "keys", "parents")

    def __init__(self) -> None:
        self.keys: list[str | int | None] = []
        """Of each container, the member that is being read; None before an object's first name."""
        self.is_object: list[bool] = []
        self.free: list[bool] = []
        """Of each container, whether its names are the client's own and not the dialect's."""

    @property
    def name(self) -> str:
        """The nearest member name; what stands in a list has the list's."""
        return next((key for key in reversed(self.keys) if isinstance(key, str)), "")

    def path(self) -> str:
        """The JSON path, cut where names begin that are the client's own and may be personal."""
        parts: list[str] = []
        for key, free in zip(self.keys, self.free, strict=True):
            if free:
                break
            if key is not None:
                parts.append(f"[{key}]" if isinstance(key, int) else f".{key}")
        return "$" + "".join(parts)


class Editor(Protocol):
    """What is asked of each string; None keeps it as it is."""

    def opens_free(self, place: Place) -> bool:
        """Whether the container that opens here holds names of the client's own."""
        ...

    def value(self, text: str, place: Place) -> str | None: ...
    def number(self, digits: str, place: Place) -> str | None: ...
    def key(self, text: str, place: Place) -> str | None:
        """A member's name, in a container of free names only."""
        ...


def rewrite(raw: bytes, editor: Editor, *, free: bool = False) -> bytes | None:
    """`raw` with the strings that `editor` changes; None where it changes none."""
    return _Walk(raw, editor, free=free).run()


class _Walk:
    def __init__(self, raw: bytes, editor: Editor, *, free: bool) -> None:
        self._raw = raw
        self._editor = editor
        self._starts_free = free
        self._place = Place()
        self._awaits_name = False

    def run(self) -> bytes | None:
        pieces: list[bytes] = []
        at = 0
        for token in _TOKEN.finditer(self._raw):
            new = self._token(token[0])
            if new is not None:
                pieces += (self._raw[at : token.start()], msgspec.json.encode(new))
                at = token.end()
        return b"".join((*pieces, self._raw[at:])) if pieces else None

    def _token(self, token: bytes) -> str | None:
        first, place = token[0], self._place
        if first == _QUOTE:
            text = _read(token)
            return self._name(text) if self._awaits_name else self._editor.value(text, place)
        if first == _COMMA:
            self._advance()
        elif first in _OPENS:
            self._open(is_object=first == _OPENS[0])
        elif first in b"}]":
            for stack in (place.keys, place.is_object, place.free):
                stack.pop()
            self._awaits_name = False
        elif place.free and place.free[-1]:
            return self._editor.number(token.decode(), place)
        return None

    def _open(self, *, is_object: bool) -> None:
        place = self._place
        inside = place.free[-1] if place.free else self._starts_free
        place.free.append(inside or self._editor.opens_free(place))
        place.keys.append(None if is_object else 0)
        place.is_object.append(is_object)
        self._awaits_name = is_object

    def _advance(self) -> None:
        if self._place.is_object[-1]:
            self._awaits_name = True
        else:
            number = self._place.keys[-1]
            self._place.keys[-1] = number + 1 if isinstance(number, int) else 0

    def _name(self, text: str) -> str | None:
        self._awaits_name = False
        self._place.keys[-1] = text
        return self._editor.key(text, self._place) if self._place.free[-1] else None


def _read(token: bytes) -> str:
    if b"\\" not in token:
        return token[1:-1].decode()
    text: str = msgspec.json.decode(token, type=str)
    return text
