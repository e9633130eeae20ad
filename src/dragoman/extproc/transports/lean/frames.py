"""Frames of HTTP/2: their numbers, and writing them. Source: RFC 9113, sections 4 to 7."""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEAD_BYTES = 9
MIN_FRAME_BYTES = 1 << 14
"""The largest frame that either side must take; also what holds until the settings say more."""
MAX_FRAME_BYTES = (1 << 24) - 1
MAX_STREAM = (1 << 31) - 1
MAX_WINDOW = (1 << 31) - 1
INITIAL_WINDOW = (1 << 16) - 1
"""Of the connection, and of each stream until the settings say more."""

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS = range(5)
PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(5, 10)

END_STREAM = 0x1
ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
HAS_PRIORITY = 0x20

HEADER_TABLE_SIZE = 1
ENABLE_PUSH = 2
MAX_CONCURRENT_STREAMS = 3
INITIAL_WINDOW_SIZE = 4
MAX_FRAME_SIZE = 5
MAX_HEADER_LIST_SIZE = 6

NO_ERROR = 0
PROTOCOL_ERROR = 1
INTERNAL_ERROR = 2
FLOW_CONTROL_ERROR = 3
STREAM_CLOSED = 5
FRAME_SIZE_ERROR = 6
REFUSED_STREAM = 7
CANCEL = 8
COMPRESSION_ERROR = 9
ENHANCE_YOUR_CALM = 11

SETTINGS_ACK = b"\0\0\0\4\1\0\0\0\0"

HEAD = Struct(">HBBBI")
"""Length in two parts (upper 16 and lower 8 bits), type, flags, stream."""
_WORD = Struct(">I")
_TWO_WORDS = Struct(">II")
_SETTING = Struct(">HI")


class ConnectionFault(Exception):
    """The peer broke a rule that the whole connection hangs on: it ends with GOAWAY."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class StreamFault(Exception):
    """The peer broke a rule on one stream, which is reset; the others go on."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def head(length: int, kind: int, flags: int, stream: int) -> bytes:
    """The nine bytes before a payload of `length`."""
    return HEAD.pack(length >> 8, length & 0xFF, kind, flags, stream)


def settings(values: dict[int, int]) -> bytes:
    """A SETTINGS frame."""
    payload = b"".join(_SETTING.pack(name, value) for name, value in values.items())
    return head(len(payload), SETTINGS, 0, 0) + payload


def read_settings(payload: memoryview) -> Iterator[tuple[int, int]]:
    """Name and value of each; `payload` is a multiple of six bytes."""
    return _SETTING.iter_unpack(payload)


def window_update(stream: int, increment: int) -> bytes:
    """A WINDOW_UPDATE frame; stream 0 is the connection."""
    return head(4, WINDOW_UPDATE, 0, stream) + _WORD.pack(increment)


def rst_stream(stream: int, code: int) -> bytes:
    """A RST_STREAM frame."""
    return head(4, RST_STREAM, 0, stream) + _WORD.pack(code)


def goaway(last_stream: int, code: int, reason: str = "") -> bytes:
    """A GOAWAY frame; `reason` is for the peer's logs."""
    debug = reason.encode()
    return head(8 + len(debug), GOAWAY, 0, 0) + _TWO_WORDS.pack(last_stream, code) + debug


def ping(payload: bytes, flags: int = 0) -> bytes:
    """A PING frame of eight bytes, or its answer."""
    return head(8, PING, flags, 0) + payload


def read_word(payload: memoryview) -> int:
    """The 32 bits of a RST_STREAM or WINDOW_UPDATE."""
    word: int = _WORD.unpack(payload)[0]
    return word
