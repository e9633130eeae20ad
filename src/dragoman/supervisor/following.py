"""A changed policy file becomes the one in force: by a process that ends, then by the workers."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable

from dragoman.supervisor.child import Child
from dragoman.supervisor.spawned import Spawned

LOOK_SECONDS = 0.1
"""How often the file is looked at. One that just changed is being written, perhaps: it is taken in
once it looks the same again."""
_STOP_SECONDS = 1.0


class Follower:
    """Looks at the policy file, and has each change taken in, one after the other."""

    def __init__(self, path: str, arguments: list[str], environment: dict[str, str]) -> None:
        self._path = path
        self._arguments = arguments
        self._environment = environment
        self._taken = self._seen = _look(path)
        self._running: Spawned | None = None

    def tend(self, children: Iterable[Child]) -> None:
        """Do what is due now. What is wrong with a file is said by the process that reads it."""
        if self._running is not None:
            status = self._running.poll()
            if status is None:
                return
            self._running = None
            for child in children:
                child.follow(taken=status == 0)
        found = _look(self._path)
        is_still, self._seen = found == self._seen, found
        if is_still and found not in {None, self._taken}:
            self._taken = found
            self._running = Spawned(self._arguments, self._environment)

    def stop(self) -> None:
        if self._running is not None:
            self._running.send(signal.SIGKILL)
            self._running.wait(_STOP_SECONDS)


def _look(path: str) -> tuple[int, int, int] | None:
    """What changes when the file does, also where a link to it is turned; None: it is not there."""
    try:
        found = os.stat(path)  # noqa: PTH116 - pathlib weighs a megabyte
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
