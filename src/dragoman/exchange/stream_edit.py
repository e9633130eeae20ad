"""A streamed answer, edited in its own frames on its way to the client.

A frame waits only while a text in it may go on as something that must be treated as one: until the
next piece of that text, or its end, tells. What follows it waits with it, so the order stays.
"""

from __future__ import annotations

from collections import deque
from typing import Any, cast

import msgspec

from dragoman.dialects.stream_texts import Channel, ended, is_ended, stream_texts
from dragoman.exchange.treat import PieceTreatment, Treatment
from dragoman.ir import Json
from dragoman.wire.frames import Frame, Framing

MAX_HELD_BYTES = 1 << 20
"""Of frames that wait. Beyond it they go on, and a text that was waiting for its rest is cut there:
a placeholder cut so is not given back."""


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

    __slots__ = ("holder", "key", "pieces", "waiting")

    def __init__(self, pieces: PieceTreatment) -> None:
        self.pieces = pieces
        self.waiting: _Waiting | None = None
        self.holder: Any = None
        self.key: Any = None

    def put(self, waiting: _Waiting, holder: Any, key: Any, piece: str) -> None:
        self.leave()
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
    """`feed` an answer's bytes, send on what comes back. Raises `ContentBlocked`."""

    def __init__(self, framing: Framing, treatment: Treatment) -> None:
        self._framing = framing
        self._treatment = treatment
        self._queue: deque[_Waiting] = deque()
        self._queued_bytes = 0
        self._texts: dict[Channel, _Text] = {}

    def feed(self, data: bytes) -> bytes:
        return self._advance(self._framing.feed(data))

    def close(self) -> bytes:
        out = self._advance(self._framing.close())
        self._end_all()
        return out + self._flush() + self._framing.end()

    def _advance(self, frames: list[Frame]) -> bytes:
        for frame in frames:
            self._take(frame)
        if self._queued_bytes > MAX_HELD_BYTES:
            self._end_all()
        return self._flush()

    def _take(self, frame: Frame) -> None:
        event = _read(frame.data)
        waiting = _Waiting(frame, event)
        self._queue.append(waiting)
        self._queued_bytes += len(frame.raw)
        if event is None:
            return
        for holder, key, text, channel, is_json in list(stream_texts(event)):
            if channel is not None:
                self._text(channel, is_json=is_json).put(waiting, holder, key, text)
            elif (whole := self._treatment.whole(text, is_json=is_json)) != text:
                holder[key] = whole
                waiting.changed = True
        for ids in ended(event, frame.kind):
            for channel in [c for c in self._texts if is_ended(c, ids)]:
                self._texts.pop(channel).end()

    def _text(self, channel: Channel, *, is_json: bool) -> _Text:
        found = self._texts.get(channel)
        if found is None:
            found = self._texts[channel] = _Text(self._treatment.piecewise(is_json=is_json))
        return found

    def _end_all(self) -> None:
        for text in self._texts.values():
            text.end()
        self._texts.clear()

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
