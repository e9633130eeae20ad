"""Streams: server-sent events, each a named step of the message."""

from __future__ import annotations

from typing import Any

import msgspec

from dragoman.dialects.call_ids import answer_ids, open_call
from dragoman.dialects.carrying import encode_signature
from dragoman.dialects.cohere_chat.names import (
    FINISH_OUT,
    NAME,
    decode_logprobs,
    decode_usage,
    encode_piece_logprobs,
    encode_usage,
    finish_of,
)
from dragoman.dialects.cohere_chat.parts import PLAN, SIGNATURE
from dragoman.dialects.decoding import FrameDecoder
from dragoman.dialects.residues import json_object
from dragoman.errors import DragomanError, UpstreamError, UpstreamProtocolError
from dragoman.ir import Json, Residue, Usage
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
from dragoman.wire.sse import SseDecoder, SseEvent, encode_sse

_decode = msgspec.json.Decoder(dict[str, Any]).decode
_DONE = "[DONE]"
_BAD_GATEWAY = 502
_PLANNED = Residue(dialect=NAME, fields={}, form=(PLAN,))


class CohereDecoder(FrameDecoder[SseEvent]):
    """A provider's events in, ours out."""

    def __init__(self) -> None:
        super().__init__(SseDecoder())
        self._open = ""
        """What is open: `text`, `thinking`, `tool_plan` or `tool_call`."""
        self._citations: list[Any] = []
        self._has_calls = False
        self._ids = answer_ids(None)
        self._started = False

    def _take(self, frame: SseEvent, events: list[Event]) -> None:
        if self._ended or frame.data.strip() in ("", _DONE):
            return
        try:
            body = _decode(frame.data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise UpstreamProtocolError("the upstream sent an event that is not JSON") from error
        kind = body.get("type", frame.event)
        if isinstance(body.get("message"), str) and "delta" not in body:
            raise UpstreamError(str(body["message"]), status=_BAD_GATEWAY)
        if not self._started:
            self._started = True
            ident = body.get("id")
            start = Start(id=ident if isinstance(ident, str) else "", model="")
            self._ids = answer_ids(start.id)
            events.append(start)
        delta = json_object(body.get("delta"))
        self._step(kind, body, delta, json_object(delta.get("message")), events)

    def _step(
        self, kind: object, body: Json, delta: Json, message: Json, events: list[Event]
    ) -> None:
        match kind:
            case "content-start" | "content-delta":
                self._content(json_object(message.get("content")), body.get("logprobs"), events)
            case "tool-plan-delta":
                self._say(PLAN, message.get(PLAN), None, events)
            case "tool-call-start":
                self._call(json_object(message.get("tool_calls")), events)
            case "tool-call-delta":
                function = json_object(json_object(message.get("tool_calls")).get("function"))
                self._arguments(function.get("arguments"), events)
            case "content-end" | "tool-call-end":
                self._shut(events)
            case "citation-start":
                self._citations.append(message.get("citations"))
            case "message-end":
                self._end(delta, events)
            case _:
                pass  # message-start, citation-end, and what is newer than this code

    def _content(self, content: Json, logprobs: Any, events: list[Event]) -> None:
        for kind in ("thinking", "text"):
            if content.get("type") == kind and self._open != kind:
                self._begin(kind, events)
            self._say(kind, content.get(kind), logprobs, events)

    def _begin(self, kind: str, events: list[Event]) -> None:
        self._shut(events)
        self._open = kind
        opened: Kind = "text" if kind == "text" else "reasoning"
        events.append(PartStart(kind=opened))

    def _say(self, kind: str, text: Any, logprobs: Any, events: list[Event]) -> None:
        if not isinstance(text, str) or not text:
            return
        if self._open != kind:
            self._begin(kind, events)
        likely = decode_logprobs([logprobs]) if isinstance(logprobs, dict) else None
        events.append(Delta(content=text, logprobs=likely))

    def _call(self, call: Json, events: list[Event]) -> None:
        self._shut(events)
        self._open, self._has_calls = "tool_call", True
        function = json_object(call.get("function"))
        events.append(open_call(self._ids, call.get("id"), function.get("name")))
        self._arguments(function.get("arguments"), events)

    def _arguments(self, text: Any, events: list[Event]) -> None:
        if not isinstance(text, str) or not text:
            return
        if self._open != "tool_call":
            raise UpstreamProtocolError("the upstream sent arguments of no call")
        events.append(Delta(content=text))

    def _shut(self, events: list[Event]) -> None:
        if self._open:
            events.append(PartEnd(residue=_PLANNED if self._open == PLAN else None))
        self._open = ""

    def _end(self, delta: Json, events: list[Event]) -> None:
        if isinstance(error := delta.get("error"), str) and error:
            raise UpstreamError(error, status=_BAD_GATEWAY)
        self._shut(events)
        self._ended = True
        if (usage := decode_usage(delta.get("usage"))) is not None:
            events.append(UsageUpdate(usage=usage))
        word = delta.get("finish_reason")
        reason = finish_of(word if isinstance(word, str) else "", has_calls=self._has_calls)
        cited: Json = {"message": {"citations": self._citations}} if self._citations else {}
        residue = Residue(dialect=NAME, fields=cited) if cited else None
        events += [ChoiceEnd(reason=reason, residue=residue), Finish()]


class CohereEncoder:
    """Events in, the client's events out. Only the first choice is written."""

    def __init__(self) -> None:
        self._content = self._call = -1
        self._opened = PartStart(kind="text")
        self._has_said = False
        self._usage: Usage | None = None
        self._reason = "COMPLETE"

    def feed(self, event: Event) -> bytes:
        match event:
            case Start():
                lists: Json = {"content": [], "tool_plan": "", "tool_calls": [], "citations": []}
                message = {"role": "assistant", **lists}
                return _frame("message-start", {"id": event.id}, message)
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
                return self._delta(event)
            case PartEnd():
                return self._shut(event.residue)
            case ChoiceEnd():
                stopped = event.stop_sequence is not None and event.reason == "stop"
                self._reason = "STOP_SEQUENCE" if stopped else FINISH_OUT[event.reason]
                return b""

    def close(self) -> bytes:
        return encode_sse(_DONE.encode())

    def fail(self, error: DragomanError) -> bytes:
        delta = {"error": error.message, "finish_reason": "ERROR"}
        return _event("message-end", {"delta": delta}) + self.close()

    def _open(self, part: PartStart) -> bytes:
        self._opened, self._has_said = part, False
        match part.kind:
            case "opaque":
                return b""
            case "tool_call":
                self._call += 1
                function = {"name": part.name, "arguments": ""}
                call = {"id": part.id, "type": "function", "function": function}
                return _frame("tool-call-start", {"index": self._call}, {"tool_calls": call})
            case kind:
                self._content += 1
                name = "thinking" if kind == "reasoning" else "text"
                return self._write("content-start", {"type": name, name: ""})

    def _delta(self, event: Delta) -> bytes:
        self._has_said = True
        match self._opened.kind:
            case "opaque":
                return b""
            case "tool_call":
                return self._arguments(event.content)
            case "reasoning":
                return self._write("content-delta", {"thinking": event.content})
            case _:
                more: Json = {}
                if event.logprobs is not None:
                    more["logprobs"] = encode_piece_logprobs(event.logprobs)
                return self._write("content-delta", {"text": event.content}, **more)

    def _arguments(self, text: str) -> bytes:
        call = {"function": {"arguments": text}}
        return _frame("tool-call-delta", {"index": self._call}, {"tool_calls": call})

    def _write(self, kind: str, content: Json, **more: Any) -> bytes:
        return _frame(kind, {"index": self._content, **more}, {"content": content})

    def _shut(self, residue: Residue | None) -> bytes:
        match self._opened.kind:
            case "opaque":
                return b""
            case "tool_call":
                out = b"" if self._has_said else self._arguments("{}")
                return out + _event("tool-call-end", {"index": self._call})
            case _:
                state = encode_signature(residue)
                out = (
                    self._write("content-delta", {"thinking": "", SIGNATURE: state})
                    if state
                    else b""
                )
                return out + _event("content-end", {"index": self._content})

    def _finish(self) -> bytes:
        delta: Json = {"finish_reason": self._reason}
        if self._usage is not None:
            delta["usage"] = encode_usage(self._usage)
        return _event("message-end", {"delta": delta})


def _frame(kind: str, head: Json, message: Json) -> bytes:
    return _event(kind, {**head, "delta": {"message": message}})


def _event(kind: str, body: Json) -> bytes:
    return encode_sse(msgspec.json.encode({"type": kind, **body}), kind)
