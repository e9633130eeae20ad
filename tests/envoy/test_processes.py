"""Workers die, hang and come back; the gateway drains."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from dragoman.simulator import Simulator
from tests.envoy.gateway import KEY, Gateway, command, descendants, wait_until
from tests.envoy.test_fail_closed import assert_shape
from tests.envoy.test_routing import CHAT, body
from tests.envoy.test_streams import ended_well

HEADERS = {"x-api-key": KEY}


def ask(gateway: Gateway, path: str, model: str = "o/echo") -> httpx.Response:
    return httpx.post(gateway.url + path, json=body(model), headers=HEADERS, timeout=20)


def test_service_down_and_back(start: Callable[..., Any], simulator: Simulator) -> None:
    """No worker, no request: 503 in the client's dialect, and nothing at any provider. The ledger
    has them all once there is a worker to write it, from when Envoy knows that there is none."""
    with start() as gateway:
        assert ask(gateway, "/v1/messages").status_code == 200
        simulator.control.clear_requests()
        gateway.process.send_signal(signal.SIGSTOP)  # so that it restarts nothing
        try:
            for pid in gateway.workers():
                os.kill(pid, signal.SIGKILL)
            wait_until(lambda: not gateway.workers())
            for path in CHAT:
                answer = ask(gateway, path)
                assert answer.status_code == 503, answer.text
                assert_shape(path, 503, answer.content)
            healthy = "cluster.dragoman_ledger.membership_healthy"
            wait_until(lambda: gateway.stats(healthy) == {healthy: 0}, what="Envoy's noticing")
            with httpx.Client(base_url=gateway.url, headers=HEADERS) as client:
                refused = Counter(client.get("/v1/models").status_code for _ in range(300))
            assert refused == {503: 300}
            assert not simulator.control.requests()
        finally:
            gateway.process.send_signal(signal.SIGCONT)
        wait_until(lambda: ask(gateway, "/v1/messages").status_code == 200, 10, "back")
        wait_until(lambda: _entered(gateway, 503) >= 300, what="ledger")


def _entered(gateway: Gateway, status: int) -> int:
    return sum(entry["http.response.status_code"] == status for entry in gateway.ledger())


def test_service_hangs(start: Callable[..., Any], simulator: Simulator) -> None:
    """A worker that answers nothing costs one time-out, and the request fails closed."""
    with start(timeouts={"service_seconds": 1.0}) as gateway:
        (worker,) = gateway.workers()
        os.kill(worker, signal.SIGSTOP)
        try:
            for path in CHAT:
                answer = ask(gateway, path)
                assert answer.status_code in (503, 504), answer.text
                assert_shape(path, answer.status_code, answer.content)
        finally:
            os.kill(worker, signal.SIGCONT)
        assert not simulator.control.requests()
        wait_until(lambda: ask(gateway, "/v1/messages").status_code == 200, 10, "back")


def test_worker_killed_under_load(start: Callable[..., Any], simulator: Simulator) -> None:
    """Only requests in flight when it died may fail."""
    del simulator
    seen: list[tuple[float, float, int]] = []
    stop = threading.Event()

    def load(gateway: Gateway, model: str) -> None:
        with httpx.Client(base_url=gateway.url, headers=HEADERS, timeout=20) as client:
            while not stop.is_set():
                started = time.monotonic()
                status = client.post("/v1/chat/completions", json=body(model)).status_code
                seen.append((started, time.monotonic(), status))

    with start(workers=2) as gateway:
        models = ("o/echo", "a/echo") * 3
        threads = [threading.Thread(target=load, args=(gateway, model)) for model in models]
        for thread in threads:
            thread.start()
        wait_until(lambda: len(seen) > 100, what="load")
        before = gateway.workers()
        killed_at = time.monotonic()
        os.kill(before[0], signal.SIGKILL)
        count = len(seen)
        restarted = _restarted(gateway, before[0])
        served = _served(gateway, 0), _served(gateway, 1)
        wait_until(lambda: len(seen) > count + 400, what="load after the kill")
        wait_until(lambda: _served(gateway, 0) > served[0], what="the new worker's answer")
        wait_until(lambda: _served(gateway, 1) > served[1], what="the other worker's answer")
        stop.set()
        for thread in threads:
            thread.join(20)
        assert restarted
    failed = [(begun, ended, status) for begun, ended, status in seen if status != 200]
    assert len(failed) <= len(threads)
    late = [f for f in failed if f[0] > killed_at + 0.05]
    assert not late, f"failed though sent after the kill: {late}"


def _served(gateway: Gateway, worker: int) -> int:
    """Decisions that Envoy has of a worker so far."""
    clusters = json.loads(gateway.admin_get("/clusters?format=json"))["cluster_statuses"]
    hosts = next(c["host_statuses"] for c in clusters if c["name"] == "dragoman_decide")
    socket_name = f"decide-{worker}.sock"
    host = next(h for h in hosts if h["address"]["pipe"]["path"].endswith(socket_name))
    counts = {stat["name"]: int(stat.get("value", 0)) for stat in host["stats"]}
    return counts["rq_success"]


def _restarted(gateway: Gateway, dead: int) -> bool:
    def fresh() -> bool:
        pids = gateway.workers()
        return len(pids) == 2 and dead not in pids

    return wait_until(fresh, 10, "worker restarted")


@pytest.mark.parametrize("model", ["o/echo", "a/echo"], ids=["kept", "translated"])
def test_sigterm_drains(start: Callable[..., Any], simulator: Simulator, model: str) -> None:
    """An open stream ends as it should, then everything is gone."""
    simulator.control.script({"chunk_pause_ms": 150})
    path = "/v1/chat/completions"
    with start() as gateway:
        below = descendants(gateway.process.pid)
        text = ""
        with httpx.stream(
            "POST",
            gateway.url + path,
            json=body(model, "a b c d", stream=True),
            headers=HEADERS,
            timeout=20,
        ) as answer:
            for piece in answer.iter_text():
                if not text:
                    gateway.process.send_signal(signal.SIGTERM)
                text += piece
        assert ended_well(path, text)
        assert gateway.process.wait(10) == 0
        wait_until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in below), 5)


def test_envoy_killed_comes_back(start: Callable[..., Any], simulator: Simulator) -> None:
    del simulator
    with start() as gateway:
        before = _envoys(gateway)
        os.kill(before[0], signal.SIGKILL)
        wait_until(lambda: _envoys(gateway) not in ([], before), 10, "Envoy restarted")
        wait_until(lambda: _answers(gateway), 10, "answers again")


def _envoys(gateway: Gateway) -> list[int]:
    return [pid for pid in descendants(gateway.process.pid) if command(pid)[0].endswith("/envoy")]


def _answers(gateway: Gateway) -> bool:
    try:
        return ask(gateway, "/v1/messages").status_code == 200
    except httpx.TransportError:
        return False
