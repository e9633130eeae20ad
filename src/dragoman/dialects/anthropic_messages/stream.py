"""Streams: `message_start block* message_delta message_stop`, a block being start, deltas, stop.

Blocks are numbered in order. `ping` may stand anywhere; an `error` event ends the stream.
"""

from __future__ import annotations

import msgspec

from dragoman.dialects.anthropic_messages.errors import stream_error
from dragoman.dialects.anthropic_messages.framing import (
    EventFrames,
    encode_event,
    encode_failure,
)
from dragoman.dialects.anthropic_messages.names import (
    FINISH,
    NAME,
    decode_usage,
    encode_usage,
    finish_word,
    json_object,
    own,
    own_reason,
)
from dragoman.dialects.call_ids import answer_ids, open_call
from dragoman.dialects.carrying import decode_signature, encode_signature
from dragoman.dialects.decoding import FrameDecoder
from dragoman.errors import DragomanError, UpstreamProtocolError
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

_DONE = "[DONE]"
"""No word of this dialect, but some servers of it end their streams so."""
_KINDS: dict[str, Kind] = {
    "text": "text",
    "thinking": "reasoning",
    "redacted_thinking": "reasoning",
    "tool_use": "tool_call",
}
_KNOWN_MESSAGE = frozenset(
    ("id", "type", "role", "model", "content", "stop_reason", "stop_sequence", "usage")
)


class _Delta(msgspec.Struct):
    type: str = ""
    text: str | None = None
    thinking: str | None = None
    partial_json: str | None = None
    signature: str | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None


class _Frame(msgspec.Struct):
    """All stream events at once: each `type` fills some of these fields."""

    type: str
    index: int | None = None
    message: Json | None = None
    content_block: Json | None = None
    delta: msgspec.Raw = msgspec.Raw()
    usage: Json | None = None
    error: Json | None = None


_decode_frame = msgspec.json.Decoder(_Frame).decode
_decode_delta = msgspec.json.Decoder(_Delta).decode


class MessagesDecoder(FrameDecoder[str | bytes]):
    """A provider's stream to events. An event out of its place breaks the stream.

    The end of the answer is held back until `message_stop`: usage, and a reason, may come again.
    """

    def __init__(self) -> None:
        super().__init__(EventFrames())
        self._usage: Json = {}
        self._kind: str | None = None
        """Of the open block; None between blocks."""
        self._index: int | None = None
        self._input: Json = {}
        """A call's arguments as they stand in its start, until a delta says them."""
        self._residue: Json = {}
        self._ids = answer_ids(None)
        self._started = False
        self._last: _Delta | None = None
        """The last `message_delta`; no block follows one."""

    def _take(self, frame: str | bytes, events: list[Event]) -> None:
        if self._ended or not frame or frame == _DONE:
            return
        try:
            self._event(_decode_frame(frame), events)
        except (msgspec.DecodeError, RecursionError, ValueError) as error:
            raise UpstreamProtocolError("a stream event is not what the API sends") from error

    def _event(self, frame: _Frame, events: list[Event]) -> None:
        match frame.type:
            case "content_block_delta" if frame.delta:
                self._check(self._kind is not None and frame.index in (None, self._index))
                self._delta(frame.delta, events)
            case "content_block_start" if frame.content_block is not None:
                self._check(self._started and self._last is None)
                self._end_block(events)
                self._index = frame.index
                self._start_block(frame.content_block, events)
            case "content_block_stop":
                if frame.index in (None, self._index):
                    self._end_block(events)
            case "message_start" if frame.message is not None:
                self._check(not self._started)
                self._start(frame.message, events)
            case "message_delta" if frame.delta:
                self._check(self._started)
                self._end_block(events)
                self._count(frame.usage or {}, events)
                self._last = _decode_delta(frame.delta)
            case "message_stop":
                self._end(events)
            case "error":
                raise stream_error(frame.error or {})
            case _:
                pass  # ping, and types added after this was written

    def _check(self, in_place: bool) -> None:  # noqa: FBT001 - reads as a sentence
        if not in_place:
            raise UpstreamProtocolError("a stream event is out of its place")

    def _start(self, message: Json, events: list[Event]) -> None:
        self._started = True
        rest = {k: v for k, v in message.items() if k not in _KNOWN_MESSAGE and v is not None}
        residue = Residue(dialect=NAME, fields=rest) if rest else None
        name, model = str(message.get("id") or ""), str(message.get("model") or "")
        self._ids = answer_ids(name)
        self._count(json_object(message.get("usage")), events)
        events.append(Start(id=name, model=model, residue=residue))

    def _count(self, usage: Json, events: list[Event]) -> None:
        """Later figures replace earlier ones; what a later event leaves out stays."""
        self._usage |= {name: value for name, value in usage.items() if value is not None}
        events.append(UsageUpdate(usage=decode_usage(self._usage)))

    def _end_block(self, events: list[Event]) -> None:
        """The end of the open block, also where the server leaves it to the next to say so."""
        if self._kind is None:
            return
        if self._input:
            events.append(Delta(content=msgspec.json.encode(self._input).decode()))
        events.append(PartEnd(residue=self._end_residue(self._residue or None)))
        self._kind, self._residue, self._input = None, {}, {}

    def _start_block(self, block: Json, events: list[Event]) -> None:
        kind = self._kind = str(block.get("type"))
        if kind not in _KINDS:
            events.append(PartStart(kind="opaque", name=kind, value=block, dialect=NAME))
            return
        if kind == "tool_use":
            self._input = json_object(block.get("input"))
            events.append(open_call(self._ids, block.get("id"), block.get("name")))
            return
        hidden = block if kind == "redacted_thinking" else None
        events.append(PartStart(kind=_KINDS[kind], value=hidden))
        if hidden is not None:
            self._residue["data"] = block.get("data", "")
        if first := block.get("text") or block.get("thinking"):
            events.append(Delta(content=str(first)))

    def _delta(self, raw: msgspec.Raw, events: list[Event]) -> None:
        delta = _decode_delta(raw)
        if self._kind not in _KINDS:
            value = msgspec.json.decode(raw, type=Json)
            events.append(Delta(content="", residue=Residue(dialect=NAME, fields=value)))
            return
        if delta.signature is not None:
            self._residue["signature"] = self._residue.get("signature", "") + delta.signature
        elif delta.type == "citations_delta":
            citation = msgspec.json.decode(raw, type=Json).get("citation")
            self._residue.setdefault("citations", []).append(citation)
        elif piece := delta.text or delta.thinking or delta.partial_json:
            self._input = {}
            events.append(Delta(content=piece))

    def _end_residue(self, fields: Json | None) -> Residue | None:
        if fields is None:
            return None
        carried = decode_signature(str(fields.get("signature", "")))
        return carried or Residue(dialect=NAME, fields=fields)

    def _end(self, events: list[Event]) -> None:
        delta = self._last
        if delta is None or self._kind is not None:
            raise UpstreamProtocolError("the stream ended before its answer did")
        self._ended = True
        word = delta.stop_reason or "end_turn"
        reason, residue = FINISH.get(word, "stop"), own_reason(word, delta.stop_sequence)
        events.append(ChoiceEnd(reason=reason, stop_sequence=delta.stop_sequence, residue=residue))
        events.append(Finish())


class MessagesEncoder:
    """Events to the stream a client of this dialect reads."""

    def __init__(self, framing: str = "") -> None:
        self._framing = framing
        self._index = -1
        self._opened = PartStart(kind="text")
        self._delta_head = b""
        self._refused = False
        self._usage = Usage()

    def feed(self, event: Event) -> bytes:
        match event:
            case Delta():
                return self._delta(event)
            case PartStart():
                return self._open(event)
            case PartEnd():
                return self._close_part(event)
            case UsageUpdate():
                self._usage = event.usage
                return b""
            case Start():
                return self._start(event)
            case ChoiceEnd():
                return self._end(event)
            case Finish():  # pragma: no branch - there is no other event
                return self._frame("message_stop", {})

    def close(self) -> bytes:
        return b""

    def fail(self, error: DragomanError) -> bytes:
        return encode_failure(self._framing, error)

    def _start(self, start: Start) -> bytes:
        message: Json = {
            "id": start.id,
            "type": "message",
            "role": "assistant",
            "model": start.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": encode_usage(self._usage),
            **own(start.residue),
        }
        return self._frame("message_start", {"message": message})

    def _open(self, part: PartStart) -> bytes:
        _check_only_choice(part.choice)
        self._opened = part
        if self._is_foreign():
            return b""
        self._refused = self._refused or part.kind == "refusal"
        self._index += 1
        self._delta_head = b'{"type":"content_block_delta","index":%d,"delta":' % self._index
        block = _empty_block(part) if part.value is None else part.value
        return self._at("content_block_start", content_block=block)

    def _is_foreign(self) -> bool:
        """Whether the open part is one that only another dialect has."""
        return self._opened.kind == "opaque" and self._opened.dialect != NAME

    def _delta(self, event: Delta) -> bytes:
        if self._is_foreign():
            return b""
        if event.residue is not None:
            fields = own(event.residue)
            return self._at("content_block_delta", delta=fields) if fields else b""
        kind, name = _DELTAS[self._opened.kind]
        piece = msgspec.json.encode(event.content)
        body = b'%s{"type":"%s","%s":%s}}' % (self._delta_head, kind, name, piece)
        return encode_event(self._framing, "content_block_delta", body)

    def _close_part(self, end: PartEnd) -> bytes:
        out = b""
        if self._is_foreign():
            return out
        fields = own(end.residue)
        if self._opened.kind == "reasoning" and end.residue is not None:
            signature = fields.get("signature") or encode_signature(None if fields else end.residue)
            if signature:
                delta = {"type": "signature_delta", "signature": signature}
                out = self._at("content_block_delta", delta=delta)
        for citation in fields.get("citations", []):
            delta = {"type": "citations_delta", "citation": citation}
            out += self._at("content_block_delta", delta=delta)
        return out + self._at("content_block_stop")

    def _end(self, end: ChoiceEnd) -> bytes:
        _check_only_choice(end.choice)
        reason = "content_filter" if self._refused else end.reason
        word = finish_word(reason, end.stop_sequence, end.residue)
        delta = {"stop_reason": word, "stop_sequence": end.stop_sequence}
        body: Json = {"delta": delta, "usage": encode_usage(self._usage)}
        return self._frame("message_delta", body)

    def _at(self, kind: str, **body: object) -> bytes:
        return self._frame(kind, {"index": self._index, **body})

    def _frame(self, kind: str, body: Json) -> bytes:
        event = msgspec.json.encode({"type": kind, **body})
        return encode_event(self._framing, kind, event)


_DELTAS: dict[Kind, tuple[bytes, bytes]] = {
    "text": (b"text_delta", b"text"),
    "refusal": (b"text_delta", b"text"),
    "reasoning": (b"thinking_delta", b"thinking"),
    "tool_call": (b"input_json_delta", b"partial_json"),
    "opaque": (b"text_delta", b"text"),
}


def _check_only_choice(choice: int) -> None:
    if choice:
        raise UpstreamProtocolError("the upstream sent more answers than the one asked for")


def _empty_block(part: PartStart) -> Json:
    match part.kind:
        case "reasoning":
            return {"type": "thinking", "thinking": "", "signature": ""}
        case "tool_call":
            return {"type": "tool_use", "id": part.id, "name": part.name, "input": {}}
        case _:
            return {"type": "text", "text": ""}
