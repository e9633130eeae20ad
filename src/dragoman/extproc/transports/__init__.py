"""The seam between gRPC and the stages: a transport carries bytes, a stream machine answers them.

A machine is sans-IO, so that a transport may call it from a task, a callback or a test. Grammar of
the calls: `feed* (close | fail)?`; after `feed` left `finished` true nothing more is called.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

Message = bytes | bytearray
"""One gRPC message; the machine's own, nobody changes it."""


class StreamMachine(Protocol):
    """One gRPC stream on the server's side."""

    @property
    def finished(self) -> bool:
        """Nothing more is to come: send what `feed` returned and end the stream with OK."""
        ...

    def feed(self, message: Message, *, more: bool = False) -> list[bytes] | Awaitable[list[bytes]]:
        """The replies to one message, in order; an awaitable of them where something else has to
        answer first, and nothing is fed before it has. May raise anything, now or when awaited:
        then `fail` is called.

        `more`: the next message is already here, so that a reply may wait for it.
        """
        ...

    def close(self) -> list[bytes]:
        """The peer ended its side, or is gone: the last replies, if anybody still wants them."""
        ...

    def fail(self) -> list[bytes]:
        """`feed` raised: the replies that still tell the client; empty if it is too late."""
        ...


Streams = Mapping[str, Callable[[], StreamMachine]]
"""A factory of machines by gRPC path, such as `/package.Service/Method`."""


class Server(Protocol):
    """A socket that is being served."""

    async def close(self, grace_seconds: float) -> None:
        """Refuse new streams at once; cut the open ones after `grace_seconds`."""
        ...


class Transport(Protocol):
    """A gRPC server implementation."""

    async def serve(self, path: str, streams: Streams) -> Server:
        """Listen on the Unix socket `path`. Raises `OSError` if it cannot be bound."""
        ...
