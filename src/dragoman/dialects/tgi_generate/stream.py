"""Streams: an event a token; the last one has the whole text and the details."""

from __future__ import annotations

from typing import Any

import msgspec

from dragoman.dialects.decoding import FrameDecoder
from dragoman.dialects.tgi_generate.errors import error_body, stream_error
from dragoman.dialects.tgi_generate.names import (
    decode_finish,
    decode_logprobs,
    decode_usage,
    encode_token,
    encode_tokens,
    finish_word,
)
from dragoman.dialects.tgi_generate.response import CALLED
from dragoman.errors import DragomanError, UpstreamProtocolError
from dragoman.ir import Json, Usage
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

_SAID = ("text", "refusal")


class _Token(msgspec.Struct):
    text: str = ""
    special: bool = False


class _Frame(msgspec.Struct):
    token: Json | None = None
    top_tokens: list[Any] | None = None
    generated_text: str | None = None
    details: Json | None = None
    error: Any = None
    error_type: Any = None


_decode_frame = msgspec.json.Decoder(_Frame).decode


class GenerateDecoder(FrameDecoder[SseEvent]):
    """A provider's events in, events out."""

    def __init__(self) -> None:
        super().__init__(SseDecoder())
        self._is_open = self._started = False

    def _take(self, frame: SseEvent, events: list[Event]) -> None:
        if self._ended or not frame.data:
            return
        try:
            event = _decode_frame(frame.data)
            token = msgspec.convert(event.token or {}, _Token)
        except (msgspec.DecodeError, RecursionError) as error:
            raise UpstreamProtocolError("the upstream sent an event it should not") from error
        if event.error is not None:
            raise stream_error({"error": event.error, "error_type": event.error_type})
        if not self._started:
            self._started = True
            events.append(Start(id="", model=""))
        if token.text and not token.special:
            if not self._is_open:
                self._is_open = True
                events.append(PartStart(kind="text"))
            likely = decode_logprobs([event.token], [event.top_tokens])
            events.append(Delta(content=token.text, logprobs=likely))
        if event.generated_text is not None:
            self._end(event.details or {}, events)

    def _end(self, details: Json, events: list[Event]) -> None:
        self._ended = True
        if self._is_open:
            events.append(PartEnd())
        if (usage := decode_usage(details)) is not None:
            events.append(UsageUpdate(usage=usage))
        reason, residue = decode_finish(details.get("finish_reason"))
        events += [ChoiceEnd(reason=reason, residue=residue), Finish()]


class GenerateEncoder:
    """Events in, a client's events out: of an answer's parts, the texts."""

    def __init__(self) -> None:
        self._index = 0
        self._kind = "text"
        self._text: list[str] = []
        self._usage: Usage | None = None
        self._word = "eos_token"

    def feed(self, event: Event) -> bytes:
        match event:
            case Delta():
                return self._delta(event)
            case PartStart():
                self._check(event.choice)
                if event.kind == "tool_call":
                    raise UpstreamProtocolError(CALLED)
                self._kind = event.kind
            case UsageUpdate():
                self._usage = event.usage
            case ChoiceEnd():
                self._check(event.choice)
                self._word = finish_word(event.reason, event.stop_sequence, event.residue)
            case Finish():
                return self._finish()
            case _:
                pass
        return b""

    def close(self) -> bytes:
        return b""

    def fail(self, error: DragomanError) -> bytes:
        return encode_sse(msgspec.json.encode(error_body(error)))

    def _check(self, choice: int) -> None:
        if choice:
            raise UpstreamProtocolError("the upstream sent more answers than the one asked for")

    def _delta(self, event: Delta) -> bytes:
        if self._kind not in _SAID or not event.content:
            return b""
        self._text.append(event.content)
        tokens, alternatives = encode_tokens(event.logprobs)
        if len(tokens) != 1 or tokens[0]["text"] != event.content:
            return self._write(encode_token(event.content), [], None, None)
        return self._write(tokens[0], alternatives[0], None, None)

    def _finish(self) -> bytes:
        usage = self._usage
        details = {
            "finish_reason": self._word,
            "generated_tokens": usage.output_tokens if usage else 0,
            "input_length": usage.input_tokens if usage else 0,
            "seed": None,
        }
        return self._write(encode_token("", special=True), [], "".join(self._text), details)

    def _write(
        self, token: Json, others: list[Json], text: str | None, details: Json | None
    ) -> bytes:
        self._index += 1
        body = {
            "index": self._index,
            "token": token,
            "top_tokens": others,
            "generated_text": text,
            "details": details,
        }
        return encode_sse(msgspec.json.encode(body))
