"""Tokens, requests and time to first token in Envoy's admin statistics and in the ledger.

Each test runs on the shipped settings and with Envoy's native filters off: same answers, same
counts, read by the respond stage.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from dragoman.simulator import Simulator
from tests.envoy.gateway import KEY, Gateway, fresh_caller, wait_until
from tests.envoy.test_routing import CHAT, body, both_clients, said

PROVIDER = {"o": "openai", "a": "anthropic"}
providers = pytest.mark.parametrize("p", list(PROVIDER))
forms = pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])


@pytest.fixture(params=["native", "python"])
def metered(request: pytest.FixtureRequest) -> Iterator[Gateway]:
    yield request.getfixturevalue("gateway" if request.param == "native" else "native_off")


class Meter:
    """What the statistics and the ledger say of a caller of its own."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self.caller, self._key = fresh_caller()

    def ask(self, path: str, content: dict[str, Any]) -> httpx.Response:
        return self.send(path, json=content)

    def send(self, path: str, **given: Any) -> httpx.Response:
        """As `httpx.post` takes it."""
        url, headers = self._gateway.url + path, {"x-api-key": self._key}
        return httpx.post(url, headers=headers, timeout=20, **given)

    def gained(self, name: str) -> list[tuple[dict[str, str], float]]:
        found = [(dict(key), value) for key, value in self._gateway.series(name).items()]
        return [(who, value) for who, value in found if value and who["caller"] == self.caller]

    def tokens(self) -> dict[str, float]:
        return {labels["direction"]: change for labels, change in self.gained("tokens")}

    def entries(self) -> list[dict[str, Any]]:
        entries = self._gateway.ledger()
        return [entry for entry in entries if entry.get("dragoman.caller") == self.caller]

    def await_requests(self, count: int) -> list[tuple[dict[str, str], float]]:
        """The request counters, once as many entries are in the ledger as requests were sent."""
        wait_until(lambda: len(self.entries()) >= count, 8, "ledger")
        return wait_until(lambda: self.gained("requests"), 8, "request counters")


def ask(gateway: Gateway, path: str, content: dict[str, Any]) -> httpx.Response:
    return httpx.post(gateway.url + path, json=content, headers={"x-api-key": KEY}, timeout=20)


@both_clients
@providers
@forms
def test_counts_of_one_request(metered: Gateway, path: str, p: str, *, stream: bool) -> None:
    meter = Meter(metered)
    answer = meter.ask(path, body(f"{p}/echo", "one two three four", stream=stream))
    assert said(path, answer) == "You said: one two three four"
    assert '"choices":[]' not in answer.text
    who = {
        "model": f"{p}/echo",
        "provider": PROVIDER[p],
        "upstream_model": "sim/echo",
        "caller": meter.caller,
    }
    ((labels, count),) = meter.await_requests(1)
    assert count == 1
    assert {name: labels[name] for name in who} == who
    assert labels["status"] == "200"
    assert meter.tokens() == {"input": 4, "output": 6}
    (entry,) = meter.entries()
    assert entry["gen_ai.request.model"] == f"{p}/echo"
    assert entry["gen_ai.usage.input_tokens"] == 4
    assert entry["gen_ai.usage.output_tokens"] == 6
    assert entry["dragoman.metering"] == "exact"


@both_clients
@forms
def test_asked_usage_is_counted_once(metered: Gateway, path: str, *, stream: bool) -> None:
    meter = Meter(metered)
    options = {"stream": stream}
    if stream and CHAT[path] == "openai":
        options |= {"stream_options": {"include_usage": True}}  # type: ignore[dict-item]
    answer = meter.ask(path, body("o/echo", "one two", **options))
    assert answer.status_code == 200
    meter.await_requests(1)
    assert meter.tokens() == {"input": 2, "output": 4}


@both_clients
@providers
@forms
def test_cached_and_written_tokens(
    metered: Gateway, simulator: Simulator, path: str, p: str, *, stream: bool
) -> None:
    del simulator
    text = {"type": "text", "text": "word " * 1100, "cache_control": {"type": "ephemeral"}}
    if p == "o" and CHAT[path] == "openai":
        del text["cache_control"]
    content = body(f"{p}/echo", "hi", stream=stream)
    if CHAT[path] == "anthropic":
        content["system"] = [text]
    else:
        content["messages"] = [{"role": "system", "content": [text]}, *content["messages"]]
    meter = Meter(metered)
    assert meter.ask(path, content).status_code == 200
    meter.await_requests(1)
    first = meter.tokens()
    assert first["input"] == 1101
    assert first.get("cache_write", 0) == (1100 if p == "a" else 0)
    meter = Meter(metered)
    assert meter.ask(path, content).status_code == 200
    meter.await_requests(1)
    second = meter.tokens()
    assert second["input"] == 1101
    assert second["cached"] == (1100 if p == "a" else 1101)
    (entry,) = meter.entries()
    assert entry["gen_ai.usage.input_tokens"] == 1101


@both_clients
@forms
def test_reasoning_tokens(metered: Gateway, path: str, *, stream: bool) -> None:
    meter = Meter(metered)
    answer = meter.ask(path, body("o/think", "one two", stream=stream))
    assert answer.status_code == 200
    meter.await_requests(1)
    tokens = meter.tokens()
    thought = len("Let me think about it. The user said: one two".split())
    assert tokens["reasoning"] == thought
    assert tokens["output"] == thought + 4


@both_clients
def test_failures_are_counted_with_their_status(
    metered: Gateway, simulator: Simulator, path: str
) -> None:
    simulator.control.script({"status": 422, "message": "no"})
    meter = Meter(metered)
    assert meter.ask(path, body("a/echo")).status_code == 422
    ((labels, count),) = meter.await_requests(1)
    assert (labels["status"], labels["provider"], count) == ("422", "anthropic", 1)
    assert not meter.tokens()


@both_clients
def test_fallback_counts_once_for_who_answered(
    metered: Gateway, simulator: Simulator, path: str
) -> None:
    simulator.control.script({"status": 503}, {"listener": "openai"})
    meter = Meter(metered)
    assert meter.ask(path, body("renamed", "one two")).status_code == 200
    ((labels, count),) = meter.await_requests(1)
    assert (labels["provider"], labels["upstream_model"]) == ("anthropic", "claude-second")
    assert count == 1
    assert meter.tokens() == {"input": 2, "output": 4}


def test_local_answers_have_no_provider(metered: Gateway) -> None:
    def local() -> dict[str, float]:
        found = metered.series("requests").items()
        mine = [(dict(key), value) for key, value in found if ("provider", "none") in key]
        told = {("404", "demo"), ("401", "none")}
        return {w["status"]: value for w, value in mine if (w["status"], w["caller"]) in told}

    before = local()
    assert ask(metered, "/v1/chat/completions", body("nothing")).status_code == 404
    assert httpx.get(f"{metered.url}/v1/models").status_code == 401
    wait_until(lambda: {"404", "401"} <= set(local()), 5)
    wait_until(lambda: all(local()[s] > before.get(s, 0) for s in ("404", "401")), 5)
    tokens = metered.series("tokens").items()
    assert not [key for key, value in tokens if value and ("provider", "none") in key]


@forms
def test_time_to_first_token(metered: Gateway, simulator: Simulator, *, stream: bool) -> None:
    """What the provider took is what the histogram holds."""
    del simulator
    model = "a/slow-201" if stream else "a/slow-200"  # asked for nowhere else: Envoy flushes late
    labels = (("model", model), ("provider", "anthropic"))
    assert ask(metered, "/v1/messages", body(model, stream=stream)).status_code == 200

    def gained() -> float:
        return metered.series("time_to_first_token_sum").get(labels, 0)

    assert 190 <= wait_until(gained, 12, "histogram flushed") <= 2000


def test_plain_stats_show_the_same(gateway: Gateway) -> None:
    """`/stats`, not only `/stats/prometheus`."""
    assert ask(gateway, "/v1/messages", body("o/echo")).status_code == 200
    wait_until(lambda: gateway.stats(r"^dragoman\.requests\."), 5)
    wait_until(lambda: gateway.stats(r"^dragoman\.tokens\..*direction\.input"), 5)


@pytest.mark.parametrize("path", list(CHAT), ids=list(CHAT.values()))
def test_kept_streams_never_pass_through_python(gateway: Gateway, path: str) -> None:
    """One message a request, to decide; no stream to translate or respond is ever opened."""
    p = "o" if CHAT[path] == "openai" else "a"
    names = r"ext_proc.*(streams_started|stream_msgs_sent)$"
    before = gateway.stats(names)
    words = " ".join(["word"] * 200)
    for _ in range(5):
        answer = ask(gateway, path, body(f"{p}/echo", words, stream=True, max_tokens=1000))
        assert answer.text.count("data: ") > 200
    after = gateway.stats(names)
    gained = {name: after[name] - before.get(name, 0) for name in after}
    gained = {name: change for name, change in gained.items() if change}
    assert sorted(gained.values()) == [5, 5], gained
    assert not [name for name in gained if name.startswith("cluster.")]
