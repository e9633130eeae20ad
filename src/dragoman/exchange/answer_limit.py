"""The longest an answer may be: what is beyond it the client does not get.

Counted are the characters that the model wrote, of all choices together: text, refusals, reasoning,
arguments of calls.
"""

from __future__ import annotations

from contextlib import suppress

import msgspec

from dragoman.dialects import ChatDialect
from dragoman.errors import AnswerTooLong, DragomanError
from dragoman.ir import Choice, Part, Reasoning, Refusal, Response, Text, ToolCall
from dragoman.ir.events import Delta, Event
from dragoman.wire.frames import Frame, Framing


class AnswerLimit:
    """One answer's: what of its length is left."""

    def __init__(self, most: int) -> None:
        self._most = self._left = most
        self.is_reached = False

    def take(self, characters: int) -> None:
        """Raises `AnswerTooLong`."""
        self._left -= characters
        if self._left < 0:
            self.is_reached = True
            raise AnswerTooLong(self._most)

    def cut(self, response: Response) -> Response | None:
        """The answer as far as it may go; None where that is all of it."""
        choices = tuple(map(self._choice, response.choices))
        if not self.is_reached:
            return None
        return msgspec.structs.replace(response, choices=choices, residue=None)

    def _choice(self, choice: Choice) -> Choice:
        kept: list[Part] = []
        for part in choice.parts:
            content = part.arguments if isinstance(part, ToolCall) else _words(part)
            fits = content[: max(0, self._left)]
            with suppress(AnswerTooLong):
                self.take(len(content))
                kept.append(part)
                continue
            if fits and isinstance(part, Text | Refusal | Reasoning):
                kept.append(msgspec.structs.replace(part, content=fits, residue=None))
            return Choice(parts=tuple(kept), finish_reason="length")
        return choice


class StreamLimit:
    """Counts the frames of a stream of the client's dialect."""

    def __init__(self, limit: AnswerLimit, client: ChatDialect, framing: Framing) -> None:
        """`framing` is a second one, that nothing else uses."""
        self._limit = limit
        self._decoder = client.stream_decoder()
        self._framing = framing

    def take(self, frame: Frame) -> None:
        """Raises `AnswerTooLong` for the frame that is too much. What is no stream of the dialect
        says nothing that could be counted."""
        events: list[Event] = []
        with suppress(DragomanError):
            self._decoder.feed(self._framing.join([frame.raw]), events)
        self._limit.take(sum(len(e.content) for e in events if isinstance(e, Delta)))


def _words(part: Part) -> str:
    """Media have no length."""
    return part.content if isinstance(part, Text | Refusal | Reasoning) else ""
