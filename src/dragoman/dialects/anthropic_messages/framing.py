"""How events are framed: server-sent, or within AWS's as Bedrock's InvokeModel sends them.

Source: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_PayloadPart.html,
November 2026.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator

import msgspec

from dragoman.dialects.anthropic_messages.errors import error_body
from dragoman.dialects.anthropic_messages.names import INVOKE
from dragoman.dialects.bedrock_converse.errors import error_frame, stream_error
from dragoman.errors import DragomanError, UpstreamProtocolError
from dragoman.ir import Json
from dragoman.wire.eventstream import EventStreamDecoder, EventStreamMessage, encode_eventstream
from dragoman.wire.sse import SseDecoder, encode_sse

_AWS_START = 0
"""The first byte of an AWS event, whose length fits in three; no server-sent event begins so."""
_CHUNK_HEADERS = {
    ":event-type": "chunk",
    ":content-type": "application/json",
    ":message-type": "event",
}


class _Chunk(msgspec.Struct):
    bytes: str = ""


_decode_chunk = msgspec.json.Decoder(_Chunk).decode


class EventFrames:
    """`feed` bytes of either framing, get the events' JSON texts."""

    def __init__(self) -> None:
        self._sse = SseDecoder()
        self._aws: EventStreamDecoder | None = None
        self._is_known = False

    def feed(self, data: bytes) -> Iterator[str | bytes]:
        """Events now complete. Raises `UpstreamError` for an exception of AWS's."""
        if data and not self._is_known:
            self._is_known = True
            self._aws = EventStreamDecoder() if data[0] == _AWS_START else None
        if self._aws is None:
            for frame in self._sse.feed(data):
                yield frame.data
            return
        for message in self._aws.feed(data):
            if chunk := _read_chunk(message):
                yield chunk

    def close(self) -> list[str | bytes]:
        """Raises `UpstreamProtocolError` where the last event was cut."""
        if self._aws is None:
            return [frame.data for frame in self._sse.close()]
        self._aws.close()
        return []


def _read_chunk(message: EventStreamMessage) -> bytes:
    """The event within; empty for a message of a kind added after this was written."""
    if message.headers.get(":message-type", "event") != "event":
        name = message.headers.get(":exception-type") or message.headers.get(":error-code", "")
        raise stream_error(name, message.payload)
    if message.headers.get(":event-type") != "chunk":
        return b""
    try:
        return base64.b64decode(_decode_chunk(message.payload).bytes)
    except (msgspec.DecodeError, binascii.Error, ValueError) as error:
        raise UpstreamProtocolError("the upstream sent an event without one in it") from error


def encode_event(framing: str, kind: str, event: bytes) -> bytes:
    """One event, `event` its JSON."""
    if framing != INVOKE:
        return encode_sse(event, kind)
    payload = b'{"bytes":"%b"}' % base64.b64encode(event)
    return encode_eventstream(_CHUNK_HEADERS, payload)


def encode_failure(framing: str, error: DragomanError) -> bytes:
    """What ends a stream that had begun."""
    if framing == INVOKE:
        return error_frame(error)
    event: Json = {"type": "error", "error": error_body(error)["error"]}
    return encode_sse(msgspec.json.encode(event), "error")
