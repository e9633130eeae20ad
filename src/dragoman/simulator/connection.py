"""HTTP/1.1 for the simulator: one `asyncio.Protocol` a connection, parsed by httptools."""

import asyncio
import contextlib
import socket
import struct
import sys
import time
import traceback
from collections import deque
from typing import TYPE_CHECKING, cast

import httptools
import msgspec

from dragoman.simulator.application import Application, Outgoing
from dragoman.simulator.control import CONTROL_PREFIX, answer_control
from dragoman.simulator.delivery import play, render
from dragoman.simulator.messages import ReceivedRequest, Reply, json_reply

if TYPE_CHECKING:
    from dragoman.simulator.request_log import LogEntry
    from dragoman.simulator.script import Then

MAX_WAITING = 16
"""Pipelined requests kept while one is being answered; then the socket is not read."""
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_LINGER_NEVER = struct.pack("ii", 1, 0)


class Listener(msgspec.Struct, frozen=True):
    """One port, and the provider it pretends to be."""

    name: str
    port: int
    max_body_bytes: int
    connections: "set[Connection]"
    """Those open on any port of the simulator."""


class Connection(asyncio.Protocol):
    """Reads requests and answers them in order, over one client's connection."""

    def __init__(self, application: Application, listener: Listener) -> None:
        """For `loop.create_server`."""
        self._application = application
        self._listener = listener
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[tuple[ReceivedRequest, bool]] = deque()
        self._playing: asyncio.Task[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._closing = False

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client came."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        self._listener.connections.add(self)

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        if self._closing:
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._refuse(400, "upgrades are not supported")
        except httptools.HttpParserError as error:
            self._refuse(400, f"not HTTP: {error}")

    def pause_writing(self) -> None:
        """The client reads too slowly."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """The client caught up."""
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone; what was being answered is not any more."""
        del exc
        self._closing = True
        self._listener.connections.discard(self)
        self._waiting.clear()
        if self._playing is not None:
            self._playing.cancel()

    # httptools

    def on_message_begin(self) -> None:
        """A request begins."""
        self._target = b""
        self._headers: list[tuple[str, str]] = []
        self._body: list[bytes] = []
        self._body_bytes = 0

    def on_url(self, url: bytes) -> None:
        """A piece of the request target."""
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        self._headers.append((name.decode("latin-1").lower(), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        """All headers are there."""
        if ("expect", "100-continue") in self._headers:
            self._transport.write(_CONTINUE)

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._body_bytes += len(body)
        if self._body_bytes <= self._listener.max_body_bytes:
            self._body.append(body)
        elif not self._closing:
            self._refuse(413, "the request is too large")

    def on_message_complete(self) -> None:
        """The request is whole."""
        if self._closing:
            return
        request = ReceivedRequest(
            method=self._parser.get_method().decode("latin-1"),
            target=self._target.decode("latin-1"),
            headers=self._headers,
            body=self._body[0] if len(self._body) == 1 else b"".join(self._body),
            listener=self._listener.name,
            port=self._listener.port,
            received_at=time.time(),
        )
        self._body = []
        self._waiting.append((request, self._parser.should_keep_alive()))
        if len(self._waiting) >= MAX_WAITING:
            self._transport.pause_reading()
        self._answer_waiting()

    # answering

    def _answer_waiting(self) -> None:
        while self._waiting and self._playing is None and not self._closing:
            if len(self._waiting) == MAX_WAITING:
                self._transport.resume_reading()
            request, keep_alive = self._waiting.popleft()
            if request.path.startswith(CONTROL_PREFIX):
                reply = answer_control(self._application, request)
                self._write(render(reply), keep_alive=keep_alive)
            else:
                self._answer(request, keep_alive=keep_alive)

    def _answer(self, request: ReceivedRequest, *, keep_alive: bool) -> None:
        entry = self._application.log.append(request)
        try:
            outgoing = self._application.answer(request, entry)
        except Exception as error:  # noqa: BLE001 - a fault of the simulator must be seen as one
            traceback.print_exc(file=sys.stderr)
            outgoing = Outgoing(500, render(_plain_error(500, f"simulator: {error!r}")))
        entry.status = outgoing.status
        if outgoing.play is None:
            entry.outcome = "answered"
            self._write(outgoing.data, keep_alive=keep_alive)
        else:
            playing = self._play(outgoing.play, entry, keep_alive=keep_alive)
            self._playing = asyncio.get_running_loop().create_task(playing)

    def _write(self, data: bytes, *, keep_alive: bool) -> None:
        self._transport.write(data)
        if not keep_alive:
            self.close()

    async def _play(
        self, order: "tuple[Reply, Then]", entry: "LogEntry", *, keep_alive: bool
    ) -> None:
        try:
            entry.outcome = await play(self, *order)
        except asyncio.CancelledError:
            entry.outcome = "client_gone"
            raise
        self._playing = None
        if not keep_alive:
            self.close()
        self._answer_waiting()

    def _refuse(self, status: int, message: str) -> None:
        self._transport.write(render(_plain_error(status, message)))
        self.close()

    # delivery.Link

    async def send(self, data: bytes) -> None:
        """Write, and wait while the client reads too slowly."""
        if data:
            self._transport.write(data)
        if not self._writable.is_set():
            await self._writable.wait()

    def close(self) -> None:
        """Close after what was written."""
        self._closing = True
        self._transport.close()

    def reset(self) -> None:
        """Drop the connection at once, with a reset where the socket allows it."""
        self._closing = True
        sock = self._transport.get_extra_info("socket")
        with contextlib.suppress(OSError, AttributeError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NEVER)
        self._transport.abort()


def _plain_error(status: int, message: str) -> Reply:
    headers = (("connection", "close"),)
    return json_reply({"error": {"message": message}}, status=status, headers=headers)
