"""TGI's answers by the shapes its documentation gives, strictly: no SDK of it is installed.

Source: https://huggingface.github.io/text-generation-inference/, November 2026.
"""

from __future__ import annotations

import msgspec

from tests.sdk import Said, Wire

ONLY_TEXT = True
"""It has neither reasoning nor tool calls."""
UNSAID = ("reasoning", "cached_tokens")
_FINISH = {"eos_token": "stop", "stop_sequence": "stop"}


class Token(msgspec.Struct):
    id: int
    text: str
    logprob: float | None
    special: bool


class Prefill(msgspec.Struct):
    id: int
    text: str
    logprob: float | None = None


class Details(msgspec.Struct):
    finish_reason: str
    generated_tokens: int
    prefill: list[Prefill]
    tokens: list[Token]
    seed: int | None = None
    top_tokens: list[list[Token]] | None = None
    input_length: int | None = None


class Answer(msgspec.Struct):
    generated_text: str
    details: Details | None = None


class StreamDetails(msgspec.Struct):
    finish_reason: str
    generated_tokens: int
    input_length: int | None = None
    seed: int | None = None


class Event(msgspec.Struct):
    index: int
    token: Token
    top_tokens: list[Token] = []
    generated_text: str | None = None
    details: StreamDetails | None = None


class Error(msgspec.Struct):
    error: str
    error_type: str


class StatusError(Exception):
    """What a client of this dialect raises."""

    def __init__(self, status: int, error: Error) -> None:
        super().__init__(error.error)
        self.status = status
        self.error = error


def read_error(wire: Wire) -> tuple[int, str]:
    try:
        read(wire)
    except StatusError as error:
        return error.status, error.error.error
    raise AssertionError("no error")


def read_break(wire: Wire) -> tuple[str, str]:
    """A client reads events until one is an error."""
    lines = [line for line in wire.body.split(b"\n") if line.startswith(b"data:")]
    *before, last = [line.removeprefix(b"data:") for line in lines]
    text = "".join(msgspec.json.decode(line, type=Event).token.text for line in before)
    return text, msgspec.json.decode(last, type=Error).error


def read(wire: Wire) -> Said:
    if wire.status >= 400:
        raise StatusError(wire.status, msgspec.json.decode(wire.body, type=Error))
    if wire.kind == "application/json":
        answer = msgspec.json.decode(wire.body, type=Answer)
        return _said(answer.generated_text, answer.details)
    lines = [line for line in wire.body.split(b"\n") if line.startswith(b"data:")]
    events = [msgspec.json.decode(line.removeprefix(b"data:"), type=Event) for line in lines]
    last = events[-1]
    assert last.generated_text is not None
    assert all(event.generated_text is None for event in events[:-1])
    said = "".join(event.token.text for event in events if not event.token.special)
    assert said == last.generated_text
    return _said(last.generated_text, last.details)


def _said(text: str, details: Details | StreamDetails | None) -> Said:
    if details is None:
        return Said(text=text, finish="stop")
    told = len(details.prefill) if isinstance(details, Details) else 0
    return Said(
        text=text,
        finish=_FINISH.get(details.finish_reason, details.finish_reason),
        input_tokens=details.input_length or told,
        output_tokens=details.generated_tokens,
    )
