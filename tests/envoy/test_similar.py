"""Rules by likeness to examples, the vectors made by a provider behind the real Envoy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from dragoman.simulator import Simulator
from tests.envoy.gateway import KEY, Gateway, run_gateway
from tests.envoy.test_routing import body, both_clients, said

EXAMPLE = "I want my money back"
"""The simulator's vectors of other texts are like this one's by chance alone."""


def _on(provider: str) -> dict[str, Any]:
    return {"targets": [{"provider": provider, "model": "sim/echo"}]}


def _rule(**by: Any) -> dict[str, Any]:
    embedder = {"provider": "openai-b", "model": "sim/echo", **by}
    return {"similar_to": {"examples": ["other", EXAMPLE], "at_least": 0.95, "by": embedder}}


MODELS = {
    "auto": {"rules": [{"when": _rule(), "use": "billing"}, {"use": "plain"}]},
    "nobody": {
        "rules": [
            {"when": _rule(provider="dead", timeout_ms=900), "use": "billing"},
            {"use": "plain"},
        ]
    },
    "billing": _on("anthropic"),
    "plain": _on("openai"),
}


@pytest.fixture(scope="module")
def comparing(all_providers: Simulator) -> Iterator[Gateway]:
    with run_gateway(all_providers, models=MODELS) as gateway:
        yield gateway


def decided(gateway: Gateway, path: str, model: str, text: str) -> str:
    headers = {"authorization": f"Bearer {KEY}"}
    answer = httpx.post(gateway.url + path, json=body(model, text), headers=headers, timeout=30)
    assert said(path, answer) == f"You said: {text}"
    return answer.headers["x-dragoman-decision"]


@both_clients
def test_a_text_like_an_example_is_led_to_its_model(
    comparing: Gateway, simulator: Simulator, path: str
) -> None:
    assert "similar=0(1.00); rule=0(billing)" in decided(comparing, path, "auto", EXAMPLE)
    assert "rule=1(plain)" in decided(comparing, path, "auto", "Good morning")
    asked = [r for r in simulator.control.requests() if r.listener == "openai-b"]
    assert [request.target for request in asked] == ["/v1/embeddings"] * 2
    assert asked[-1].json() == {"model": "sim/echo", "input": ["Good morning"]}


def test_without_vectors_the_next_rule_holds(comparing: Gateway, simulator: Simulator) -> None:
    path = "/v1/chat/completions"
    found = decided(comparing, path, "nobody", EXAMPLE)
    assert "similar=0(status); rule=1(plain)" in found
    for fault, why in (({"status": 500}, "status"), ({"stall": True}, "timeout")):
        simulator.control.reset()
        simulator.control.script(fault, {"listener": "openai-b"})
        assert f"similar=0({why}); rule=1(plain)" in decided(comparing, path, "auto", EXAMPLE)
