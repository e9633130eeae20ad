"""How long the parts take to start, and what they weigh at rest."""

from __future__ import annotations

import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

from dragoman.supervisor.planning import WORKER
from tests.bench.processes import pss_mb, rss_mb
from tests.bench.systems import Gateway, free_port, gateway, policy, running, simulator

CASES = ("start", "size")
_DRAGOMAN = [sys.executable, "-m", "dragoman"]


def footprint(case: str, rounds: int, workers: int) -> Iterator[dict[str, Any]]:
    """The lines of one of `CASES`."""
    return _start(rounds) if case == "start" else _size(workers)


def _start(rounds: int) -> Iterator[dict[str, Any]]:
    """From the command to its ready line; the first round, which fills caches, is not counted."""
    for system, measure in (("worker", _worker_ms), ("dragoman up", _up_ms)):
        taken = [measure() for _ in range(rounds + 1)][1:]
        yield {
            "case": "start",
            "system": system,
            "ready_ms": round(statistics.median(taken)),
            "ready_ms_spread": [round(min(taken)), round(max(taken))],
        }


def _worker_ms() -> float:
    with tempfile.TemporaryDirectory(prefix="dg") as folder:
        file = Path(folder, "dragoman.yaml")
        file.write_text(json.dumps(policy(free_port(), free_port(), free_port(), 1)))
        return _ready_ms([sys.executable, "-m", WORKER, "0", "1", folder, str(file)])


def _up_ms() -> float:
    """What `make run` starts, the simulator's port apart."""
    defaults = resources.files("dragoman.config").joinpath("default.yaml").read_text()
    with tempfile.TemporaryDirectory(prefix="dg") as folder:
        file = Path(folder, "dragoman.yaml")
        file.write_text(defaults.replace("10900", str(free_port())))
        ports = ["--port", str(free_port()), "--admin-port", str(free_port())]
        return _ready_ms([*_DRAGOMAN, "up", "-c", str(file), *ports])


def _ready_ms(arguments: list[str]) -> float:
    started = time.perf_counter()
    with running(arguments, stdout=subprocess.PIPE) as process:
        if process.stdout is None or not process.stdout.readline().startswith("ready"):
            raise SystemExit(f"not ready: {arguments}")
        return (time.perf_counter() - started) * 1000


def _size(workers: int) -> Iterator[dict[str, Any]]:
    with contextlib.ExitStack() as stack:
        provider, _ = stack.enter_context(simulator())
        up = stack.enter_context(gateway(provider, workers))
        whole = up.envoy + up.sidecar + up.supervisor
        for system, pids in (*_parts(up), ("sidecar", whole)):
            yield {
                "case": "size",
                "system": system,
                "processes": len(pids),
                "rss_mb": round(rss_mb(pids), 1),
                "pss_mb": round(pss_mb(pids), 1),
            }


def _parts(up: Gateway) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield "worker", up.sidecar
    yield "envoy", up.envoy
    yield "supervisor", up.supervisor
    yield "store", up.store
