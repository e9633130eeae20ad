"""Frames of a stream that is edited on its way: what is not changed goes on as it came.

`feed` and `close` give the frames that are now complete; `head` and `tail` stand around all of
them. Each is linear in its bytes, however they are cut.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from typing import NamedTuple, Protocol

import msgspec

from dragoman.errors import UpstreamProtocolError
from dragoman.wire.eventstream import EventStreamDecoder, EventStreamMessage, encode_eventstream
from dragoman.wire.json_array import JsonArrayDecoder
from dragoman.wire.ndjson import NdjsonDecoder, encode_ndjson

_END_OF_EVENT = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_LINES = re.compile(rb"\r\n|\n|\r")


_CHUNK = "chunk"


class _Chunk(msgspec.Struct):
    bytes: str


_decode_chunk = msgspec.json.Decoder(_Chunk).decode


class Frame(NamedTuple):
    """One frame: its JSON, if it has any, and the bytes it came in."""

    data: bytes
    raw: bytes
    kind: str = ""
    """The name the frame gives its event."""
    headers: dict[str, str] | None = None


class Framing(Protocol):
    """Takes a stream apart and puts it together."""

    def feed(self, data: bytes) -> list[Frame]: ...
    def close(self) -> list[Frame]: ...
    def write(self, frame: Frame, data: bytes) -> bytes:
        """`frame` with other JSON in it."""
        ...

    def join(self, written: list[bytes]) -> bytes:
        """Frames that go out, one after the other."""
        ...

    def end(self) -> bytes:
        """What follows the last frame."""
        ...

    def finish(self, ending: bytes) -> bytes:
        """`ending`, with which the writer of another such stream ends it, as the end of this."""
        ...


class SseFraming:
    """Server-sent events, comments and all their fields kept."""

    def __init__(self, max_frame_bytes: int) -> None:
        self._max_frame_bytes = max_frame_bytes
        self._buffer = bytearray()
        self._seen = 0

    def feed(self, data: bytes) -> list[Frame]:
        self._buffer += data
        frames: list[Frame] = []
        at = 0
        for end in _END_OF_EVENT.finditer(self._buffer, self._seen):
            frames.append(_sse_frame(bytes(self._buffer[at : end.end()])))
            at = end.end()
        del self._buffer[:at]
        self._seen = max(0, len(self._buffer) - 3)
        if len(self._buffer) > self._max_frame_bytes:
            raise UpstreamProtocolError(
                f"The upstream sent an event of more than {self._max_frame_bytes} bytes."
            )
        return frames

    def close(self) -> list[Frame]:
        rest = bytes(self._buffer)
        self._buffer.clear()
        return [_sse_frame(rest)] if rest else []

    def write(self, frame: Frame, data: bytes) -> bytes:
        lines = [line for line in _LINES.split(frame.raw) if line and not line.startswith(b"data")]
        return b"\n".join((*lines, b"data: " + data)) + b"\n\n"

    def join(self, written: list[bytes]) -> bytes:
        return b"".join(written)

    def end(self) -> bytes:
        return b""

    def finish(self, ending: bytes) -> bytes:
        return ending


def _sse_frame(raw: bytes) -> Frame:
    data: list[bytes] = []
    kind = b""
    for line in _LINES.split(raw):
        name, _, value = line.partition(b":")
        if name == b"data":
            data.append(value.removeprefix(b" "))
        elif name == b"event":
            kind = value.removeprefix(b" ")
    return Frame(b"\n".join(data), raw, kind.decode("utf-8", "replace"))


class NdjsonFraming:
    """A JSON text a line."""

    def __init__(self, max_frame_bytes: int) -> None:
        self._decoder = NdjsonDecoder(max_frame_bytes)

    def feed(self, data: bytes) -> list[Frame]:
        return [Frame(line, encode_ndjson(line)) for line in self._decoder.feed(data)]

    def close(self) -> list[Frame]:
        return [Frame(line, encode_ndjson(line)) for line in self._decoder.close()]

    def write(self, frame: Frame, data: bytes) -> bytes:
        del frame
        return encode_ndjson(data)

    def join(self, written: list[bytes]) -> bytes:
        return b"".join(written)

    def end(self) -> bytes:
        return b""

    def finish(self, ending: bytes) -> bytes:
        return ending


class EventStreamFraming:
    """AWS event stream messages, their checksums made anew. A `chunk` has another API's event in
    base64, as InvokeModel streams them."""

    def __init__(self, max_frame_bytes: int) -> None:
        self._decoder = EventStreamDecoder(max_frame_bytes)

    def feed(self, data: bytes) -> list[Frame]:
        return [
            Frame(
                _unwrapped(message),
                encode_eventstream(message.headers, message.payload),
                message.headers.get(":event-type", ""),
                message.headers,
            )
            for message in self._decoder.feed(data)
        ]

    def close(self) -> list[Frame]:
        self._decoder.close()
        return []

    def write(self, frame: Frame, data: bytes) -> bytes:
        if frame.kind == _CHUNK:
            data = msgspec.json.encode(_Chunk(b64encode(data).decode()))
        return encode_eventstream(frame.headers or {}, data)

    def join(self, written: list[bytes]) -> bytes:
        return b"".join(written)

    def end(self) -> bytes:
        return b""

    def finish(self, ending: bytes) -> bytes:
        return ending


def _unwrapped(message: EventStreamMessage) -> bytes:
    """The event of a message; its payload as it is where it should have one within and has none."""
    if message.headers.get(":event-type") != _CHUNK:
        return message.payload
    try:
        return b64decode(_decode_chunk(message.payload).bytes, validate=True)
    except (msgspec.DecodeError, ValueError):
        return message.payload


class JsonArrayFraming:
    """The items of one JSON array, or one object alone."""

    def __init__(self, max_frame_bytes: int) -> None:
        self._decoder = JsonArrayDecoder(max_frame_bytes)
        self._began = False

    def feed(self, data: bytes) -> list[Frame]:
        return [Frame(item, item) for item in self._decoder.feed(data)]

    def close(self) -> list[Frame]:
        self._decoder.close()
        return []

    def write(self, frame: Frame, data: bytes) -> bytes:
        del frame
        return data

    def join(self, written: list[bytes]) -> bytes:
        if not written or self._decoder.is_alone:
            return b"".join(written)
        start = b",\r\n" if self._began else b"["
        self._began = True
        return start + b",\r\n".join(written)

    def end(self) -> bytes:
        if self._decoder.is_alone:
            return b""
        return b"]" if self._began else b"[]"

    def finish(self, ending: bytes) -> bytes:
        """That writer may have begun its array where this has none, or the other way about."""
        items = ending.lstrip(b"[,\r\n").removesuffix(b"]")
        return self.join([items] if items else []) + self.end()


_FRAMINGS: dict[str, type[SseFraming | NdjsonFraming | EventStreamFraming | JsonArrayFraming]] = {
    "text/event-stream": SseFraming,
    "application/x-ndjson": NdjsonFraming,
    "application/vnd.amazon.eventstream": EventStreamFraming,
    "application/json": JsonArrayFraming,
}


def framing_of(content_type: str, max_frame_bytes: int) -> Framing:
    """How a stream of `content_type` (without parameters) is framed."""
    return _FRAMINGS[content_type](max_frame_bytes)
