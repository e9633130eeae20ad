"""A provider's stream of response events, read."""

from __future__ import annotations

from typing import Any, cast

import msgspec

from dragoman.dialects.call_ids import answer_ids, open_call
from dragoman.dialects.carrying import decode_signature
from dragoman.dialects.decoding import FrameDecoder
from dragoman.dialects.openai_responses.errors import stream_error
from dragoman.dialects.openai_responses.names import (
    NAME,
    decode_usage,
    finish_of,
    json_object,
    pack,
    residue_of,
)
from dragoman.dialects.openai_responses.parts import reasoning_words
from dragoman.dialects.openai_responses.response import head_residue
from dragoman.errors import UpstreamProtocolError
from dragoman.ir import Json, Residue
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
from dragoman.wire.fields import as_list
from dragoman.wire.sse import SseDecoder, SseEvent

_ENDS = ("response.completed", "response.incomplete")
_TEXTS = {"output_text": "text", "text": "text", "refusal": "refusal"}
_ITEMS = {"function_call": "tool_call", "reasoning": "reasoning"}
_DELTAS = {
    "response.output_text.delta": "text",
    "response.refusal.delta": "refusal",
    "response.function_call_arguments.delta": "tool_call",
    "response.reasoning_summary_text.delta": "reasoning",
    "response.reasoning_text.delta": "reasoning",
}
_WHOLES = {
    "response.output_text.done": ("text", "text"),
    "response.refusal.done": ("refusal", "refusal"),
    "response.function_call_arguments.done": ("tool_call", "arguments"),
    "response.reasoning_summary_text.done": ("reasoning", "text"),
    "response.reasoning_text.done": ("reasoning", "text"),
}
_decode = msgspec.json.Decoder(dict[str, Any]).decode


class ResponsesDecoder(FrameDecoder[SseEvent]):
    """Bytes in, events out. An item's words are taken from its deltas, or from its end."""

    def __init__(self) -> None:
        super().__init__(SseDecoder())
        self._started = False
        self._open = ""
        """The kind of the part that is open."""
        self._said = False
        self._fresh = True
        """Nothing of the part's current piece (a summary has several) was said."""
        self._calls = self._said_any = False
        self._ids = answer_ids(None)
        self._item: Json = {}
        self._at: Any = None
        """Where in the output the open item stands; None between items."""
        self._waiting: list[Json] = []
        """Items that came whole while another was open."""

    def _take(self, frame: SseEvent, events: list[Event]) -> None:
        if self._ended or frame.data in ("", "[DONE]"):
            return
        try:
            event = _decode(frame.data)
        except msgspec.DecodeError as error:
            raise UpstreamProtocolError("the upstream sent an event that is not JSON") from error
        kind = event.get("type")
        if kind == "error" or (kind is None and event.get("error")):
            raise stream_error(event)
        if kind == "response.failed":
            raise stream_error(json_object(event.get("response")))
        if isinstance(kind, str):
            self._event(kind, event, events)

    def _event(self, kind: str, event: Json, events: list[Event]) -> None:
        if not self._started:
            self._start(json_object(event.get("response")), events)
        if self._is_in_between(kind, event):
            return
        if kind in _DELTAS:
            self._delta(_DELTAS[kind], event, events)
        elif kind in _WHOLES:
            self._whole(*_WHOLES[kind], event, events)
        elif kind in _ENDS:
            self._end(json_object(event.get("response")), events)
        else:
            self._frame(kind, event, events)

    def _is_in_between(self, kind: str, event: Json) -> bool:
        """Whether the event is about another item than the open one: some servers write parallel
        calls in turns, and here one part is open at a time. Such an item is read when it is done,
        whole."""
        at = event.get("output_index")
        if self._at is None or at is None or at == self._at or kind in _ENDS:
            return False
        if kind == "response.output_item.done":
            self._waiting.append(json_object(event.get("item")))
        return True

    def _end_waiting(self, events: list[Event]) -> None:
        waiting, self._waiting = self._waiting, []
        for item in waiting:
            self._whole_item(item, events)

    def _whole_item(self, item: Json, events: list[Event]) -> None:
        """An item of which nothing was said before."""
        self._item = item
        if item.get("type") != "message":
            self._close_item(item, events)
            return
        for part in as_list(item.get("content")):
            found = json_object(part)
            name = _TEXTS.get(str(found.get("type")))
            if name is not None:
                self._begin(PartStart(kind=cast("Any", name)), events)
                self._fill(found.get("text") or found.get("refusal"), events)
                self._shut(self._text_residue({"part": found}), events)

    def _frame(self, kind: str, event: Json, events: list[Event]) -> None:
        match kind:
            case "response.output_item.added":
                self._item = json_object(event.get("item"))
                self._at = event.get("output_index")
                self._open_item(self._item, events)
            case "response.output_item.done":
                self._close_item(json_object(event.get("item")), events)
                self._at = None
                self._end_waiting(events)
            case "response.content_part.added":
                part = json_object(event.get("part"))
                if (name := _TEXTS.get(str(part.get("type")))) is not None:
                    self._begin(PartStart(kind=cast("Any", name)), events)
            case "response.content_part.done":
                if self._open in ("text", "refusal"):
                    self._shut(self._text_residue(event), events)
            case "response.reasoning_summary_part.added" | "response.reasoning_part.added":
                if self._open == "reasoning" and self._said:
                    events.append(Delta(content="\n\n"))
                self._fresh = True
            case _:
                pass  # progress of what the provider runs itself

    def _start(self, head: Json, events: list[Event]) -> None:
        self._started = True
        self._ids = answer_ids(head.get("id"))
        created = head.get("created_at")
        events.append(
            Start(
                id=str(head.get("id") or ""),
                model=str(head.get("model") or ""),
                created=int(created) if isinstance(created, int | float) else None,
            )
        )

    def _begin(self, part: PartStart, events: list[Event]) -> None:
        if self._open:
            self._shut(None, events)
        self._said_any = True
        self._open, self._said, self._fresh = part.kind, False, True
        events.append(part)

    def _shut(self, residue: Residue | None, events: list[Event]) -> None:
        self._open = ""
        events.append(PartEnd(residue=residue))

    def _open_item(self, item: Json, events: list[Event]) -> None:
        kind = str(item.get("type"))
        match _ITEMS.get(kind):
            case "tool_call":
                self._calls = True
                self._begin(open_call(self._ids, item.get("call_id"), item.get("name")), events)
            case "reasoning":
                self._begin(PartStart(kind="reasoning"), events)
            case _ if kind != "message":
                self._begin(PartStart(kind="opaque", name=kind, value=item, dialect=NAME), events)
            case _:
                pass

    def _close_item(self, item: Json, events: list[Event]) -> None:
        kind = str(item.get("type"))
        if kind == "message":
            if self._open in ("text", "refusal"):
                self._shut(residue_of({}, *pack("item", _without(item, "content", "type"))), events)
            return
        if not self._open:
            self._open_item(item, events)
        match self._open:
            case "tool_call":
                self._fill(item.get("arguments"), events)
                kept = _without(item, "type", "call_id", "name", "arguments")
                self._shut(residue_of(kept), events)
            case "reasoning":
                said = reasoning_words(item)
                self._fill(said, events)
                self._reasoning_end(item, events)
            case _:
                self._shut(Residue(dialect=NAME, fields=item), events)

    def _reasoning_end(self, item: Json, events: list[Event]) -> None:
        state = item.get("encrypted_content")
        carried = decode_signature(state) if isinstance(state, str) else None
        fields = _without(item, "type")
        self._shut(carried or Residue(dialect=NAME, fields=fields), events)

    def _delta(self, kind: str, event: Json, events: list[Event]) -> None:
        content = event.get("delta")
        if not isinstance(content, str):
            raise UpstreamProtocolError("the upstream sent a delta that is no text")
        if self._open != kind:
            if kind == "tool_call":
                raise UpstreamProtocolError("the upstream sent arguments of no call")
            self._begin(PartStart(kind=cast("Any", kind)), events)
        self._said, self._fresh = True, False
        tokens = as_list(event.get("logprobs"))
        logprobs: Json | None = {"content": tokens} if tokens else None
        events.append(Delta(content=content, logprobs=logprobs))

    def _whole(self, kind: str, field: str, event: Json, events: list[Event]) -> None:
        if self._open == kind and self._fresh:
            self._fill(event.get(field), events)

    def _fill(self, content: Any, events: list[Event]) -> None:
        """The words of a part that came without deltas."""
        if self._fresh and isinstance(content, str) and content:
            self._said, self._fresh = True, False
            events.append(Delta(content=content))

    def _text_residue(self, event: Json) -> Residue | None:
        part = json_object(event.get("part"))
        kept = _without(part, "text", "refusal", "type", "logprobs")
        form = (str(part.get("type") or "output_text"),)
        return residue_of(kept, *form, *pack("item", _without(self._item, "content", "type")))

    def _end(self, body: Json, events: list[Event]) -> None:
        if self._open:
            self._shut(None, events)
        self._end_waiting(events)
        if not self._said_any:
            for item in as_list(body.get("output")):
                self._whole_item(json_object(item), events)
        self._ended = True
        if (usage := decode_usage(body.get("usage"))) is not None:
            events.append(UsageUpdate(usage=usage))
        events.append(ChoiceEnd(reason=finish_of(body, calls=self._calls)))
        events.append(Finish(residue=head_residue(body)))


def _without(item: Json, *names: str) -> Json:
    return {name: value for name, value in item.items() if name not in names}
