"""gRPC on one connection: events in, messages to the stream machines, their replies out.

Sans-IO; what a machine awaits is handed to whoever has an event loop. Grammar of one call, as it
is answered:

    headers message* trailers | trailers

Messages that came together are fed one after another, each told whether `more` is at hand. While a
call's replies wait for the peer, its messages wait unread and its window is not renewed: a peer
that does not read what it asked for soon cannot ask for more.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Protocol, TypeVar

from dragoman.extproc.transports import Message, StreamMachine, Streams
from dragoman.extproc.transports.lean import framing
from dragoman.extproc.transports.lean.connection import (
    Connection,
    DataReceived,
    Drained,
    Event,
    RequestReceived,
)
from dragoman.extproc.transports.lean.frames import MIN_FRAME_BYTES
from dragoman.extproc.transports.lean.framing import CallRefused, MessageReader
from dragoman.extproc.transports.lean.hpack import Header, Headers, encode
from dragoman.extproc.transports.lean.limits import Limits
from dragoman.telemetry.logging import Logger, stack

_CONTENT_TYPE = (b"content-type", b"application/grpc")
_WELL = (b"grpc-status", b"0")
_ANSWER = encode(((b":status", b"200"), _CONTENT_TYPE))
_ENDED_WELL = encode((_WELL,))
_NO_ANSWER = encode(((b":status", b"200"), _CONTENT_TYPE, _WELL))
_FIRST_BYTES = MIN_FRAME_BYTES - framing.PREFIX_BYTES
"""Of a reply, what goes with its prefix in one frame; of a larger one the rest is not copied."""

T = TypeVar("T")
Factory = Callable[[], StreamMachine]
Replies = list[bytes]


class Waiting(Protocol):
    """Something that is being awaited."""

    def cancel(self) -> object: ...


Later = Callable[[Awaitable[Replies], Callable[[Callable[[], Replies]], None]], Waiting]
"""Awaits the first, then calls the second with what gives its result or raises its error."""


class _Call:
    """One call that is not over."""

    __slots__ = ("answered", "awaited", "ended", "inbox", "machine", "path", "reader", "stream")

    def __init__(self, stream: int, path: str, machine: StreamMachine, max_bytes: int) -> None:
        self.stream = stream
        self.path = path
        self.machine = machine
        self.reader = MessageReader(max_bytes)
        self.inbox: deque[Message] = deque()
        self.ended = False
        """The peer sends no more."""
        self.awaited: Waiting | None = None
        """What has to answer before the next message is fed."""
        self.answered = False
        """The answer's headers are out."""


class Calls:
    """All calls of one connection."""

    def __init__(
        self, connection: Connection, streams: Streams, limits: Limits, log: Logger, later: Later
    ) -> None:
        self._connection = connection
        self._later = later
        self._streams = streams
        self._limits = limits
        self._log = log
        self._calls: dict[int, _Call] = {}
        self._waiting: dict[int, _Call] = {}
        """Calls with messages that are not fed yet, because their replies wait."""
        self._held_bytes = 0
        """Of messages that are not whole, all calls together."""
        self._known: tuple[Headers, str, Factory] | None = None
        """The headers last seen, and what they ask for."""

    def handle(self, events: Iterable[Event]) -> None:
        """Take all that came together, then answer it."""
        ready: dict[int, _Call] = {}
        for event in events:
            if isinstance(event, RequestReceived):
                self._begin(event)
            call = self._calls.get(event.stream)
            if call is None:
                continue
            if isinstance(event, DataReceived):
                self._take(call, event)
            elif isinstance(event, RequestReceived):
                call.ended = event.ended
            elif not isinstance(event, Drained):
                self._cancel(call)
            ready[event.stream] = call
        for call in ready.values():
            self._run(call)

    def resume(self) -> None:
        """The socket takes bytes again."""
        for call in list(self._waiting.values()):
            self._run(call)

    def close(self) -> None:
        """The connection is gone."""
        for call in list(self._calls.values()):
            self._cancel(call)

    def _begin(self, request: RequestReceived) -> None:
        known = self._known
        if known is None or known[0] is not request.headers:
            try:
                known = self._known = (request.headers, *self._resolve(request.headers))
            except CallRefused as refusal:
                self._refuse(request.stream, refusal, answered=False)
                return
        _, path, factory = known
        machine = factory()
        call = _Call(request.stream, path, machine, self._limits.message_bytes)
        self._calls[request.stream] = call

    def _resolve(self, headers: Headers) -> tuple[str, Factory]:
        """The path and its factory."""
        fields = dict(headers)
        kind = fields.get(b"content-type", b"")
        if fields[b":method"] != b"POST":
            raise CallRefused(framing.INTERNAL, "not a POST", 405)
        if not kind.startswith(_CONTENT_TYPE[1]) or kind[len(_CONTENT_TYPE[1]) :][:1] not in b"+;":
            raise CallRefused(framing.UNKNOWN, "not application/grpc", 415)
        path = fields[b":path"].decode("latin-1")
        factory = self._streams.get(path)
        if factory is None:
            raise CallRefused(framing.UNIMPLEMENTED, "no such method")
        return path, factory

    def _take(self, call: _Call, event: DataReceived) -> None:
        reader, refusal = call.reader, None
        held = reader.held_bytes
        try:
            call.inbox += reader.feed(event.data)
        except CallRefused as error:
            refusal = error
        self._held_bytes += reader.held_bytes - held
        if self._held_bytes > self._limits.buffered_bytes:
            refusal = CallRefused(framing.RESOURCE_EXHAUSTED, "too much is half sent")
        elif event.ended and not reader.between_messages:
            refusal = refusal or CallRefused(framing.INTERNAL, "the last message is cut short")
        call.ended = event.ended
        if refusal is not None:
            self._cancel(call)
            self._refuse(call.stream, refusal, answered=call.answered)

    def _run(self, call: _Call) -> None:
        """Feed what waits, as far as the peer fetches the replies."""
        connection, inbox, machine = self._connection, call.inbox, call.machine
        stream = call.stream
        if stream not in self._calls or call.awaited:
            return
        self._waiting.pop(stream, None)
        while inbox:
            if connection.is_blocked(stream):
                self._waiting[stream] = call
                return
            replies = self._ask(call, machine.feed, inbox.popleft(), more=bool(inbox))
            if not isinstance(replies, list | None):
                call.awaited = self._later(replies, partial(self._arrive, call))
                return
            if not self._send(call, replies) or self._end_finished(call):
                return
        if not call.ended:
            connection.credit(stream)
        elif self._send(call, self._ask(call, machine.close)):
            self._end(call)

    def _arrive(self, call: _Call, result: Callable[[], Replies]) -> None:
        """What the machine awaited is there."""
        call.awaited = None
        sent = call.stream in self._calls and self._send(call, self._ask(call, result))
        if sent and not self._end_finished(call):
            self._run(call)

    def _end_finished(self, call: _Call) -> bool:
        """Whether the machine had its last word, and with it the call."""
        if call.machine.finished:
            self._end(call)
            return True
        return False

    def _ask(self, call: _Call, step: Callable[..., T], *given: Message, **named: bool) -> T | None:
        """What the machine says; None where it has a bug, which is logged."""
        try:
            return step(*given, **named)
        except Exception as error:  # noqa: BLE001 - the one place where a bug of ours is caught
            kind = type(error).__name__
            self._log.error("stream_failed", method=call.path, error_type=kind, **stack(error))
            return None

    def _send(self, call: _Call, replies: Replies | None) -> bool:
        """False where the call is over, because there was a bug instead of replies."""
        if replies is None:
            self._fail(call)
            return False
        connection, stream = self._connection, call.stream
        for reply in replies:
            if not call.answered:
                call.answered = True
                connection.send_headers(stream, _ANSWER)
            prefix = framing.prefix(len(reply))
            if len(reply) <= _FIRST_BYTES:
                connection.send_data(stream, prefix + reply)
            else:
                connection.send_data(stream, prefix + reply[:_FIRST_BYTES])
                connection.send_data(stream, memoryview(reply)[_FIRST_BYTES:])
        return True

    def _fail(self, call: _Call) -> None:
        """Tell the client if it can still be told; otherwise Envoy resets its stream."""
        if replies := self._ask(call, call.machine.fail):
            self._send(call, replies)
            self._end(call)
            return
        self._forget(call)
        refusal = CallRefused(framing.INTERNAL, "internal error")
        self._refuse(call.stream, refusal, answered=call.answered)

    def _end(self, call: _Call) -> None:
        self._forget(call)
        trailers = _ENDED_WELL if call.answered else _NO_ANSWER
        self._connection.send_headers(call.stream, trailers, ends=True)

    def _refuse(self, stream: int, refusal: CallRefused, *, answered: bool) -> None:
        """End a call with an error, and with what its peer still sends of it."""
        fields = _status(refusal.status, refusal.message)
        if not answered:
            fields = (_http_status(refusal.http_status), _CONTENT_TYPE, *fields)
        self._connection.send_headers(stream, encode(fields), ends=True)
        self._connection.stop(stream)

    def _cancel(self, call: _Call) -> None:
        """Nobody waits for the machine's replies any more."""
        self._forget(call)
        if call.awaited:
            call.awaited.cancel()
        self._ask(call, call.machine.close)

    def _forget(self, call: _Call) -> None:
        self._held_bytes -= call.reader.held_bytes
        del self._calls[call.stream]
        self._waiting.pop(call.stream, None)


def _status(status: int, message: str) -> tuple[Header, ...]:
    """`message` is ours: printable ASCII without a percent sign."""
    return (
        (b"grpc-status", str(status).encode()),
        (b"grpc-message", message.encode()),
        (b"grpc-accept-encoding", b"identity"),
    )


def _http_status(status: int) -> Header:
    return (b":status", str(status).encode())
