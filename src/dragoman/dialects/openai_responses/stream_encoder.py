"""Events, written as a client of the Responses API reads them: numbered and in order."""

from __future__ import annotations

import msgspec

from dragoman.dialects.openai_responses.errors import error_event
from dragoman.dialects.openai_responses.names import NAME, encode_usage, packed, status_of
from dragoman.dialects.openai_responses.parts import encode_said
from dragoman.dialects.openai_responses.response import encode_output, head, message_fields
from dragoman.errors import DragomanError
from dragoman.ir import Choice, FinishReason, Json, Part, Refusal, Residue, Text, Usage
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
from dragoman.wire.sse import encode_sse

_NAME = "openai_responses"


class ResponsesEncoder:
    """Only the first choice is written: a client of this dialect cannot ask for more."""

    def __init__(self) -> None:
        self._losses = Losses(_NAME)
        self._number = 0
        self._start = Start(id="", model="")
        self._usage: Usage | None = None
        self._reason: FinishReason = "stop"
        self._output: list[Json] = []
        self._opened = PartStart(kind="text")
        self._pieces: list[str] = []
        self._logprobs: list[Json] = []
        self._ident = ""

    def feed(self, event: Event) -> bytes:
        match event:
            case Start():
                return self._begin(event)
            case UsageUpdate():
                self._usage = event.usage
                return b""
            case Finish():
                return self._finish(event.residue)
            case PartStart() if event.choice == 0:
                return self._open(event)
            case Delta() if event.choice == 0:
                return self._delta(event)
            case PartEnd() if event.choice == 0:
                return self._shut(event.residue)
            case ChoiceEnd() if event.choice == 0:
                self._reason = event.reason
                return b""
            case _:
                return b""

    def close(self) -> bytes:
        return b""

    def fail(self, error: DragomanError) -> bytes:
        event = error_event(error, self._number)
        return encode_sse(msgspec.json.encode(event), "error")

    def _write(self, kind: str, **fields: object) -> bytes:
        event = {"type": kind, **fields, "sequence_number": self._number}
        self._number += 1
        return encode_sse(msgspec.json.encode(event), kind)

    def _begin(self, start: Start) -> bytes:
        self._start = start
        body: Json = self._head(start.residue) | {"status": "in_progress", "output": list[Json]()}
        created = self._write("response.created", response=body)
        return created + self._write("response.in_progress", response=body)

    def _head(self, residue: Residue | None) -> Json:
        start = self._start
        return head(start.id, start.model, start.created, residue, self._losses)

    @property
    def _at(self) -> Json:
        return {"output_index": len(self._output), "item_id": self._ident}

    def _open(self, part: PartStart) -> bytes:
        self._opened, self._pieces, self._logprobs = part, [], []
        number = len(self._output)
        match part.kind:
            case "tool_call":
                self._ident = f"fc_{self._start.id}_{number}"
                item: Json = {
                    "id": self._ident,
                    "type": "function_call",
                    "status": "in_progress",
                    "call_id": part.id,
                    "name": part.name,
                    "arguments": "",
                }
                return self._added(item)
            case "reasoning":
                self._ident = f"rs_{self._start.id}_{number}"
                item = {"id": self._ident, "type": "reasoning", "summary": list[Json]()}
                return self._added(item) + self._write(
                    "response.reasoning_summary_part.added",
                    **self._at,
                    summary_index=0,
                    part={"type": "summary_text", "text": ""},
                )
            case "opaque":
                value = part.value or {}
                self._ident = str(value.get("id") or "")
                return self._added(value) if part.dialect == NAME else b""
            case _:
                return self._open_text(part, number)

    def _open_text(self, part: PartStart, number: int) -> bytes:
        fields = message_fields(self._start.id, number)
        self._ident = fields["id"]
        item: Json = {**fields, "status": "in_progress", "type": "message"}
        item["content"] = list[Json]()
        empty = Refusal(content="") if part.kind == "refusal" else Text(content="")
        return self._added(item) + self._write(
            "response.content_part.added", **self._at, content_index=0, part=encode_said(empty)
        )

    def _added(self, item: Json) -> bytes:
        number = len(self._output)
        return self._write("response.output_item.added", output_index=number, item=item)

    def _delta(self, event: Delta) -> bytes:
        self._pieces.append(event.content)
        match self._opened.kind:
            case "tool_call":
                kind, more = "response.function_call_arguments.delta", Json()
            case "reasoning":
                kind, more = "response.reasoning_summary_text.delta", Json(summary_index=0)
            case "refusal":
                kind, more = "response.refusal.delta", Json(content_index=0)
            case "opaque":
                return b""
            case "text":
                tokens = as_list((event.logprobs or Json()).get("content"))
                self._logprobs += tokens
                kind, more = "response.output_text.delta", Json(content_index=0, logprobs=tokens)
        return self._write(kind, **self._at, delta=event.content, **more)

    def _shut(self, residue: Residue | None) -> bytes:
        content = "".join(self._pieces)
        part = part_of(self._opened, content, residue)
        item = self._item(part)
        if item is None:
            return b""
        out = self._done(content, item)
        out += self._write("response.output_item.done", output_index=len(self._output), item=item)
        self._output.append(item)
        return out

    def _item(self, part: Part) -> Json | None:
        """The finished item; None for one that only another dialect has."""
        logprobs: Json | None = {"content": self._logprobs} if self._logprobs else None
        choice = Choice(parts=(part,), finish_reason="stop", logprobs=logprobs)
        items = encode_output(choice, self._start.id, self._losses)
        if not items:
            return None
        return {**items[0], **({"id": self._ident} if self._ident else {})}

    def _done(self, content: str, item: Json) -> bytes:
        match self._opened.kind:
            case "tool_call":
                name = self._opened.name
                kind = "response.function_call_arguments.done"
                return self._write(kind, **self._at, arguments=item["arguments"], name=name)
            case "reasoning":
                part = {"type": "summary_text", "text": content}
                at = {**self._at, "summary_index": 0}
                done = self._write("response.reasoning_summary_text.done", **at, text=content)
                return done + self._write("response.reasoning_summary_part.done", **at, part=part)
            case "opaque":
                return b""
            case kind:
                part = item["content"][0]
                at = {**self._at, "content_index": 0}
                word = "refusal" if kind == "refusal" else "output_text"
                said = {"refusal": content} if kind == "refusal" else {"text": content}
                if kind == "text":
                    said["logprobs"] = self._logprobs  # type: ignore[assignment]
                done = self._write(f"response.{word}.done", **at, **said)
                return done + self._write("response.content_part.done", **at, part=part)

    def _finish(self, residue: Residue | None) -> bytes:
        body = self._head(residue or self._start.residue)
        status, details = status_of(self._reason)
        if packed(residue, "echo") is None or body.get("status") not in ("completed", "incomplete"):
            body |= {"status": status, "incomplete_details": details}
        body["output"] = self._output
        body["usage"] = None if self._usage is None else encode_usage(self._usage)
        return self._write(f"response.{body['status']}", response=body)
