"""What goes out on one connection, as fast as the peer's windows and its socket let it.

Sans-IO. Frames that may go stand in `take()`; the data of a stream that may not waits in that
stream's queue, in order, its trailers behind it. Streams whose data waits for the connection only
take turns, a frame each.
"""

from __future__ import annotations

from collections import deque

from dragoman.extproc.transports.lean import frames
from dragoman.extproc.transports.lean.frames import ConnectionFault, StreamFault

Buffer = bytes | memoryview


class Sending:
    """One stream's side of it."""

    __slots__ = ("closed", "has_turn", "number", "queue", "trailers", "window")

    def __init__(self, number: int, window: int) -> None:
        self.number = number
        self.window = window
        """May be negative, after the peer made it smaller."""
        self.queue: deque[Buffer] = deque()
        self.trailers: bytes | None = None
        """A header block that ends the stream once the queue is sent."""
        self.closed = False
        """The stream's last frame has gone."""
        self.has_turn = False
        """It stands among those that wait for the connection."""


class Outbox:
    """All streams' frames, and the connection's own."""

    def __init__(self) -> None:
        self.window = frames.INITIAL_WINDOW
        self.initial_window = frames.INITIAL_WINDOW
        self.max_frame_bytes = frames.MIN_FRAME_BYTES
        self.writable = True
        """False while the socket takes no more: data waits; a few small frames do not."""
        self.queued_bytes = 0
        """Data that waits, all streams together."""
        self.finished: list[int] = []
        """Streams whose last frame has gone, since this was last emptied."""
        self.drained: list[int] = []
        """Streams whose data waited and has all gone, since this was last emptied."""
        self._frames: list[Buffer] = []
        self.unsent_bytes = 0
        """Of the frames that `take` would give."""
        self._ready: deque[Sending] = deque()
        """Streams with data and a window, that wait for the connection."""

    def take(self) -> list[Buffer]:
        """The frames that may go now, in pieces; they are the caller's from now on."""
        taken, self._frames = self._frames, []
        self.unsent_bytes = 0
        return taken

    def put(self, frame: bytes) -> None:
        """A whole frame that no window bounds."""
        self._frames.append(frame)
        self.unsent_bytes += len(frame)

    def send_headers(self, stream: Sending, block: bytes, *, ends: bool = False) -> None:
        """Headers, or trailers if they end the stream, behind the data that waits."""
        if ends and stream.queue:
            stream.trailers = block
            return
        flags = frames.END_HEADERS | frames.END_STREAM if ends else frames.END_HEADERS
        self.put(frames.head(len(block), frames.HEADERS, flags, stream.number) + block)
        if ends:
            stream.closed = True
            self.finished.append(stream.number)

    def send_data(self, stream: Sending, data: Buffer) -> None:
        """Data that does not end the stream; it goes now, or waits its turn. Never empty."""
        size = len(data)
        if (
            size <= stream.window
            and size <= self.window
            and size <= self.max_frame_bytes
            and self.writable
            and not stream.queue
        ):
            self._emit(stream, data, size)
            return
        stream.queue.append(data)
        self.queued_bytes += size
        self._line_up(stream)
        self.pump()

    def pump(self) -> None:
        """Send what the windows and the socket let go."""
        ready = self._ready
        while ready and self.window > 0 and self.writable:
            stream = ready.popleft()
            stream.has_turn = False
            if not stream.queue or stream.window <= 0:
                continue  # it was dropped, or its window shrank
            data = stream.queue[0]
            size = min(len(data), stream.window, self.window, self.max_frame_bytes)
            if size == len(data):
                stream.queue.popleft()
            else:
                rest = memoryview(data)
                data, stream.queue[0] = rest[:size], rest[size:]
            self.queued_bytes -= size
            self._emit(stream, data, size)
            if stream.queue:
                self._line_up(stream)
            else:
                self._end_queue(stream)

    def _end_queue(self, stream: Sending) -> None:
        if stream.trailers is not None:
            self.send_headers(stream, stream.trailers, ends=True)
        else:
            self.drained.append(stream.number)

    def _emit(self, stream: Sending, data: Buffer, size: int) -> None:
        stream.window -= size
        self.window -= size
        self._frames.append(frames.head(size, frames.DATA, 0, stream.number))
        self._frames.append(data)
        self.unsent_bytes += size + frames.HEAD_BYTES

    def drop(self, stream: Sending) -> None:
        """Forget what waits: the stream was reset."""
        self.queued_bytes -= sum(map(len, stream.queue))
        stream.queue.clear()
        stream.trailers = None

    def open_window(self, increment: int) -> None:
        """The peer lets the connection send more. Raises `ConnectionFault`."""
        self.window += increment
        if self.window > frames.MAX_WINDOW:
            raise ConnectionFault(frames.FLOW_CONTROL_ERROR, "the connection's window overflows")
        self.pump()

    def open_stream_window(self, stream: Sending, increment: int) -> None:
        """The peer lets a stream send more. Raises `StreamFault`."""
        if stream.window + increment > frames.MAX_WINDOW:
            raise StreamFault(frames.FLOW_CONTROL_ERROR)
        stream.window += increment
        self._line_up(stream)
        self.pump()

    def change_initial_window(self, size: int, streams: list[Sending]) -> None:
        """The settings changed it, for open streams too. Raises `ConnectionFault`."""
        change = size - self.initial_window
        self.initial_window = size
        for stream in streams:
            if stream.window + change > frames.MAX_WINDOW:
                raise ConnectionFault(frames.FLOW_CONTROL_ERROR, "a stream's window overflows")
            stream.window += change
            self._line_up(stream)
        self.pump()

    def _line_up(self, stream: Sending) -> None:
        if stream.queue and stream.window > 0 and not stream.has_turn:
            stream.has_turn = True
            self._ready.append(stream)
