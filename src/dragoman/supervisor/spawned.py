"""A process that this one starts. `subprocess` would weigh more than the rest of the supervisor."""

from __future__ import annotations

import ctypes
import os
import signal
import time

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)
_NOT_RUN = 127
"""The exit status of what could not be run, as shells have it."""
_POLL_SECONDS = 0.01


class Spawned:
    """Leads a session of its own, reads and says nothing but on standard error, and ends when the
    supervisor does."""

    def __init__(self, arguments: list[str], environment: dict[str, str]) -> None:
        """Raises `OSError` where the machine has no room for it now."""
        self._status: int | None = None
        self._pid = os.fork()
        if not self._pid:
            _become(arguments, environment)

    def poll(self) -> int | None:
        """Its exit status, negative for the signal that ended it; None while it runs."""
        if self._status is None:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            self._status = os.waitstatus_to_exitcode(status) if pid else None
        return self._status

    def wait(self, seconds: float) -> bool:
        """Whether it ends in time."""
        deadline = time.monotonic() + seconds
        while self.poll() is None:
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_SECONDS)
        return True

    def send(self, number: signal.Signals) -> None:
        """A signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self._pid, number)


def _become(arguments: list[str], environment: dict[str, str]) -> None:
    """In the new process: be the program. Never returns."""
    try:
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, 0)
        os.dup2(nothing, 1)
        os.setsid()
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        # it hears the signals that the supervisor waits for, and these two once it asks for them
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.execvpe(arguments[0], arguments, environment)  # noqa: S606 - the plan's own
    finally:
        os._exit(_NOT_RUN)
