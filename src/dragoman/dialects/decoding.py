"""What decoders of streams have in common around their frames."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Generic, Protocol, TypeVar

from dragoman.errors import UpstreamProtocolError
from dragoman.ir.events import Event

TRUNCATED = "The upstream's stream ended before its answer did."

F = TypeVar("F")
F_co = TypeVar("F_co", covariant=True)


class Frames(Protocol[F_co]):
    """Bytes in, the frames that are now complete out."""

    def feed(self, data: bytes) -> Iterable[F_co]:
        """To be taken to the end. Frames before a fault come before it raises."""
        ...

    def close(self) -> Iterable[F_co]: ...


class FrameDecoder(ABC, Generic[F]):
    """Takes one frame after the other; `_ended` tells that the answer said it does."""

    def __init__(self, frames: Frames[F]) -> None:
        self._frames = frames
        self._ended = False

    def feed(self, data: bytes, events: list[Event]) -> None:
        """See `StreamDecoder.feed`."""
        for frame in self._frames.feed(data):
            self._take(frame, events)

    def close(self, events: list[Event]) -> None:
        """See `StreamDecoder.close`."""
        for frame in self._frames.close():
            self._take(frame, events)
        if not self._ended:
            self._break_off(events)

    @abstractmethod
    def _take(self, frame: F, events: list[Event]) -> None:
        """Add what `frame` says."""

    def _break_off(self, events: list[Event]) -> None:
        """The bytes are at their end, and the answer did not say that it is."""
        del events
        raise UpstreamProtocolError(TRUNCATED)
