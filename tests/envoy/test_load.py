"""`strategy: least_loaded` through the real Envoy: its own count decides, and providers' limits."""

from __future__ import annotations

import json
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from dragoman.simulator import Simulator
from tests.envoy.gateway import KEY, Gateway, run_gateway, wait_until
from tests.envoy.test_routing import body, listeners

SOON, LATE = (50, 100), (86_300, 86_400)
LIMITS: list[tuple[dict[str, str], int, tuple[int, int]]] = [
    (
        {
            "x-ratelimit-limit-requests": "200",
            "x-ratelimit-remaining-requests": "50",
            "x-ratelimit-reset-requests": "1m35.5s",
            "x-ratelimit-limit-tokens": "1000",
            "x-ratelimit-remaining-tokens": "900",
        },
        250,
        SOON,
    ),
    (
        {
            "anthropic-ratelimit-output-tokens-limit": "8000",
            "anthropic-ratelimit-output-tokens-remaining": "1",
            "anthropic-ratelimit-output-tokens-reset": "2099-01-01T00:00:00Z",
        },
        1,
        LATE,
    ),
    ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "2 weeks"}, 0, SOON),
]
"""What answers say, how many thousandths are left by it, and in about how many seconds it is over."""


def on(*providers: str) -> dict[str, Any]:
    targets = [{"provider": name, "model": "sim/echo", "priority": 0} for name in providers]
    return {"strategy": "least_loaded", "targets": targets}


@pytest.fixture(scope="module")
def loaded_gateway(all_providers: Simulator) -> Iterator[Gateway]:
    models = {"busy": on("openai", "anthropic"), "paused": on("openai-b", "anthropic-b")}
    models["limited"] = on("openrouter", "mistral")
    with run_gateway(all_providers, models=models) as gateway:
        yield gateway


@pytest.fixture
def loaded(loaded_gateway: Gateway, simulator: Simulator) -> Gateway:
    del simulator
    return loaded_gateway


def ask(gateway: Gateway, model: str = "busy") -> dict[str, str]:
    """One request, and what its decision says."""
    url, headers = f"{gateway.url}/v1/chat/completions", {"x-api-key": KEY}
    answer = httpx.post(url, json=body(model), headers=headers)
    assert answer.status_code == 200, answer.text
    line = answer.headers["x-dragoman-decision"]
    return dict(word.split("=", 1) for word in line.split("; "))


def send(gateway: Gateway, until: ExitStack) -> None:
    """A request whose answer nobody reads; its client is there `until` then."""
    content = json.dumps(body("busy")).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-api-key: {KEY}\r\n"
    head += f"content-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
    client = until.enter_context(socket.create_connection(("127.0.0.1", gateway.port)))
    client.sendall(head.encode() + content)


def in_flight(gateway: Gateway, provider: str) -> int:
    return gateway.stats(f"^cluster.{provider}.upstream_rq_active$").popitem()[1]


STUCK = 6


def test_what_waits_at_one_target_sends_the_others_elsewhere(
    loaded: Gateway, simulator: Simulator
) -> None:
    simulator.control.script({"stall": True}, {"listener": "openai"}, times=STUCK)
    with ExitStack() as until:
        for _ in range(3 * STUCK):
            send(loaded, until)
        wait_until(lambda: in_flight(loaded, "openai") == STUCK)
        shown = f"openai/sim/echo({STUCK}),anthropic/sim/echo(0)"
        wait_until(lambda: ask(loaded)["in_flight"] == shown)
        simulator.control.clear_requests()
        for _ in range(STUCK - 2):  # what the worker sends to it counts at once, too
            assert ask(loaded)["strategy"] == "least_loaded"
        assert Counter(listeners(simulator)) == {"anthropic": STUCK - 2}
    wait_until(lambda: in_flight(loaded, "openai") == 0)


def test_who_fails_at_once_is_not_taken_for_idle(loaded: Gateway, simulator: Simulator) -> None:
    """Of two that have nothing in flight the one that does not fail is asked first."""
    simulator.control.script({"status": 503}, {"listener": "openrouter"})
    wait_until(lambda: ask(loaded, "limited")["order"].startswith("openrouter/"), what="its turn")
    decision = wait_until(lambda: (found := ask(loaded, "limited")) and "failed" in found and found)
    assert decision["failed"].startswith("openrouter/sim/echo(")
    assert decision["order"].startswith("mistral/")
    assert loaded.stats(r"^dragoman\.attempts_failed\.")[
        "dragoman.attempts_failed.provider.openrouter"
    ]


@pytest.mark.parametrize(("headers", "left", "seconds"), LIMITS)
def test_what_providers_say_of_their_limits_is_a_statistic(
    loaded: Gateway,
    simulator: Simulator,
    headers: dict[str, str],
    left: int,
    seconds: tuple[int, int],
) -> None:
    simulator.control.script({"headers": headers})
    ask(loaded, "limited")

    def told() -> list[str]:
        found = loaded.stats(r"^dragoman\.rate_limit_left\.provider\.(openrouter|mistral)$")
        return [name.rpartition(".")[2] for name, value in found.items() if value == left]

    provider = wait_until(told)[0]
    name = f"dragoman.rate_limit_resets_at.provider.{provider}"
    assert seconds[0] <= loaded.stats(f"^{name}$")[name] - time.time() <= seconds[1]


def test_a_target_that_wants_a_pause_is_asked_last(loaded: Gateway, simulator: Simulator) -> None:
    rule = {"status": 429, "retry_after": 3000}
    simulator.control.script(rule, {"listener": "openai-b"}, times=1)
    full = "openai-b/sim/echo(rate_limit)"
    wait_until(lambda: ask(loaded, "paused").get("full") == full)
    assert ask(loaded, "paused")["order"] == "anthropic-b/sim/echo,openai-b/sim/echo"
