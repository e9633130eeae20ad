"""What is done again and again beside requests."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import Protocol


class Closable(Protocol):
    """A connection to the store."""

    async def close(self) -> None: ...


class Periodic(ABC):
    """Refreshes itself from `start` until `close`. It belongs to its event loop."""

    def __init__(self, store: Closable, seconds: float) -> None:
        """`seconds` lie between two refreshes; `store` is closed with this."""
        self._closable = store
        self._seconds = seconds
        self._running: asyncio.Task[None] | None = None

    @abstractmethod
    async def refresh(self) -> None:
        """Tell and ask the store once. Returns also where it does not answer."""

    def start(self) -> None:
        """Go on from now on, until `close`."""
        self._running = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while True:
            await self.refresh()
            await asyncio.sleep(self._seconds)

    async def close(self) -> None:
        """Tell the rest, and go on no longer."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
        await self.refresh()
        await self._closable.close()
