"""The reference transport: `grpc.aio`, one task a stream, messages as raw bytes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import grpc
import grpc.aio

from dragoman.extproc.transports import StreamMachine, Streams
from dragoman.telemetry.logging import Logger, stack

_Context = Any
"""`grpc.aio.ServicerContext`, whose type parameters grpc itself leaves open."""


class GrpcAioTransport:
    """Serves streams with `grpc.aio` on the running event loop."""

    def __init__(self, log: Logger, max_message_bytes: int) -> None:
        self._log = log
        self._options = (
            ("grpc.max_receive_message_length", max_message_bytes),
            ("grpc.max_send_message_length", -1),
        )

    async def serve(self, path: str, streams: Streams) -> GrpcAioServer:
        """Listen on the Unix socket `path`. Raises `OSError` if it cannot be bound."""
        server = grpc.aio.server(options=self._options)
        server.add_generic_rpc_handlers((_Handlers(streams, self._log),))
        try:
            server.add_insecure_port(f"unix:{path}")
            await server.start()
        except RuntimeError as error:
            raise OSError(f"cannot listen on {path}") from error
        return GrpcAioServer(server)


class GrpcAioServer:
    """A running `grpc.aio` server."""

    def __init__(self, server: grpc.aio.Server) -> None:
        self._server = server

    async def close(self, grace_seconds: float) -> None:
        """Refuse new streams at once; cut the open ones after `grace_seconds`."""
        await self._server.stop(grace_seconds)


class _Handlers(grpc.GenericRpcHandler):
    """Finds the machine for a path; bytes go in and out as they are."""

    def __init__(self, streams: Streams, log: Logger) -> None:
        self._handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            path: grpc.stream_stream_rpc_method_handler(_handler(path, factory, log))
            for path, factory in streams.items()
        }

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        return self._handlers.get(handler_call_details.method)


def _handler(
    path: str, factory: Callable[[], StreamMachine], log: Logger
) -> Callable[[Any, _Context], Awaitable[None]]:
    async def handle(_: Any, context: _Context) -> None:
        machine = factory()
        try:
            await _run(machine, context)
        except asyncio.CancelledError:
            machine.close()
            raise
        except Exception as error:  # noqa: BLE001 - the one place where a bug of ours is caught
            kind = type(error).__name__
            log.error("stream_failed", method=path, error_type=kind, **stack(error))  # noqa: TRY400 - its text may quote a prompt
            await _fail(machine, context)

    return handle


async def _run(machine: StreamMachine, context: _Context) -> None:
    while not machine.finished:
        message = await context.read()
        if message is grpc.aio.EOF:
            await _write(context, machine.close())
            return
        replies = machine.feed(message)
        await _write(context, replies if isinstance(replies, list) else await replies)


async def _write(context: _Context, replies: list[bytes]) -> None:
    for reply in replies:
        await context.write(reply)


async def _fail(machine: StreamMachine, context: _Context) -> None:
    """Tell the client if it can still be told; otherwise Envoy resets its stream."""
    replies = machine.fail()
    with suppress(grpc.RpcError, grpc.aio.UsageError):
        await _write(context, replies)
    if not replies:
        await context.abort(grpc.StatusCode.INTERNAL, "internal error")
