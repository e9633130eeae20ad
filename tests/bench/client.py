"""A closed-loop HTTP/1.1 client: each connection sends its next request when the last is whole."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

import httptools
import uvloop


@dataclass(frozen=True)
class Target:
    """Where and what to send: the same bytes each time."""

    port: int
    path: str
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)

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
class Result:
    """What one measured stretch saw. Latencies in seconds, of whole answers."""

    seconds: float
    latencies: list[float]
    errors: int
    body_bytes: int

    @property
    def rps(self) -> float:
        return len(self.latencies) / self.seconds

    def percentile_ms(self, fraction: float) -> float:
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(len(ordered) * fraction))] * 1000


class _Connection(asyncio.Protocol):
    """One connection of the closed loop; also the parser's callback object."""

    def __init__(self, wire: bytes, deadline: float, done: asyncio.Future[None]) -> None:
        self._wire = wire
        self._deadline = deadline
        self._done = done
        self.latencies: list[float] = []
        self.errors = 0
        self.body_bytes = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._send()

    def _send(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._started = time.perf_counter()
        self._transport.write(self._wire)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, data: bytes) -> None:
        self.body_bytes += len(data)

    def on_message_complete(self) -> None:
        now = time.perf_counter()
        if self._parser.get_status_code() == 200:
            self.latencies.append(now - self._started)
        else:
            self.errors += 1
        if now >= self._deadline:
            self._transport.close()
        else:
            asyncio.get_running_loop().call_soon(self._send)

    def connection_lost(self, error: Exception | None) -> None:
        if time.perf_counter() < self._deadline:
            self.errors += 1
        if not self._done.done():
            self._done.set_result(None)


async def _run(target: Target, connections: int, seconds: float) -> Result:
    loop = asyncio.get_running_loop()
    started = time.perf_counter()
    opened: list[_Connection] = []
    ends: list[asyncio.Future[None]] = []
    for _ in range(connections):
        end = loop.create_future()
        connection = _Connection(target.wire(), started + seconds, end)
        await loop.create_connection(lambda c=connection: c, "127.0.0.1", target.port)
        opened.append(connection)
        ends.append(end)
    await asyncio.gather(*ends)
    return Result(
        seconds=time.perf_counter() - started,
        latencies=[x for c in opened for x in c.latencies],
        errors=sum(c.errors for c in opened),
        body_bytes=sum(c.body_bytes for c in opened),
    )


def load(target: Target, connections: int, seconds: float) -> Result:
    """Keep `connections` busy for `seconds`. Answers other than 200 count as errors."""
    return uvloop.run(_run(target, connections, seconds))
