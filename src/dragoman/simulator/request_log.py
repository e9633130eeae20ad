"""What the simulator received, kept within bounds."""

import hashlib
from collections import deque
from collections.abc import Iterator

import msgspec

from dragoman.simulator.messages import ReceivedRequest

INLINE_BODY_BYTES = 256 * 1024
"""Larger bodies are listed without their content, which has an address of its own."""


class LogEntry(msgspec.Struct, kw_only=True):
    """One request and what became of it."""

    number: int
    """Counts from 1 over the life of the process."""
    request: ReceivedRequest
    body_bytes: int
    outcome: str = "pending"
    """`pending`, `answered`, `client_gone`, `cut` or `reset`."""
    status: int | None = None
    """Of the answer."""
    forgotten_sha256: str | None = None
    """Set when the body was dropped to save memory."""

    def body_sha256(self) -> str:
        """Of the body as received."""
        return self.forgotten_sha256 or hashlib.sha256(self.request.body).hexdigest()


class LoggedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request as the control API lists it."""

    number: int
    listener: str
    port: int
    received_at: float
    """Unix seconds."""
    method: str
    target: str
    path: str
    headers: list[tuple[str, str]]
    """In order of arrival, names in lower case."""
    outcome: str
    status: int | None
    body_bytes: int
    body_sha256: str
    body_text: str | None
    """None where it is too long to list."""

    def header(self, name: str) -> str | None:
        """First value of a header, its name given in lower case."""
        return next((value for key, value in self.headers if key == name), None)

    def header_values(self, name: str) -> list[str]:
        """All values of a header."""
        return [value for key, value in self.headers if key == name]

    def json(self) -> object:
        """The body read as JSON."""
        return msgspec.json.decode(self.body_text or "")


class RequestLog:
    """A ring of the newest requests; bodies are dropped first when they take too much room."""

    def __init__(self, max_entries: int, max_body_bytes: int) -> None:
        """`max_entries` 0 keeps nothing, only counts."""
        self._entries: deque[LogEntry] = deque()
        self._with_body: deque[LogEntry] = deque()
        self._max_entries = max_entries
        self._max_body_bytes = max_body_bytes
        self._body_bytes = 0
        self.total = 0

    def __iter__(self) -> Iterator[LogEntry]:
        """Oldest first."""
        return iter(self._entries)

    def append(self, request: ReceivedRequest) -> LogEntry:
        """Log a request; the entry's outcome is for the caller to fill in."""
        self.total += 1
        entry = LogEntry(number=self.total, request=request, body_bytes=len(request.body))
        if not self._max_entries:
            return entry
        self._entries.append(entry)
        self._with_body.append(entry)
        self._body_bytes += entry.body_bytes
        while len(self._entries) > self._max_entries:
            self._entries.popleft()
        if len(self._with_body) > self._max_entries or self._body_bytes > self._max_body_bytes:
            self._trim()
        return entry

    def _trim(self) -> None:
        while len(self._with_body) > self._max_entries or (
            self._body_bytes > self._max_body_bytes and len(self._with_body) > 1
        ):
            entry = self._with_body.popleft()
            self._body_bytes -= entry.body_bytes
            if entry.number > self.total - self._max_entries:
                entry.forgotten_sha256 = entry.body_sha256()
                entry.request = msgspec.structs.replace(entry.request, body=b"")

    def clear(self) -> None:
        """Forget all; the count goes on."""
        self._entries.clear()
        self._with_body.clear()
        self._body_bytes = 0

    def find(self, number: int) -> LogEntry | None:
        """The entry of this number, if it is still there."""
        return next((entry for entry in self._entries if entry.number == number), None)


def list_entry(entry: LogEntry) -> LoggedRequest:
    """An entry as the control API lists it."""
    request = entry.request
    listed = entry.body_bytes <= INLINE_BODY_BYTES and entry.forgotten_sha256 is None
    return LoggedRequest(
        number=entry.number,
        listener=request.listener,
        port=request.port,
        received_at=request.received_at,
        method=request.method,
        target=request.target,
        path=request.path,
        headers=request.headers,
        outcome=entry.outcome,
        status=entry.status,
        body_bytes=entry.body_bytes,
        body_sha256=entry.body_sha256(),
        body_text=request.body.decode("utf-8", "replace") if listed else None,
    )
