"""What a worker killed under load costs, and how soon the next one serves in its place."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import statistics
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.request import urlopen

from tests.bench.cases import CASES
from tests.bench.generator import Stretch, Target, load
from tests.bench.systems import KEY, Gateway, gateway, simulator

CONNECTIONS = 16
_SECONDS = 4.0
_BEFORE_SECONDS = 1.0
_LIMIT_SECONDS = 10.0


def restarts(rounds: int) -> Iterator[dict[str, Any]]:
    """A line for one worker, which leaves nobody to serve meanwhile, and one for two."""
    with simulator() as (provider, _):
        for workers in (1, 2):
            taken = [_kill_one(provider, workers) for _ in range(rounds)]
            yield {
                "case": "restart",
                "system": "pass-through",
                "workers": workers,
                "connections": CONNECTIONS,
                "failed_requests": round(statistics.median(failed for failed, _ in taken)),
                "serving_ms": round(statistics.median(ms for _, ms in taken)),
                "serving_ms_spread": [f(round(ms) for _, ms in taken) for f in (min, max)],
            }


def _kill_one(provider: int, workers: int) -> tuple[int, float]:
    """Requests that failed, and milliseconds until worker 0's successor had answered one."""
    case = CASES[0]
    body = case.body(f"openai/{case.directive}", "pass-through")
    seen: list[float] = []
    with gateway(provider, workers) as up:
        target = Target(up.port, "/v1/chat/completions", body, {"authorization": f"Bearer {KEY}"})
        killer = threading.Thread(target=_kill, args=(up, seen))
        killer.start()
        stretch: Stretch = load(target, CONNECTIONS, _SECONDS)
        killer.join()
    return stretch.failures + stretch.unanswered, seen[0]


def _kill(up: Gateway, seen: list[float]) -> None:
    time.sleep(_BEFORE_SECONDS)
    killed = time.perf_counter()
    os.kill(up.sidecar[0], signal.SIGKILL)
    time.sleep(0.05)  # what it answered last is counted, and no successor starts that fast
    served = _served(up)
    while time.perf_counter() < killed + _LIMIT_SECONDS and _served(up) <= served:
        time.sleep(0.01)
    seen.append((time.perf_counter() - killed) * 1000)


def _served(up: Gateway) -> int:
    """Requests that Envoy got answers to from worker 0."""
    url = f"http://127.0.0.1:{up.admin_port}/clusters?format=json"
    with contextlib.closing(urlopen(url, timeout=5)) as answer:
        clusters = json.load(answer)["cluster_statuses"]
    hosts = next(c["host_statuses"] for c in clusters if c["name"] == "dragoman_decide")
    first = next(h for h in hosts if h["address"]["pipe"]["path"].endswith("decide-0.sock"))
    return sum(int(s.get("value", 0)) for s in first["stats"] if s["name"] == "rq_success")
