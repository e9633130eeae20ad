"""Events in, chunks for a client out."""

from __future__ import annotations

from typing import Any

import msgspec

from dragoman.dialects import StreamOptions
from dragoman.dialects.openai_chat import reasoning
from dragoman.dialects.openai_chat.errors import encode_stream_error
from dragoman.dialects.openai_chat.finish import encode_finish
from dragoman.dialects.openai_chat.images import IMAGES, encode_image, is_image
from dragoman.dialects.openai_chat.parts import signed_part, thinking_part
from dragoman.dialects.openai_chat.spelling import NAME, WHOLE_CALLS, Encoding
from dragoman.dialects.openai_chat.usage import encode_usage
from dragoman.errors import DragomanError
from dragoman.ir import Blob, Json, Reasoning, Residue, Uri, Usage
from dragoman.ir.events import (
    ChoiceEnd,
    Delta,
    Event,
    Kind,
    PartEnd,
    PartStart,
    Start,
    UsageUpdate,
)
from dragoman.ir.losses import Losses
from dragoman.wire.sse import encode_sse

_FIELDS: dict[Kind, str] = {
    "text": "content",
    "refusal": "refusal",
    "reasoning": "reasoning_content",
}
_encode = msgspec.json.Encoder().encode


class _ChoiceOut(msgspec.Struct):
    index: int
    delta: Json
    logprobs: Json | None = None
    finish_reason: str | None = None
    stop_reason: str | msgspec.UnsetType = msgspec.UNSET


class _ChunkOut(msgspec.Struct):
    """One for the whole stream; its choices are replaced for every chunk."""

    id: str
    created: int
    model: str
    system_fingerprint: str | msgspec.UnsetType
    service_tier: str | msgspec.UnsetType
    usage: Json | msgspec.UnsetType | None
    choices: tuple[_ChoiceOut, ...] = ()
    object: str = "chat.completion.chunk"


class _Candidate:
    """One choice: its open part, and how many calls and details it has had."""

    def __init__(self) -> None:
        self.kind: Kind = "text"
        self.calls = 0
        self.details = 0
        self.thought: list[str] = []
        self.extra: Json = {}
        self.call: Json = {}
        self.arguments: list[str] = []
        """Of the open call, where calls are written whole."""


class ChatStreamEncoder:
    """`feed` events, get frames. Usage is written only for a client that asked for it: in a chunk
    of its own or, where the framing is `WHOLE_CALLS`, with the end of the last choice."""

    def __init__(self, options: StreamOptions) -> None:
        self._include_usage = options.include_usage
        self._is_whole = options.framing == WHOLE_CALLS
        self._last: _ChoiceOut | None = None
        """The end that usage goes with, held back until there can be no other."""
        self._usage: Usage | None = None
        self._choices: dict[int, _Candidate] = {}
        self._chunk = self._new_chunk(Start(id="", model=""))

    def feed(self, event: Event) -> bytes:
        """The frames `event` makes, often none."""
        match event:
            case Delta():
                return self._delta(event)
            case PartStart():
                return self._open(event)
            case PartEnd():
                return self._end(event)
            case Start():
                self._chunk = self._new_chunk(event)
                return self._candidate(0)[1]
            case UsageUpdate():
                self._usage = event.usage
                return b""
            case ChoiceEnd():
                return self._end_choice(event)
            case _:
                return self._end_whole() if self._is_whole else self._usage_chunk()

    def close(self) -> bytes:
        return encode_sse(b"[DONE]")

    def fail(self, error: DragomanError) -> bytes:
        """The error as the last frame: clients of this dialect raise on it."""
        return encode_stream_error(error)

    def _new_chunk(self, start: Start) -> _ChunkOut:
        residue = start.residue
        own: dict[str, Any] = (
            residue.fields if residue is not None and residue.dialect == NAME else {}
        )
        return _ChunkOut(
            id=start.id,
            created=start.created or 0,
            model=start.model,
            system_fingerprint=own.get("system_fingerprint", msgspec.UNSET),
            service_tier=own.get("service_tier", msgspec.UNSET),
            usage=None if self._include_usage and not self._is_whole else msgspec.UNSET,
        )

    def _candidate(self, index: int) -> tuple[_Candidate, bytes]:
        """The choice, and the frame that opens it if it is new."""
        found = self._choices.get(index)
        if found is not None:
            return found, b""
        found = self._choices[index] = _Candidate()
        return found, self._frame(_ChoiceOut(index, {"role": "assistant", "content": ""}))

    def _frame(self, choice: _ChoiceOut) -> bytes:
        self._chunk.choices = (choice,)
        return encode_sse(_encode(self._chunk))

    def _open(self, event: PartStart) -> bytes:
        candidate, opening = self._candidate(event.choice)
        candidate.kind, candidate.thought = event.kind, []
        if event.media is not None:
            return opening + self._image(event.choice, event.media)
        if event.kind == "opaque" and event.dialect == NAME:
            value = event.value or {}
            said = {"content": [value]} if "type" in value else value
            return opening + self._frame(_ChoiceOut(event.choice, said))
        if event.kind != "tool_call":
            return opening
        function = {"name": event.name, "arguments": ""}
        call = {
            "index": candidate.calls,
            "id": event.id,
            "type": "function",
            "function": function,
            **candidate.extra,
        }
        candidate.calls += 1
        candidate.extra = {}
        if self._is_whole:
            candidate.call, candidate.arguments = call, []
            return opening
        return opening + self._frame(_ChoiceOut(event.choice, {"tool_calls": [call]}))

    def _image(self, index: int, media: Uri | Blob) -> bytes:
        """An image, and the signature that waits for it; no other media have a place here."""
        if not is_image(media):
            return b""
        candidate = self._choices[index]
        item = {**encode_image(media, Encoding(losses=Losses(NAME))), **candidate.extra}
        candidate.extra = {}
        return self._frame(_ChoiceOut(index, {IMAGES: [item]}))

    def _delta(self, event: Delta) -> bytes:
        candidate = self._choices[event.choice]
        kind = candidate.kind
        if kind == "tool_call":
            if self._is_whole:
                candidate.arguments.append(event.content)
                return b""
            call = {"index": candidate.calls - 1, "function": {"arguments": event.content}}
            return self._frame(_ChoiceOut(event.choice, {"tool_calls": [call]}, event.logprobs))
        if kind == "opaque":
            return b""
        if kind == "reasoning":
            candidate.thought.append(event.content)
            if self._is_whole:
                said = {"content": [thinking_part(event.content)]}
                return self._frame(_ChoiceOut(event.choice, said))
        delta = {_FIELDS[kind]: event.content}
        return self._frame(_ChoiceOut(event.choice, delta, event.logprobs))

    def _end(self, event: PartEnd) -> bytes:
        """Reasoning its author must see again goes out once more, whole, with its signature."""
        candidate = self._choices[event.choice]
        if candidate.kind == "tool_call" and self._is_whole:
            return self._whole_call(event.choice, candidate)
        if candidate.kind != "reasoning" or event.residue is None:
            return b""
        place = reasoning.place_of(Reasoning(content="", residue=event.residue))
        if place is not None and not candidate.thought:
            return self._signature(event, place)
        if self._is_whole:
            part = signed_part(Reasoning(content="", residue=event.residue))
            return self._frame(_ChoiceOut(event.choice, {"content": [part]}))
        detail = self._detail(candidate, event.residue)
        candidate.details += 1
        return self._frame(_ChoiceOut(event.choice, {reasoning.DETAILS: [detail]}))

    def _whole_call(self, index: int, candidate: _Candidate) -> bytes:
        candidate.call["function"]["arguments"] = "".join(candidate.arguments)
        return self._frame(_ChoiceOut(index, {"tool_calls": [candidate.call]}))

    def _signature(self, event: PartEnd, place: str) -> bytes:
        """Gemini's, on the call or the image that comes next or on the message."""
        extra = reasoning.extra_content(event.residue)
        if place == reasoning.ON_CALL:
            self._choices[event.choice].extra = extra
            return b""
        return self._frame(_ChoiceOut(event.choice, extra))

    def _detail(self, candidate: _Candidate, residue: Residue) -> Json:
        part = Reasoning(content="".join(candidate.thought), residue=residue)
        return reasoning.encode_detail(part, candidate.details)

    def _end_choice(self, event: ChoiceEnd) -> bytes:
        _, opening = self._candidate(event.choice)
        word = encode_finish(event.reason, event.residue)
        stop = msgspec.UNSET if event.stop_sequence is None else event.stop_sequence
        end = _ChoiceOut(event.choice, {}, None, word, stop)
        if not self._is_whole:
            return opening + self._frame(end)
        before, self._last = self._last, end
        return opening + (self._frame(before) if before is not None else b"")

    def _end_whole(self) -> bytes:
        """The last choice's end, and usage with it: who reads the first choice of every chunk, as
        Mistral's documentation has it, meets none without."""
        if self._last is None:
            return self._usage_chunk()
        if self._include_usage and self._usage is not None:
            self._chunk.usage = encode_usage(self._usage)
        return self._frame(self._last)

    def _usage_chunk(self) -> bytes:
        if not self._include_usage or self._usage is None:
            return b""
        self._chunk.choices = ()
        self._chunk.usage = encode_usage(self._usage)
        return encode_sse(_encode(self._chunk))
