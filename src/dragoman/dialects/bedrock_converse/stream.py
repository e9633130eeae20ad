"""Streams: AWS event-stream frames, one an event."""

from __future__ import annotations

from typing import Any

import msgspec

from dragoman.dialects.bedrock_converse.errors import error_frame, stream_error
from dragoman.dialects.bedrock_converse.names import (
    ANTHROPIC,
    FINISH,
    FINISH_OUT,
    NAME,
    decode_usage,
    encode_usage,
    json_object,
)
from dragoman.dialects.bedrock_converse.parts import arguments_of, signed, thought_for_client
from dragoman.dialects.call_ids import answer_ids, open_call
from dragoman.dialects.decoding import FrameDecoder
from dragoman.errors import DragomanError, InvalidRequest, UpstreamProtocolError
from dragoman.ir import Json, Reasoning, Residue, ToolCall, Usage
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
from dragoman.wire.eventstream import EventStreamDecoder, EventStreamMessage, encode_eventstream

_decode = msgspec.json.Decoder(dict[str, Any]).decode


class ConverseDecoder(FrameDecoder[EventStreamMessage]):
    """A provider's frames in, events out."""

    def __init__(self) -> None:
        super().__init__(EventStreamDecoder())
        self._ids = answer_ids(None)
        self._open = ""
        self._residue: Residue | None = None
        self._reason: str | None = None
        self._metadata: Json | None = None
        self._tail: Json = {}
        self._started = False

    def _take(self, frame: EventStreamMessage, events: list[Event]) -> None:
        if frame.headers.get(":message-type", "event") != "event":
            name = frame.headers.get(":exception-type") or frame.headers.get(":error-code", "")
            raise stream_error(name, frame.payload)
        try:
            body = _decode(frame.payload)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise UpstreamProtocolError("the upstream sent an event that is not JSON") from error
        if not self._started:
            self._started = True
            events.append(Start(id="", model=""))
        self._event(frame.headers.get(":event-type", ""), body, events)

    def _event(self, kind: str, body: Json, events: list[Event]) -> None:
        match kind:
            case "contentBlockStart":
                call = json_object(json_object(body.get("start")).get("toolUse"))
                if call:
                    opened = open_call(self._ids, call.get("toolUseId"), call.get("name"))
                    self._begin(opened, events)
            case "contentBlockDelta":
                self._delta(json_object(body.get("delta")), events)
            case "contentBlockStop":
                self._shut(events)
            case "messageStop":
                self._shut(events)
                self._reason = str(body.get("stopReason") or "")
                self._tail |= {n: v for n, v in body.items() if n != "stopReason"}
                self._end(events)
            case "metadata":
                self._metadata = body
                self._end(events)
            case _:
                pass  # messageStart, and padding

    def _begin(self, part: PartStart, events: list[Event]) -> None:
        self._shut(events)
        self._open = part.kind
        events.append(part)

    def _shut(self, events: list[Event]) -> None:
        if self._open:
            events.append(PartEnd(residue=self._residue))
        self._open, self._residue = "", None

    def _delta(self, delta: Json, events: list[Event]) -> None:
        match delta:
            case {"text": str(text)}:
                self._say("text", text, events)
            case {"toolUse": {"input": str(text)}}:
                if self._open != "tool_call":
                    raise UpstreamProtocolError("the upstream sent arguments of no call")
                events.append(Delta(content=text))
            case {"reasoningContent": {"text": str(text)}}:
                self._say("reasoning", text, events)
            case {"reasoningContent": {"signature": str(signature)}}:
                self._say("reasoning", "", events)
                self._residue = signed(signature)
            case {"reasoningContent": {"redactedContent": str(data)}}:
                self._say("reasoning", "", events)
                self._residue = Residue(dialect=ANTHROPIC, fields={"data": data})
            case _:
                pass  # citations and what is newer than this code

    def _say(self, kind: str, text: str, events: list[Event]) -> None:
        if self._open != kind:
            opened = PartStart(kind="reasoning" if kind == "reasoning" else "text")
            self._begin(opened, events)
        if text:
            events.append(Delta(content=text))

    def _end(self, events: list[Event]) -> None:
        """The end, once both that it stopped and what it cost were told."""
        body = self._metadata
        if self._reason is None or body is None:
            return
        if self._ended:
            raise UpstreamProtocolError("the upstream's stream has its end out of place")
        self._ended = True
        if (usage := decode_usage(body.get("usage"))) is not None:
            events.append(UsageUpdate(usage=usage))
        events.append(ChoiceEnd(reason=FINISH.get(self._reason, "error")))
        left = {n: v for n, v in body.items() if n not in ("usage", "metrics")} | self._tail
        left.pop("p", None)  # padding
        events.append(Finish(residue=Residue(dialect=NAME, fields=left) if left else None))


class ConverseEncoder:
    """Events in, the client's frames out. Only the first choice is written."""

    def __init__(self) -> None:
        self._index = -1
        self._opened = PartStart(kind="text")
        self._pieces: list[str] = []
        self._usage: Usage | None = None
        self._reason = "end_turn"

    def feed(self, event: Event) -> bytes:
        match event:
            case Start():
                return _frame("messageStart", {"role": "assistant"})
            case UsageUpdate():
                self._usage = event.usage
                return b""
            case Finish():
                return self._finish()
            case _ if event.choice != 0:
                return b""
            case PartStart():
                return self._open(event)
            case Delta():
                return self._delta(event.content)
            case PartEnd():
                return self._shut(event.residue)
            case ChoiceEnd():
                stopped = event.stop_sequence is not None
                self._reason = "stop_sequence" if stopped else FINISH_OUT[event.reason]
                return b""

    def close(self) -> bytes:
        return b""

    def fail(self, error: DragomanError) -> bytes:
        return error_frame(error)

    def _open(self, part: PartStart) -> bytes:
        self._opened, self._pieces = part, []
        if part.kind == "opaque":
            return b""
        self._index += 1
        if part.kind != "tool_call":
            return b""
        start = {"toolUse": {"toolUseId": part.id, "name": part.name}}
        return _frame("contentBlockStart", {"contentBlockIndex": self._index, "start": start})

    def _delta(self, content: str) -> bytes:
        self._pieces.append(content)
        match self._opened.kind:
            case "tool_call":
                return self._write({"toolUse": {"input": content}})
            case "reasoning":
                return self._write({"reasoningContent": {"text": content}})
            case "opaque":
                return b""
            case _:
                return self._write({"text": content})

    def _write(self, delta: Json) -> bytes:
        return _frame("contentBlockDelta", {"contentBlockIndex": self._index, "delta": delta})

    def _shut(self, residue: Residue | None) -> bytes:
        if self._opened.kind == "opaque":
            return b""
        out = b""
        content = "".join(self._pieces)
        if self._opened.kind == "reasoning":
            whole = thought_for_client(Reasoning(content=content, residue=residue))
            inner = whole["reasoningContent"]
            state = inner if "redactedContent" in inner else inner["reasoningText"]
            state = {name: value for name, value in state.items() if name != "text"}
            if state:
                out = self._write({"reasoningContent": state})
        elif self._opened.kind == "tool_call":
            self._check(content)
        elif not content:
            out = self._write({"text": ""})
        return out + _frame("contentBlockStop", {"contentBlockIndex": self._index})

    def _check(self, arguments: str) -> None:
        """A client of this dialect reads arguments as JSON, whole, and fails on any other."""
        try:
            arguments_of(ToolCall(id="", name="", arguments=arguments))
        except InvalidRequest as error:
            raise UpstreamProtocolError("the upstream's tool call is not JSON") from error

    def _finish(self) -> bytes:
        usage = encode_usage(self._usage or Usage())
        stop = _frame("messageStop", {"stopReason": self._reason})
        return stop + _frame("metadata", {"usage": usage, "metrics": {"latencyMs": 0}})


def _frame(kind: str, body: Json) -> bytes:
    headers = {
        ":event-type": kind,
        ":content-type": "application/json",
        ":message-type": "event",
    }
    return encode_eventstream(headers, msgspec.json.encode(body))
