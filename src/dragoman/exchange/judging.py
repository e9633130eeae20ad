"""Callouts about an answer, which has to wait for them: whole, or of a stream a window at a time.

Shown are the texts as the client would get them: what the model wrote as text, refusal, reasoning
and arguments of calls; of an answer that is no chat, all texts in it. What was judged goes out at
once; a window shows again as many characters before it, so that nothing is hidden by being cut.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from dragoman.config.guardrails import GuardProfile
from dragoman.dialects import ChatDialect
from dragoman.dialects.texts import text_slots
from dragoman.errors import AnswerFlagged, CalloutFailed, UpstreamError, UpstreamProtocolError
from dragoman.ir import Part, Reasoning, Refusal, Response, Text, ToolCall
from dragoman.ir.events import Delta, Event, PartStart
from dragoman.policies import questions as asked
from dragoman.policies.guard.callouts import make_questions, weigh
from dragoman.policies.guard.verdicts import Round, Verdicts
from dragoman.policies.questions import About, Fault

_MOST_HELD_BYTES = 1 << 20
"""Of a stream, however few characters are in it."""


class Judging:
    """One answer's: what callouts found in it so far."""

    def __init__(self, profile: GuardProfile, about: About, verdicts: Verdicts) -> None:
        self._profile = profile
        self._verdicts = verdicts
        self._about = about
        self.counts: dict[str, float] = {}
        self.window = profile.answer_window

    def consult(self, texts: Sequence[asked.Text]) -> Round:
        """What is asked about them, if anything."""
        return self._verdicts.open(make_questions(self._profile, texts, self._about, "answer"))

    def hear(self, consulted: Round, answers: Sequence[bytes | Fault]) -> None:
        """Raises `AnswerFlagged` or `CalloutFailed`."""
        judged = weigh(consulted.all, consulted.fill(answers))
        self.counts |= judged.counts
        if isinstance(judged.refusal, CalloutFailed):
            raise judged.refusal
        if judged.refusal is not None:
            raise AnswerFlagged(judged.refusal.message)


def whole_texts(response: object, body: bytes) -> list[asked.Text]:
    """The texts of an answer in one piece, which reads as `response`; None: as no chat's."""
    if isinstance(response, Response):
        found = [
            (f"$.choices[{i}].parts[{j}]", _words(part))
            for i, choice in enumerate(response.choices)
            for j, part in enumerate(choice.parts)
        ]
    else:
        found = _slots(body)
    return [asked.Text(path, "assistant", text) for path, text in found if text.strip()]


def _words(part: Part) -> str:
    if isinstance(part, ToolCall):
        return part.arguments
    return part.content if isinstance(part, Text | Refusal | Reasoning) else ""


def _slots(body: bytes) -> list[tuple[str, str]]:
    """What is neither JSON nor text has no texts. Raises as `text_slots`."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return []
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return [("$", text)]
    return [(slot.path, slot.text) for slot in text_slots(body)]


class StreamWindow:
    """Holds frames of the client's dialect back until what they say was judged."""

    def __init__(self, client: ChatDialect, characters: int) -> None:
        self._decoder = client.stream_decoder()
        self._characters = characters
        self._held = bytearray()
        self._is_over = False
        self._parts: dict[int, int] = {}
        """The number of the part that each choice is at."""
        self._new: dict[str, str] = {}
        """Not judged yet, by where it stands."""
        self._before: dict[str, str] = {}
        """The end of what was."""

    def take(self, frames: bytes, *, closes: bool) -> list[asked.Text]:
        """The texts to be judged now; none: what is held, if anything, waits for more. Raises
        `UpstreamProtocolError` where nobody can tell what `frames` say."""
        events: list[Event] = []
        try:
            self._decoder.feed(frames, events)
        except UpstreamError:  # the stream's own end
            self._is_over = True
        except UpstreamProtocolError:
            if not self._is_over:
                raise
            return []
        self._held += frames
        for event in events:
            self._note(event)
        fresh = sum(map(len, self._new.values()))
        is_long = fresh >= self._characters or len(self._held) > _MOST_HELD_BYTES
        return self._show() if fresh and (closes or self._is_over or is_long) else []

    def release(self) -> bytes:
        """The frames that may go out: all, unless something in them is still to be judged."""
        if self._new:
            return b""
        out = bytes(self._held)
        self._held.clear()
        return out

    def _note(self, event: Event) -> None:
        if isinstance(event, PartStart):
            self._parts[event.choice] = self._parts.get(event.choice, -1) + 1
        elif isinstance(event, Delta) and event.content:
            where = f"$.choices[{event.choice}].parts[{self._parts.get(event.choice, 0)}]"
            self._new[where] = self._new.get(where, "") + event.content

    def _show(self) -> list[asked.Text]:
        shown: list[asked.Text] = []
        for where, text in self._new.items():
            whole = self._before.get(where, "") + text
            self._before[where] = whole[-self._characters :]
            if whole.strip():
                shown.append(asked.Text(where, "assistant", whole))
        self._new.clear()
        return shown
