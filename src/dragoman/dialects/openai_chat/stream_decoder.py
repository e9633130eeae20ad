"""A provider's chunks in, events out.

Chunks carry no part boundaries, so they are inferred: a part ends where another begins. The end of
a choice is held back until the stream's: some providers send usage, reasoning details or an empty
delta after the finish reason.
"""

from __future__ import annotations

from typing import Any

import msgspec

from dragoman.dialects.carrying import decode_signature
from dragoman.dialects.decoding import TRUNCATED, FrameDecoder
from dragoman.dialects.openai_chat import reasoning
from dragoman.dialects.openai_chat.errors import stream_error
from dragoman.dialects.openai_chat.finish import decode_finish
from dragoman.dialects.openai_chat.images import IMAGES, decode_images
from dragoman.dialects.openai_chat.parts import SIGNATURE, THINKING
from dragoman.dialects.openai_chat.response import call_id
from dragoman.dialects.openai_chat.spelling import NAME
from dragoman.dialects.openai_chat.usage import decode_usage
from dragoman.errors import UpstreamProtocolError
from dragoman.ir import Blob, Json, Residue, Uri
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
from dragoman.wire.sse import SseDecoder, SseEvent

_DONE = "[DONE]"


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class _Call(msgspec.Struct):
    function: _Function | None = None
    id: str | None = None
    index: int | None = None
    extra_content: Any = None


class _Delta(msgspec.Struct):
    content: str | list[Any] | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    reasoning_details: list[dict[str, Any]] | None = None
    tool_calls: list[_Call] | None = None
    extra_content: Any = None
    function_call: Any = None
    audio: Any = None
    images: Any = None


class _Choice(msgspec.Struct):
    index: int | None = None
    delta: _Delta | None = None
    finish_reason: str | None = None
    stop_reason: Any = None
    logprobs: Any = None
    error: Any = None


class _Groq(msgspec.Struct):
    usage: dict[str, Any] | None = None


class _Chunk(msgspec.Struct):
    """What surrounds the choices is looked at, not held to a type: no answer fails over it."""

    id: Any = None
    model: Any = None
    created: Any = None
    object: Any = None
    system_fingerprint: Any = None
    service_tier: Any = None
    choices: list[_Choice] | None = None
    usage: dict[str, Any] | None = None
    x_groq: _Groq | None = None
    error: Any = None
    message: Any = None
    detail: Any = None


_decode_chunk = msgspec.json.Decoder(_Chunk).decode


class ChatStreamDecoder(FrameDecoder[SseEvent]):
    """A provider's chunks in, events out."""

    def __init__(self) -> None:
        super().__init__(SseDecoder())
        self._started = False
        self._id = ""
        self._choices: dict[int, _Candidate] = {}

    def _break_off(self, events: list[Event]) -> None:
        """A reason in every choice is an end, whether or not `[DONE]` follows or usage does: some
        providers send neither."""
        self._finish(events, is_told=False)

    def _take(self, frame: SseEvent, events: list[Event]) -> None:
        data = frame.data.strip()
        if self._ended or not data:
            return
        if data == _DONE:
            self._finish(events)
            return
        try:
            chunk = _decode_chunk(data)
        except msgspec.DecodeError as error:
            raise UpstreamProtocolError(
                f"The upstream sent a chunk it should not: {error}"
            ) from error
        if found := _error_in(chunk, frame.event):
            raise stream_error(found)
        if usage := chunk.usage or (chunk.x_groq.usage if chunk.x_groq else None):
            events.append(UsageUpdate(usage=decode_usage(usage)))
        if not self._started:
            self._start(chunk, events)
        for choice in chunk.choices or ():
            self._choice(choice, events)

    def _start(self, chunk: _Chunk, events: list[Event]) -> None:
        """The head of the stream. Azure's first chunk, of filter results alone, has none."""
        if not chunk.choices and not chunk.id and not chunk.model:
            return
        self._started = True
        self._id = chunk.id if isinstance(chunk.id, str) else ""
        created = chunk.created if isinstance(chunk.created, int | float) else None
        said = {"system_fingerprint": chunk.system_fingerprint, "service_tier": chunk.service_tier}
        fields = {name: value for name, value in said.items() if value is not None}
        residue = Residue(dialect=NAME, fields=fields)
        events.append(
            Start(
                id=self._id,
                model=chunk.model if isinstance(chunk.model, str) else "",
                created=None if created is None else int(created),
                residue=residue,
            )
        )

    def _choice(self, choice: _Choice, events: list[Event]) -> None:
        index = choice.index or 0
        candidate = self._choices.get(index)
        if candidate is None:
            candidate = self._choices[index] = _Candidate(index, self._id)
        if choice.delta is not None:
            logprobs = choice.logprobs
            match logprobs:
                case {"content": [*_]}:
                    candidate.take(choice.delta, logprobs, events)
                case _:
                    candidate.take(choice.delta, None, events)
        if choice.finish_reason:
            candidate.reason = choice.finish_reason
        if isinstance(choice.stop_reason, str):
            candidate.stop = choice.stop_reason
        if choice.error:  # OpenRouter's
            raise stream_error(choice.error)

    def _finish(self, events: list[Event], *, is_told: bool = True) -> None:
        """The end. Where the provider tells that it is (`is_told`), a choice needs no reason."""
        has_gap = max(self._choices, default=0) + 1 != len(self._choices)
        is_open = not is_told and any(not c.reason for c in self._choices.values())
        if has_gap or is_open:
            raise UpstreamProtocolError(TRUNCATED)
        for index in sorted(self._choices):
            self._choices[index].finish(events)
        events.append(Finish())
        self._ended = True


def _error_in(chunk: _Chunk, event: str) -> Any:
    """The error that a chunk is, if it is one: as OpenAI has it, vLLM, FastAPI, or by its event."""
    if chunk.error:
        return chunk.error
    if event != "error" and chunk.object != "error" and (chunk.choices or not chunk.detail):
        return None
    found = {"message": chunk.message or chunk.detail}
    return found if chunk.message or chunk.detail else None


class _Candidate:
    """One choice: which of its parts is open, and what is known of that one."""

    def __init__(self, choice: int, response_id: str) -> None:
        self.reason: str | None = None
        self.stop: str | None = None
        self._choice = choice
        self._response_id = response_id
        self._kind: Kind | None = None
        self._calls = 0
        self._call: _Call | None = None
        self._arguments: list[str] = []
        """Of the open call."""
        self._waiting: dict[int | None, tuple[_Call, list[str]]] = {}
        """Calls that began before the open one's arguments were whole, by their index."""
        self._thought: list[str] = []
        self._detail: Json | None = None
        self._details = 0
        self._residue: Residue | None = None
        """Of the open part."""

    def take(self, delta: _Delta, logprobs: Json | None, events: list[Event]) -> None:
        """Events of one delta: reasoning first, as it is what a model does first."""
        details = delta.reasoning_details or ()
        if not any(map(reasoning.has_words, details)):
            self._think(delta.reasoning_content or delta.reasoning or "", events)
        for item in details:
            self._take_detail(item, events)
        content = delta.content
        if isinstance(content, list):
            self._take_items(content, events)
        elif content or (logprobs and logprobs.get("content")):
            self._open_plain("text", events)
            self._piece(content or "", events, logprobs)
        if delta.refusal:
            self._open_plain("refusal", events)
            self._piece(delta.refusal, events, logprobs if not content else None)
        if signature := reasoning.read_signature(delta.extra_content):
            place = reasoning.ON_TEXT if self._kind == "text" else reasoning.ALONE
            self._sign(signature, place, events)
        for call in delta.tool_calls or ():
            self._take_call(call, events)
        if delta.function_call:
            self._take_legacy(delta.function_call, events)
        if delta.images:
            self._take_images(delta.images, events)
        if delta.audio:
            self._open(self._opaque("audio", delta.audio), events)

    def _opaque(self, name: str, value: Any) -> PartStart:
        """A field of the delta that is a part of this dialect alone."""
        return PartStart(
            kind="opaque", choice=self._choice, name=name, value={name: value}, dialect=NAME
        )

    def _take_images(self, found: Any, events: list[Event]) -> None:
        """Each image in one piece, behind the signature it bears."""
        parts = decode_images(found, "")
        if not parts:
            self._open(self._opaque(IMAGES, found), events)
        for part in parts:
            if isinstance(part, Uri | Blob):
                start = PartStart(
                    kind="opaque",
                    choice=self._choice,
                    name=part.modality,
                    dialect=NAME,
                    media=part,
                )
                self._open(start, events)
            elif part.residue is not None:
                self._end(events)
                events.append(PartStart(kind="reasoning", choice=self._choice))
                events.append(PartEnd(choice=self._choice, residue=part.residue))

    def finish(self, events: list[Event]) -> None:
        """The end of the part that is open, and of the choice."""
        self._end(events)
        reason, residue = decode_finish(self.reason, has_calls=self._calls > 0)
        events.append(
            ChoiceEnd(reason=reason, choice=self._choice, stop_sequence=self.stop, residue=residue)
        )

    def _piece(self, content: str, events: list[Event], logprobs: Json | None = None) -> None:
        events.append(Delta(content=content, choice=self._choice, logprobs=logprobs))

    def _open_plain(self, kind: Kind, events: list[Event]) -> None:
        if self._kind != kind:
            self._open(PartStart(kind=kind, choice=self._choice), events)

    def _open(self, start: PartStart, events: list[Event]) -> None:
        self._end(events)
        self._kind = start.kind
        events.append(start)

    def _end(self, events: list[Event]) -> None:
        if self._kind is None:
            return
        if self._detail is not None:
            self._residue = self._read_detail(self._detail)
        events.append(PartEnd(choice=self._choice, residue=self._residue))
        self._kind, self._detail, self._thought, self._residue = None, None, [], None
        self._end_waiting(events)

    def _think(self, text: str, events: list[Event]) -> None:
        if not text:
            return
        self._open_plain("reasoning", events)
        self._thought.append(text)
        self._piece(text, events)

    def _take_items(self, items: list[Any], events: list[Event]) -> None:
        """Mistral's content as an array: texts, and `thinking` that holds texts."""
        for item in items:
            match item:
                case {"type": "text", "text": str(text)}:
                    self._open_plain("text", events)
                    self._piece(text, events)
                case {"type": "thinking", "thinking": [*inner], **more}:
                    for piece in inner:
                        self._think(_text_of(piece), events)
                    if isinstance(signature := more.get(SIGNATURE), str) and signature:
                        self._sign_thought(signature, events)
                case {"type": str(kind)}:
                    start = PartStart(
                        kind="opaque", choice=self._choice, name=kind, value=item, dialect=NAME
                    )
                    self._open(start, events)
                case _:
                    raise UpstreamProtocolError("The upstream sent content of an unknown shape.")

    def _sign_thought(self, signature: str, events: list[Event]) -> None:
        """Mistral's signature, at the end of what it signs."""
        self._open_plain("reasoning", events)
        own = Residue(dialect=NAME, fields={SIGNATURE: signature}, form=(THINKING,))
        self._residue = decode_signature(signature) or own
        self._end(events)

    def _take_detail(self, item: Json, events: list[Event]) -> None:
        """One detail, or a piece of the open one: a piece has the same type and index.

        A detail that follows plain text and repeats it, or has none, completes that text's part.
        """
        name = reasoning.text_name(item)
        found = item.get(name) if name else None
        text = found if isinstance(found, str) else ""
        if self._kind == "reasoning" and self._detail is None:
            if text in ("", "".join(self._thought)) and name:
                self._detail = {**item, name: ""} if name in item else dict(item)
                return
        elif self._detail is not None and _is_same(self._detail, item):
            self._detail |= {k: v for k, v in item.items() if v is not None and k != name}
            if text or name is None:
                self._piece_of_detail(text, events)
            return
        self._open(PartStart(kind="reasoning", choice=self._choice), events)
        self._detail = {**item, name: ""} if name and name in item else dict(item)
        self._piece_of_detail(text, events)

    def _piece_of_detail(self, text: str, events: list[Event]) -> None:
        if text:
            self._thought.append(text)
            self._piece(text, events)

    def _read_detail(self, detail: Json) -> Residue | None:
        index, self._details = self._details, self._details + 1
        name = reasoning.text_name(detail)
        whole = {**detail, name: "".join(self._thought)} if name and name in detail else detail
        return reasoning.decode_detail("", whole, index).residue

    def _take_call(self, call: _Call, events: list[Event]) -> None:
        function = call.function or _Function()
        arguments = function.arguments or ""
        if isinstance(arguments, dict):
            arguments = msgspec.json.encode(arguments).decode()
        if not self._continues(call, function):
            waiting = self._waiting.get(call.index)
            if waiting is not None and call.id in (None, "", waiting[0].id):
                waiting[1].append(arguments)
                return
            if not function.name and not call.id:
                raise UpstreamProtocolError("The upstream went on with a tool call it had ended.")
            if call.index is not None and self._must_wait():
                self._waiting[call.index] = (call, [arguments])
                return
            self._open_call(call, events)
        if arguments:
            self._arguments.append(arguments)
            self._piece(arguments, events)

    def _take_legacy(self, found: Any, events: list[Event]) -> None:
        """A `function_call`, of which an answer has one, without an id."""
        match found:
            case {**fields}:
                function = _Function(
                    name=_string(fields.get("name")),
                    arguments=_string(fields.get("arguments")),
                )
                self._take_call(_Call(function=function, index=0), events)
            case _:
                raise UpstreamProtocolError("The upstream sent a function call of no shape.")

    def _open_call(self, call: _Call, events: list[Event]) -> None:
        self._end(events)
        made = call_id(self._response_id, self._calls)
        if signature := reasoning.read_signature(call.extra_content):
            self._sign(signature, reasoning.ON_CALL, events)
        name = (call.function or _Function()).name or ""
        start = PartStart(kind="tool_call", choice=self._choice, id=call.id or made, name=name)
        self._open(start, events)
        self._calls += 1
        self._call, self._arguments = call, []

    def _must_wait(self) -> bool:
        """Whether the open call may still go on while the next begins: some providers write
        parallel calls in turns, and here one part is open at a time."""
        if self._kind != "tool_call":
            return False
        try:
            msgspec.json.decode("".join(self._arguments))
        except msgspec.DecodeError:
            return True
        return bool(self._waiting)

    def _end_waiting(self, events: list[Event]) -> None:
        """The calls that waited, each whole."""
        waiting, self._waiting = self._waiting, {}
        for call, arguments in waiting.values():
            self._open_call(call, events)
            if whole := "".join(arguments):
                self._piece(whole, events)
            self._end(events)

    def _sign(self, signature: str, place: str, events: list[Event]) -> None:
        """A signature of Gemini's, as the part it is."""
        self._end(events)
        events.append(PartStart(kind="reasoning", choice=self._choice))
        events.append(PartEnd(choice=self._choice, residue=reasoning.signed(signature, place)))

    def _continues(self, call: _Call, function: _Function) -> bool:
        """Whether `call` is a piece of the open one. Providers leave out its index or its id."""
        opened = self._call
        if self._kind != "tool_call" or opened is None:
            return False
        if call.index is not None and call.index != opened.index:
            return False
        if call.id:
            return call.id == opened.id
        return call.index is not None or not function.name


def _string(found: Any) -> str | None:
    """`found` if it is a string."""
    return found if isinstance(found, str) else None


def _text_of(piece: Any) -> str:
    match piece:
        case {"text": str(text)}:
            return text
        case _:
            return ""


def _is_same(opened: Json, item: Json) -> bool:
    return opened.get("type") == item.get("type") and opened.get("index") == item.get("index")
