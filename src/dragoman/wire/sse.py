"""Server-sent events, framing only.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html

Feeding n bytes costs O(n) however they are cut: a complete line leaves the buffer at once, an
incomplete one is appended to and never searched again.
"""

from __future__ import annotations

from typing import NamedTuple

from dragoman.errors import UpstreamProtocolError

MAX_LINE_BYTES = 16 * 2**20
"""Where nobody sets another: more than any chunk of text, less than a worker's memory."""

_BOM = b"\xef\xbb\xbf"
_TYPE, _PREFIX = b"event: ", b"data: "
_END = b"\n\n"


class SseEvent(NamedTuple):
    """One dispatched event; `event` is its type, empty where none was named."""

    event: str
    data: str


class SseDecoder:
    """`feed` bytes cut anywhere, get the events that are now complete.

    Raises `UpstreamProtocolError` when a line, or the data lines of one event together, grow past
    `max_line_bytes`.
    """

    def __init__(self, max_line_bytes: int = MAX_LINE_BYTES) -> None:
        self._max_line_bytes = max_line_bytes
        self._line = bytearray()
        self._event = ""
        self._data: list[str] = []
        self._data_bytes = 0
        self._after_cr = False
        self._at_start = True

    def feed(self, data: bytes) -> list[SseEvent]:
        """The events that `data` completes."""
        if not data:
            return []
        frames = self._whole_frames(data)
        return self._split(data) if frames is None else frames

    def close(self) -> list[SseEvent]:
        """End of input. Lenient: dispatches an event whose blank line never came."""
        events: list[SseEvent] = []
        if self._line:
            self._end_line(bytes(self._line), events)
            self._line.clear()
        self._end_line(b"", events)
        return events

    def _whole_frames(self, data: bytes) -> list[SseEvent] | None:
        """The events of a chunk of whole frames, as most chunks are: each a line of data, behind
        its type perhaps. None for any other."""
        if not data.endswith(_END) or b"\r" in data:
            return None
        if self._line or self._data or self._event or len(data) > self._max_line_bytes:
            return None
        events: list[SseEvent] = []
        for frame in data[: -len(_END)].split(_END):
            name, line = b"", frame
            if frame.startswith(_TYPE):
                name, _, line = frame[len(_TYPE) :].partition(b"\n")
            if not line.startswith(_PREFIX) or b"\n" in line:
                return None
            text = line[len(_PREFIX) :].decode("utf-8", "replace")
            events.append(SseEvent(name.decode("utf-8", "replace"), text))
        self._at_start = self._after_cr = False
        return events

    def _split(self, data: bytes) -> list[SseEvent]:
        """The events of any bytes, line by line."""
        events: list[SseEvent] = []
        if self._after_cr and data.startswith(b"\n"):
            data = data[1:]
        self._after_cr = data.endswith(b"\r")
        for piece in data.splitlines(keepends=True):
            line = piece.rstrip(b"\r\n")
            self._check(len(self._line) + len(line))
            if len(line) == len(piece):
                self._line += line
            elif self._line:
                self._line += line
                line = bytes(self._line)
                self._line.clear()
                self._end_line(line, events)
            else:
                self._end_line(line, events)
        return events

    def _end_line(self, line: bytes, events: list[SseEvent]) -> None:
        if self._at_start:
            self._at_start = False
            line = line.removeprefix(_BOM)
        if not line:
            if self._data:
                events.append(SseEvent(self._event, "\n".join(self._data)))
            self._event, self._data, self._data_bytes = "", [], 0
            return
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data_bytes += len(value)
            self._check(self._data_bytes)
            self._data.append(value.decode("utf-8", "replace"))
        elif name == b"event":
            self._event = value.decode("utf-8", "replace")

    def _check(self, size: int) -> None:
        if size > self._max_line_bytes:
            raise UpstreamProtocolError(
                f"The upstream sent an event of more than {self._max_line_bytes} bytes."
            )


def encode_sse(data: bytes, event: str = "") -> bytes:
    """One frame. `data` must be free of line breaks; compact JSON always is."""
    if event:
        return b"event: %b\ndata: %b\n\n" % (event.encode(), data)
    return b"data: %b\n\n" % data
