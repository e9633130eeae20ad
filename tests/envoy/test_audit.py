"""What is denied, and who changed which key, through the real Envoy into one chain."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx

from dragoman.simulator import Simulator
from tests.envoy.gateway import KEY, LIMITED_KEY, SECRETS, Gateway, digest, run_gateway, wait_until
from tests.envoy.test_routing import body

CHAT = "/v1/chat/completions"
PROMPT = "a-prompt-that-stays-here"


def run(gateway: Gateway, *words: str) -> subprocess.CompletedProcess[str]:
    place = ["-c", str(gateway.folder / "dragoman.yaml"), "--run-dir", str(gateway.folder / "run")]
    command = [sys.executable, "-m", "dragoman", *words, *place]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def entries(gateway: Gateway) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run(gateway, "audit", "list").stdout.splitlines()]


def test_what_happened_is_in_the_trail(all_providers: Simulator, tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "callers": {
            "demo": {"keys": [digest(KEY)], "roles": ["chatter"]},
            "limited": {"keys": [digest(LIMITED_KEY)], "models": ["o/*"]},
            "issued": {},
        },
        "roles": {"chatter": {"deny": {"features": ["streaming"]}}},
        "quotas": [{"name": "few", "unit": "requests", "limit": 1, "window": "day"}],
        "store": {"directory": str(tmp_path)},
        "audit": {},
    }
    with run_gateway(all_providers, workers=2, issued_keys=True, **options) as gateway:

        def ask(key: str, model: str, **fields: Any) -> int:
            content = body(model, PROMPT, **fields)
            headers = {"x-api-key": key}
            return httpx.post(gateway.url + CHAT, json=content, headers=headers).status_code

        assert ask("nobodys", "o/echo") == 401
        assert ask(LIMITED_KEY, "a/echo") == 404
        assert ask(KEY, "o/echo", stream=True) == 403
        assert ask(KEY, "o/echo", messages="none") == 400
        assert [ask(KEY, "o/echo") for _ in range(2)] == [200, 429]
        issued = run(gateway, "keys", "issue", "issued", "--reason", "ticket 7").stdout.strip()
        wait_until(lambda: len(entries(gateway)) == 7, what="entries")
        found = entries(gateway)
        told = {
            (entry["event"], entry["who"], entry["what"].get("status"))
            for entry in found
            if entry["event"] != "policy.load"
        }
        denied = "request.denied"
        (who,) = [entry["who"] for entry in found if entry["event"] == "key.issue"]
        assert told == {
            (denied, None, 401),
            (denied, "limited", 404),
            (denied, "demo", 403),
            (denied, "demo", 429),
            ("key.issue", who, None),
        }
        why = {entry["what"].get("status"): entry["why"] for entry in found}
        assert "chatter" in why[403]
        assert "few" in why[429]
        loads = [entry for entry in found if entry["event"] == "policy.load"]
        assert len({entry["who"] for entry in loads}) == 2
        assert len({entry["what"]["sha256"] for entry in loads}) == 1
        proved = run(gateway, "audit", "verify")
        assert (proved.returncode, "7 entries, 1 to 7" in proved.stdout) == (0, True)
        text = json.dumps(found) + gateway.written()
        assert not [secret for secret in (PROMPT, issued, "nobodys", *SECRETS) if secret in text]
        reasons = {entry.get("dragoman.denied") for entry in gateway.ledger()}
        assert {why[status] for status in (401, 403, 404, 429)} <= reasons
