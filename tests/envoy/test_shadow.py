"""Shadow traffic through the real Envoy: what is asked of whom, and what nobody notices."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from dragoman.simulator import Simulator
from tests.envoy.gateway import KEY, Gateway, digest, run_gateway, wait_until
from tests.envoy.test_reload import Editor
from tests.envoy.test_routing import body, both_clients, said

QUOTA = {"name": "calls", "unit": "requests", "limit": 1000, "window": "day", "per": ["caller"]}
CALLERS: dict[str, Any] = {"demo": {"keys": [digest(KEY)]}, "tests": {}}


def _on(provider: str, **fields: Any) -> dict[str, Any]:
    return {"targets": [{"provider": provider, "model": "sim/echo"}]} | fields


MODELS = {
    "fast": _on("openai", shadow={"use": "next", "share": 1}),
    "paid": _on(
        "anthropic", shadow={"use": "again", "share": 1, "charge_to": "tests", "answers": False}
    ),
    "doomed": _on("openai", shadow={"use": "nowhere", "share": 1}),
    "next": _on("anthropic"),
    "again": _on("openai-b"),
    "nowhere": _on("dead"),
}


@pytest.fixture(scope="module")
def shadowed(all_providers: Simulator) -> Iterator[Gateway]:
    with run_gateway(all_providers, models=MODELS, callers=CALLERS, quotas=[QUOTA]) as gateway:
        yield gateway


@pytest.fixture
def gateway(shadowed: Gateway, simulator: Simulator) -> Gateway:
    del simulator
    return shadowed


def ask(gateway: Gateway, path: str, content: dict[str, Any], **headers: str) -> httpx.Response:
    known = {"authorization": f"Bearer {KEY}", **headers}
    return httpx.post(gateway.url + path, json=content, headers=known, timeout=30)


def pair(gateway: Gateway, answer: httpx.Response) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the ledger has of the request and of its copy."""
    named = answer.headers["x-dragoman-request-id"]

    def find(field: str) -> list[dict[str, Any]]:
        return [entry for entry in gateway.ledger() if entry.get(field) == named]

    keys = ("dragoman.request_id", "dragoman.shadow.request_id")
    wait_until(lambda: all(map(find, keys)), what="both entries")
    (request,), (copy,) = map(find, keys)
    return request, copy


@both_clients
@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
def test_a_shadow_is_asked_what_the_request_asked(
    gateway: Gateway, simulator: Simulator, path: str, *, stream: bool
) -> None:
    answer = ask(gateway, path, body("fast", stream=stream))
    assert said(path, answer) == "You said: one two three"
    found = {r.listener: r for r in simulator.control.wait_for_requests(2, settled=True)}
    assert found["openai"].target == "/v1/chat/completions"
    assert found["anthropic"].target == "/v1/messages"
    for asked in found.values():
        assert (asked.status, asked.json().get("stream", False)) == (200, stream)
        assert not [name for name, _ in asked.headers if name.startswith("x-dragoman")]
    request, copy = pair(gateway, answer)
    assert (request["event"], request["dragoman.shadow"]) == ("request", "next")
    assert (copy["event"], copy["gen_ai.request.model"]) == ("shadow", "next")
    assert (copy["gen_ai.provider.name"], copy.get("dragoman.caller")) == ("anthropic", None)
    counts = ("gen_ai.usage.output_tokens", "dragoman.stream", "http.response.status_code")
    assert [copy[name] for name in counts] == [request[name] for name in counts]
    told = request["dragoman.answer"]
    assert (told["finish"], told["characters"]) == ("stop", len("You said: one two three"))
    assert copy["dragoman.answer"] == told
    assert "one two" not in gateway.written()


def test_an_sdk_notices_nothing_and_no_quota_of_the_caller_pays(gateway: Gateway) -> None:
    left = []
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=KEY, max_retries=0) as client:
        for model in ("fast", "paid", "fast"):
            turns: Any = [{"role": "user", "content": "one two three"}]
            made = client.chat.completions.with_raw_response.create(model=model, messages=turns)
            assert made.parse().choices[0].message.content == "You said: one two three"
            left.append(int(made.headers["x-ratelimit-remaining-requests"]))
    assert left == [left[0], left[0] - 1, left[0] - 2]


def test_a_copy_is_charged_to_whom_the_policy_says(gateway: Gateway) -> None:
    _, copy = pair(gateway, ask(gateway, "/v1/chat/completions", body("paid")))
    assert (copy["dragoman.caller"], copy["gen_ai.provider.name"]) == ("tests", "openai-b")
    assert "dragoman.answer" not in copy
    counted = [dict(labels) for labels in gateway.series("shadow_requests")]
    assert {"tests"} == {each["caller"] for each in counted if each["model"] == "again"}
    models = {dict(labels)["model"] for labels in gateway.series("requests")}
    assert not models & {"again", "nowhere"}


@both_clients
def test_a_dead_shadow_harms_nobody(gateway: Gateway, path: str) -> None:
    answer = ask(gateway, path, body("doomed"))
    assert said(path, answer) == "You said: one two three"
    request, copy = pair(gateway, answer)
    assert (request["http.response.status_code"], copy["http.response.status_code"]) == (200, 503)


def test_a_shadow_that_does_not_answer_keeps_nobody_waiting(
    gateway: Gateway, simulator: Simulator
) -> None:
    simulator.control.script({"stall": True}, {"listener": "anthropic"})
    answer = ask(gateway, "/v1/chat/completions", body("fast"))
    assert said("/v1/chat/completions", answer) == "You said: one two three"
    active = r"^cluster\.dragoman_shadow\.upstream_rq_active$"
    wait_until(lambda: set(gateway.stats(active).values()) == {1}, what="the copy on its way")


def test_no_client_can_ask_as_a_copy(gateway: Gateway, simulator: Simulator) -> None:
    told = b64encode(b'{"model": "again", "charge_to": "tests"}').decode()
    forged = {"x-dragoman-shadow": told, "x-dragoman-shadow-of": "someone"}
    answer = ask(gateway, "/v1/chat/completions", body("next"), **forged)
    assert answer.headers["x-dragoman-decision"].endswith("order=anthropic/sim/echo")
    answer = ask(gateway, "/v1/chat/completions", body("next"), **forged, authorization="Bearer no")
    assert answer.status_code == 401
    assert [request.listener for request in simulator.control.requests()] == ["anthropic"]


def test_shadows_come_and_go_with_the_policy(gateway: Gateway) -> None:
    editor = Editor(gateway)
    plain = {name: _on(_provider(model)) for name, model in MODELS.items()}
    editor.change(models=plain, callers={"demo": CALLERS["demo"]})
    try:
        answer = ask(gateway, "/v1/chat/completions", body("fast"))
        assert said("/v1/chat/completions", answer) == "You said: one two three"
        assert gateway.stats(r"^cluster\.dragoman_shadow\.upstream_rq_total$") == {}
    finally:
        editor.change()
    _, copy = pair(gateway, ask(gateway, "/v1/chat/completions", body("fast")))
    assert copy["http.response.status_code"] == 200


def _provider(model: dict[str, Any]) -> str:
    return str(model["targets"][0]["provider"])
