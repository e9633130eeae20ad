"""Answers that must be the JSON which their request asked for, in the client's own dialect.

Asked for is what a response format says, and the arguments of a tool that is strict, or that the
model must call. An answer that may be stopped is held until its end, a stream too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import msgspec

from dragoman import metadata as names
from dragoman.actions import Action, Chunk, Metadata, Mutate, amend
from dragoman.dialects import ChatDialect, read_answer
from dragoman.errors import AnswerMisfit, DragomanError, UpstreamError, UpstreamProtocolError
from dragoman.exchange.answers import replace_answer, tell_denied
from dragoman.exchange.heads import AttemptHead, ResponseEditor
from dragoman.exchange.usage import usage_metadata
from dragoman.exchange.watch import strict_tools
from dragoman.ir import Request, Response, Tool
from dragoman.ir.events import Event, fold
from dragoman.policies.route.fallback import Criteria, is_as_asked
from dragoman.wire.content_encoding import ContentDecoder

_ERROR_STATUS = 400
_FOUND: Metadata = {names.GUARDRAILS_ANSWER_NAMESPACE: {names.SCHEMA: 1.0}}


def shape_of(request: Request) -> Criteria | None:
    """What the answer has to be; None where the request does not say."""
    tools, choice, shape = strict_tools(request), request.tool_choice, request.response_format
    if choice is not None and choice.mode == "tool":
        called = (tool for tool in request.tools if isinstance(tool, Tool))
        tools |= {t.name: t.parameters for t in called if t.name == choice.name and t.parameters}
    if not tools and (shape is None or shape.kind == "text"):
        return None
    return Criteria(shape=shape, tools=tools)


class Fitting(NamedTuple):
    """What one answer is held to."""

    criteria: Criteria
    blocks: bool


def fitting_for(head: AttemptHead, read: Callable[[], object]) -> Fitting | None:
    """What the decide stage wants of the attempt; `read` gives the request."""
    action = head.metadata.get(names.MUST_FIT)
    request = read() if action else None
    criteria = shape_of(request) if isinstance(request, Request) else None
    return None if criteria is None else Fitting(criteria, action == "block")


class AnswerReader:
    """An answer as the client gets it, whole or streamed, up to `max_bytes`."""

    def __init__(
        self,
        client: ChatDialect,
        framing: str,
        decoder: ContentDecoder,
        max_bytes: int,
        *,
        streams: bool,
    ) -> None:
        self._client = client
        self._framing = framing
        self._content = decoder
        self._left = max_bytes
        self._stream = client.stream_decoder() if streams else None
        self._events: list[Event] = []
        self._body = bytearray()

    def feed(self, data: bytes) -> None:
        """Raises `DragomanError`."""
        data = self._content.feed(data)
        self._left -= len(data)
        if self._left < 0:
            raise UpstreamProtocolError("the upstream's answer is larger than the limit")
        self._take(data)

    def close(self) -> Response:
        """Raises `DragomanError`."""
        self._take(self._content.close())
        if self._stream is not None:
            self._stream.close(self._events)
            return fold(self._events)
        answer = read_answer(self._client, bytes(self._body), self._framing)
        return self._client.decode_response(answer)

    def _take(self, data: bytes) -> None:
        if self._stream is not None:
            self._stream.feed(data, self._events)
        else:
            self._body += data


class FittingEditor:
    """What another editor makes of an answer, unless that does not fit. Errors pass."""

    def __init__(
        self, inner: ResponseEditor, fitting: Fitting, client: ChatDialect, reader: AnswerReader
    ) -> None:
        """`reader` gets what the client would."""
        self._inner = inner
        self._fitting = fitting
        self._client = client
        self._reader = reader
        self._status = 0
        self._held: list[Action] = []
        self._fault: DragomanError | None = None
        self._response: Response | None = None

    def on_headers(self, headers: Mapping[str, str], *, end_of_stream: bool) -> list[Action]:
        self._status = int(headers.get(":status", "0"))
        actions = self._inner.on_headers(headers, end_of_stream=end_of_stream)
        return self._pass(actions, closes=end_of_stream)

    def on_body(self, data: bytes, *, end_of_stream: bool) -> list[Action]:
        actions = self._inner.on_body(data, end_of_stream=end_of_stream)
        return self._pass(actions, closes=end_of_stream)

    def on_trailers(self) -> list[Action]:
        return self._pass(self._inner.on_trailers(), closes=True)

    def _pass(self, actions: list[Action], *, closes: bool) -> list[Action]:
        for action in actions:
            self._read(action)
        if not self._fitting.blocks:
            return self._report(actions) if closes else actions
        if self._fault is None or isinstance(self._fault, UpstreamError):
            self._held += actions
        else:
            self._held = actions
        return self._end() if closes else []

    def _read(self, action: Action) -> None:
        if isinstance(action, Mutate):
            self._status = int(action.set_headers.get(":status", self._status))
        elif isinstance(action, Chunk) and self._is_answer and self._fault is None:
            try:
                self._reader.feed(action.body)
            except DragomanError as error:
                self._fault = error

    @property
    def _is_answer(self) -> bool:
        return self._status < _ERROR_STATUS

    def _fits(self) -> bool:
        """Whether the client may have it. What cannot be read does not fit; an error that a stream
        ends in is one."""
        if not self._is_answer:
            return True
        try:
            if self._fault is not None:
                raise self._fault
            self._response = self._reader.close()
        except DragomanError as error:
            return isinstance(error, UpstreamError)
        return is_as_asked(self._response, self._fitting.criteria)

    def _report(self, actions: list[Action]) -> list[Action]:
        if self._fits():
            return actions
        last = actions[-1] if actions else None
        if not isinstance(last, Chunk):
            return [*actions, Chunk(body=b"", metadata=_FOUND)]
        told = amend(last.metadata, _FOUND)
        return [*actions[:-1], msgspec.structs.replace(last, metadata=told)]

    def _end(self) -> list[Action]:
        held, self._held = self._held, []
        if self._fits():
            return held
        error = AnswerMisfit()
        chunks = [action for action in held if isinstance(action, Chunk)]
        ends_stream = bool(chunks) and chunks[-1].end_of_stream
        told = self._tell([chunk.metadata for chunk in chunks], error)
        return replace_answer(error, self._client, told, ends_stream=ends_stream)

    def _tell(self, known: list[Metadata], error: DragomanError) -> Metadata:
        """What was said of the answer stays: the provider bills it."""
        usage = self._response.usage if self._response is not None else None
        told = usage_metadata(usage, exact=True)
        for metadata in (*known, _FOUND, tell_denied(error)):
            told = amend(told, metadata)
        return told
