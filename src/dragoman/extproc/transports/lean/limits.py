"""What one peer may ask for."""

from __future__ import annotations

import msgspec

KIB, MIB = 1 << 10, 1 << 20


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of one connection. What is above them is refused; nothing is kept of it."""

    message_bytes: int
    """Of one gRPC message. A larger one ends its call with RESOURCE_EXHAUSTED."""
    buffered_bytes: int = 256 * MIB
    """Of unfinished messages, all calls together. The call that goes above it ends likewise."""
    streams: int = 20_000
    """Open at once; a further one is refused, and may be tried again."""
    frame_bytes: int = 64 * KIB
    block_bytes: int = 64 * KIB
    """Of one compressed header block."""
    header_list_bytes: int = 64 * KIB
    """Of its headers, as the settings count: their text and 32 bytes each."""
    headers: int = 200
    stream_window_bytes: int = MIB
    """What a peer may send on a stream before its messages are read."""
    connection_window_bytes: int = 64 * MIB
    queued_bytes: int = 64 * MIB
    """Of answers that wait for the peer's windows: above it the connection's own is not renewed."""
    unsent_bytes: int = MIB
    """Of answers to pings and settings that the peer does not fetch."""
    idle_frames: int = 20_000
    """Frames without use (pings, settings, resets of unanswered streams, empty data, ...) that may
    come at once."""
    idle_frames_per_second: int = 1_000
    """And how many more each second."""


class Allowance:
    """Tokens that come back with time: how often something cheap may be asked for."""

    def __init__(self, burst: int, per_second: int) -> None:
        self._burst = burst
        self._per_second = per_second
        self._left = float(burst)
        self._at = 0.0

    def spend(self, now: float, cost: float = 1) -> bool:
        """Take some; False where none is left. `now` is in seconds, from any beginning."""
        self._left = min(self._burst, self._left + (now - self._at) * self._per_second) - cost
        self._at = now
        return self._left >= 0
