"""How much of the machine this process may use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

_V1_FILES = ("cpu.cfs_quota_us", "cpu.cfs_period_us")


def available_cores(root: Path = Path("/")) -> int:
    """How many cores this process may use at once: its affinity, and its cgroup's quota.

    A quota of a core and a half is one: two workers would be stopped in turns.
    """
    quotas = [*_quotas(root), float(len(os.sched_getaffinity(0)))]
    return max(1, int(min(quotas)))


def _quotas(root: Path) -> Iterator[float]:
    """The quotas, in cores, of this process's cgroup and of all that it lies in."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        places = [Path(path), *Path(path).parents]
        if not controllers:
            files = (root / "sys/fs/cgroup" / str(p).lstrip("/") / "cpu.max" for p in places)
            yield from map(_ratio, (_read(file).split() for file in files))
        elif "cpu" in controllers.split(","):
            folders = (root / "sys/fs/cgroup/cpu" / str(p).lstrip("/") for p in places)
            yield from map(_ratio, ([_read(f / n).strip() for n in _V1_FILES] for f in folders))


def _ratio(words: list[str]) -> float:
    """Microseconds of CPU in each so many; a word, or less than none, is no limit."""
    if len(words) != len(_V1_FILES) or not all(word.isdigit() for word in words):
        return float("inf")
    quota, period = map(int, words)
    return quota / period if period else float("inf")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
