"""Carries callouts to Envoy, which reaches whom they are for.

Envoy listens on a Unix socket that no client can reach; its routes know each callout by its path,
add the key, speak TLS and gRPC, and count. Here is no more than HTTP/1.1 to that one socket.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import cast

import httptools

from dragoman.policies.questions import Fault, Question

_MAX_AT_ONCE = 256
"""Callouts of one worker; more wait, within their time."""
_MAX_KEPT = 32
"""Connections that wait for the next callout."""
_MAX_ANSWER_BYTES = 4 << 20
"""Head and body together."""
_OK, _WELL, _GATEWAY_TIMEOUT = 200, range(200, 300), 504
_REJECTS = frozenset(range(400, 500)) - {408, 409, 425, 429}
"""Statuses that say that it is the request's own fault; those four may be otherwise later."""
_GRPC_OK, _DEADLINE_EXCEEDED = (b"", b"0"), b"4"
"""What `grpc-status` says; there is none of what is no gRPC."""


class Callouts:
    """The callouts of one worker, whatever policy is in force."""

    def __init__(self, socket: str) -> None:
        self._socket = socket
        self._slots = asyncio.Semaphore(_MAX_AT_ONCE)
        self._kept: list[_Connection] = []

    async def ask(self, questions: Sequence[Question]) -> list[bytes | Fault]:
        """The bodies that answer each, all asked at once; cancelling gives all of them up."""
        if len(questions) == 1:
            return [await self._ask(questions[0])]
        return await asyncio.gather(*map(self._ask, questions))

    async def _ask(self, question: Question) -> bytes | Fault:
        if question.body is None:
            return "too_long"
        try:
            async with asyncio.timeout(question.callout.timeout_seconds), self._slots:
                return await self._post(question, question.body)
        except TimeoutError:
            return "timeout"
        except OSError:
            return "unreachable"

    async def _post(self, question: Question, body: bytes) -> bytes | Fault:
        more = "".join(f"{name}: {value}\r\n" for name, value in question.headers)
        head = (
            f"POST {question.route} HTTP/1.1\r\nhost: callouts\r\n{more}content-type: "
            f"{question.callout.CONTENT_TYPE}\r\ncontent-length: {len(body)}\r\n\r\n"
        ).encode()
        while self._kept:
            try:
                return await self._use(self._kept.pop(), head, body)
            except ConnectionError:
                continue  # it was closed while nobody looked
        return await self._use(await self._connect(), head, body)

    async def _use(self, connection: _Connection, head: bytes, body: bytes) -> bytes | Fault:
        try:
            return await connection.post(head, body)
        finally:
            if connection.is_free and len(self._kept) < _MAX_KEPT:
                self._kept.append(connection)
            else:
                connection.close()

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_unix_connection(
            lambda: _Connection(self._kept), self._socket
        )
        return connection


class _Connection(asyncio.Protocol):
    """One request after the other, each with its answer."""

    def __init__(self, kept: list[_Connection]) -> None:
        """`kept` is where it is taken out of when it is cut."""
        self._kept = kept
        self._transport: asyncio.WriteTransport | None = None
        self._answer: asyncio.Future[bytes | Fault] | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._pieces: list[bytes] = []
        self._received = 0
        self._grpc_status = b""
        self.is_free = False
        """It has answered all it was asked, and may be asked again."""

    async def post(self, head: bytes, body: bytes) -> bytes | Fault:
        """The body of an answer that is well. Raises `OSError` where the connection is cut."""
        if self._transport is None:
            raise ConnectionResetError
        self.is_free = False
        self._pieces, self._received, self._grpc_status = [], 0, b""
        self._parser = httptools.HttpResponseParser(self)
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.writelines((head, body))
        return await self._answer

    def close(self) -> None:
        """Nobody waits for an answer any more."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)  # uvloop's are no subclass

    def data_received(self, data: bytes) -> None:
        if self._answer is None or self._answer.done():
            self.close()  # nothing was asked
            return
        self._received += len(data)
        if self._received > _MAX_ANSWER_BYTES:
            self._give("too_long")
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._give("bad_answer")

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._transport, self.is_free = None, False
        if self in self._kept:
            self._kept.remove(self)
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionResetError())

    def on_header(self, name: bytes, value: bytes) -> None:
        """For the parser."""
        if name == b"grpc-status":
            self._grpc_status = value

    def on_body(self, body: bytes) -> None:
        """For the parser."""
        self._pieces.append(body)

    def on_message_complete(self) -> None:
        """For the parser."""
        status = self._parser.get_status_code()
        if self._answer is None or self._answer.done() or status < _OK:
            return
        self.is_free = self._parser.should_keep_alive()
        if status in _WELL and self._grpc_status in _GRPC_OK:
            self._answer.set_result(b"".join(self._pieces))
        elif status == _GATEWAY_TIMEOUT or self._grpc_status == _DEADLINE_EXCEEDED:
            self._answer.set_result("timeout")
        else:
            self._answer.set_result("rejected" if status in _REJECTS else "status")

    def _give(self, fault: Fault) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(fault)
        self.close()
