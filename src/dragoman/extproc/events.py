"""Tells an operator's service of events: each at least once while the worker lives, in their order.

No request waits for it. What it does not take is sent again, ever more seldom; meanwhile events
wait, up to a number, and what is above it is counted and said.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from dragoman.config.callouts import event_callee
from dragoman.config.policy import Events
from dragoman.policies.questions import Fault, Question
from dragoman.telemetry.cloud_events import CloudEvent, signature_headers

_FLUSH_SECONDS = 0.25
_MOST_SECONDS = 60.0
"""Between two attempts at a service that does not answer."""
_MOST_WAITING = 1000


class Warned(Protocol):
    """A logger."""

    def warning(self, event: str, **fields: object) -> None: ...


Ask = Callable[[Sequence[Question]], Awaitable[list[bytes | Fault]]]


class EventSender:
    """One worker's. It belongs to its event loop."""

    def __init__(
        self,
        events: Callable[[], Events | None],
        make: Callable[[str, Mapping[str, object]], CloudEvent],
        ask: Ask,
        clock: Callable[[], float],
        log: Warned,
    ) -> None:
        """`events` is the policy's section in force, None: nobody is told; `make` makes an event
        that happens now; `ask` carries; `clock` tells Unix seconds. `log` is told, once for each
        time the service does not answer, how many wait."""
        self._events = events
        self._make = make
        self._ask = ask
        self._clock = clock
        self._log = log
        self._waiting: deque[CloudEvent] = deque()
        self._lost = 0
        self._failures = 0
        """Without an answer, one after the other."""
        self._running: asyncio.Task[None] | None = None

    def put(self, event: str, data: Mapping[str, object]) -> None:
        """Have it sent. Never waits."""
        if self._events() is None:
            return
        if len(self._waiting) >= _MOST_WAITING:
            self._lost += 1
            return
        self._waiting.append(self._make(event, data))

    def start(self) -> None:
        """Send from now on, until `close`."""
        self._running = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self.pause_seconds)
            await self.flush()

    @property
    def pause_seconds(self) -> float:
        """Until the next attempt: twice as long after each that failed."""
        return float(min(_MOST_SECONDS, _FLUSH_SECONDS * 2 ** min(self._failures, 16)))

    async def flush(self) -> None:
        """Send what waits, until one is not taken."""
        events = self._events()
        if events is None:
            self._waiting.clear()
        while self._waiting and events is not None:
            event = self._waiting[0]
            (answer,) = await self._ask([_question(event, int(self._clock()), events)])
            if isinstance(answer, str):
                self._fail(answer)
                return
            self._waiting.popleft()
            self._failures = 0
            self._tell_lost()

    def _fail(self, fault: Fault) -> None:
        if not self._failures:
            self._log.warning("events_wait", events=len(self._waiting), why=fault)
        self._failures += 1

    def _tell_lost(self) -> None:
        if self._lost:
            self._log.warning("events_lost", events=self._lost)
            self._lost = 0

    async def close(self) -> None:
        """Send the rest, if it is taken, and go on no longer."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
        await self.flush()
        if left := len(self._waiting) + self._lost:
            self._log.warning("events_lost", events=left)


def _question(event: CloudEvent, seconds: int, events: Events) -> Question:
    headers = signature_headers(event, seconds, events.secret)
    return Question(events.sink, event_callee(events.sink).route, (), event.body, headers)
