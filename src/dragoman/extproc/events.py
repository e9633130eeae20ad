"""Tells an operator's service of events: each at least once while the worker lives, in their order.

No request waits for it. What it does not take is sent again, ever more seldom; meanwhile events
wait, up to a number, and what is above it is counted and said. What it rejects so many times is
given up, so that the others come through.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from dragoman.config.callouts import event_callee
from dragoman.config.policy import Events
from dragoman.errors import ServiceUnavailable
from dragoman.policies.questions import Fault, Question
from dragoman.stores.periodic import Periodic
from dragoman.telemetry.cloud_events import CloudEvent, signature_headers

_FLUSH_SECONDS = 0.25
_MOST_SECONDS = 60.0
"""Between two attempts at a service that does not answer."""
_MOST_WAITING = 1000
_MOST_REJECTED = 8
"""How often one event is sent that the service rejects: for half a minute."""


class Warned(Protocol):
    """A logger."""

    def warning(self, event: str, **fields: object) -> None: ...


Ask = Callable[[Sequence[Question]], Awaitable[list[bytes | Fault]]]


class EventSender(Periodic):
    """One worker's. It belongs to its event loop."""

    def __init__(
        self,
        events: Callable[[], Events | None],
        make: Callable[[str, Mapping[str, object], str], CloudEvent],
        ask: Ask,
        clock: Callable[[], float],
        log: Warned,
    ) -> None:
        """`events` is the policy's section in force, None: nobody is told; `make` makes an event
        of a time, or of now where it is empty; `ask` carries; `clock` tells Unix seconds. `log` is
        told what is lost."""
        super().__init__(None, _FLUSH_SECONDS)
        self._events = events
        self._make = make
        self._ask = ask
        self._clock = clock
        self._log = log
        self._waiting: deque[CloudEvent] = deque()
        self._lost = 0
        self._failures = 0
        """One after the other."""
        self._rejected = 0
        """How often the first of those that wait was."""
        self._given_up = 0

    def put(self, event: str, data: Mapping[str, object], at: str = "") -> None:
        """Have it sent. `at` is when it happened, RFC 3339; nothing: now. Never waits."""
        if self._events() is None:
            return
        if len(self._waiting) >= _MOST_WAITING:
            self._lost += 1
            return
        self._waiting.append(self._make(event, data, at))

    @property
    def pause_seconds(self) -> float:
        """Until the next attempt: twice as long after each that failed."""
        return float(min(_MOST_SECONDS, _FLUSH_SECONDS * 2 ** min(self._failures, 16)))

    async def _refresh(self) -> None:
        """Send what waits, until one is not taken."""
        events = self._events()
        if events is None:
            self._waiting.clear()
        while self._waiting and events is not None:
            event = self._waiting[0]
            (answer,) = await self._ask([_question(event, int(self._clock()), events)])
            if isinstance(answer, str):
                self._fail(event, answer)
            else:
                self._take_first()
                self._tell_lost()

    def _fail(self, event: CloudEvent, fault: Fault) -> None:
        """Raises `ServiceUnavailable`, unless the next may be tried at once."""
        self._failures += 1
        self._rejected = self._rejected + 1 if fault == "rejected" else 0
        if self._rejected < _MOST_REJECTED:
            waiting = len(self._waiting)
            raise ServiceUnavailable(f"No event is taken ({fault}); that wait: {waiting}.")
        self._take_first()
        self._given_up += 1
        self._log.warning("event_given_up", id=event.id, happened=event.name, events=self._given_up)

    def _take_first(self) -> None:
        self._waiting.popleft()
        self._failures = self._rejected = 0

    def _tell_lost(self) -> None:
        if self._lost:
            self._log.warning("events_lost", events=self._lost)
            self._lost = 0

    async def _finish(self) -> None:
        """Send the rest, if it is taken."""
        await self.refresh()
        if left := len(self._waiting) + self._lost:
            self._log.warning("events_lost", events=left)


def _question(event: CloudEvent, seconds: int, events: Events) -> Question:
    headers = signature_headers(event, seconds, events.secret)
    return Question(events.sink, event_callee(events.sink).route, (), event.body, headers)
