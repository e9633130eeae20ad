"""What is done again and again beside requests, each part in a task of its own."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Protocol

from dragoman.errors import ServiceUnavailable

Tell = Callable[[Exception | None], None]
"""Is told what a part fails with, once, and None once it fails no longer."""


class Closable(Protocol):
    """Whoever is asked: mostly the store."""

    async def close(self) -> None: ...


class Periodic(ABC):
    """Refreshes itself from `start` until `close`. It belongs to its event loop."""

    def __init__(self, asked: Closable | None, seconds: float) -> None:
        """`seconds` lie between two refreshes; `asked` is closed with this."""
        self._asked = asked
        self._seconds = seconds
        self._tell_failure: Tell = lambda _: None
        self._failure: type[Exception] | None = None
        self._is_due = asyncio.Event()
        self._running: asyncio.Task[None] | None = None

    @abstractmethod
    async def _refresh(self) -> None:
        """Tell and ask once. Raises `ServiceUnavailable` where whoever is asked does not answer;
        what is to be told then is kept or given up here. It may be cancelled while it waits."""

    @property
    def pause_seconds(self) -> float:
        """Until the next refresh."""
        return self._seconds

    async def refresh(self) -> None:
        """Tell and ask once, as far as there is an answer."""
        try:
            await self._refresh()
        except ServiceUnavailable as error:
            self._say(error)
        else:
            self._say(None)

    async def _finish(self) -> None:
        """The last refresh: nothing comes after it."""
        await self.refresh()

    def start(self, tell: Tell = lambda _: None) -> None:
        """Go on from now on, until `close`."""
        self._tell_failure = tell
        self._running = asyncio.create_task(self._run())

    def hasten(self) -> None:
        """Have the next refresh come now. Never waits."""
        self._is_due.set()

    async def close(self) -> None:
        """Go on no longer, but for what is still to be told."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
        await self._survive(self._finish)
        if self._asked is not None:
            await self._asked.close()

    async def _run(self) -> None:
        while True:
            self._is_due.clear()
            await self._survive(self.refresh)
            with suppress(TimeoutError):
                async with asyncio.timeout(self.pause_seconds):
                    await self._is_due.wait()

    async def _survive(self, step: Callable[[], Awaitable[None]]) -> None:
        """Nobody awaits the task: what ended it, such as an answer that a later version's store
        gives otherwise, would end it unnoticed, and for good."""
        try:
            await step()
        except Exception as error:  # noqa: BLE001 - said, and tried again
            self._say(error)

    def _say(self, failure: Exception | None) -> None:
        kind = None if failure is None else type(failure)
        if kind is not self._failure:
            self._failure = kind
            self._tell_failure(failure)
