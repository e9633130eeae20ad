"""Stream events, and the fold that turns a whole stream into a `Response`.

The grammar every decoder emits and every encoder relies on:

    stream = UsageUpdate* Start (part | UsageUpdate | ChoiceEnd)* Finish
    part   = PartStart Delta* PartEnd       one part open at a time in each choice

Usage before `Start` is what the provider told with its head. Each choice ends with one
`ChoiceEnd`, after which nothing of it follows.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, cast

import msgspec

from dragoman.ir import (
    Blob,
    Choice,
    FinishReason,
    Json,
    Opaque,
    Part,
    Reasoning,
    Refusal,
    Residue,
    Response,
    Text,
    ToolCall,
    Uri,
    Usage,
)

Kind = Literal["text", "refusal", "reasoning", "tool_call", "opaque"]


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """The head of the answer; `residue` holds the head's fields of its own dialect."""

    id: str
    model: str
    created: int | None = None
    residue: Residue | None = None


class PartStart(msgspec.Struct, frozen=True, kw_only=True):
    """`id` and `name` belong to a tool call, `value` (its first wire object) to an opaque part.

    Media come whole, as an opaque part that says which they are.
    """

    kind: Kind
    choice: int = 0
    id: str = ""
    name: str = ""
    value: Json | None = None
    dialect: str = ""
    """Whose an opaque part is: no other dialect writes it, but for its `media`."""
    media: Uri | Blob | None = None


class Delta(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of text, of a refusal, of reasoning, or of a tool call's JSON arguments.

    `logprobs` is the piece's own `{"content": [...]}`; `residue` a wire delta of an opaque part.
    """

    content: str
    choice: int = 0
    logprobs: Json | None = None
    residue: Residue | None = None


class PartEnd(msgspec.Struct, frozen=True, kw_only=True):
    """`residue` is the finished part's, such as the signature of its reasoning."""

    choice: int = 0
    residue: Residue | None = None


class UsageUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """Totals so far, never increments."""

    usage: Usage


class ChoiceEnd(msgspec.Struct, frozen=True, kw_only=True):
    """Why one candidate ended."""

    reason: FinishReason
    choice: int = 0
    stop_sequence: str | None = None
    residue: Residue | None = None


class Finish(msgspec.Struct, frozen=True, kw_only=True):
    """The answer is whole. `residue` holds what the dialect's last frames said besides."""

    residue: Residue | None = None


Event = Start | PartStart | Delta | PartEnd | UsageUpdate | ChoiceEnd | Finish


class _Candidate:
    """One choice while it is being put together."""

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.opened = PartStart(kind="text")
        self.pieces: list[str] = []
        self.logprobs: Json | None = None
        self.end = ChoiceEnd(reason="error")

    def close(self, residue: Residue | None) -> None:
        self.parts.append(part_of(self.opened, "".join(self.pieces), residue))

    def choice(self) -> Choice:
        return Choice(
            parts=tuple(self.parts),
            finish_reason=self.end.reason,
            stop_sequence=self.end.stop_sequence,
            logprobs=self.logprobs,
            residue=self.end.residue,
        )


def fold(events: Iterable[Event]) -> Response:
    """The response a call without streaming would have returned."""
    start, usage, tail = Start(id="", model=""), None, None
    candidates: dict[int, _Candidate] = {}
    for event in events:
        match event:
            case Start():
                start = event
            case UsageUpdate():
                usage = event.usage
            case Finish():
                tail = event.residue
            case _:
                _advance(candidates.setdefault(event.choice, _Candidate()), event)
    return Response(
        id=start.id,
        model=start.model,
        created=start.created,
        choices=tuple(candidates[i].choice() for i in sorted(candidates)),
        usage=usage,
        residue=_merge(start.residue, tail),
    )


def _advance(candidate: _Candidate, event: PartStart | Delta | PartEnd | ChoiceEnd) -> None:
    match event:
        case PartStart():
            candidate.opened, candidate.pieces = event, []
        case Delta():
            candidate.pieces.append(event.content)
            candidate.logprobs = _extend(candidate.logprobs, event.logprobs)
        case PartEnd():
            candidate.close(event.residue)
        case ChoiceEnd():
            candidate.end = event


def _extend(whole: Json | None, piece: Json | None) -> Json | None:
    """Log probabilities so far with one delta's appended, list by list."""
    if piece is None:
        return whole
    joined: Json = dict(whole or {})
    for name, items in piece.items():
        is_list = isinstance(items, list)
        joined[name] = [*(joined.get(name) or ()), *cast("list[Any]", items)] if is_list else None
    return joined


def _merge(head: Residue | None, tail: Residue | None) -> Residue | None:
    if head is None or tail is None:
        return head or tail
    return Residue(dialect=head.dialect, fields=head.fields | tail.fields)


def part_of(opened: PartStart, content: str, residue: Residue | None) -> Part:
    """The part that an opening, its deltas together and its end's residue make."""
    match opened.kind:
        case "text":
            return Text(content=content, residue=residue)
        case "refusal":
            return Refusal(content=content, residue=residue)
        case "reasoning":
            return Reasoning(content=content, residue=residue)
        case "tool_call":
            return ToolCall(id=opened.id, name=opened.name, arguments=content, residue=residue)
        case "opaque" if opened.media is not None:
            return opened.media
        case "opaque":
            dialect = opened.dialect or (residue.dialect if residue else "")
            value = (opened.value or {}) | (residue.fields if residue else {})
            return Opaque(dialect=dialect, kind=opened.name, value=value)
