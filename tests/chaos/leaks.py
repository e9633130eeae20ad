"""What is left of it all once nobody asks any more."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from dragoman.supervisor.planning import WORKER
from tests.bench.processes import rss_mb
from tests.chaos.troubles import find_store
from tests.envoy.gateway import Gateway, command, descendants

_ACTIVE = r"(upstream_rq_active|upstream_rq_pending_active|http.dragoman.downstream_rq_active)$"
_LASTING = "cluster.dragoman_ledger."
"""Its streams last as long as Envoy does."""
_MORE_MB = 1.3
"""What a process may have grown by since it was warm."""
_MORE_FILES = 24
"""More open than when it was warm: connections that are kept for the next request."""


class Held(NamedTuple):
    """What one process has."""

    files: int
    mb: float


class State(NamedTuple):
    """What the gateway has at one moment."""

    processes: dict[str, list[Held]]
    """By role."""
    connections: int
    """That Envoy has open, on both sides."""
    run_dir: set[str]
    shared: set[str]
    """In /dev/shm, of whoever."""
    dead: int
    """Processes nobody has waited for."""


def look(gateway: Gateway) -> State:
    """All of it, now."""
    roles: dict[str, list[Held]] = {"supervisor": [_held(gateway.process.pid)]}
    store = find_store(gateway)
    for pid in descendants(gateway.process.pid):
        words = command(pid)
        role = "worker" if WORKER in words else "store" if pid == store else Path(words[0]).name
        roles.setdefault(role, []).append(_held(pid))
    return State(
        roles,
        sum(gateway.stats(r"(downstream|upstream)_cx_active$").values()),
        _files(gateway.folder),
        set(os.listdir("/dev/shm")),
        _count_dead(gateway.process.pid),
    )


def _files(folder: Path) -> set[str]:
    """All but the keys of providers that are gone, whose clusters stay until the next change, and
    what the store writes now: it begins another file once one is long."""
    clusters = (folder / "run" / "clusters.json").read_text()
    written = " ".join(path.read_text() for path in folder.rglob("*.aof.manifest"))
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if not (path.name.startswith("key-") and f'/{path.name}"' in clusters)
        and f"file {path.name} " not in written
    }


def _held(pid: int) -> Held:
    return Held(len(os.listdir(f"/proc/{pid}/fd")), round(rss_mb([pid]), 1))


def _count_dead(parent: int) -> int:
    found = 0
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        found += fields[0] == "Z" and int(fields[1]) == parent
    return found


def active(gateway: Gateway) -> dict[str, int]:
    """Requests that Envoy takes for running."""
    found = gateway.stats(_ACTIVE).items()
    return {name: value for name, value in found if value and not name.startswith(_LASTING)}


def leaks(warm: State, now: State) -> Iterator[str]:
    """What has grown, in words."""
    for role, held in now.processes.items():
        before = warm.processes.get(role, [])
        if len(held) != len(before):
            yield f"{len(held)} processes of the role {role}, not {len(before)}"
            continue
        files, mb = (max(one[i] for one in before) for i in (0, 1))
        more = now.connections - warm.connections if role == "envoy" else 0
        for one in held:
            if one.files > files + max(more, 0) + _MORE_FILES:
                yield f"{role}: {one.files} files open, {files} when it was warm"
            if one.mb > mb * _MORE_MB + 8:
                yield f"{role}: {one.mb} MB, {mb} when it was warm"
    if extra := now.run_dir - warm.run_dir:
        yield f"files left: {sorted(extra)}"
    if extra := now.shared - warm.shared:
        yield f"left in /dev/shm: {sorted(extra)}"
    if now.dead:
        yield f"{now.dead} dead processes that nobody waited for"
