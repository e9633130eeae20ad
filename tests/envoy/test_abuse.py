"""A caller that behaves as never before, through the real Envoy and several workers."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import httpx

from dragoman.simulator import Simulator
from tests.envoy.gateway import KEY, METER_KEYS, run_gateway, wait_until
from tests.envoy.test_audit import entries, run
from tests.envoy.test_routing import body

OTHER_KEY = METER_KEYS["meter-0"]


def test_a_caller_that_abuses_is_suspended_and_taken_back(
    all_providers: Simulator, tmp_path: Path
) -> None:
    options: dict[str, Any] = {
        "abuse": {
            "window_seconds": 3600,
            "signals": {"errors": {"times": 2, "at_least": 5}},
            "suspend": 2,
        },
        "store": {"directory": str(tmp_path)},
        "audit": {},
    }
    with run_gateway(all_providers, workers=2, **options) as gateway:

        def ask(model: str, key: str = KEY) -> httpx.Response:
            headers = {"x-api-key": key}
            url = f"{gateway.url}/v1/messages"
            return httpx.post(url, json=body(model, "hi") | {"max_tokens": 9}, headers=headers)

        def is_suspended() -> bool:
            """By both workers, as far as chance can tell."""
            return all(ask("o/echo").status_code == 403 for _ in range(20))

        def is_served() -> bool:
            return all(ask("o/echo").status_code == 200 for _ in range(20))

        for _ in range(11):  # the last of them is what suspends
            assert ask("no-such-model").status_code == 404
        wait_until(is_suspended, what="suspension")
        refused = ask("o/echo").json()
        assert refused["type"] == "error"
        assert refused["error"]["type"] == "permission_error"
        assert "look like abuse" in refused["error"]["message"]
        assert ask("o/echo", OTHER_KEY).status_code == 200
        listed = run(gateway, "abuse", "list").stdout
        assert re.fullmatch(r"demo  suspend  2\.2  \S+Z  \S+Z  errors 11 of 5\n", listed)
        lifted = run(gateway, "abuse", "lift", "demo", "--reason", "a broken script")
        assert lifted.stdout == "demo: suspend ended\n"
        wait_until(is_served, what="the way back")
        assert run(gateway, "abuse", "lift", "meter-0").returncode != 0
        (told,) = wait_until(
            lambda: [line for line in gateway.output().splitlines() if '"suspend"' in line],
            what="log line",
        )
        assert '"caller":"demo"' in told
        why = json.loads(told)["why"]
        assert why == "errors 11 of 5"
        wait_until(lambda: "abuse.suspend" in str(entries(gateway)), what="entry")
        found = {entry["event"]: entry for entry in entries(gateway)}
        assert found["abuse.suspend"]["who"] == "demo"
        assert found["abuse.suspend"]["why"] == why
        assert found["abuse.lift"]["why"] == "a broken script"
        lines = (gateway.folder / "ledger.jsonl").read_text().splitlines()
        denied = [
            line for line in map(json.loads, lines) if "abuse" in line.get("dragoman.denied", "")
        ]
        assert {line["dragoman.response.details"] for line in denied} == {
            "dragoman_caller_suspended"
        }
