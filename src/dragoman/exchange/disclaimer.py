"""The text that an answer must have: added where the model did not write it.

An answer is a choice with text. One that calls tools is not at its end, and has none at the end.
A stream is written anew in its own dialect, so that whatever repeats the text has it as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import msgspec

from dragoman.config.guardrails import DisclaimerEntry
from dragoman.dialects import ChatDialect, StreamOptions
from dragoman.errors import DragomanError
from dragoman.ir import Choice, Part, Response, Text, ToolCall
from dragoman.ir.events import ChoiceEnd, Delta, Event, PartEnd, PartStart

_BETWEEN = "\n\n"
_SPACES = re.compile(r"\s+")
_MOST_SPACE = 1024
"""Characters that a text may begin with beyond those that are waited for."""


def _plain(text: str) -> str:
    """In which two texts that say the same are the same."""
    return _SPACES.sub(" ", text).casefold()


class Disclaimer:
    """One answer's."""

    def __init__(self, entry: DisclaimerEntry) -> None:
        self.text = entry.text.strip()
        self.wanted = _plain(self.text)
        self.is_first = entry.where == "start"
        self.is_added = False

    def add(self, response: Response) -> Response | None:
        """The answer with it; None where nothing had to be added."""
        choices = tuple(map(self._choice, response.choices))
        if not self.is_added:
            return None
        return msgspec.structs.replace(response, choices=choices)

    def before(self) -> str:
        self.is_added = True
        return self.text + _BETWEEN

    def behind(self) -> str:
        self.is_added = True
        return _BETWEEN + self.text

    def _choice(self, choice: Choice) -> Choice:
        parts = list(choice.parts)
        texts = [i for i, p in enumerate(parts) if isinstance(p, Text) and p.content.strip()]
        if not texts:
            return choice
        parts = self._begin(parts, texts[0]) if self.is_first else self._end(parts)
        return msgspec.structs.replace(choice, parts=tuple(parts))

    def _begin(self, parts: list[Part], at: int) -> list[Part]:
        said = _content(parts[at])
        if _plain(said).lstrip().startswith(self.wanted):
            return parts
        return [*parts[:at], _with(parts[at], self.before() + said), *parts[at + 1 :]]

    def _end(self, parts: list[Part]) -> list[Part]:
        said = "".join(map(_content, parts))
        if any(isinstance(part, ToolCall) for part in parts) or self.wanted in _plain(said):
            return parts
        if isinstance(parts[-1], Text):
            return [*parts[:-1], _with(parts[-1], parts[-1].content + self.behind())]
        return [*parts, Text(content=self.behind())]


def _content(part: Part) -> str:
    return part.content if isinstance(part, Text) else ""


def _with(part: Part, content: str) -> Part:
    return msgspec.structs.replace(part, content=content)


class DisclaimedStream:
    """A stream of the client's dialect, written anew with the text in it. Raises as a
    `StreamDecoder`, and then ends by `fail`."""

    def __init__(self, disclaimer: Disclaimer, client: ChatDialect, options: StreamOptions) -> None:
        self._disclaimer = disclaimer
        self._decoder = client.stream_decoder()
        self._encoder = client.stream_encoder(options)
        self._choices: dict[int, _Beginning | _Ending] = {}
        self._unsent = b""
        """Written before the stream turned out to be broken."""

    def feed(self, data: bytes) -> bytes:
        events: list[Event] = []
        try:
            self._decoder.feed(data, events)
        except DragomanError:
            self._unsent = self._write(events)
            raise
        return self._write(events)

    def close(self) -> bytes:
        events: list[Event] = []
        try:
            self._decoder.close(events)
        except DragomanError:
            self._unsent = self._write(events)
            raise
        return self._write(events) + self._encoder.close()

    def fail(self, error: DragomanError) -> bytes:
        """The error as the end of the stream."""
        return self._unsent + self._encoder.fail(error)

    def _write(self, events: list[Event]) -> bytes:
        edited = (said for event in events for said in self._edit(event))
        return b"".join(map(self._encoder.feed, edited))

    def _edit(self, event: Event) -> Iterable[Event]:
        if not isinstance(event, PartStart | Delta | PartEnd | ChoiceEnd):
            return (event,)
        choice = self._choices.get(event.choice)
        if choice is None:
            make = _Beginning if self._disclaimer.is_first else _Ending
            choice = self._choices[event.choice] = make(self._disclaimer)
        return choice.edit(event)


_ChoiceEvent = PartStart | Delta | PartEnd | ChoiceEnd


class _Beginning:
    """One choice: its first text waits until it is known whether it begins as it must."""

    def __init__(self, disclaimer: Disclaimer) -> None:
        self._disclaimer = disclaimer
        self._is_text = self._is_decided = False
        self._said = ""
        self._held: list[Event] = []

    def edit(self, event: _ChoiceEvent) -> Iterator[Event]:
        if self._is_decided:
            yield event
        elif isinstance(event, Delta) and self._is_text:
            self._said += event.content
            self._held.append(event)
            yield from self._decide(closes=False)
        else:
            yield from self._decide(closes=True)
            self._is_text = isinstance(event, PartStart) and event.kind == "text"
            yield event

    def _decide(self, *, closes: bool) -> Iterator[Event]:
        """What waited, once it is known what it says; of a text without a word nothing is."""
        wanted, said = self._disclaimer.wanted, _plain(self._said).lstrip()
        is_long = len(self._said) > len(self._disclaimer.text) + _MOST_SPACE
        may_be = len(said) < len(wanted) and wanted.startswith(said.rstrip())
        if may_be and not (closes or is_long):
            return
        if said:
            self._is_decided = True
            if not said.startswith(wanted):
                choice = next(e.choice for e in self._held if isinstance(e, Delta))
                yield Delta(content=self._disclaimer.before(), choice=choice)
        yield from self._held
        self._held, self._said = [], ""


class _Ending:
    """One choice: the end of its last text waits until it is known that nothing follows."""

    def __init__(self, disclaimer: Disclaimer) -> None:
        self._disclaimer = disclaimer
        self._is_text = self._has_text = self._calls = False
        self._is_said = False
        self._tail = ""
        self._held: PartEnd | None = None

    def edit(self, event: _ChoiceEvent) -> Iterator[Event]:
        match event:
            case PartStart():
                self._is_text = event.kind == "text"
                self._calls |= event.kind == "tool_call"
            case Delta():
                if self._is_text:
                    self._note(event.content)
            case PartEnd():
                if self._is_text:
                    self._held = event
                    return
            case ChoiceEnd():
                yield from self._add(event.choice)
        if self._held is not None:
            yield self._held
            self._held = None
        yield event

    def _note(self, piece: str) -> None:
        self._has_text |= bool(piece.strip())
        if not self._is_said:
            said = _plain(self._tail + piece)
            self._is_said = self._disclaimer.wanted in said
            self._tail = said[-len(self._disclaimer.wanted) :]

    def _add(self, choice: int) -> Iterator[Event]:
        if not self._has_text or self._calls or self._is_said:
            return
        if self._held is None:
            yield PartStart(kind="text", choice=choice)
            self._held = PartEnd(choice=choice)
        yield Delta(content=self._disclaimer.behind(), choice=choice)
