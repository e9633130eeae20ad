"""The server's side of one HTTP/2 connection: bytes in, events out; calls in, bytes out.

Sans-IO: no socket, no clock (`now` comes in), no task. Source: RFC 9113. Grammar of what comes:

    connection  PREFACE SETTINGS frame*
    frame       SETTINGS | PING | GOAWAY | WINDOW_UPDATE | PRIORITY | stream frame | unknown
    stream      block DATA* block? | RST_STREAM anywhere in it
    block       HEADERS CONTINUATION*          nothing comes between these

and of the events of one stream:

    RequestReceived DataReceived* StreamReset?

The last of them has `ended` true where the peer closed its side. A rule broken on a stream resets
that stream (`StreamReset` tells of it, if the stream was known); one broken on the connection ends
it with GOAWAY, and `failed` says why. What was sent is counted against `Limits` before it is kept.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from dragoman.extproc.transports.lean import frames
from dragoman.extproc.transports.lean.frames import ConnectionFault, StreamFault
from dragoman.extproc.transports.lean.headers import check_fields, check_request
from dragoman.extproc.transports.lean.hpack import (
    EMPTY_TABLE,
    Decoder,
    Headers,
    HeadersTooLarge,
    InvalidBlock,
)
from dragoman.extproc.transports.lean.limits import Allowance, Limits
from dragoman.extproc.transports.lean.outbox import Buffer, Outbox, Sending

_DRAIN = b"dragoman"
"""Payload of the ping whose answer says that the peer knows of the drain."""
_REMEMBERED_RESETS = 1_000
_MAX_CONTINUATIONS = 64
_PRIORITY_BYTES = 5
_PING_BYTES = 8
_WORD_BYTES = 4
_SETTING_BYTES = 6
_STREAMS_A_TOKEN = 50
"""Changing the window of so many open streams costs as much as one frame without use."""


class RequestReceived(msgspec.Struct, frozen=True):
    """A call begins. Equal headers are often the very same object."""

    stream: int
    headers: Headers
    ended: bool


class DataReceived(msgspec.Struct, frozen=True):
    """A piece of a call's body; `data` keeps all that came with it alive: copy what stays."""

    stream: int
    data: memoryview
    ended: bool


class StreamReset(msgspec.Struct, frozen=True):
    """Nothing more comes, and nothing more can be sent."""

    stream: int


class Drained(msgspec.Struct, frozen=True):
    """What waited on this stream has gone."""

    stream: int


Event = RequestReceived | DataReceived | StreamReset | Drained
_EMPTY = memoryview(b"")


class _Stream:
    """One stream that is not closed on both sides."""

    __slots__ = ("ended", "left", "sending", "uncredited", "window")

    def __init__(self, sending: Sending, window: int, left: int | None, *, ended: bool) -> None:
        self.sending = sending
        self.window = window
        """What the peer may still send."""
        self.uncredited = 0
        """Bytes that came and were not yet given back to the window."""
        self.left = left
        """What is still to come of the length the request gave; None if it gave none."""
        self.ended = ended
        """The peer has closed its side."""


class Connection:
    """One peer. After each call, what `take_output` gives belongs on the wire."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._outbox = Outbox()
        self._decoder = Decoder(limits.header_list_bytes, limits.headers)
        self._checked: tuple[Headers | None, int | None] = (None, None)
        """The headers last found well-formed, and the length in them."""
        self._streams: dict[int, _Stream] = {}
        self._resets: dict[int, None] = {}
        """Streams reset by us not long ago: frames of theirs may still be on their way."""
        self._last_stream = 0
        self._window = limits.connection_window_bytes
        self._uncredited = 0
        self._allowance = Allowance(limits.idle_frames, limits.idle_frames_per_second)
        self._now = 0.0
        self._pieces: list[bytes] = []
        self._piece_bytes = 0
        self._wanted_bytes = len(frames.PREFACE)
        """What `_pieces` must hold before there is something to read."""
        self._greeted = False
        self._settled = False
        """The peer's first SETTINGS came."""
        self._block: bytearray | None = None
        """A header block that CONTINUATION goes on with."""
        self._block_stream = 0
        self._block_ends = False
        self._continuations = 0
        self._leaving = False
        self._accepts = True
        self._events: list[Event] = []
        self.failed: str | None = None
        """Why the connection cannot go on: once its output is sent it is to be closed."""
        self._handlers: tuple[Callable[[int, int, memoryview], None], ...] = (
            self._on_data,
            self._on_headers,
            self._on_priority,
            self._on_rst_stream,
            self._on_settings,
            self._on_push_promise,
            self._on_ping,
            self._on_goaway,
            self._on_window_update,
            self._on_continuation,
        )
        self._first_block = EMPTY_TABLE
        """What the first block must begin with."""
        self._greet(limits)

    def _greet(self, limits: Limits) -> None:
        values = {
            frames.MAX_CONCURRENT_STREAMS: limits.streams,
            frames.INITIAL_WINDOW_SIZE: limits.stream_window_bytes,
            frames.MAX_FRAME_SIZE: limits.frame_bytes,
            frames.MAX_HEADER_LIST_SIZE: limits.header_list_bytes,
        }
        self._outbox.put(frames.settings(values))
        more = limits.connection_window_bytes - frames.INITIAL_WINDOW
        if more > 0:
            self._outbox.put(frames.window_update(0, more))

    # --- what the caller asks ---------------------------------------------------------------

    @property
    def open_streams(self) -> int:
        """Streams not yet closed on both sides."""
        return len(self._streams)

    @property
    def drained(self) -> bool:
        """A shutdown was begun, the peer knows of it, and no call is left."""
        return not self._accepts and not self._streams

    @property
    def unsent_bytes(self) -> int:
        """Of what `take_output` would give."""
        return self._outbox.unsent_bytes

    def take_output(self) -> list[Buffer]:
        """What to send now, in pieces, in order."""
        return self._outbox.take()

    def is_blocked(self, stream: int) -> bool:
        """Something waits for the peer on this stream, or the socket takes nothing."""
        found = self._streams.get(stream)
        return not self._outbox.writable or bool(found and found.sending.queue)

    # --- what comes -------------------------------------------------------------------------

    def receive(self, data: bytes, now: float) -> list[Event]:
        """What `data` means. `now` is in seconds, from any beginning, and never goes back."""
        self._now = now
        if self.failed is not None:
            return []
        self._pieces.append(data)
        self._piece_bytes += len(data)
        if self._piece_bytes >= self._wanted_bytes:
            whole = data if len(self._pieces) == 1 else b"".join(self._pieces)
            self._pieces.clear()
            try:
                self._read(whole)
                self._credit_connection()
            except ConnectionFault as fault:
                self._fail(fault)
        return self._collect()

    def _collect(self) -> list[Event]:
        """The events so far."""
        outbox = self._outbox
        self._forget_finished()
        if outbox.drained:
            self._events += [Drained(number) for number in outbox.drained]
            outbox.drained = []
        events, self._events = self._events, []
        return events

    def _forget_finished(self) -> None:
        outbox = self._outbox
        if not outbox.finished:
            return
        for number in outbox.finished:
            stream = self._streams.get(number)
            if stream is not None and stream.ended:
                del self._streams[number]
        outbox.finished = []

    def _fail(self, fault: ConnectionFault) -> None:
        self.failed = fault.reason
        for number in self._streams:
            self._events.append(StreamReset(number))
        for stream in self._streams.values():
            self._outbox.drop(stream.sending)
        self._streams.clear()
        self._outbox.put(frames.goaway(self._last_stream, fault.code, fault.reason))

    def _read(self, data: bytes) -> None:
        at, end = 0, len(data)
        if not self._greeted:
            at = self._read_preface(data)
        view = memoryview(data)
        unpack, limit = frames.HEAD.unpack_from, self._limits.frame_bytes
        wanted = frames.HEAD_BYTES
        while end - at >= frames.HEAD_BYTES:
            high, low, kind, flags, number = unpack(data, at)
            length = high << 8 | low
            if length > limit:
                raise ConnectionFault(frames.FRAME_SIZE_ERROR, "a frame above the limit")
            wanted = frames.HEAD_BYTES + length
            if end - at < wanted:
                break
            begin, at = at + frames.HEAD_BYTES, at + wanted
            self._dispatch(kind, flags, number & frames.MAX_STREAM, view[begin:at])
            wanted = frames.HEAD_BYTES
        self._wanted_bytes = wanted
        self._piece_bytes = end - at
        if at < end:
            self._pieces.append(data[at:])

    def _read_preface(self, data: bytes) -> int:
        size = len(frames.PREFACE)
        if data[:size] != frames.PREFACE:
            raise ConnectionFault(frames.PROTOCOL_ERROR, "no HTTP/2 preface")
        self._greeted = True
        return size

    def _dispatch(self, kind: int, flags: int, number: int, payload: memoryview) -> None:
        if self._block is not None and (
            kind != frames.CONTINUATION or number != self._block_stream
        ):
            raise ConnectionFault(frames.PROTOCOL_ERROR, "a frame inside a header block")
        if not self._settled and kind != frames.SETTINGS:
            raise ConnectionFault(frames.PROTOCOL_ERROR, "no SETTINGS first")
        if kind >= len(self._handlers):
            self._spend()
            return
        try:
            self._handlers[kind](flags, number, payload)
        except StreamFault as fault:
            if number > self._last_stream:
                raise ConnectionFault(fault.code, "a fault on a stream not opened") from fault
            self._spend()
            self.reset(number, fault.code)

    def _spend(self, cost: float = 1) -> None:
        if not self._allowance.spend(self._now, cost):
            raise ConnectionFault(frames.ENHANCE_YOUR_CALM, "too many frames without use")
        if self._outbox.unsent_bytes > self._limits.unsent_bytes and not self._outbox.writable:
            raise ConnectionFault(frames.ENHANCE_YOUR_CALM, "answers are not fetched")

    def _on_data(self, flags: int, number: int, payload: memoryview) -> None:
        size = len(payload)
        self._window -= size
        self._uncredited += size
        if self._window < 0:
            raise ConnectionFault(frames.FLOW_CONTROL_ERROR, "more data than the window")
        stream = self._streams.get(number)
        if stream is None or stream.ended:
            self._check_late(number)
            return
        stream.window -= size
        if stream.window < 0:
            raise StreamFault(frames.FLOW_CONTROL_ERROR)
        if flags & frames.PADDED:
            payload = _without_padding(payload)
        stream.uncredited += size
        ended = bool(flags & frames.END_STREAM)
        if not payload and not ended:
            self._spend()
        if stream.left is not None:
            stream.left -= len(payload)
            if stream.left < 0 or (ended and stream.left):
                raise StreamFault(frames.PROTOCOL_ERROR)
        self._events.append(DataReceived(number, payload, ended))
        if ended:
            self._end(number, stream)

    def _check_late(self, number: int) -> None:
        """Data on a stream that is not open: forgiven only where we have reset it ourselves."""
        self._check_known(number)
        if number in self._resets:
            return
        raise StreamFault(frames.STREAM_CLOSED)

    def _check_known(self, number: int) -> None:
        """Raises `ConnectionFault` for a stream that nobody has opened."""
        if number == 0 or not number & 1 or number > self._last_stream:
            raise ConnectionFault(frames.PROTOCOL_ERROR, "a frame on a stream that is not open")

    def _on_headers(self, flags: int, number: int, payload: memoryview) -> None:
        if not number & 1:
            raise ConnectionFault(frames.PROTOCOL_ERROR, "headers on a stream not the client's")
        if flags & frames.PADDED:
            payload = _without_padding(payload)
        if flags & frames.HAS_PRIORITY:
            if len(payload) < _PRIORITY_BYTES:
                raise ConnectionFault(frames.FRAME_SIZE_ERROR, "headers without their priority")
            payload = payload[_PRIORITY_BYTES:]
        ends = bool(flags & frames.END_STREAM)
        if flags & frames.END_HEADERS:
            self._on_block(number, bytes(payload), ends=ends)
            return
        self._block = bytearray(payload)
        self._block_stream, self._block_ends, self._continuations = number, ends, 0

    def _on_continuation(self, flags: int, number: int, payload: memoryview) -> None:
        if self._block is None:
            raise ConnectionFault(frames.PROTOCOL_ERROR, "a continuation of nothing")
        self._continuations += 1
        self._block += payload
        too_large = len(self._block) > self._limits.block_bytes
        if too_large or self._continuations > _MAX_CONTINUATIONS:
            raise ConnectionFault(frames.ENHANCE_YOUR_CALM, "a header block above the limit")
        if flags & frames.END_HEADERS:
            block, self._block = bytes(self._block), None
            self._on_block(number, block, ends=self._block_ends)

    def _on_block(self, number: int, block: bytes, *, ends: bool) -> None:
        """A whole header block. Read even where its stream is of no use: the table needs it."""
        try:
            headers: Headers | None = self._decoder.decode(block)
        except InvalidBlock as error:
            raise ConnectionFault(frames.COMPRESSION_ERROR, "not a header block") from error
        except HeadersTooLarge:
            headers = None
        stream = self._streams.get(number)
        if stream is not None:
            self._on_trailers(number, stream, headers, ends=ends)
        elif number > self._last_stream:
            self._last_stream = number
            if self._accepts:
                self._open(number, headers, ends=ends)
        elif number not in self._resets:
            raise ConnectionFault(frames.STREAM_CLOSED, "headers on a closed stream")

    def _open(self, number: int, headers: Headers | None, *, ends: bool) -> None:
        if len(self._streams) >= self._limits.streams:
            raise StreamFault(frames.REFUSED_STREAM)
        if headers is None:
            raise StreamFault(frames.ENHANCE_YOUR_CALM)
        if headers is not self._checked[0]:
            self._checked = headers, check_request(headers)
        left = self._checked[1]
        if ends and left:
            raise StreamFault(frames.PROTOCOL_ERROR)
        sending = Sending(number, self._outbox.initial_window)
        window = self._limits.stream_window_bytes
        self._streams[number] = _Stream(sending, window, left, ended=ends)
        self._events.append(RequestReceived(number, headers, ends))

    def _on_trailers(
        self, number: int, stream: _Stream, headers: Headers | None, *, ends: bool
    ) -> None:
        if stream.ended:
            raise StreamFault(frames.STREAM_CLOSED)
        if headers is None:
            raise StreamFault(frames.ENHANCE_YOUR_CALM)
        if not ends or stream.left:
            raise StreamFault(frames.PROTOCOL_ERROR)
        check_fields(headers)
        self._events.append(DataReceived(number, _EMPTY, True))  # noqa: FBT003 - a field
        self._end(number, stream)

    def _end(self, number: int, stream: _Stream) -> None:
        """The peer closed its side; the stream is gone if ours is closed as well."""
        stream.ended = True
        if stream.sending.closed:
            del self._streams[number]

    def _on_priority(self, flags: int, number: int, payload: memoryview) -> None:
        """Deprecated, and heeded by nobody."""
        del flags
        if number == 0:
            raise ConnectionFault(frames.PROTOCOL_ERROR, "a priority for the connection")
        if len(payload) != _PRIORITY_BYTES:
            raise StreamFault(frames.FRAME_SIZE_ERROR)
        self._spend()

    def _on_rst_stream(self, flags: int, number: int, payload: memoryview) -> None:
        del flags
        _check_size(payload, _WORD_BYTES)
        self._check_known(number)
        stream = self._streams.pop(number, None)
        if stream is None:
            return
        if not stream.sending.closed:
            self._spend()
        self._outbox.drop(stream.sending)
        self._events.append(StreamReset(number))

    def _on_settings(self, flags: int, number: int, payload: memoryview) -> None:
        _check_connections(number)
        if flags & frames.ACK:
            _check_size(payload, 0)
            return
        if len(payload) % _SETTING_BYTES:
            raise ConnectionFault(frames.FRAME_SIZE_ERROR, "settings cut short")
        self._settled = True
        self._spend()
        values: dict[int, int] = {}
        for name, value in frames.read_settings(payload):
            _check_setting(name, value)
            values[name] = value
        self._apply(values)
        self._outbox.put(frames.SETTINGS_ACK)

    def _apply(self, values: dict[int, int]) -> None:
        """The peer's table of our headers needs no look: nothing is ever put into it."""
        if size := values.get(frames.MAX_FRAME_SIZE):
            self._outbox.max_frame_bytes = size
        window = values.get(frames.INITIAL_WINDOW_SIZE)
        if window is not None:
            self._spend(len(self._streams) / _STREAMS_A_TOKEN)
            sending = [stream.sending for stream in self._streams.values()]
            self._outbox.change_initial_window(window, sending)

    def _on_push_promise(self, flags: int, number: int, payload: memoryview) -> None:
        del flags, number, payload
        raise ConnectionFault(frames.PROTOCOL_ERROR, "a promise by a client")

    def _on_ping(self, flags: int, number: int, payload: memoryview) -> None:
        _check_connections(number)
        _check_size(payload, _PING_BYTES)
        self._spend()
        if not flags & frames.ACK:
            self._outbox.put(frames.ping(bytes(payload), frames.ACK))
        elif self._leaving and bytes(payload) == _DRAIN:
            self.refuse_streams()

    def _on_goaway(self, flags: int, number: int, payload: memoryview) -> None:
        """A client that leaves still wants its answers."""
        del flags
        _check_connections(number)
        if len(payload) < 2 * _WORD_BYTES:
            raise ConnectionFault(frames.FRAME_SIZE_ERROR, "a GOAWAY cut short")
        self._spend()

    def _on_window_update(self, flags: int, number: int, payload: memoryview) -> None:
        del flags
        _check_size(payload, _WORD_BYTES)
        increment = frames.read_word(payload) & frames.MAX_WINDOW
        if number == 0:
            if increment == 0:
                raise ConnectionFault(frames.PROTOCOL_ERROR, "a window update of nothing")
            self._outbox.open_window(increment)
            return
        self._check_known(number)
        if increment == 0:
            raise StreamFault(frames.PROTOCOL_ERROR)
        stream = self._streams.get(number)
        if stream is not None:
            self._outbox.open_stream_window(stream.sending, increment)

    # --- what goes --------------------------------------------------------------------------

    def send_headers(self, stream: int, block: bytes, *, ends: bool = False) -> None:
        """A block of `hpack.encode`: the answer's headers or, with `ends`, its trailers.

        Nothing happens on a stream that is gone.
        """
        found = self._streams.get(stream)
        if found is None:
            return
        if self._first_block:
            block, self._first_block = self._first_block + block, b""
        self._outbox.send_headers(found.sending, block, ends=ends)
        self._forget_finished()

    def send_data(self, stream: int, data: Buffer) -> None:
        """Data, at once or when the peer lets it. Nothing happens on a stream that is gone."""
        found = self._streams.get(stream)
        if found is not None:
            self._outbox.send_data(found.sending, data)

    def reset(self, stream: int, code: int) -> None:
        """End a stream at once, both ways."""
        found = self._streams.pop(stream, None)
        if found is not None:
            self._outbox.drop(found.sending)
            self._events.append(StreamReset(stream))
        self._outbox.put(frames.rst_stream(stream, code))
        if len(self._resets) >= _REMEMBERED_RESETS:
            del self._resets[next(iter(self._resets))]
        self._resets[stream] = None

    def stop(self, stream: int) -> None:
        """The answer is over: the peer need not send the rest of its request."""
        found = self._streams.get(stream)
        if found is not None and found.sending.closed and not found.ended:
            self.reset(stream, frames.NO_ERROR)

    def credit(self, stream: int) -> None:
        """All that came on the stream has been dealt with: the peer may send as much again."""
        found = self._streams.get(stream)
        if found is None or found.ended:
            return
        if 2 * found.uncredited >= self._limits.stream_window_bytes:
            self._outbox.put(frames.window_update(stream, found.uncredited))
            found.window += found.uncredited
            found.uncredited = 0

    def _credit_connection(self) -> None:
        outbox = self._outbox
        if 2 * self._uncredited < self._limits.connection_window_bytes:
            return
        if outbox.writable and outbox.queued_bytes <= self._limits.queued_bytes:
            outbox.put(frames.window_update(0, self._uncredited))
            self._window += self._uncredited
            self._uncredited = 0

    def pause(self) -> None:
        """The socket takes no more for now."""
        self._outbox.writable = False

    def resume(self) -> list[Event]:
        """It does again."""
        self._outbox.writable = True
        self._outbox.pump()
        self._credit_connection()
        return self._collect()

    def shut_down(self) -> None:
        """Ask for no further streams. Those the peer opens before it knows are still served."""
        if not self._leaving and self.failed is None:
            self._leaving = True
            self._outbox.put(frames.goaway(frames.MAX_STREAM, frames.NO_ERROR))
            self._outbox.put(frames.ping(_DRAIN))

    def refuse_streams(self) -> None:
        """Answer no further streams from now on; the peer is told which was the last."""
        if self._accepts and self.failed is None:
            self._leaving, self._accepts = True, False
            self._outbox.put(frames.goaway(self._last_stream, frames.NO_ERROR))


def _without_padding(payload: memoryview) -> memoryview:
    if not payload or payload[0] >= len(payload):
        raise ConnectionFault(frames.PROTOCOL_ERROR, "more padding than payload")
    return payload[1 : len(payload) - payload[0]]


def _check_connections(number: int) -> None:
    if number != 0:
        raise ConnectionFault(frames.PROTOCOL_ERROR, "a frame of the connection on a stream")


def _check_size(payload: memoryview, size: int) -> None:
    if len(payload) != size:
        raise ConnectionFault(frames.FRAME_SIZE_ERROR, "a frame of the wrong size")


def _check_setting(name: int, value: int) -> None:
    if name == frames.INITIAL_WINDOW_SIZE and value > frames.MAX_WINDOW:
        raise ConnectionFault(frames.FLOW_CONTROL_ERROR, "an initial window above the limit")
    if name == frames.ENABLE_PUSH and value > 1:
        raise ConnectionFault(frames.PROTOCOL_ERROR, "a setting that is neither 0 nor 1")
    in_range = frames.MIN_FRAME_BYTES <= value <= frames.MAX_FRAME_BYTES
    if name == frames.MAX_FRAME_SIZE and not in_range:
        raise ConnectionFault(frames.PROTOCOL_ERROR, "a frame size out of range")
