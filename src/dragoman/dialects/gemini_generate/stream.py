"""Streams: whole answers one after another, each with what is new, as SSE or as a JSON array."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import msgspec

from dragoman.dialects.call_ids import answer_ids
from dragoman.dialects.decoding import TRUNCATED
from dragoman.dialects.gemini_generate.errors import error_body, stream_error
from dragoman.dialects.gemini_generate.names import (
    FINISH_OUT,
    NAME,
    NEXT,
    PREVIOUS,
    SIGNATURE,
    TEXT,
    carried,
    carry,
    decode_usage,
    encode_usage,
    is_own,
    json_object,
    own,
    place_of,
    state,
)
from dragoman.dialects.gemini_generate.parts import decode_parts, encode_parts
from dragoman.dialects.gemini_generate.response import (
    answer_part,
    decode_logprobs,
    encode_logprobs,
    finish_of,
)
from dragoman.errors import DragomanError, InvalidRequest, UpstreamProtocolError
from dragoman.ir import Blob, Json, Opaque, Part, Reasoning, Residue, ToolCall, Uri, Usage
from dragoman.ir.events import (
    ChoiceEnd,
    Delta,
    Event,
    Finish,
    PartEnd,
    PartStart,
    Start,
    UsageUpdate,
    part_of,
)
from dragoman.ir.losses import Losses
from dragoman.wire.fields import as_list
from dragoman.wire.json_array import JsonArrayDecoder
from dragoman.wire.sse import SseDecoder, encode_sse

_decode = msgspec.json.Decoder(dict[str, Any]).decode
_JSON = (b"[", b"{")
"""How a stream begins that is no SSE: an array, or one object of servers that do not stream."""


class _Words(NamedTuple):
    """A part with words of the answer, or of its thoughts."""

    kind: str
    value: Json
    logprobs: Json | None


class _Candidate:
    """One choice while it arrives."""

    def __init__(self) -> None:
        self.open = ""
        self.calls: list[Part] = []
        self.finish: Any = None
        self.extra: Json = {}


class GeminiDecoder:
    """A provider's bytes in, events out; the first byte tells the framing."""

    def __init__(self) -> None:
        self._sse = SseDecoder()
        self._array: JsonArrayDecoder | None = None
        self._known = False
        self._started = False
        self._blocked = False
        self._head: Json = {}
        self._candidates: dict[int, _Candidate] = {}
        self._ids = answer_ids(None)

    def feed(self, data: bytes, events: list[Event]) -> None:
        if not self._known:
            data = data.lstrip()
            if not data:
                return
            self._known = True
            self._array = JsonArrayDecoder() if data.startswith(_JSON) else None
        if self._array is not None:
            for item in self._array.feed(data):
                self._take(item, events)
            return
        for frame in self._sse.feed(data):
            self._take(frame.data, events)

    def close(self, events: list[Event]) -> None:
        if self._array is not None:
            self._array.close()
        for frame in self._sse.close():
            self._take(frame.data, events)
        has_gap = self._candidates.keys() != set(range(len(self._candidates)))
        ended = not has_gap and all(one.finish is not None for one in self._candidates.values())
        if not self._started or not ended or not (self._candidates or self._blocked):
            raise UpstreamProtocolError(TRUNCATED)
        self._end(events)

    def _take(self, frame: str | bytes, events: list[Event]) -> None:
        if frame in ("", "null", "[DONE]"):  # no words of this API, but of proxies before it
            return
        try:
            chunk = _decode(frame)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise UpstreamProtocolError("the upstream sent a chunk that is not JSON") from error
        if "error" in chunk:
            raise stream_error(chunk["error"])
        try:
            self._chunk(chunk, events)
        except InvalidRequest as error:
            raise UpstreamProtocolError(f"the upstream's stream: {error.message}") from error

    def _chunk(self, chunk: Json, events: list[Event]) -> None:
        if (usage := decode_usage(chunk.get("usageMetadata"))) is not None:
            events.append(UsageUpdate(usage=usage))
        if not self._started:
            self._started = True
            ident = str(chunk.get("responseId") or "")
            self._ids = answer_ids(ident)
            events.append(Start(id=ident, model=str(chunk.get("modelVersion") or "")))
        for place, found in enumerate(as_list(chunk.get("candidates"))):
            self._candidate(json_object(found), place, events)
        if feedback := json_object(chunk.get("promptFeedback")):
            self._head["promptFeedback"] = feedback
            self._blocked = self._blocked or "blockReason" in feedback

    def _candidate(self, found: Json, place: int, events: list[Event]) -> None:
        index = place if found.get("index") is None else found["index"]
        if not isinstance(index, int):
            raise UpstreamProtocolError("the upstream sent a candidate whose index is no number")
        one = self._candidates.setdefault(index, _Candidate())
        logprobs = decode_logprobs(found.get("logprobsResult"))
        for value in as_list(json_object(found.get("content")).get("parts")):
            self._part(one, index, json_object(value), logprobs, events)
            logprobs = None
        if found.get("finishReason"):
            one.finish = found["finishReason"]
        one.extra |= {
            name: value
            for name, value in found.items()
            if name in ("groundingMetadata", "citationMetadata", "urlContextMetadata")
        }

    def _part(
        self, one: _Candidate, index: int, value: Json, logprobs: Json | None, events: list[Event]
    ) -> None:
        if isinstance(value.get("text"), str):
            kind = "reasoning" if value.get("thought") is True else "text"
            self._text(one, index, _Words(kind, value, logprobs), events)
            return
        self._shut(one, index, None, events)
        for part in decode_parts(value, "$", self._ids):
            self._whole(one, index, part, value, events)

    def _whole(
        self, one: _Candidate, index: int, part: Part, value: Json, events: list[Event]
    ) -> None:
        """A part that comes in one piece."""
        if isinstance(part, Reasoning):
            events.append(PartStart(kind="reasoning", choice=index))
            events.append(PartEnd(choice=index, residue=part.residue))
        elif isinstance(part, ToolCall):
            one.calls.append(part)
            opened = PartStart(kind="tool_call", choice=index, id=part.id, name=part.name)
            events += [opened, Delta(content=part.arguments, choice=index)]
            events.append(PartEnd(choice=index, residue=part.residue))
        elif isinstance(part, Uri | Blob):
            start = PartStart(
                kind="opaque", choice=index, name=part.modality, dialect=NAME, media=part
            )
            events += [start, PartEnd(choice=index)]
        else:
            kind = part.kind if isinstance(part, Opaque) else next(iter(value))
            start = PartStart(kind="opaque", choice=index, name=kind, value=value, dialect=NAME)
            events.append(start)
            events.append(PartEnd(choice=index, residue=Residue(dialect=NAME, fields=value)))

    def _text(self, one: _Candidate, index: int, said: _Words, events: list[Event]) -> None:
        kind = said.kind
        content, signature = said.value["text"], said.value.get(SIGNATURE)
        is_thought = kind == "reasoning"
        if one.open != kind and (content or (signature and is_thought)):
            self._shut(one, index, None, events)
            one.open = kind
            events.append(PartStart(kind=cast("Any", kind), choice=index))
        if content:
            events.append(Delta(content=content, choice=index, logprobs=said.logprobs))
        if not isinstance(signature, str):
            return
        residue = Residue(dialect=NAME, fields={SIGNATURE: signature})
        if is_thought:
            self._shut(one, index, carried(signature) or residue, events)
            return
        place = PREVIOUS if one.open == kind else TEXT
        self._shut(one, index, None, events)
        events.append(PartStart(kind="reasoning", choice=index))
        events.append(PartEnd(choice=index, residue=state(signature, place, "").residue))

    def _shut(
        self, one: _Candidate, index: int, residue: Residue | None, events: list[Event]
    ) -> None:
        if one.open:
            one.open = ""
            events.append(PartEnd(choice=index, residue=residue))

    def _end(self, events: list[Event]) -> None:
        for index in sorted(self._candidates):
            one = self._candidates[index]
            self._shut(one, index, None, events)
            extra = Residue(dialect=NAME, fields=one.extra) if one.extra else None
            reason = finish_of(one.finish, one.calls)
            events.append(ChoiceEnd(reason=reason, choice=index, residue=extra))
        if not self._candidates:
            events.append(ChoiceEnd(reason="content_filter"))
        residue = Residue(dialect=NAME, fields=self._head) if self._head else None
        events.append(Finish(residue=residue))


class GeminiEncoder:
    """Events in, the client's bytes out, as SSE or as the items of one array."""

    def __init__(self, framing: str = "") -> None:
        self._is_array = framing == "json"
        self._began = False
        self._losses = Losses(NAME)
        self._head: Json = {}
        self._opened: dict[int, PartStart] = {}
        self._pieces: dict[int, list[str]] = {}
        self._waiting: dict[int, list[Part]] = {}
        """Signatures of a candidate that go out with its next part."""
        self._ends: dict[int, ChoiceEnd] = {}
        self._usage: Usage | None = None

    def feed(self, event: Event) -> bytes:
        match event:
            case Start():
                self._head = {"modelVersion": event.model, "responseId": event.id}
                return b""
            case UsageUpdate():
                self._usage = event.usage
                return b""
            case ChoiceEnd():
                self._ends[event.choice] = event
                return b""
            case Finish():
                return self._finish(event)
            case PartStart():
                self._opened[event.choice] = event
                self._pieces[event.choice] = []
                return b""
            case Delta():
                return self._delta(event)
            case PartEnd():
                return self._shut(event)

    def close(self) -> bytes:
        return (b"]" if self._began else b"[]") if self._is_array else b""

    def fail(self, error: DragomanError) -> bytes:
        return self._frame(error_body(error)) + (b"]" if self._is_array else b"")

    def _frame(self, body: Json) -> bytes:
        data = msgspec.json.encode(body)
        if not self._is_array:
            return encode_sse(data)
        head = b",\r\n" if self._began else b"["
        self._began = True
        return head + data

    def _write(self, index: int, part: Json, **more: object) -> bytes:
        content = {"parts": [part], "role": "model"}
        return self._frame(
            {"candidates": [{"content": content, "index": index, **more}], **self._head}
        )

    def _delta(self, event: Delta) -> bytes:
        kind = self._opened[event.choice].kind
        if kind in ("tool_call", "opaque"):
            self._pieces[event.choice].append(event.content)
            return b""
        part: Json = {"text": event.content}
        if kind == "reasoning":
            part["thought"] = True
        more: Json = {}
        if event.logprobs is not None:
            more["logprobsResult"] = encode_logprobs(event.logprobs)
        return self._write(event.choice, part, **more)

    def _shut(self, event: PartEnd) -> bytes:
        opened = self._opened.pop(event.choice)
        if opened.kind in ("tool_call", "opaque"):
            content = "".join(self._pieces[event.choice])
            part = part_of(opened, content, event.residue)
            return self._parts(event.choice, [*self._waiting.pop(event.choice, ()), part])
        if opened.kind != "reasoning" or event.residue is None:
            return b""
        thought = Reasoning(content="", residue=event.residue)
        if place_of(thought) == NEXT:
            self._waiting.setdefault(event.choice, []).append(thought)
            return b""
        if place_of(thought) is not None:
            return self._parts(event.choice, [thought])
        signature = own(event.residue).get(SIGNATURE) or carry(event.residue)
        if not signature or (is_own(event.residue) and SIGNATURE not in own(event.residue)):
            return b""
        return self._write(event.choice, {"text": "", "thought": True, SIGNATURE: signature})

    def _parts(self, index: int, parts: list[Part]) -> bytes:
        found = encode_parts(parts, self._losses, lambda part: answer_part(part, self._losses))
        return b"".join(self._write(index, part) for part in found)

    def _finish(self, event: Finish) -> bytes:
        candidates = [
            {
                "content": {"parts": [{"text": ""}], "role": "model"},
                "finishReason": FINISH_OUT[end.reason],
                "index": index,
                **own(end.residue),
            }
            for index, end in sorted(self._ends.items())
        ]
        usage = {} if self._usage is None else {"usageMetadata": encode_usage(self._usage)}
        return self._frame({"candidates": candidates, **usage, **self._head, **own(event.residue)})
