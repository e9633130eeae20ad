"""The load: HTTP/1.1 over raw asyncio protocols on uvloop, parsed by hand, on one thread.

Two shapes. In a *closed loop* each connection sends its next request when the last answer is whole:
it finds the most a system can do. At a *fixed rate* requests are due by the clock whatever the
system does, and a latency counts from the moment its request was due, so that a system that stalls
pays for every request it kept waiting.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import struct
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

import uvloop

_DRAIN_SECONDS = 10.0
"""How long answers may take after a fixed rate has ended."""
_CLOCK_MONOTONIC = 1
_NONBLOCK = 0o4000
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Target:
    """Where and what to send: the same bytes each time."""

    port: int
    path: str
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    stream: bool = False

    def wire(self) -> bytes:
        head = [
            f"POST {self.path} HTTP/1.1",
            f"host: 127.0.0.1:{self.port}",
            "content-type: application/json",
            f"content-length: {len(self.body)}",
            *(f"{name}: {value}" for name, value in self.headers.items()),
        ]
        return "\r\n".join(head).encode() + b"\r\n\r\n" + self.body


@dataclass
class Stretch:
    """What one stretch of load saw. Times in seconds."""

    seconds: float = 0
    latencies: list[float] = field(default_factory=list)
    """Of whole, good answers."""
    first_events: list[float] = field(default_factory=list)
    """The same until a stream's first event."""
    failures: int = 0
    """Answers that were not 200 or not whole, and connections lost."""
    unanswered: int = 0
    """Requests without an answer when the time for it was over."""
    answer: bytes = b""
    """The last failure's first bytes."""
    events: int = 0
    chunks: int = 0
    """HTTP chunks that events came in: fewer than events where something merged them."""
    generator_seconds: float = 0
    """CPU time of this load generator."""


class Answer:
    """One answer, as its bytes come. Reads no more of HTTP than the systems measured here write."""

    def __init__(self) -> None:
        self.status = 0
        self.closes = False
        """The connection ends with this answer."""
        self.events = 0
        self.chunks = 0
        self._head: bytes | None = b""
        self._left = 0
        self._tail: bytes | None = None

    def feed(self, data: bytes) -> bool:
        """Whether the answer is whole now."""
        if self._head is not None:
            data = self._read_head(self._head + data)
            if self._head is not None:
                return False
        if self._tail is None:
            self._left -= len(data)
            return self._left <= 0
        self.events += data.count(b"data:")
        self.chunks += data.count(b"\r\ndata:")
        self._tail = (self._tail + data[-64:])[-64:]
        return self._tail.endswith(b"\r\n0\r\n\r\n")

    def is_good(self, *, stream: bool) -> bool:
        """200, and a stream that came to its own end."""
        return self.status == 200 and (not stream or self.ends_with(b"[DONE]"))

    def ends_with(self, mark: bytes) -> bool:
        """Whether a whole stream's last event has `mark` in it."""
        return mark in (self._tail or b"")

    def _read_head(self, data: bytes) -> bytes:
        head, end, rest = data.partition(b"\r\n\r\n")
        if not end:
            self._head = data
            return b""
        self._head = None
        self.status = int(head[9:12])
        lines = head.lower().split(b"\r\n")[1:]
        headers = dict(line.partition(b":")[::2] for line in lines)
        self.closes = headers.get(b"connection", b"").strip() == b"close"
        if b"transfer-encoding" in headers:
            self._tail = b"\r\n"
        else:
            self._left = int(headers[b"content-length"])
        return rest if self._tail is None else b"\r\n" + rest


class _Connection(asyncio.Protocol):
    """One connection, at one request at a time."""

    def __init__(
        self, target: Target, stretch: Stretch, free: Callable[[_Connection], None]
    ) -> None:
        self._wire = target.wire()
        self._stream = target.stream
        self._stretch = stretch
        self._free = free
        self._answer: Answer | None = None
        self._counted_from = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def send(self, counted_from: float) -> None:
        self._counted_from = counted_from
        self._answer = Answer()
        self._transport.write(self._wire)

    def data_received(self, data: bytes) -> None:
        answer = self._answer
        if answer is None:
            return
        before = answer.events
        whole = answer.feed(data)
        if not before and answer.events:
            self._stretch.first_events.append(time.perf_counter() - self._counted_from)
        if whole:
            self._end(answer, data)

    def _end(self, answer: Answer, data: bytes) -> None:
        stretch = self._stretch
        self._answer = None
        if answer.is_good(stream=self._stream):
            stretch.latencies.append(time.perf_counter() - self._counted_from)
            stretch.events += answer.events
            stretch.chunks += answer.chunks
        else:
            stretch.failures += 1
            stretch.answer = data[:500]
        self._free(self)

    @property
    def is_open(self) -> bool:
        return not self._transport.is_closing()

    def close(self) -> None:
        self._answer = None
        self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if self._answer is not None:
            self._answer = None
            self._stretch.failures += 1
            self._free(self)


async def _connect(
    target: Target, count: int, stretch: Stretch, free: Callable[[_Connection], None]
) -> list[_Connection]:
    loop = asyncio.get_running_loop()
    return [
        (
            await loop.create_connection(
                lambda: _Connection(target, stretch, free), "127.0.0.1", target.port
            )
        )[1]
        for _ in range(count)
    ]


async def _closed_loop(target: Target, count: int, seconds: float) -> Stretch:
    loop = asyncio.get_running_loop()
    stretch = Stretch()
    ended = asyncio.Event()
    busy = count
    deadline = 0.0

    def free(connection: _Connection) -> None:
        nonlocal busy
        now = time.perf_counter()
        if now < deadline and connection.is_open:
            connection.send(now)
            return
        busy -= 1
        if not busy:
            ended.set()

    connections = await _connect(target, count, stretch, free)
    started = time.perf_counter()
    deadline = started + seconds
    for connection in connections:
        connection.send(time.perf_counter())
    limit = loop.call_later(seconds + _DRAIN_SECONDS, ended.set)
    await ended.wait()
    limit.cancel()
    stretch.seconds = time.perf_counter() - started
    stretch.unanswered = busy
    for connection in connections:
        connection.close()
    return stretch


class _Ticks:
    """A timer of the kernel's, for uvloop's own are whole milliseconds."""

    def __init__(self, interval: float) -> None:
        self.fd = _libc.timerfd_create(_CLOCK_MONOTONIC, _NONBLOCK)
        nanoseconds = int(interval * 1e9)
        each = divmod(nanoseconds, 10**9)
        _libc.timerfd_settime(self.fd, 0, struct.pack("qqqq", *each, *each), None)

    def read(self) -> int:
        """How often it has fired since it was last asked."""
        count: int = struct.unpack("Q", os.read(self.fd, 8))[0]
        return count


async def _fixed_rate(target: Target, count: int, seconds: float, rate: float) -> Stretch:
    loop = asyncio.get_running_loop()
    stretch = Stretch()
    idle: deque[_Connection] = deque()
    due: deque[float] = deque()
    ended = asyncio.Event()
    total = max(1, int(rate * seconds))
    sent = answered = 0

    def free(connection: _Connection) -> None:
        nonlocal answered
        answered += 1
        if answered == total:
            ended.set()
        elif not connection.is_open:
            return
        elif due:
            connection.send(due.popleft())
        else:
            idle.append(connection)

    connections = await _connect(target, count, stretch, free)
    idle.extend(connections)
    started = time.perf_counter()
    ticks = _Ticks(1 / rate)

    def tick() -> None:
        nonlocal sent
        for _ in range(min(ticks.read(), total - sent)):
            sent += 1
            when = started + sent / rate
            if idle:
                idle.popleft().send(when)
            else:
                due.append(when)

    loop.add_reader(ticks.fd, tick)
    limit = loop.call_later(seconds + _DRAIN_SECONDS, ended.set)
    await ended.wait()
    limit.cancel()
    loop.remove_reader(ticks.fd)
    os.close(ticks.fd)
    stretch.seconds = time.perf_counter() - started
    stretch.unanswered = total - answered
    for connection in connections:
        connection.close()
    return stretch


def load(target: Target, connections: int, seconds: float, rate: float | None = None) -> Stretch:
    """Load `target` for `seconds`: a closed loop, or `rate` requests a second."""
    gc.collect()
    gc.disable()
    before = time.process_time()
    try:
        if rate is None:
            stretch = uvloop.run(_closed_loop(target, connections, seconds))
        else:
            stretch = uvloop.run(_fixed_rate(target, connections, seconds, rate))
    finally:
        gc.enable()
    stretch.generator_seconds = time.process_time() - before
    return stretch
