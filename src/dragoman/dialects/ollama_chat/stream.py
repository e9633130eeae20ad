"""Streams: one JSON object a line, each with what is new; the last says that it is done."""

from __future__ import annotations

from typing import Any

import msgspec

from dragoman.dialects.call_ids import CallIds
from dragoman.dialects.decoding import FrameDecoder
from dragoman.dialects.ollama_chat.errors import error_line, stream_error
from dragoman.dialects.ollama_chat.messages import arguments_of, decode_turn
from dragoman.dialects.ollama_chat.names import (
    FINISH_OUT,
    decode_logprobs,
    decode_usage,
    encode_logprobs,
    encode_usage,
    finish_of,
    seconds_of,
    time_of,
)
from dragoman.dialects.ollama_chat.response import call_prefix
from dragoman.dialects.residues import json_object
from dragoman.errors import DragomanError, InvalidRequest, UpstreamProtocolError
from dragoman.ir import Json, Reasoning, Text, ToolCall, Usage
from dragoman.ir.events import (
    ChoiceEnd,
    Delta,
    Event,
    Finish,
    Kind,
    PartEnd,
    PartStart,
    Start,
    UsageUpdate,
)
from dragoman.wire.fields import Fields
from dragoman.wire.ndjson import NdjsonDecoder, encode_ndjson

_decode = msgspec.json.Decoder(dict[str, Any]).decode


class OllamaDecoder(FrameDecoder[bytes]):
    """A provider's lines in, events out."""

    def __init__(self) -> None:
        super().__init__(NdjsonDecoder())
        self._ids: CallIds | None = None
        """None until the first line came."""
        self._open: Kind | None = None
        self._has_calls = False

    def _take(self, frame: bytes, events: list[Event]) -> None:
        if self._ended:
            return
        try:
            body = _decode(frame)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise UpstreamProtocolError(
                "the upstream sent a line that is no JSON object"
            ) from error
        if body.get("error"):
            raise stream_error(body["error"])
        if self._ids is None:
            self._ids = self._start(body, events)
        try:
            self._say(body, self._ids, events)
        except InvalidRequest as error:
            raise UpstreamProtocolError(f"the upstream's stream: {error.message}") from error
        if body.get("done") is True:
            self._end(body, events)

    def _start(self, body: Json, events: list[Event]) -> CallIds:
        model, created_at = body.get("model"), body.get("created_at")
        name = model if isinstance(model, str) else ""
        events.append(Start(id="", model=name, created=seconds_of(created_at)))
        return CallIds(call_prefix(created_at))

    def _say(self, body: Json, ids: CallIds, events: list[Event]) -> None:
        logprobs = decode_logprobs(body.get("logprobs"))
        fields = Fields(json_object(body.get("message")), "$.message")
        for part in decode_turn(fields, ids)[0]:
            match part:
                case ToolCall():
                    self._call(part, events)
                case Reasoning():
                    self._delta("reasoning", Delta(content=part.content), events)
                case Text():
                    self._delta("text", Delta(content=part.content, logprobs=logprobs), events)
                case _:
                    pass  # images: no dialect has any in a stream

    def _delta(self, kind: Kind, delta: Delta, events: list[Event]) -> None:
        if self._open != kind:
            self._shut(events)
            self._open = kind
            events.append(PartStart(kind=kind))
        events.append(delta)

    def _call(self, call: ToolCall, events: list[Event]) -> None:
        self._shut(events)
        self._has_calls = True
        events.append(PartStart(kind="tool_call", id=call.id, name=call.name))
        events += [Delta(content=call.arguments or "{}"), PartEnd()]

    def _shut(self, events: list[Event]) -> None:
        if self._open is not None:
            events.append(PartEnd())
        self._open = None

    def _end(self, body: Json, events: list[Event]) -> None:
        self._shut(events)
        self._ended = True
        if (usage := decode_usage(body)) is not None:
            events.append(UsageUpdate(usage=usage))
        word = body.get("done_reason")
        reason = finish_of(word if isinstance(word, str) else "", has_calls=self._has_calls)
        events += [ChoiceEnd(reason=reason), Finish()]


class OllamaEncoder:
    """Events in, the client's lines out. Only the first choice is written."""

    def __init__(self) -> None:
        self._head: Json = {}
        self._opened = PartStart(kind="text")
        self._pieces: list[str] = []
        self._usage: Usage | None = None
        self._reason = "stop"

    def feed(self, event: Event) -> bytes:
        match event:
            case Start():
                self._head = {"model": event.model, "created_at": time_of(event.created)}
                return b""
            case UsageUpdate():
                self._usage = event.usage
                return b""
            case Finish():
                reason = {"done": True, "done_reason": self._reason}
                return self._write({"content": ""}, **reason, **encode_usage(self._usage))
            case _ if event.choice != 0:
                return b""
            case PartStart():
                self._opened, self._pieces = event, []
                return b""
            case Delta():
                return self._delta(event)
            case PartEnd():
                return self._call() if self._opened.kind == "tool_call" else b""
            case ChoiceEnd():
                self._reason = FINISH_OUT[event.reason]
                return b""

    def close(self) -> bytes:
        return b""

    def fail(self, error: DragomanError) -> bytes:
        return error_line(error)

    def _delta(self, event: Delta) -> bytes:
        match self._opened.kind:
            case "tool_call":
                self._pieces.append(event.content)
                return b""
            case "opaque":
                return b""
            case "reasoning":
                return self._write({"content": "", "thinking": event.content}, done=False)
            case _:
                more: Json = {}
                if event.logprobs is not None:
                    more["logprobs"] = encode_logprobs(event.logprobs)
                return self._write({"content": event.content}, done=False, **more)

    def _call(self) -> bytes:
        call = ToolCall(id=self._opened.id, name=self._opened.name, arguments="".join(self._pieces))
        try:
            function = {"name": call.name, "arguments": arguments_of(call)}
        except InvalidRequest as error:
            raise UpstreamProtocolError("the upstream's tool call is no JSON object") from error
        calls = [{"id": call.id, "function": function}]
        return self._write({"content": "", "tool_calls": calls}, done=False)

    def _write(self, message: Json, **more: Any) -> bytes:
        body = {**self._head, "message": {"role": "assistant", **message}, **more}
        return encode_ndjson(msgspec.json.encode(body))
