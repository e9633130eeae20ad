"""A canary that is good and one that fails, through the real Envoy and several workers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx

from dragoman.simulator import Simulator
from tests.envoy.gateway import KEY, run_gateway, wait_until
from tests.envoy.test_audit import entries, run
from tests.envoy.test_routing import body


def _model(provider: str, **fields: Any) -> dict[str, Any]:
    return {"targets": [{"provider": provider, "model": "sim/echo"}]} | fields


def _canary(use: str) -> dict[str, Any]:
    steps = {"by": "header:x-user", "steps": [40, 100], "step_seconds": 1, "at_least": 25}
    return {"name": f"to-{use}", "use": use} | steps


def test_a_good_one_is_promoted_and_a_bad_one_rolled_back(
    simulator: Simulator, tmp_path: Path
) -> None:
    options: dict[str, Any] = {
        "models": {
            "good": _model("openai", canary=_canary("next")),
            "bad": _model("openai", canary=_canary("failing")),
            "next": _model("openai-b"),
            "failing": _model("anthropic"),
        },
        "store": {"directory": str(tmp_path)},
        "audit": {},
    }
    simulator.control.script({"status": 500}, {"listener": "anthropic"})
    with run_gateway(simulator, workers=2, **options) as gateway:
        headers, users = {"authorization": f"Bearer {KEY}"}, iter(range(10**6))

        def ask(model: str, client: httpx.Client) -> httpx.Response:
            return ask_as(f"user-{next(users)}", model, client)

        def ask_as(name: str, model: str, client: httpx.Client) -> httpx.Response:
            user = {"x-user": name}
            return client.post("/v1/chat/completions", json=body(model), headers=user)

        def state(model: str) -> str:
            told = run(gateway, "canary", "list").stdout.splitlines()
            return next((line for line in told if line.startswith(f"{model}  ")), "")

        with httpx.Client(base_url=gateway.url, headers=headers, timeout=30) as client:

            def moves(model: str, word: str) -> bool:
                for _ in range(40):
                    ask(model, client)
                return word in state(model)

            wait_until(lambda: moves("good", "promoted  100%"), what="promotion")
            wait_until(lambda: moves("bad", "rolled_back  0%"), what="rollback")
            wait_until(lambda: ask("bad", client).status_code == 200, what="the stable one")
            answer = ask("good", client)
            decision = decision_of(answer)
            assert "canary=to-next(candidate,100%)" in decision
            assert "order=openai-b/sim/echo" in decision
            assert "errors " in state("bad")
            by_hand = run(gateway, "canary", "restart", "bad", "--reason", "mended")
            assert by_hand.stdout == "bad: running; it was rolled_back at 0%\n"
            assert "bad  running  40%" in state("bad")

            def sides() -> set[str]:
                return {decision_of(ask_as("u", "bad", client)) for _ in range(20)}

            wait_until(lambda: all("40%" in side for side in sides()), what="both workers")
            assert len(sides()) == 1, "a user stays where it is"
            assert run(gateway, "canary", "promote", "next").returncode != 0
        wait_until(lambda: len(_events(gateway)) >= 5, what="events")
        events = _events(gateway)
        for event in ("started", "promoted", "rolled_back", "by_hand"):
            assert any(found == f"canary.{event}" for found in events), event


def decision_of(answer: httpx.Response) -> str:
    return answer.headers["x-dragoman-decision"]


def _events(gateway: Any) -> list[str]:
    return [entry["event"] for entry in entries(gateway) if entry["event"].startswith("canary.")]
