"""Streams: chunks of text, a last one with usage, and `[DONE]`."""

from __future__ import annotations

from typing import Any

import msgspec

from dragoman.dialects import StreamOptions
from dragoman.dialects.decoding import TRUNCATED, FrameDecoder
from dragoman.dialects.openai_chat.errors import encode_stream_error, stream_error
from dragoman.dialects.openai_completions.names import (
    NAME,
    OBJECT,
    decode_finish,
    decode_logprobs,
    decode_usage,
    encode_finish,
    encode_logprobs,
    encode_usage,
)
from dragoman.errors import DragomanError, UpstreamProtocolError
from dragoman.ir import Json, Residue, Usage
from dragoman.ir.events import (
    ChoiceEnd,
    Delta,
    Event,
    Finish,
    PartEnd,
    PartStart,
    Start,
    UsageUpdate,
)
from dragoman.wire.sse import SseDecoder, SseEvent, encode_sse

_DONE = "[DONE]"
_SAID = ("text", "refusal")


class _Choice(msgspec.Struct):
    index: int | None = None
    text: str | None = None
    logprobs: Json | None = None
    finish_reason: str | None = None
    stop_reason: str | int | None = None
    error: Any = None


class _Chunk(msgspec.Struct):
    id: str | None = None
    model: str | None = None
    created: int | None = None
    system_fingerprint: str | None = None
    choices: list[_Choice] | None = None
    usage: Json | None = None
    error: Any = None


_decode_chunk = msgspec.json.Decoder(_Chunk).decode


class _Candidate:
    """One choice while it is streamed."""

    def __init__(self) -> None:
        self.is_open = False
        self.reason: str | None = None
        self.stop: str | None = None


class CompletionDecoder(FrameDecoder[SseEvent]):
    """A provider's chunks in, events out. The ends of the choices are held back to the last."""

    def __init__(self) -> None:
        super().__init__(SseDecoder())
        self._choices: dict[int, _Candidate] = {}
        self._started = False

    def _break_off(self, events: list[Event]) -> None:
        """A reason in every choice is an end, whether or not `[DONE]` follows or usage does: some
        providers send neither."""
        self._finish(events)

    def _take(self, frame: SseEvent, events: list[Event]) -> None:
        data = frame.data
        if self._ended or not data:
            return
        if data == _DONE:
            self._finish(events, is_told=True)
            return
        try:
            chunk = _decode_chunk(data)
        except (msgspec.DecodeError, RecursionError) as error:
            raise UpstreamProtocolError("the upstream sent a chunk it should not") from error
        if chunk.error:
            raise stream_error(chunk.error)
        if chunk.usage:
            events.append(UsageUpdate(usage=decode_usage(chunk.usage)))
        if not self._started:
            self._started = True
            said = {"system_fingerprint": chunk.system_fingerprint}
            fields = {name: value for name, value in said.items() if value is not None}
            residue = Residue(dialect=NAME, fields=fields) if fields else None
            head = {"id": chunk.id or "", "model": chunk.model or "", "created": chunk.created}
            events.append(Start(**head, residue=residue))  # type: ignore[arg-type]
        for choice in chunk.choices or ():
            self._choice(choice, events)

    def _choice(self, choice: _Choice, events: list[Event]) -> None:
        index = choice.index or 0
        candidate = self._choices.setdefault(index, _Candidate())
        likely = decode_logprobs(choice.logprobs)
        if choice.text or (likely and likely["content"]):
            if not candidate.is_open:
                candidate.is_open = True
                events.append(PartStart(kind="text", choice=index))
            events.append(Delta(content=choice.text or "", choice=index, logprobs=likely))
        candidate.reason = choice.finish_reason or candidate.reason
        if isinstance(choice.stop_reason, str):
            candidate.stop = choice.stop_reason
        if choice.error:  # OpenRouter's
            raise stream_error(choice.error)

    def _finish(self, events: list[Event], *, is_told: bool = False) -> None:
        """The end. Where the provider tells that it is (`is_told`), a choice needs no reason."""
        count = len(self._choices)
        whole = count and max(self._choices) + 1 == count and min(self._choices) == 0
        is_open = not is_told and any(one.reason is None for one in self._choices.values())
        if not whole or is_open:
            raise UpstreamProtocolError(TRUNCATED)
        for index, candidate in sorted(self._choices.items()):
            if candidate.is_open:
                events.append(PartEnd(choice=index))
            reason, fields = decode_finish(candidate.reason)
            residue = Residue(dialect=NAME, fields=fields) if fields else None
            end = ChoiceEnd(
                reason=reason, choice=index, stop_sequence=candidate.stop, residue=residue
            )
            events.append(end)
        events.append(Finish())
        self._ended = True


class CompletionEncoder:
    """Events in, chunks for a client out: of an answer's parts, the texts."""

    def __init__(self, options: StreamOptions) -> None:
        self._include_usage = options.include_usage
        self._usage: Usage | None = None
        self._head: Json = {}
        self._kinds: dict[int, str] = {}
        self._written: dict[int, int] = {}

    def feed(self, event: Event) -> bytes:
        match event:
            case Delta():
                return self._delta(event)
            case PartStart():
                self._kinds[event.choice] = event.kind
                if event.kind == "tool_call":
                    raise UpstreamProtocolError("the upstream called a tool, and none was on offer")
                return b""
            case Start():
                own = event.residue is not None and event.residue.dialect == NAME
                self._head = {
                    "id": event.id,
                    "object": OBJECT,
                    "created": event.created or 0,
                    "model": event.model,
                    **(event.residue.fields if own and event.residue else {}),
                }
                return b""
            case UsageUpdate():
                self._usage = event.usage
                return b""
            case ChoiceEnd():
                word = encode_finish(event.reason, event.residue)
                stop = {} if event.stop_sequence is None else {"stop_reason": event.stop_sequence}
                return self._chunk(event.choice, "", None, word, **stop)
            case Finish():
                return self._last()
            case PartEnd():  # pragma: no branch - there is no other event
                return b""

    def close(self) -> bytes:
        return encode_sse(_DONE.encode())

    def fail(self, error: DragomanError) -> bytes:
        return encode_stream_error(error)

    def _delta(self, event: Delta) -> bytes:
        if self._kinds.get(event.choice) not in _SAID:
            return b""
        at = self._written.get(event.choice, 0)
        self._written[event.choice] = at + len(event.content)
        return self._chunk(event.choice, event.content, encode_logprobs(event.logprobs, at), None)

    def _chunk(
        self, index: int, text: str, logprobs: Json | None, reason: str | None, **more: Any
    ) -> bytes:
        choice = {"index": index, "text": text, "logprobs": logprobs, "finish_reason": reason}
        body: Json = {**self._head, "choices": [{**choice, **more}]}
        if self._include_usage:
            body["usage"] = None
        return encode_sse(msgspec.json.encode(body))

    def _last(self) -> bytes:
        if not self._include_usage or self._usage is None:
            return b""
        body = {**self._head, "choices": list[Json](), "usage": encode_usage(self._usage)}
        return encode_sse(msgspec.json.encode(body))
