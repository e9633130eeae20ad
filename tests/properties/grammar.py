"""The grammar of `dragoman.ir.events`, as a checker."""

from __future__ import annotations

from collections.abc import Iterable

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


class Broken(AssertionError):
    """An event stands where the grammar has no place for it."""


def check(events: Iterable[Event]) -> None:
    """Raises `Broken` at the first event out of place, and where the end is missing."""
    state = _State()
    for event in events:
        state.take(event)
    if not state.finished:
        raise Broken("no Finish")


class _State:
    def __init__(self) -> None:
        self.started = self.finished = False
        self.open: dict[int, str] = {}
        self.ended: set[int] = set()

    def take(self, event: Event) -> None:
        is_early = isinstance(event, UsageUpdate) and not self.started
        if self.finished or (self.started is isinstance(event, Start) and not is_early):
            raise Broken(f"{event} before Start, after Finish, or a second Start")
        match event:
            case Start():
                self.started = True
            case Finish():
                self._finish()
            case UsageUpdate():
                pass
            case PartStart() | Delta() | PartEnd() | ChoiceEnd():
                self._take_in_choice(event)

    def _finish(self) -> None:
        if self.open:
            raise Broken(f"Finish while parts are open: {self.open}")
        self.finished = True

    def _take_in_choice(self, event: PartStart | Delta | PartEnd | ChoiceEnd) -> None:
        if event.choice in self.ended:
            raise Broken(f"{event} after its choice's end")
        needs_part = isinstance(event, Delta | PartEnd)
        if needs_part is not (event.choice in self.open):
            raise Broken(f"{event} while open parts are {self.open}")
        match event:
            case PartStart():
                self.open[event.choice] = event.kind
            case PartEnd():
                del self.open[event.choice]
            case ChoiceEnd():
                self.ended.add(event.choice)
            case Delta():
                pass
