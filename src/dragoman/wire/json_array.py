"""A JSON array that arrives piece by piece: its items, as soon as each is whole.

An object that comes without an array around it is read as an array's only item.

Feeding n bytes costs O(n) however they are cut: what was looked at is never searched again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from dragoman.errors import UpstreamProtocolError

MAX_ITEM_BYTES = 16 * 2**20

_MARKS = re.compile(rb'["{}\[\]\\]')
_BETWEEN = b" \t\r\n,"


class JsonArrayDecoder:
    """`feed` bytes cut anywhere, get the objects that are now complete, as their text.

    Raises `UpstreamProtocolError` on what is no array of objects, and on an item that grows past
    `max_item_bytes`.
    """

    def __init__(self, max_item_bytes: int = MAX_ITEM_BYTES) -> None:
        self._max_item_bytes = max_item_bytes
        self._item = bytearray()
        self._seen = 0
        self._depth = 0
        self._in_string = False
        self._began = self._ended = False
        self.is_alone = False
        """Whether what came is one object and no array."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The items that `data` completes. To be taken to the end, before the next are fed; those
        before what is none come before it raises."""
        while data:
            data = self._skip(data) if self._depth == 0 else data
            if not data:
                break
            item, data = self._scan(data)
            if item is not None:
                yield item

    def close(self) -> None:
        """End of input. Raises `UpstreamProtocolError` if the array was not whole."""
        if not self._ended:
            raise UpstreamProtocolError("the upstream's array ended before its last item")

    def _skip(self, data: bytes) -> bytes:
        """Past what stands between items, up to the next item's brace."""
        data = data.lstrip(_BETWEEN if self._began else b" \t\r\n")
        if not data:
            return b""
        first = data[:1]
        if not self._began and first == b"[":
            self._began = True
            return self._skip(data[1:])
        if self._began and not self._ended and first == b"]":
            self._ended = True
            return self._skip(data[1:])
        if self._ended or first != b"{":
            raise UpstreamProtocolError("the upstream's answer is no array of objects")
        if not self._began:
            self._began = self.is_alone = True
        return data

    def _scan(self, data: bytes) -> tuple[bytes | None, bytes]:
        """The item, if `data` ends it, and what follows."""
        at = self._seen
        self._seen = 0
        while mark := _MARKS.search(data, at):
            at = mark.end()
            if self._in_string:
                if mark[0] == b"\\":
                    at += 1
                elif mark[0] == b'"':
                    self._in_string = False
            elif mark[0] == b'"':
                self._in_string = True
            elif mark[0] in b"{[":
                self._depth += 1
            elif mark[0] in b"}]":
                self._depth -= 1
                if self._depth == 0:
                    self._ended = self.is_alone
                    self._keep(data[:at])
                    item = bytes(self._item)
                    self._item.clear()
                    return item, data[at:]
        self._keep(data)
        self._seen = max(0, at - len(data))
        return None, b""

    def _keep(self, data: bytes) -> None:
        self._item += data
        if len(self._item) > self._max_item_bytes:
            raise UpstreamProtocolError(
                f"The upstream sent an item of more than {self._max_item_bytes} bytes."
            )
