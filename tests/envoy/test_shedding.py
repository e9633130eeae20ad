"""A worker that is late, through the real Envoy: what is new is turned away, what runs goes on."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any

import httpx

from dragoman.simulator import Simulator
from tests.envoy.gateway import KEY, Gateway, digest, wait_until
from tests.envoy.test_routing import body, listeners

STOPPED_SECONDS = 1.0
"""Three times what the policy lets the worker be late."""
SHEDDING = {"lag_ms": 300, "over_seconds": 0.5, "high_lag_ms": 60_000}
URGENT_KEY = "client-key-of-urgent-4d10"
CALLERS = {
    "demo": {"keys": [digest(KEY)]},
    "urgent": {"keys": [digest(URGENT_KEY)], "priority": "high"},
}


def ask(gateway: Gateway, key: str = KEY) -> httpx.Response:
    headers = {"x-api-key": key}
    return httpx.post(f"{gateway.url}/v1/messages", json=body("o/echo"), headers=headers)


def test_a_worker_that_was_stopped_turns_away_what_waited_and_goes_on_with_what_ran(
    start: Callable[..., AbstractContextManager[Gateway]], simulator: Simulator
) -> None:
    options = {"shedding": SHEDDING, "callers": CALLERS, "pass_through": []}
    with start(**options) as gateway, ThreadPoolExecutor(2) as pool:
        (worker,) = gateway.workers()
        url, headers = f"{gateway.url}/v1/chat/completions", {"x-api-key": KEY}
        slow = body("a/pause-50", stream=True)
        with httpx.stream("POST", url, json=slow, headers=headers) as running:
            assert running.status_code == 200, running.read()
            os.kill(worker, signal.SIGSTOP)
            try:
                stopped = time.monotonic()
                waiting = pool.submit(ask, gateway)
                urgent = pool.submit(ask, gateway, URGENT_KEY)
                active = "cluster.dragoman_decide.upstream_rq_active"
                wait_until(lambda: gateway.stats(f"^{active}$")[active] == 2)
                wait_until(lambda: time.monotonic() > stopped + STOPPED_SECONDS)
            finally:
                os.kill(worker, signal.SIGCONT)
            refused = waiting.result()
            assert "data: [DONE]" in running.read().decode()
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert refused.json()["error"]["type"] == "overloaded_error"
        assert urgent.result().status_code == 200
        assert listeners(simulator) == ["anthropic", "openai"]
        wait_until(lambda: ask(gateway).status_code == 200)

        def logged() -> list[dict[str, Any]]:
            details = "dragoman_worker_overloaded"
            return [e for e in gateway.ledger() if e.get("dragoman.response.details") == details]

        assert wait_until(logged)[0]["http.response.status_code"] == 503
        counted = gateway.series("requests").items()
        assert any(dict(labels)["status"] == "503" for labels, count in counted if count)
