"""The lean transport's machines without a socket, and what they write, read by hyperframe."""

import io
import json
from struct import pack

import structlog
from hpack import Decoder, Encoder
from hyperframe.frame import Frame

from dragoman.extproc.transports.lean.calls import Calls
from dragoman.extproc.transports.lean.connection import Connection
from dragoman.extproc.transports.lean.limits import Limits
from tests.extproc.machines import METHOD, STREAMS

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
ERRORS = (
    "NO_ERROR PROTOCOL_ERROR INTERNAL_ERROR FLOW_CONTROL_ERROR SETTINGS_TIMEOUT STREAM_CLOSED "
    "FRAME_SIZE_ERROR REFUSED_STREAM CANCEL COMPRESSION_ERROR CONNECT_ERROR ENHANCE_YOUR_CALM"
).split()
REQUEST = (
    (":method", "POST"),
    (":scheme", "http"),
    (":path", METHOD),
    (":authority", "test"),
    ("content-type", "application/grpc"),
    ("te", "trailers"),
)


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return pack(">I", len(payload))[1:] + bytes([kind, flags]) + pack(">I", stream) + payload


def settings(**values: int) -> bytes:
    names = {"table": 1, "push": 2, "streams": 3, "window": 4, "frame": 5, "list": 6}
    pairs = b"".join(pack(">HI", names[name], value) for name, value in values.items())
    return frame(4, 0, 0, pairs)


HELLO = PREFACE + settings()


def block(*changes: tuple[str, str], without: str | None = None) -> bytes:
    """The request's headers with some replaced or added; no state is left in the peer."""
    fields = dict(REQUEST) | dict(changes)
    return Encoder().encode([(k, v) for k, v in fields.items() if k != without], huffman=False)


def headers(
    stream: int, *changes: tuple[str, str], flags: int = 4, without: str | None = None
) -> bytes:
    return frame(1, flags, stream, block(*changes, without=without))


def grpc(message: bytes, flag: int = 0) -> bytes:
    return bytes([flag]) + pack(">I", len(message)) + message


def data(stream: int, message: bytes, flags: int = 0) -> bytes:
    return frame(0, flags, stream, grpc(message))


class Wire:
    """One connection of the server's."""

    def __init__(self, **limits: int) -> None:
        self.logged = io.StringIO()
        log = structlog.wrap_logger(
            structlog.WriteLogger(self.logged), processors=[structlog.processors.JSONRenderer()]
        )
        allowed = Limits(**({"message_bytes": 1 << 20} | limits))
        self.connection = Connection(allowed)
        self.calls = Calls(self.connection, STREAMS, allowed, log, self._wait)
        self.now = 0.0
        self.most_unsent = 0
        self.headers = Decoder()
        self._unread = b""

    def _wait(self, replies, arrive):
        self.awaited = (replies, arrive)
        return replies

    def send(self, *pieces: bytes) -> bytes:
        """What the server writes when it reads these one after another."""
        out = b""
        for piece in pieces:
            self.calls.handle(self.connection.receive(piece, self.now))
            out += self.take()
        return out

    def take(self) -> bytes:
        return b"".join(self.connection.take_output())

    def say(self, *pieces: bytes) -> list[str]:
        """The frames the server writes, in words."""
        return self.read(self.send(*pieces))

    def read(self, out: bytes) -> list[str]:
        return [self._describe(one) for one in self.frames(out)]

    def frames(self, out: bytes) -> list[Frame]:
        found, view = [], memoryview(self._unread + out)
        while len(view) >= 9:
            one, length = Frame.parse_frame_header(view[:9])
            if len(view) < 9 + length:
                break
            one.parse_body(view[9 : 9 + length])
            found.append(one)
            view = view[9 + length :]
        self._unread = bytes(view)
        return found

    def _describe(self, one: Frame) -> str:
        name = type(one).__name__.removesuffix("Frame")
        ends = " end" if "END_STREAM" in one.flags else ""
        match name:
            case "Settings" | "Ping" if "ACK" in one.flags:
                return f"{name} ack"
            case "RstStream" | "GoAway":
                where = one.stream_id or one.last_stream_id
                return f"{name} {where} {ERRORS[one.error_code]}"
            case "WindowUpdate":
                return f"{name} {one.stream_id} {one.window_increment}"
            case "Headers":
                fields = dict(self.headers.decode(one.data))
                said = [fields[k] for k in (":status", "grpc-status") if k in fields]
                return f"{name} {one.stream_id} {' '.join(said)}{ends}"
            case "Data":
                return f"{name} {one.stream_id} {one.data.decode('latin-1')!r}{ends}"
        return name

    @property
    def log(self) -> list[dict]:
        return [json.loads(line) for line in self.logged.getvalue().splitlines()]


def greeted(**limits: int) -> Wire:
    """A connection whose settings are through."""
    wire = Wire(**limits)
    wire.take()
    assert wire.say(HELLO) == ["Settings ack"]
    return wire
