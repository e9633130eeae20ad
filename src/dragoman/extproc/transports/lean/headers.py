"""Whether a request's headers are well-formed. Source: RFC 9113, section 8."""

from __future__ import annotations

import re

from dragoman.extproc.transports.lean import frames
from dragoman.extproc.transports.lean.frames import StreamFault
from dragoman.extproc.transports.lean.hpack import Headers

_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
_BAD_VALUE = re.compile(rb"[\0\r\n]|^[ \t]|[ \t]\Z")
_PSEUDO = frozenset({b":method", b":scheme", b":path", b":authority"})
_NEEDED = frozenset({b":method", b":scheme", b":path"})
_MOST_DIGITS = 18
_OF_A_CONNECTION = frozenset(
    {b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"}
)


def check_request(headers: Headers) -> int | None:
    """The length the request gives its body, None if it gives none. Raises `StreamFault`."""
    pseudo = [name for name, _ in headers if name[:1] == b":"]
    if [name for name, _ in headers[: len(pseudo)]] != pseudo or len(set(pseudo)) < len(pseudo):
        raise StreamFault(frames.PROTOCOL_ERROR)
    if not _NEEDED <= set(pseudo) <= _PSEUDO or (b":path", b"") in headers:
        raise StreamFault(frames.PROTOCOL_ERROR)
    check_fields(headers[len(pseudo) :])
    lengths = {value for name, value in headers if name == b"content-length"}
    if not lengths:
        return None
    text = lengths.pop()
    if lengths or not text.isdigit() or len(text) > _MOST_DIGITS:
        raise StreamFault(frames.PROTOCOL_ERROR)
    return int(text)


def check_fields(headers: Headers) -> None:
    """Names, values, and none of a connection's own or of the request line. Raises `StreamFault`.

    That is all there is to trailers.
    """
    for name, value in headers:
        if _NAME.fullmatch(name) is None or name in _OF_A_CONNECTION or _BAD_VALUE.search(value):
            raise StreamFault(frames.PROTOCOL_ERROR)
        if name == b"te" and value != b"trailers":
            raise StreamFault(frames.PROTOCOL_ERROR)
