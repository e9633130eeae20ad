"""AWS event-stream framing: binary messages with headers and two checksums.

Source: https://docs.aws.amazon.com/transcribe/latest/dg/event-stream.html, November 2026.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from dragoman.errors import UpstreamProtocolError

MAX_MESSAGE_BYTES = 16 * 2**20

_PRELUDE = struct.Struct(">III")
_CRC = struct.Struct(">I")
_STRING = 7
_WIDTHS = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
"""Bytes of a header's value by its type; the types 6 and 7 tell their length themselves."""


class EventStreamMessage(NamedTuple):
    """One message; of its headers those that are strings."""

    headers: dict[str, str]
    payload: bytes


class EventStreamDecoder:
    """`feed` bytes cut anywhere, get the messages that are now complete.

    Raises `UpstreamProtocolError` on a wrong checksum, on headers that are none, and on a message
    of more than `max_message_bytes`.
    """

    def __init__(self, max_message_bytes: int = MAX_MESSAGE_BYTES) -> None:
        self._max_message_bytes = max_message_bytes
        self._buffer = bytearray()
        self._wanted = _PRELUDE.size

    def feed(self, data: bytes) -> Iterator[EventStreamMessage]:
        """The messages that `data` completes; those before a broken one come before it raises.
        What is not taken comes with the next that are fed."""
        self._buffer += data
        while len(self._buffer) >= self._wanted:
            if self._wanted == _PRELUDE.size:
                self._wanted = self._read_prelude()
                continue
            message = bytes(self._buffer[: self._wanted])
            del self._buffer[: self._wanted]
            self._wanted = _PRELUDE.size
            yield _read(message)

    def close(self) -> list[EventStreamMessage]:
        """End of input: no message is left. Raises `UpstreamProtocolError` if one was cut."""
        if self._buffer:
            raise UpstreamProtocolError("the upstream's event stream ended inside a message")
        return []

    def _read_prelude(self) -> int:
        total, headers, checksum = _PRELUDE.unpack_from(self._buffer)
        if zlib.crc32(self._buffer[:8]) != checksum:
            raise UpstreamProtocolError("the upstream's event stream has a wrong checksum")
        if total < _PRELUDE.size + headers + _CRC.size or total > self._max_message_bytes:
            raise UpstreamProtocolError("the upstream's event stream has a message of a wrong size")
        size: int = total
        return size


def _read(message: bytes) -> EventStreamMessage:
    total, size, _ = _PRELUDE.unpack_from(message)
    (checksum,) = _CRC.unpack_from(message, total - _CRC.size)
    if zlib.crc32(message[: -_CRC.size]) != checksum:
        raise UpstreamProtocolError("the upstream's event stream has a wrong checksum")
    start = _PRELUDE.size + size
    headers = _read_headers(message[_PRELUDE.size : start])
    return EventStreamMessage(headers, message[start : -_CRC.size])


def _read_headers(data: bytes) -> dict[str, str]:
    headers: dict[str, str] = {}
    at = 0
    try:
        while at < len(data):
            name = data[at + 1 : at + 1 + data[at]].decode()
            at += 1 + data[at]
            kind = data[at]
            at += 1
            width = _WIDTHS.get(kind)
            if width is None:
                width = int.from_bytes(data[at : at + 2], "big")
                at += 2
            if kind == _STRING:
                headers[name] = data[at : at + width].decode()
            at += width
    except (IndexError, UnicodeDecodeError) as error:
        raise UpstreamProtocolError("the upstream's event stream has broken headers") from error
    return headers


def encode_eventstream(headers: dict[str, str], payload: bytes) -> bytes:
    """One message, all its headers strings."""
    packed = b"".join(
        bytes([len(name)]) + name.encode() + bytes([_STRING]) + len(value).to_bytes(2, "big")
        + value.encode()
        for name, value in headers.items()
    )  # fmt: skip
    total = _PRELUDE.size + len(packed) + len(payload) + _CRC.size
    prelude = struct.pack(">II", total, len(packed))
    whole = prelude + _CRC.pack(zlib.crc32(prelude)) + packed + payload
    return whole + _CRC.pack(zlib.crc32(whole))
