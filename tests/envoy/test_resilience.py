"""What becomes of requests to a provider that has too much to do, fails, or is down."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from dragoman.simulator import Simulator
from dragoman.simulator.server import Options
from tests.certificates import Authority
from tests.envoy.gateway import KEY, KINDS, Gateway, policy, run_gateway, wait_until
from tests.envoy.test_fail_closed import assert_shape
from tests.envoy.test_reload import Editor
from tests.envoy.test_routing import body

HEALTH = {"path": "/health", "interval_seconds": 0.1, "timeout_seconds": 0.1}
OUTLIERS = {"consecutive_failures": 2, "base_ejection_seconds": 60}
QUOTA = {"name": "lanes", "unit": "concurrency", "limit": 1, "per": ["provider"]} | {
    "providers": ["openai"]
}
SETTINGS: dict[str, dict[str, Any]] = {
    "openai": {"circuit_breaker": {"max_requests": 1}},
    "mistral": {"circuit_breaker": {"max_requests": 1}},
    "openai-b": {"outlier_detection": OUTLIERS},
    "openrouter": {"outlier_detection": OUTLIERS},
    "anthropic-b": {"health_check": HEALTH, "outlier_detection": OUTLIERS},
    "dead": {"health_check": {**HEALTH, "path": None}},
}
CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"), "servers")


@pytest.fixture(scope="module")
def own_simulator(
    authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Simulator]:
    """Not the session's, which is asked for nothing without a key. One provider speaks TLS."""
    pair = authority.issue("provider")
    both = tmp_path_factory.mktemp("tls") / "both.pem"
    both.write_text(Path(pair.certificate).read_text() + Path(pair.key).read_text())
    options = Options(tls_certificate=both, tls=frozenset(["anthropic-b"]))
    with Simulator(list(KINDS), options) as simulator:
        yield simulator


@pytest.fixture(scope="module")
def resilient_gateway(
    own_simulator: Simulator, authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    providers = policy(own_simulator, tmp_path_factory.mktemp("keys"))["providers"]
    providers = {name: entry | SETTINGS.get(name, {}) for name, entry in providers.items()}
    models: dict[str, Any] = {
        name: {"targets": [{"provider": p, "model": "sim/*"} for p in (name[:-2], "anthropic")]}
        for name in (f"{first}/*" for first in SETTINGS)
    }
    models["openrouter/*"]["fallback_on"] = ["context_length"]
    three = ("cohere", "mistral", "anthropic")
    models["three/*"] = {"targets": [{"provider": p, "model": "sim/*"} for p in three]}
    models["alone/*"] = {"targets": [{"provider": "openai-b", "model": "sim/*"}]}
    document = {"providers": providers, "models": models, "quotas": [QUOTA]}
    with run_gateway(own_simulator, ca_file=authority.ca, **document) as gateway:
        yield gateway


@pytest.fixture
def simulator(own_simulator: Simulator) -> Simulator:
    own_simulator.control.reset()
    return own_simulator


@pytest.fixture
def gateway(resilient_gateway: Gateway, simulator: Simulator) -> Gateway:
    del simulator
    return resilient_gateway


def ask(gateway: Gateway, model: str, path: str = CHAT) -> httpx.Response:
    headers = {"x-api-key": KEY}
    return httpx.post(gateway.url + path, json=body(model), headers=headers, timeout=30)


def asked(simulator: Simulator) -> list[str]:
    """Who was, but for checks, since this was asked last."""
    found = [r.listener for r in simulator.control.requests() if r.method == "POST"]
    simulator.control.clear_requests()
    return found


@contextmanager
def busy(gateway: Gateway, simulator: Simulator, model: str) -> Iterator[None]:
    """A provider at work: a stream that stays open, of which the client has the beginning."""
    stalled = {"cut_after_bytes": 200, "stall": True}
    simulator.control.script(stalled, {"listener": model.partition("/")[0]}, times=1)
    content = body(model, stream=True)
    headers = {"x-api-key": KEY}
    with httpx.stream("POST", gateway.url + CHAT, json=content, headers=headers) as answer:
        assert answer.status_code == 200
        asked(simulator)
        yield


def test_what_a_breaker_stops_is_told_so_and_not_sent_to_the_next_target(
    gateway: Gateway, simulator: Simulator
) -> None:
    """Envoy never retries it, not even where it was a retry itself."""
    simulator.control.script({"status": 500}, {"listener": "cohere"})
    with busy(gateway, simulator, "mistral/echo"):
        for path in (CHAT, "/v1/messages"):
            answer = ask(gateway, "mistral/echo", path)
            assert answer.status_code == 503
            assert_shape(path, 503, answer.content)
            assert "as many requests as this gateway may send" in answer.text
            assert answer.headers["retry-after"] == "1"
        assert asked(simulator) == []
        assert "as many requests" in ask(gateway, "three/echo").text
        assert asked(simulator) == ["cohere"]
    flags = ("dragoman.response.flags", "UO")
    wait_until(lambda: [flags in e.items() for e in gateway.ledger()].count(True) == 3)


def test_what_a_quota_stops_is_sent_to_the_next_target(
    gateway: Gateway, simulator: Simulator
) -> None:
    with busy(gateway, simulator, "openai/echo"):
        answer = ask(gateway, "openai/echo")
        assert answer.status_code == 200
        assert "left_out=openai/sim/echo(quota)" in answer.headers["x-dragoman-decision"]
        assert asked(simulator) == ["anthropic"]


def test_who_fails_again_and_again_is_left_out(gateway: Gateway, simulator: Simulator) -> None:
    simulator.control.script({"status": 500}, {"listener": "openai-b"})
    for tried in (["openai-b", "anthropic"], ["openai-b", "anthropic"], ["anthropic"]):
        assert ask(gateway, "openai-b/echo").status_code == 200
        assert asked(simulator) == tried
    assert ask(gateway, "alone/echo").status_code == 503
    assert asked(simulator) == []


def test_who_is_passed_over_for_what_it_says_does_not_fail(
    gateway: Gateway, simulator: Simulator
) -> None:
    error = {"status": 400, "message": "This model's maximum context length is 8 tokens"}
    simulator.control.script(error, {"listener": "openrouter"})
    for _ in range(4):
        assert ask(gateway, "openrouter/echo").status_code == 200
        assert asked(simulator) == ["openrouter", "anthropic"]


def test_who_does_not_answer_checks_is_not_asked(gateway: Gateway, simulator: Simulator) -> None:
    """Here over TLS, and at an address that the certificate names."""

    def healthy(provider: str = "anthropic-b") -> int:
        return gateway.stats(rf"cluster\.{provider}\.membership_healthy").popitem()[1]

    refusing = 1  # the host that refuses is no subject of checks
    assert healthy() == refusing
    assert ask(gateway, "anthropic-b/echo").status_code == 200
    assert asked(simulator) == ["anthropic"]
    simulator.control.script({"status": 200, "raw_body": "up"}, {"path": "/health"})
    wait_until(lambda: healthy() > refusing, what="healthy")
    assert ask(gateway, "anthropic-b/echo").status_code == 200
    assert asked(simulator) == ["anthropic-b"]
    assert healthy("dead") == refusing


def test_a_limit_that_is_changed_holds_at_once(gateway: Gateway, simulator: Simulator) -> None:
    editor = Editor(gateway)
    providers = editor.providers
    providers["mistral"] = providers["mistral"] | {"circuit_breaker": {"max_requests": 2}}
    editor.change(providers=providers)
    with busy(gateway, simulator, "mistral/echo"):
        assert ask(gateway, "mistral/echo").status_code == 200
        assert asked(simulator) == ["mistral"]
