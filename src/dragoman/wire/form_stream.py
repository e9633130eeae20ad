"""A `multipart/form-data` body as it comes: its files go on at once, its fields are kept.

Source: https://www.rfc-editor.org/rfc/rfc7578. How a whole body is read is in `multipart`.
"""

from __future__ import annotations

from collections.abc import Callable

from dragoman.errors import InvalidRequest
from dragoman.wire.multipart import MAX_BOUNDARY, is_file

_MAX_HEAD = 4096
"""Bytes of a part's headers, with their end: all that is ever held, but for a boundary's begin."""
_END = b"\r\n"
_Step = Callable[[bytes, int], int | None]
"""From a place in what is held to the next; None where more has to come first."""


class FormSplitter:
    """`feed` pieces of a body, get what of its files is to go on; `close` gives its end, with all
    its fields. It holds no more than those and a part's head.

    Grammar: line (head (file | field))* end
    """

    def __init__(self, max_field_bytes: int) -> None:
        self._max_field_bytes = max_field_bytes
        self._line = b""
        """The line before each part: two hyphens and the boundary."""
        self._held = b""
        self._passed: list[bytes] = []
        self._fields: list[bytes] = []
        self._field_bytes = 0
        self._is_file = False
        self._step: _Step = self._first_line

    def feed(self, data: bytes) -> bytes:
        """Bytes of files; `data` itself where nothing else was in it. Raises `InvalidRequest`."""
        held = self._held + data if self._held else data
        at: int | None = 0
        last = 0
        while at is not None:
            last = at
            at = self._step(held, at)
        self._held = held[last:]
        if len(self._held) > _MAX_HEAD:
            raise InvalidRequest(
                "$", f"multipart/form-data with heads of at most {_MAX_HEAD} bytes"
            )
        passed, self._passed = self._passed, []
        return passed[0] if len(passed) == 1 else b"".join(passed)

    def close(self) -> bytes:
        """The fields, in their order, and the last boundary. Raises `InvalidRequest` before it."""
        if self._step != self._rest:
            raise InvalidRequest("$", "a multipart/form-data body that ends with its boundary")
        return b"".join([*self._fields, self._line, b"--\r\n"])

    def _first_line(self, held: bytes, at: int) -> int | None:
        end = held.find(_END, at, at + MAX_BOUNDARY + 2)
        if end < 0 and len(held) < MAX_BOUNDARY + 2:
            return None
        self._line = held[at:end]
        if end < 0 or not self._line.startswith(b"--"):
            raise InvalidRequest("$", "a multipart/form-data body that begins with its boundary")
        self._step = self._head
        return end + 2

    def _head(self, held: bytes, at: int) -> int | None:
        if held.startswith(_END, at):
            end, after = at, at + 2
        else:
            end = held.find(b"\r\n\r\n", at)
            after = end + 4
        if end < 0:
            return None
        self._check_head(after - at)
        self._is_file = is_file(held[at:end])
        self._write(b"".join((self._line, _END, held[at:after])))
        self._step = self._content
        return after

    def _content(self, held: bytes, at: int) -> int | None:
        """A file's or a field's, up to the next boundary, or to what may be the begin of one."""
        mark = _END + self._line
        end = held.find(mark, at)
        if end >= 0:
            self._write(held[at : end + 2])
            self._step = self._after
            return end + len(mark)
        likely = held.rfind(b"\r", max(at, len(held) - len(mark) + 1))
        stop = likely if likely >= 0 else len(held)
        if stop == at:
            return None
        self._write(held[at:stop] if at or stop < len(held) else held)
        return stop

    def _after(self, held: bytes, at: int) -> int | None:
        """Behind a boundary: another part, or the end."""
        if len(held) < at + 2:
            return None
        self._step = self._rest if held.startswith(b"--", at) else self._head
        if self._step == self._head and not held.startswith(_END, at):
            raise InvalidRequest("$", "a multipart/form-data body with its boundary on lines alone")
        return at + 2

    def _rest(self, held: bytes, at: int) -> int | None:
        """What stands behind the end says nothing."""
        return len(held) if at < len(held) else None

    def _check_head(self, size: int) -> None:
        if size > _MAX_HEAD:
            raise InvalidRequest(
                "$", f"multipart/form-data with heads of at most {_MAX_HEAD} bytes"
            )

    def _write(self, data: bytes) -> None:
        if self._is_file:
            self._passed.append(data)
            return
        self._field_bytes += len(data)
        if self._field_bytes > self._max_field_bytes:
            limit = self._max_field_bytes
            raise InvalidRequest("$", f"fields, files apart, of at most {limit} bytes")
        self._fields.append(data)
