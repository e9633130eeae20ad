"""Answers that guardrails stop, as a client's dialect says that a content filter stopped them."""

from __future__ import annotations

from contextlib import suppress

import msgspec

from dragoman.actions import Respond
from dragoman.dialects import LISTED, ChatDialect, StreamOptions
from dragoman.errors import DragomanError
from dragoman.ir import FinishReason, Response, Usage
from dragoman.ir.events import (
    ChoiceEnd,
    Event,
    Finish,
    PartEnd,
    PartStart,
    Start,
    UsageUpdate,
)
from dragoman.ir.losses import Losses


def without_content(response: Response, client: ChatDialect, framing: str) -> Respond:
    """The answer without a word of what the model said. `framing` is the client's."""
    choices = tuple(
        msgspec.structs.replace(
            choice,
            parts=(),
            finish_reason="content_filter",
            stop_sequence=None,
            logprobs=None,
            residue=None,
        )
        for choice in response.choices
    )
    empty = msgspec.structs.replace(response, choices=choices, residue=None)
    body = write(empty, client, framing)
    return Respond(status=200, headers={"content-type": "application/json"}, body=body)


def write(response: Response, client: ChatDialect, framing: str) -> bytes:
    """`response` as the client gets it."""
    encoded = client.encode_response(response, Losses(client.name))
    return msgspec.json.encode([encoded] if framing == LISTED else encoded)


class StreamEnding:
    """Reads what the client is sent of a stream, to be able to end it there."""

    def __init__(self, client: ChatDialect, options: StreamOptions) -> None:
        self._decoder = client.stream_decoder()
        self._encoder = client.stream_encoder(options)
        self._head = Start(id="", model="")
        self._choices = {0}
        """All that arrived, sent or not."""
        self._is_begun = False
        self._open: set[int] = set()
        """Choices of which a part is open."""
        self._ended: set[int] = set()

    def arrive(self, events: list[Event]) -> None:
        """What the provider sent, of which the client may not have all."""
        for event in events:
            if isinstance(event, Start):
                self._head = event
            elif isinstance(event, PartStart | ChoiceEnd):
                self._choices.add(event.choice)

    def follow(self, sent: bytes) -> None:
        """What of it is no stream of the dialect is not the client's to be told here."""
        events: list[Event] = []
        with suppress(DragomanError):
            self._decoder.feed(sent, events)
        for event in events:
            self._note(event)
            self._encoder.feed(event)

    def stop(self, usage: Usage | None, reason: FinishReason = "content_filter") -> bytes:
        """The end of the stream, behind what was sent of it."""
        events: list[Event] = []
        if not self._is_begun:
            events.append(self._head)
        for choice in sorted(self._choices - self._ended):
            if choice in self._open:
                events.append(PartEnd(choice=choice))
            events.append(ChoiceEnd(choice=choice, reason=reason))
        if usage is not None:
            events.append(UsageUpdate(usage=usage))
        events.append(Finish())
        return b"".join(map(self._encoder.feed, events)) + self._encoder.close()

    def _note(self, event: Event) -> None:
        match event:
            case Start():
                self._is_begun = True
            case PartStart():
                self._open.add(event.choice)
            case PartEnd():
                self._open.discard(event.choice)
            case ChoiceEnd():
                self._ended.add(event.choice)
            case _:
                pass
