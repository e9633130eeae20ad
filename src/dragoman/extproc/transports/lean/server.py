"""Sockets for the lean transport: bytes between asyncio and one connection's machines."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import cast

from dragoman.extproc.transports import Streams
from dragoman.extproc.transports.lean.calls import Calls, Replies
from dragoman.extproc.transports.lean.connection import Connection, Event
from dragoman.extproc.transports.lean.limits import Limits
from dragoman.telemetry.logging import Logger

_HIGH_WATER_BYTES = 256 << 10
"""Of unsent bytes in a socket, above which replies wait with their streams."""
_ONE_WRITE_BYTES = 256 << 10
"""Up to this size the pieces of one write are joined: cheaper than handing over each."""
_CUT_SECONDS = 1.0
"""How long a peer may take to read the last bytes of a connection that is cut."""


class LeanTransport:
    """Serves streams on the running event loop, without a task for any of them."""

    def __init__(self, log: Logger, limits: Limits) -> None:
        self._log = log
        self._limits = limits

    async def serve(self, path: str, streams: Streams) -> LeanServer:
        """Listen on the Unix socket `path`. Raises `OSError` if it cannot be bound."""
        peers: set[_Peer] = set()
        loop = asyncio.get_running_loop()
        try:
            listener = await loop.create_unix_server(
                lambda: _Peer(peers, streams, self._limits, self._log), path
            )
        except OSError as error:
            raise OSError(f"cannot listen on {path}") from error
        return LeanServer(listener, peers)


class LeanServer:
    """A listening socket and the connections it took."""

    def __init__(self, listener: asyncio.AbstractServer, peers: set[_Peer]) -> None:
        self._listener = listener
        self._peers = peers

    async def close(self, grace_seconds: float) -> None:
        """Refuse new streams at once; cut the open ones after `grace_seconds`."""
        self._listener.close()
        for peer in tuple(self._peers):
            peer.drain()
        await self._wait(grace_seconds)
        for peer in tuple(self._peers):
            peer.cut()
        await self._wait(_CUT_SECONDS)
        for peer in tuple(self._peers):
            peer.abort()
        await self._wait(_CUT_SECONDS)

    async def _wait(self, seconds: float) -> None:
        gone = [peer.gone for peer in self._peers]
        if gone and seconds > 0:
            await asyncio.wait(gone, timeout=seconds)


class _Peer(asyncio.Protocol):
    """One connection."""

    def __init__(self, peers: set[_Peer], streams: Streams, limits: Limits, log: Logger) -> None:
        self._peers = peers
        self._loop = asyncio.get_running_loop()
        self._connection = Connection(limits)
        self._calls = Calls(self._connection, streams, limits, log, self._await)
        self._log = log
        self.gone: asyncio.Future[None] = self._loop.create_future()
        """Done when the connection is lost."""

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        self._transport.set_write_buffer_limits(_HIGH_WATER_BYTES)
        self._peers.add(self)
        self._flush()

    def data_received(self, data: bytes) -> None:
        self._handle(self._connection.receive(data, self._loop.time()))

    def pause_writing(self) -> None:
        self._connection.pause()

    def resume_writing(self) -> None:
        events = self._connection.resume()
        self._calls.resume()
        self._handle(events)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._peers.discard(self)
        self._calls.close()
        if not self.gone.done():
            self.gone.set_result(None)

    def _await(
        self, replies: Awaitable[Replies], arrive: Callable[[Callable[[], Replies]], None]
    ) -> asyncio.Future[Replies]:
        """The one task there is: for a machine that waits for something else."""
        future = asyncio.ensure_future(replies, loop=self._loop)

        def done(_: object) -> None:
            if not future.cancelled():
                arrive(future.result)
                self._flush()

        future.add_done_callback(done)
        return future

    # for the server

    def drain(self) -> None:
        """Take no new calls; hang up when the open ones are over."""
        self._connection.shut_down()
        self._flush()

    def cut(self) -> None:
        """Hang up once what is written is sent."""
        self._connection.refuse_streams()
        self._flush()
        self._transport.close()

    def abort(self) -> None:
        """Hang up now."""
        self._transport.abort()

    def _handle(self, events: list[Event]) -> None:
        self._calls.handle(events)
        self._flush()

    def _flush(self) -> None:
        connection, transport = self._connection, self._transport
        if transport.is_closing():
            return
        size, pieces = connection.unsent_bytes, connection.take_output()
        if size > _ONE_WRITE_BYTES:
            transport.writelines(pieces)
        elif pieces:
            transport.write(b"".join(pieces))
        if connection.failed is not None:
            self._log.warning("connection_failed", problem=connection.failed)
            transport.close()
        elif connection.drained:
            transport.close()
