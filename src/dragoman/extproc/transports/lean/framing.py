"""gRPC's messages in a stream of bytes: a flag, a length, the message.

Source: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
"""

from __future__ import annotations

from dragoman.extproc.transports import Message

OK, UNKNOWN, RESOURCE_EXHAUSTED, UNIMPLEMENTED, INTERNAL = 0, 2, 8, 12, 13
PREFIX_BYTES = 5
_COMPRESSED = 1


class CallRefused(Exception):
    """The call ends with this gRPC status, before its answer has begun also with `http_status`."""

    def __init__(self, status: int, message: str, http_status: int = 200) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.http_status = http_status


class MessageReader:
    """Cuts one call's bytes into messages. Linear however they are cut on their way.

    A message that came in one piece is copied once; one that came in several is gathered in a
    `bytearray` of its own, which grows as its bytes come and not as its length says.
    """

    __slots__ = ("_max_bytes", "_missing", "_partial", "_prefix", "held_bytes")

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._prefix = b""
        self._partial: bytearray | None = None
        self._missing = 0
        self.held_bytes = 0
        """Of a message that is not whole yet."""

    @property
    def between_messages(self) -> bool:
        """No message is half read."""
        return self._partial is None and not self._prefix

    def feed(self, data: memoryview) -> list[Message]:
        """The messages that are whole now. Raises `CallRefused`."""
        size = len(data)
        if size >= PREFIX_BYTES and self.between_messages:
            self._prefix = bytes(data[:PREFIX_BYTES])
            length = self._length()
            if PREFIX_BYTES + length == size:  # as most come
                return [bytes(data[PREFIX_BYTES:])]
        found = self._cut(data)
        self.held_bytes = len(self._prefix) if self._partial is None else len(self._partial)
        return found

    def _cut(self, data: memoryview) -> list[Message]:
        found: list[Message] = []
        at, size = 0, len(data)
        while at < size:
            if self._partial is None:
                begin = PREFIX_BYTES - len(self._prefix)
                self._prefix += data[at : at + begin]
                at += begin
                if len(self._prefix) < PREFIX_BYTES:
                    break
                length = self._length()
                if size - at >= length:
                    found.append(bytes(data[at : at + length]))
                    at += length
                    continue
                self._partial, self._missing = bytearray(), length
            taken = data[at : at + self._missing]
            self._partial += taken
            at += len(taken)
            self._missing -= len(taken)
            if not self._missing:
                found.append(self._partial)
                self._partial = None
        return found

    def _length(self) -> int:
        flag, length = self._prefix[0], int.from_bytes(self._prefix[1:], "big")
        self._prefix = b""
        if flag == _COMPRESSED:
            raise CallRefused(UNIMPLEMENTED, "compressed messages are not read")
        if flag:
            raise CallRefused(INTERNAL, "not a gRPC message")
        if length > self._max_bytes:
            limit = f"a message of {length} bytes, above the limit of {self._max_bytes}"
            raise CallRefused(RESOURCE_EXHAUSTED, limit)
        return length


def prefix(length: int) -> bytes:
    """What goes before a message of `length` bytes."""
    return b"\0" + length.to_bytes(PREFIX_BYTES - 1, "big")
