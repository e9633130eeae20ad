"""Answers that are to be compared: looked at on their way, and nothing of them kept but figures."""

from __future__ import annotations

import hmac
from collections.abc import Mapping

import msgspec

from dragoman import metadata as names
from dragoman.actions import Action, Chunk, Mutate, amend
from dragoman.errors import DragomanError
from dragoman.exchange.fitting import AnswerReader, shape_of
from dragoman.exchange.heads import ResponseEditor
from dragoman.ir import Choice, Request, Response, Text, ToolCall
from dragoman.policies.route.fallback import Criteria, declines, is_as_asked
from dragoman.telemetry.answers import Answer, digest_names, draw_sketch, encode_answer

_ERROR_STATUS = 400
_MOST_BYTES = 4 << 20
"""Of an answer that is longer nothing is told."""


class Compared(msgspec.Struct, frozen=True):
    """What an answer is described by."""

    shape: Criteria | None
    """What it has to be; None where the request does not say."""
    key: bytes
    """Of this answer and the other one of its pair, and of no more."""

    @classmethod
    def of(cls, request: object, secret: bytes, nonce: str) -> Compared | None:
        """None for what is no chat. `secret` is the workers', `nonce` the pair's."""
        if not isinstance(request, Request):
            return None
        key = hmac.digest(secret, b"dragoman answers " + nonce.encode(), "sha256")
        return cls(shape_of(request), key)

    def look_at(self, editor: ResponseEditor, reader: AnswerReader) -> ResponseEditor:
        """`editor`, looking at what it lets through; `reader` gets what the client would."""
        return _ComparedEditor(editor, reader, self)

    def describe(self, response: Response) -> Answer:
        """What is told of `response`."""
        choice = next(iter(response.choices), Choice(parts=(), finish_reason="error"))
        text = "".join(part.content for part in choice.parts if isinstance(part, Text))
        calls = [part.name for part in choice.parts if isinstance(part, ToolCall)]
        is_no, shape = declines(choice), self.shape
        return Answer(
            finish="refusal" if is_no else choice.finish_reason,
            characters=len(text),
            calls=len(calls),
            called=digest_names(calls, self.key),
            valid=None if is_no or shape is None else is_as_asked(response, shape),
            sketch=draw_sketch(text, self.key),
        )


class _ComparedEditor:
    """Another editor; behind its last piece stands what is told of the answer."""

    def __init__(self, editor: ResponseEditor, reader: AnswerReader, by: Compared) -> None:
        self._editor = editor
        self._reader = reader
        self._by = by
        self._status = 0
        self._size = 0
        self._is_lost = False
        """It cannot be read: nobody's concern here."""

    def on_headers(self, headers: Mapping[str, str], *, end_of_stream: bool) -> list[Action]:
        self._status = int(headers.get(":status", "0"))
        actions = self._editor.on_headers(headers, end_of_stream=end_of_stream)
        return self._look(actions)

    def on_body(self, data: bytes, *, end_of_stream: bool) -> list[Action]:
        actions = self._look(self._editor.on_body(data, end_of_stream=end_of_stream))
        return self._tell(actions) if end_of_stream else actions

    def on_trailers(self) -> list[Action]:
        return self._tell(self._look(self._editor.on_trailers() or [Chunk(body=b"")]))

    def _look(self, actions: list[Action]) -> list[Action]:
        for action in actions:
            if isinstance(action, Mutate):
                self._status = int(action.set_headers.get(":status", self._status))
            elif isinstance(action, Chunk) and not self._is_lost:
                self._read(action.body)
        return actions

    def _read(self, data: bytes) -> None:
        self._size += len(data)
        try:
            self._reader.feed(data)
            self._is_lost = self._size > _MOST_BYTES
        except DragomanError:
            self._is_lost = True

    def _tell(self, actions: list[Action]) -> list[Action]:
        last = actions[-1] if actions else None
        if self._is_lost or self._status >= _ERROR_STATUS or not isinstance(last, Chunk):
            return actions
        try:
            told = encode_answer(self._by.describe(self._reader.close()))
        except DragomanError:
            return actions
        spaces = amend(last.metadata, {names.NAMESPACE: {names.ANSWER: told}})
        return [*actions[:-1], msgspec.structs.replace(last, metadata=spaces)]
