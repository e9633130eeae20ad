"""Order, weights and fallback across dialects; whose key goes where."""

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
from tests.envoy.gateway import KEY, Gateway, provider_key, wait_until

CHAT = {"/v1/chat/completions": "openai", "/v1/messages": "anthropic"}
both_clients = pytest.mark.parametrize("path", list(CHAT), ids=list(CHAT.values()))
both_orders = pytest.mark.parametrize("order", ["fall", "back"])


def body(model: str, text: str = "one two three", **more: Any) -> dict[str, Any]:
    turns = [{"role": "user", "content": text}]
    return {"model": model, "max_tokens": 100, "messages": turns} | more


def said(path: str, answer: httpx.Response) -> str:
    """The text of an answer, streamed or not."""
    if answer.headers["content-type"].startswith("text/event-stream"):
        return "".join(_delta(path, line) for line in answer.text.splitlines())
    found = answer.json()
    if CHAT[path] == "openai":
        return str(found["choices"][0]["message"]["content"])
    return str(found["content"][0]["text"])


def _delta(path: str, line: str) -> str:
    if not line.startswith("data: {"):
        return ""
    event = json.loads(line[6:])
    if CHAT[path] == "openai":
        return "".join(c["delta"].get("content") or "" for c in event["choices"])
    return str(event.get("delta", {}).get("text", ""))


def listeners(simulator: Simulator) -> list[str]:
    return [request.listener for request in simulator.control.requests()]


FAULTS: dict[str, dict[str, Any]] = {
    "429": {"status": 429},
    "500": {"status": 500},
    "503": {"status": 503},
    "529": {"status": 529},
    "reset": {"reset_before_headers": True},
}


@both_clients
@both_orders
@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
@pytest.mark.parametrize("fault", list(FAULTS))
def test_fallback(
    http: httpx.Client,
    simulator: Simulator,
    path: str,
    order: str,
    fault: str,
    *,
    stream: bool,
) -> None:
    first, second = ("openai", "anthropic") if order == "fall" else ("anthropic", "openai")
    simulator.control.script(FAULTS[fault], {"listener": first})
    answer = http.post(path, json=body(f"{order}/echo", stream=stream))
    assert answer.status_code == 200
    assert said(path, answer) == "You said: one two three"
    assert listeners(simulator) == [first, second]
    for request in simulator.control.requests():
        expected = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages"}
        assert request.target == expected[request.listener]
        sent: Any = request.json()
        assert sent["model"] == "sim/echo"
        assert request.header("host") == simulator.url(request.listener).removeprefix("http://")
        assert int(request.header("content-length") or 0) == request.body_bytes


@both_clients
def test_same_dialect_attempts_get_the_same_bytes(
    http: httpx.Client, simulator: Simulator, path: str
) -> None:
    simulator.control.script({"status": 503}, {"listener": "openai"})
    assert http.post(path, json=body("same/echo")).status_code == 200
    first, second = simulator.control.requests()
    assert (first.listener, second.listener) == ("openai", "openai-b")
    assert first.body_sha256 == second.body_sha256


@both_clients
def test_each_attempt_gets_its_own_providers_body(
    http: httpx.Client, simulator: Simulator, path: str
) -> None:
    """Attempt 4 gets byte for byte what it would have got as attempt 1."""
    for listener in ("openai", "openai-b", "anthropic"):
        simulator.control.script({"status": 503}, {"listener": listener})
    assert http.post(path, json=body("long/echo")).status_code == 200
    tried = {r.listener: r.body_sha256 for r in simulator.control.requests()}
    assert list(tried) == ["openai", "openai-b", "anthropic", "anthropic-b"]
    simulator.control.reset()
    for model in ("o/echo", "a/echo"):
        assert http.post(path, json=body(model)).status_code == 200
    alone = {r.listener: r.body_sha256 for r in simulator.control.requests()}
    assert tried["openai"] == tried["openai-b"] == alone["openai"]
    assert tried["anthropic"] == tried["anthropic-b"] == alone["anthropic"]


def test_models_follow_their_targets(http: httpx.Client, simulator: Simulator) -> None:
    simulator.control.script({"status": 503}, {"listener": "openai"})
    path = "/v1/chat/completions"
    assert said(path, http.post(path, json=body("renamed"))) == "You said: one two three"
    sent: list[Any] = [request.json() for request in simulator.control.requests()]
    assert [body["model"] for body in sent] == ["gpt-first", "claude-second"]


@both_clients
def test_unreachable_provider(http: httpx.Client, simulator: Simulator, path: str) -> None:
    answer = http.post(path, json=body("dead/echo"))
    assert said(path, answer) == "You said: one two three"
    assert listeners(simulator) == ["anthropic"]


@both_clients
def test_no_first_byte_in_time(impatient: Gateway, simulator: Simulator, path: str) -> None:
    simulator.control.script({"stall": True}, {"listener": "openai"})
    started = time.monotonic()
    answer = httpx.post(
        impatient.url + path, json=body("fall/echo"), headers={"x-api-key": KEY}, timeout=20
    )
    assert said(path, answer) == "You said: one two three"
    assert listeners(simulator) == ["openai", "anthropic"]
    assert time.monotonic() - started < 5


@both_clients
@pytest.mark.parametrize("model", ["o", "a"])
def test_refusals_are_not_retried(
    http: httpx.Client, simulator: Simulator, path: str, model: str
) -> None:
    simulator.control.script({"status": 422, "message": "no"})
    answer = http.post(path, json=body(f"{model}/echo"))
    assert answer.status_code == 422
    assert len(listeners(simulator)) == 1


@both_clients
def test_all_fail(http: httpx.Client, simulator: Simulator, path: str) -> None:
    """The last one's own error comes back, in the client's dialect."""
    simulator.control.script({"status": 503, "message": "first"}, {"listener": "openai"})
    simulator.control.script(
        {"status": 429, "message": "second", "retry_after": "9"}, {"listener": "anthropic"}
    )
    answer = http.post(path, json=body("fall/echo"))
    assert answer.status_code == 429
    assert answer.json()["error"]["message"] == "second"
    assert ("type" in answer.json()) == (CHAT[path] == "anthropic")
    assert answer.headers["retry-after"] == "9"
    assert listeners(simulator) == ["openai", "anthropic"]


def test_another_provider_need_not_wait(http: httpx.Client, simulator: Simulator) -> None:
    """`retry-after` is about the provider that said it."""
    simulator.control.script({"status": 429, "retry_after": "2"}, {"listener": "openai"}, times=1)
    answer = http.post("/v1/chat/completions", json=body("fall/echo"))
    assert answer.status_code == 200
    first, second = simulator.control.requests()
    assert second.received_at - first.received_at < 1.5


def test_weights(http: httpx.Client, simulator: Simulator) -> None:
    """120 draws at 3:1; bounds at more than five standard deviations."""
    for _ in range(120):
        http.post("/v1/chat/completions", json=body("shared")).raise_for_status()
    counts = Counter(listeners(simulator))
    assert 65 <= counts["openai"] <= 114
    assert counts["openai"] + counts["anthropic"] == 120


@both_orders
def test_no_provider_sees_anothers_key(
    http: httpx.Client, simulator: Simulator, order: str
) -> None:
    """Headers of attempt 1 survive into attempt 2: each provider's own key must replace them."""
    first = "openai" if order == "fall" else "anthropic"
    simulator.control.script({"status": 500}, {"listener": first})
    headers = {"authorization": f"Bearer {KEY}", "x-api-key": KEY, "cookie": "c=1", "api-key": "x"}
    answer = http.post("/v1/messages", json=body(f"{order}/echo"), headers=headers)
    assert answer.status_code == 200
    requests = simulator.control.requests()
    assert len(requests) == 2
    for request in requests:
        own = provider_key(request.listener)
        if request.listener == "openai":
            assert request.header_values("authorization") == [f"Bearer {own}"]
            assert request.header("x-api-key") is None
            assert request.header("anthropic-version") is None
        else:
            assert request.header_values("x-api-key") == [own]
            assert request.header("authorization") is None
            assert request.header("anthropic-version") == "2023-06-01"
        assert request.header("cookie") is None
        assert request.header("api-key") is None


def test_azure_key_header(http: httpx.Client, simulator: Simulator) -> None:
    assert http.post("/v1/chat/completions", json=body("z/echo")).status_code == 200
    (request,) = simulator.control.requests()
    assert request.header("api-key") == provider_key("azure")
    assert request.header("authorization") is None
    assert request.target == "/openai/v1/chat/completions"


@pytest.mark.parametrize("victim", [0, 1])
def test_worker_killed_between_attempts(
    start: Callable[..., Any], simulator: Simulator, victim: int
) -> None:
    """No state passes through a worker's memory: whichever dies, attempt 2 goes on."""
    simulator.control.script(
        {"status": 503, "first_byte_delay_ms": 700}, {"listener": "openai"}, times=1
    )
    answers: list[httpx.Response] = []
    with start(workers=2) as gateway:
        before = wait_until(lambda: len(gateway.workers()) == 2 and gateway.workers())

        def ask() -> None:
            answers.append(
                httpx.post(
                    f"{gateway.url}/v1/chat/completions",
                    json=body("fall/echo"),
                    headers={"authorization": f"Bearer {KEY}"},
                    timeout=20,
                )
            )

        thread = threading.Thread(target=ask)
        thread.start()
        simulator.control.wait_for_requests(1)
        os.kill(before[victim], signal.SIGKILL)
        thread.join(20)
        assert answers[0].status_code == 200, answers[0].text
        assert said("/v1/chat/completions", answers[0]) == "You said: one two three"
        assert listeners(simulator) == ["openai", "anthropic"]
        wait_until(lambda: len(gateway.workers()) == 2, what="worker restarted")


def test_an_image_goes_to_the_target_that_takes_one(gateway: Gateway, simulator: Simulator) -> None:
    def ask(*media: dict[str, Any]) -> httpx.Response:
        turns = [{"role": "user", "content": [{"type": "text", "text": "x"}, *media]}]
        return httpx.post(
            gateway.url + "/v1/chat/completions",
            json={"model": "sighted", "messages": turns},
            headers={"authorization": f"Bearer {KEY}"},
        )

    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw=="}}
    sound = {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}
    assert ask(image).status_code == 200
    refused = ask(sound)
    assert refused.status_code == 400
    message = refused.json()["error"]["message"]
    assert message == "$.messages[0].content[1]: gpt-4 takes no audio"
    assert [request.listener for request in simulator.control.requests()] == ["openai-b"]


def test_every_answer_names_its_entry_in_the_ledger(
    http: httpx.Client, gateway: Gateway, simulator: Simulator
) -> None:
    """By an id of Envoy's own, which no provider sees: one that passes, one translated, a refusal
    of ours, and an error of Envoy's own. A client cannot choose it."""
    simulator.control.script({"reset_before_headers": True}, {"model": "reset"}, times=4)
    models = ("o/echo", "a/echo", "no/such", "o/reset")
    answers = [
        http.post("/v1/chat/completions", json=body(model), headers={"x-request-id": "mine"})
        for model in models
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 404, 503]
    ids = [answer.headers["x-dragoman-request-id"] for answer in answers]
    assert len(set(ids)) == len(ids)

    def statuses() -> list[int] | None:
        entries = {e.get("dragoman.request_id"): e for e in gateway.ledger()}
        found = [entries[i]["http.response.status_code"] for i in ids if i in entries]
        return found if len(found) == len(ids) else None

    assert wait_until(statuses, what="the ledger's entries") == [200, 200, 404, 503]
    seen = "\n".join(str(request.headers) for request in simulator.control.requests())
    assert not [i for i in (*ids, "mine") if i in seen]


def test_what_a_client_says_of_an_answer_is_in_the_ledger(
    http: httpx.Client, gateway: Gateway
) -> None:
    """Under its caller; nobody unknown says anything, and no provider hears of it."""
    answer = http.post("/v1/chat/completions", json=body("o/echo"))
    request_id = answer.headers["x-dragoman-request-id"]
    score = {"request_id": request_id, "score": 0.0}
    taken = http.post("/v1/feedback", json=score)
    assert (taken.status_code, taken.json()) == (200, {"object": "feedback", **score})
    refused = http.post("/v1/feedback", json={**score, "score": 2})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "score")
    unknown = {"authorization": "Bearer nobody"}
    assert http.post("/v1/feedback", json=score, headers=unknown).status_code == 401

    def lines() -> list[dict[str, Any]]:
        return [e for e in gateway.ledger() if e["event"] == "feedback"]

    [line] = wait_until(lines, what="the score's line")
    kept = {name: line.get(name) for name in ("dragoman.feedback.request_id", "dragoman.caller")}
    assert kept == {"dragoman.feedback.request_id": request_id, "dragoman.caller": "demo"}
    assert (line["dragoman.feedback.score"], line["dragoman.metering"]) == (0.0, "none")


def test_the_ledger_tells_of_attempts_that_failed(
    http: httpx.Client, gateway: Gateway, simulator: Simulator
) -> None:
    simulator.control.script({"status": 503}, {"listener": "openai"})
    asked = {"over": "fall/echo", "dead": "dead/echo"}
    ids = {}
    for name, model in asked.items():
        answer = http.post("/v1/chat/completions", json=body(model))
        ids[name] = answer.headers["x-dragoman-request-id"]
        headers = dict(simulator.control.requests()[-1].headers)
        assert headers["x-request-id"] == ids[name][:18]

    def entries() -> dict[str, Any] | None:
        found = {e.get("dragoman.request_id"): e for e in gateway.ledger()}
        return found if set(ids.values()) <= set(found) else None

    found = wait_until(entries, what="ledger") or {}
    over, dead = (found[ids[name]]["dragoman.attempts.failed"] for name in asked)
    facts = [(f["attempt"], f["provider"], f.get("status"), f.get("flags")) for f in over + dead]
    assert facts == [(1, "openai", 503, None), (1, "dead", None, "UF")]
    assert "Connection refused" in dead[0]["failure"]
    entry = found[ids["over"]]
    ended = over[0]["start_ms"] + over[0]["duration_ms"]
    assert 0 < ended <= entry["dragoman.attempts.last_ms"] <= entry["dragoman.duration_ms"]
