"""Keys that are issued while the gateway runs, roles and networks, through the real Envoy."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from dragoman.simulator import Simulator
from tests.envoy.gateway import KEY, Gateway, digest, run_gateway, wait_until
from tests.envoy.test_fail_closed import assert_shape
from tests.envoy.test_routing import body

CHAT = "/v1/chat/completions"
KEYS = {name: f"client-key-of-{name}-77" for name in ("reader", "far", "near", "small")}


@pytest.fixture(scope="module")
def governed_gateway(
    all_providers: Simulator, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    keys = {name: [digest(key)] for name, key in KEYS.items()}
    callers: dict[str, Any] = {
        "demo": {"keys": [digest(KEY)]},
        "issued": {},
        "owned": {"user": "owner"},
        "reader": {"keys": keys["reader"], "roles": ["reader"]},
        "far": {"keys": keys["far"], "addresses": ["203.0.113.0/24"]},
        "near": {"keys": keys["near"], "addresses": ["127.0.0.0/8"]},
        "small": {"keys": keys["small"], "limits": {"body_bytes": 2000, "output_tokens": 40}},
    }
    roles = {"reader": {"allow": {"operations": ["chat"]}, "deny": {"features": ["tools"]}}}
    store = {"directory": str(tmp_path_factory.mktemp("store"))}
    options: dict[str, Any] = {"callers": callers, "roles": roles, "store": store}
    with run_gateway(all_providers, workers=2, issued_keys=True, **options) as gateway:
        yield gateway


@pytest.fixture
def governed(governed_gateway: Gateway, simulator: Simulator) -> Gateway:
    del simulator
    return governed_gateway


def ask(gateway: Gateway, key: str, path: str = CHAT, **fields: Any) -> httpx.Response:
    content = body("o/bytes-16", **fields)
    return httpx.post(gateway.url + path, json=content, headers={"x-api-key": key}, timeout=20)


def keys(gateway: Gateway, *words: str) -> list[str]:
    """What `dragoman keys` prints."""
    place = ["-c", str(gateway.folder / "dragoman.yaml"), "--run-dir", str(gateway.folder / "run")]
    command = [sys.executable, "-m", "dragoman", "keys", *words, *place]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def awaits(gateway: Gateway, key: str, status: int) -> None:
    """Both workers see what was done, within a second; several requests, so that both are asked."""

    def seen() -> bool:
        return all(ask(gateway, key).status_code == status for _ in range(6))

    wait_until(seen, 10, f"status {status}")


def test_a_keys_life(governed: Gateway) -> None:
    (key,) = keys(governed, "issue", "issued", "--label", "test", "--expires", "30d")
    awaits(governed, key, 200)
    (line,) = [line for line in keys(governed, "list", "issued") if "valid" in line]
    key_id = line.split()[0]
    assert key not in line
    keys(governed, "disable", key_id)
    awaits(governed, key, 401)
    keys(governed, "enable", key_id)
    awaits(governed, key, 200)
    (second,) = keys(governed, "rotate", key_id, "--overlap", "1h")
    awaits(governed, second, 200)
    awaits(governed, key, 200)
    keys(governed, "revoke", key_id)
    awaits(governed, key, 401)
    awaits(governed, second, 200)
    states = [line.split()[2] for line in keys(governed, "list", "issued")]
    assert sorted(states) == ["revoked", "valid"]
    assert key not in governed.written()


def test_a_key_may_be_one_users_and_bound_to_networks(governed: Gateway) -> None:
    words = ("--user", "alice@acme.test", "--application", "chat", "--label", "laptop")
    (near,) = keys(governed, "issue", "issued", *words, "--address", "127.0.0.0/8")
    (far,) = keys(governed, "issue", "issued", "--address", "10.0.0.0/8", "--address", "::1/128")
    awaits(governed, near, 200)
    awaits(governed, far, 403)
    told = [line for line in keys(governed, "list", "issued") if "alice@acme.test" in line]
    assert told[0].endswith("  laptop  alice@acme.test  chat  127.0.0.0/8")
    entry = wait_until(
        lambda: next((e for e in governed.ledger() if e.get("dragoman.user")), None), 10, "entry"
    )
    assert (entry["dragoman.user"], entry["dragoman.application"]) == ("alice@acme.test", "chat")
    (second,) = keys(governed, "rotate", told[0].split()[0])
    awaits(governed, second, 200)
    assert sum("127.0.0.0/8" in line for line in keys(governed, "list", "issued")) == 2
    for key_id in (line.split()[0] for line in keys(governed, "list", "issued")):
        keys(governed, "revoke", key_id)


def test_a_key_that_ends_by_itself(governed: Gateway) -> None:
    (key,) = keys(governed, "issue", "issued", "--expires", "3s")
    awaits(governed, key, 401)


def test_unknown_callers_and_ids_are_refused_in_words(governed: Gateway) -> None:
    for words in (
        ("issue", "nobody"),
        ("revoke", "ffff"),
        ("issue", "issued", "--expires", "soon"),
        ("issue", "issued", "--address", "home"),
        ("issue", "owned", "--user", "another"),
    ):
        with pytest.raises(subprocess.CalledProcessError) as failed:
            keys(governed, *words)
        assert failed.value.returncode == 2
        assert failed.value.stderr.strip()


def test_roles_hold_in_the_clients_dialect(governed: Gateway) -> None:
    key = KEYS["reader"]
    assert ask(governed, key).status_code == 200
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    refused = ask(governed, key, tools=tools)
    assert refused.status_code == 403
    assert "reader denies the feature tools" in refused.json()["error"]["message"]
    embedded = httpx.post(
        governed.url + "/v1/embeddings",
        json={"model": "o/x", "input": "a"},
        headers={"x-api-key": key},
        timeout=20,
    )
    assert embedded.status_code == 403


def test_a_caller_may_be_bound_to_networks(governed: Gateway) -> None:
    assert ask(governed, KEYS["near"]).status_code == 200
    refused = httpx.post(
        governed.url + CHAT,
        json=body("o/bytes-16"),
        headers={"x-api-key": KEYS["far"], "x-forwarded-for": "203.0.113.7"},
        timeout=20,
    )
    assert refused.status_code == 403


def test_explain_says_what_the_gateway_does(governed: Gateway) -> None:
    file = str(Path(governed.folder, "dragoman.yaml"))

    def explain(*words: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "dragoman", "explain", "-c", file, *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout

    status, said = explain("--as", "reader", "--model", "fall/x")
    assert (status, said.count("upstream:")) == (0, 2)
    status, said = explain("--as", "reader", "--model", "o/x", "--feature", "tools")
    assert (status, "denies the feature tools" in said) == (1, True)


@pytest.mark.parametrize("path", [CHAT, "/v1/messages"])
def test_limits_hold_in_the_clients_dialect(
    governed: Gateway, simulator: Simulator, path: str
) -> None:
    for status, fields in ((413, {"user": "x" * 2000}), (400, {"max_tokens": 41})):
        answer = ask(governed, KEYS["small"], path, **fields)
        assert answer.status_code == status
        assert_shape(path, status, answer.content)
    content = body("o/bytes-16")
    del content["max_tokens"]
    if path != CHAT:  # Anthropic's API insists on it
        return
    headers = {"x-api-key": KEYS["small"]}
    answer = httpx.post(governed.url + path, json=content, headers=headers, timeout=20)
    assert answer.status_code == 200
    assert "output_tokens=40" in answer.headers["x-dragoman-decision"]
    (request,) = simulator.control.requests()
    assert json.loads(request.body_text or "")["max_completion_tokens"] == 40
