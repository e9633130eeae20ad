"""Undo the content encoding of an upstream's answer while it arrives.

`feed` gives what can be read so far and `close` says whether the end was reached; a limit on the
output keeps a small body from growing without bound.
"""

from __future__ import annotations

import zlib
from typing import Protocol

from dragoman.errors import UpstreamProtocolError

ACCEPTED = ("gzip", "deflate")
"""What an upstream may be asked for (`accept-encoding`), besides no encoding at all."""

_GZIP_WINDOW = 16 + zlib.MAX_WBITS
_DEFLATE_METHOD = 8
_HEADER_CHECK = 31
_HEADER_BYTES = 2
_PIECE_BYTES = 16_384
"""zlib copies what follows the end of a member: fed in pieces, many small members stay cheap."""


class ContentDecoder(Protocol):
    """Encoded bytes in, plain bytes out, however the bytes are cut."""

    def feed(self, data: bytes) -> bytes:
        """What can be read now. Raises `UpstreamProtocolError` on corrupt or outgrown data."""
        ...

    def close(self) -> bytes:
        """What was held back. Raises `UpstreamProtocolError` if the data was truncated."""
        ...


def content_decoder(encoding: str, max_bytes: int) -> ContentDecoder:
    """The decoder for a `content-encoding` header's value; `max_bytes` bounds the whole output.

    Nothing grows without an encoding, so that its length is not looked at. Raises
    `UpstreamProtocolError` for an encoding (or a list of them) that cannot be undone.
    """
    match encoding.strip().lower():
        case "" | "identity":
            return _Identity()
        case "gzip" | "x-gzip":
            return _Gzip(max_bytes)
        case "deflate":
            return _Deflate(max_bytes)
        case unknown:
            raise UpstreamProtocolError(
                f"the upstream's content encoding {unknown!r} is not one of: " + ", ".join(ACCEPTED)
            )


def late_decoder(encoding: str, max_bytes: int) -> ContentDecoder:
    """As `content_decoder`, but that an encoding cannot be undone is raised by `feed` and `close`,
    where whatever else is wrong with an answer is."""
    try:
        return content_decoder(encoding, max_bytes)
    except UpstreamProtocolError as error:
        return _Unknown(error)


class _Unknown:
    def __init__(self, error: UpstreamProtocolError) -> None:
        self._error = error

    def feed(self, data: bytes) -> bytes:
        del data
        raise self._error

    def close(self) -> bytes:
        raise self._error


class _Identity:
    def feed(self, data: bytes) -> bytes:
        return data

    def close(self) -> bytes:
        return b""


class _Inflate(Protocol):
    """What `zlib.decompressobj` returns."""

    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...


class _Bounded:
    """Runs zlib and counts what comes out."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._left = max_bytes

    def expand(self, inflate: _Inflate, data: bytes) -> bytes:
        try:
            plain = inflate.decompress(data, self._left + 1)
        except zlib.error as error:
            raise UpstreamProtocolError("the upstream's compressed body is corrupt") from error
        self._left -= len(plain)
        if self._left < 0:
            raise UpstreamProtocolError(
                f"the upstream's body is larger than {self._max_bytes} bytes when decompressed"
            )
        return plain


class _Gzip:
    """One gzip member after another, as the format allows."""

    def __init__(self, max_bytes: int) -> None:
        self._bounded = _Bounded(max_bytes)
        self._inflate: _Inflate | None = None

    def feed(self, data: bytes) -> bytes:
        pieces: list[bytes] = []
        for at in range(0, len(data), _PIECE_BYTES):
            self._feed_piece(data[at : at + _PIECE_BYTES], pieces)
        return b"".join(pieces)

    def _feed_piece(self, data: bytes, pieces: list[bytes]) -> None:
        while data:
            if self._inflate is None:
                self._inflate = zlib.decompressobj(_GZIP_WINDOW)
            pieces.append(self._bounded.expand(self._inflate, data))
            data = self._inflate.unused_data
            if self._inflate.eof:
                self._inflate = None

    def close(self) -> bytes:
        if self._inflate is not None:
            raise UpstreamProtocolError("the upstream's compressed body ended too early")
        return b""


class _Deflate:
    """With the zlib header that the standard asks for, or without, as some servers send it."""

    def __init__(self, max_bytes: int) -> None:
        self._bounded = _Bounded(max_bytes)
        self._inflate: _Inflate | None = None
        self._head = b""

    def feed(self, data: bytes) -> bytes:
        if self._inflate is None:
            data = self._head = self._head + data
            if len(data) < _HEADER_BYTES:
                return b""
            self._inflate = zlib.decompressobj(_window(data))
        plain = self._bounded.expand(self._inflate, data)
        if self._inflate.unused_data:
            raise UpstreamProtocolError("the upstream's compressed body goes on after its end")
        return plain

    def close(self) -> bytes:
        if self._head and not (self._inflate and self._inflate.eof):
            raise UpstreamProtocolError("the upstream's compressed body ended too early")
        return b""


def _window(data: bytes) -> int:
    """The window for data with a zlib header, negative (no header) for any other."""
    has_check = int.from_bytes(data[:_HEADER_BYTES], "big") % _HEADER_CHECK == 0
    is_zlib = has_check and data[0] & 0x0F == _DEFLATE_METHOD
    return zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS
