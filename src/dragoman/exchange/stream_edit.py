"""A streamed answer, edited in its own frames on its way to the client.

A frame waits only while a text in it may go on as something that must be treated as one: until the
next piece of that text, or its end, tells. What follows it waits with it, so the order stays.
"""

from __future__ import annotations

from collections import deque
from typing import Any, cast

import msgspec

from dragoman.dialects.stream_texts import Channel, ended, is_after, is_ended, stream_texts
from dragoman.errors import AnswerTooLong
from dragoman.exchange.answer_limit import StreamLimit
from dragoman.exchange.treat import Pieces, Treatment
from dragoman.ir import Json
from dragoman.wire.frames import Frame, Framing

MAX_HELD_BYTES = 1 << 20
"""Of frames that wait. Beyond it they go on, and a text that was waiting for its rest is cut there:
a placeholder cut so is not given back."""
_MOST_IDLE = 8
"""Frames with later texts of the same choice, after which a text that waits has come to its end:
not every dialect says where the reasoning does."""


class _Waiting:
    """A frame in the queue: its JSON, whether it changed, and how many texts in it still wait."""

    __slots__ = ("changed", "event", "frame", "open")

    def __init__(self, frame: Frame, event: Json | None) -> None:
        self.frame = frame
        self.event = event
        self.changed = False
        self.open = 0


class _Text:
    """A text that comes in pieces, and the place of its last one."""

    __slots__ = ("holder", "idle", "key", "pieces", "waiting")

    def __init__(self, pieces: Pieces) -> None:
        self.pieces = pieces
        self.idle = 0
        self.waiting: _Waiting | None = None
        self.holder: Any = None
        self.key: Any = None

    def put(self, waiting: _Waiting, holder: Any, key: Any, piece: str) -> None:
        self.leave()
        self.idle = 0
        out = self.pieces.feed(piece)
        if out != piece:
            holder[key] = out
            waiting.changed = True
        if self.pieces.holds:
            self.waiting, self.holder, self.key = waiting, holder, key
            waiting.open += 1

    def leave(self) -> None:
        """What is held moves on to the next piece: the last one's frame need not wait for it."""
        if self.waiting is not None:
            self.waiting.open -= 1
            self.waiting = None

    def end(self) -> None:
        """What is held goes out where it was held."""
        if self.waiting is not None:
            self.holder[self.key] += self.pieces.close()
            self.waiting.changed = True
            self.leave()


class StreamEditor:
    """`feed` an answer's bytes, send on what comes back. Raises as `Treatment` does."""

    def __init__(
        self, framing: Framing, treatment: Treatment, limit: StreamLimit | None = None
    ) -> None:
        self._framing = framing
        self._treatment = treatment
        self._limit = limit
        self._queue: deque[_Waiting] = deque()
        self._queued_bytes = 0
        self._texts: dict[Channel, _Text] = {}

    def feed(self, data: bytes) -> bytes:
        return self._advance(self._framing.feed(data))

    def close(self) -> bytes:
        for frame in self._framing.close():
            self._take(frame)
        self._end_all()
        self._texts.clear()
        return self._flush() + self._framing.end()

    def leave(self) -> bytes:
        """After `feed` or `close` raised: what came before, as far as it may go out."""
        return self._flush()

    def finish(self, ending: bytes) -> bytes:
        """`ending` behind what went out, as a stream encoder of the client's dialect wrote it."""
        return self._framing.finish(ending)

    def _advance(self, frames: list[Frame]) -> bytes:
        for frame in frames:
            self._take(frame)
        if self._queued_bytes > MAX_HELD_BYTES:
            self._end_all()
        return self._flush()

    def _take(self, frame: Frame) -> None:
        """Queue a frame. One whose texts may not go out is not queued: that raises."""
        if self._limit is not None:
            try:
                self._limit.take(frame)
            except AnswerTooLong:
                self._end_all()
                raise
        event = _read(frame.data)
        waiting = _Waiting(frame, event)
        if event is not None:
            self._treat(event, waiting)
        self._queue.append(waiting)
        self._queued_bytes += len(frame.raw)

    def _treat(self, event: Json, waiting: _Waiting) -> None:
        waiting.changed = self._treatment.prepare(event)
        fed: list[Channel] = []
        for holder, key, text, channel, is_json, path in list(stream_texts(event)):
            if channel is not None:
                self._text(channel, is_json=is_json).put(waiting, holder, key, text)
                fed.append(channel)
            elif (whole := self._treatment.whole(text, is_json=is_json, path=path)) != text:
                holder[key] = whole
                waiting.changed = True
        self._end_idle(fed)
        for ids in ended(event, waiting.frame.kind):
            for channel in [c for c in self._texts if is_ended(c, ids)]:
                self._texts.pop(channel).end()

    def _end_idle(self, fed: list[Channel]) -> None:
        """Let go what waits although the model went on to other texts long ago."""
        for channel, text in self._texts.items():
            if text.waiting is None or channel in fed:
                continue
            text.idle += any(is_after(other, channel) for other in fed)
            if text.idle > _MOST_IDLE:
                text.end()

    def _text(self, channel: Channel, *, is_json: bool) -> _Text:
        found = self._texts.get(channel)
        if found is None:
            found = self._texts[channel] = _Text(self._treatment.piecewise(is_json=is_json))
        return found

    def _end_all(self) -> None:
        for text in self._texts.values():
            text.end()

    def _flush(self) -> bytes:
        """The frames at the front of the queue that wait for nothing."""
        written: list[bytes] = []
        while self._queue and not self._queue[0].open:
            waiting = self._queue.popleft()
            self._queued_bytes -= len(waiting.frame.raw)
            written.append(self._write(waiting))
        return self._framing.join(written)

    def _write(self, waiting: _Waiting) -> bytes:
        if not waiting.changed:
            return waiting.frame.raw
        return self._framing.write(waiting.frame, msgspec.json.encode(waiting.event))


def _read(data: bytes) -> Json | None:
    """The event, None for what is none (`[DONE]`, a comment)."""
    if not data.startswith(b"{"):
        return None
    try:
        return cast("Json", msgspec.json.decode(data))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
