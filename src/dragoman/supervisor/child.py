"""One process and its restarts."""

from __future__ import annotations

import signal
import socket
import time

from dragoman.supervisor.plan import Process
from dragoman.supervisor.spawned import Spawned

FIRST_PAUSE_SECONDS = 0.05
MAX_PAUSE_SECONDS = 5.0
HEALTHY_SECONDS = 10.0
"""A life of this length is forgiven its end: the next restart comes at once again."""
_PROBE_SECONDS = 1.0
_ANSWER_BYTES = 4096


def next_pause(last_seconds: float, lived_seconds: float) -> float:
    """How long to wait before a process that died is started again.

    `last_seconds` is what it waited before this life, 0 before its first.
    """
    if lived_seconds >= HEALTHY_SECONDS:
        return FIRST_PAUSE_SECONDS
    return min(max(2 * last_seconds, FIRST_PAUSE_SECONDS), MAX_PAUSE_SECONDS)


class Child:
    """One process of the plan: running, or due to be started again."""

    def __init__(self, process: Process, environment: dict[str, str]) -> None:
        self._process = process
        self._environment = environment
        self._running: Spawned | None = None
        self._started = 0.0
        self._pause = 0.0
        self.due: float | None = None
        """When it is to be started again, by the monotonic clock; None: it runs."""

    @property
    def name(self) -> str:
        return self._process.name

    def start(self) -> None:
        """Raises `OSError` where the machine has no room for it now."""
        self.due = None
        self._started = time.monotonic()
        self._running = Spawned(self._process.arguments, self._environment)

    def reap(self) -> int | None:
        """The exit status of a process that has ended, once; its restart is due from then on."""
        if self._running is None or (status := self._running.poll()) is None:
            return None
        self._running = None
        self.postpone()
        return status

    def postpone(self) -> None:
        """Its life is over, or did not begin: it is due again after a pause."""
        now = time.monotonic()
        self._pause = next_pause(self._pause, now - self._started)
        self.due = now + self._pause

    def is_ready(self) -> bool:
        answer = ask(*self._process.ready)
        return answer is not None and self._process.ready.expected in answer

    def stop(self, number: signal.Signals) -> None:
        if self._running is not None:
            self._running.send(number)

    def follow(self, *, taken: bool) -> None:
        """Have it read its policy anew, if it is one that does, or tell that none was `taken`."""
        if self._process.follows:
            self.stop(signal.SIGHUP if taken else signal.SIGUSR1)

    def wait(self, seconds: float) -> bool:
        """Whether it is gone."""
        return self._running is None or self._running.wait(seconds)


def ask(address: str, request: str, expected: str = "") -> str | None:
    """What is answered, up to `expected` or the end; None where nobody listens or answers in time.

    Nothing is asked by an empty request: then to be let in is answer enough.
    """
    answer = ""
    try:
        with _connect(address) as connection:
            connection.sendall(request.encode())
            while request and not (expected and expected in answer):
                received = connection.recv(_ANSWER_BYTES)
                if not received:
                    break
                answer += received.decode("latin-1")
    except OSError:
        return None
    return answer


def _connect(address: str) -> socket.socket:
    if address.startswith("/"):
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(_PROBE_SECONDS)
        connection.connect(address)
        return connection
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), _PROBE_SECONDS)
