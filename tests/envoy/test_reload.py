"""A policy file that changes while requests are on their way: what is new serves, what runs ends."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import httpx
import pytest
import yaml

from dragoman.simulator import Simulator
from tests.envoy.gateway import KEY, LIMITED_KEY, Gateway, digest, run_gateway, wait_until
from tests.envoy.test_routing import body, said
from tests.tokens import AUDIENCE, run_issuer

CHAT = "/v1/chat/completions"


class Editor:
    """The policy file of a gateway, and what is said of its changes."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self._path = gateway.folder / "dragoman.yaml"
        self._document: dict[str, Any] = yaml.safe_load(self._path.read_text())

    @property
    def providers(self) -> dict[str, Any]:
        return dict(self._document["providers"])

    def events(self, name: str) -> list[dict[str, Any]]:
        text = (self.gateway.folder / "stderr.log").read_text()
        return [json.loads(line) for line in text.splitlines() if f'"event":"{name}"' in line]

    def change(self, event: str = "policy_taken", **sections: Any) -> dict[str, Any]:
        """Write the file; what is then said of it, by the worker or by who refuses it."""
        return self.write(yaml.safe_dump(self._document | sections), event)

    def write(self, text: str, event: str) -> dict[str, Any]:
        known = len(self.events(event))
        self._path.write_text(text)
        return wait_until(lambda: self.events(event)[known:], what=event)[-1]


def models(provider: str, **settings: Any) -> dict[str, Any]:
    def on(model: str) -> dict[str, Any]:
        return {"targets": [{"provider": provider, "model": model}]}

    return {
        "m": on("sim/echo") | settings,
        "slow": on("sim/slow-2500"),
        "long": on("sim/pause-500"),
        "other": on("sim/echo"),
    }


@pytest.fixture
def editor(all_providers: Simulator, simulator: Simulator) -> Iterator[Editor]:
    del simulator
    with run_gateway(all_providers, models=models("openai")) as gateway:
        yield Editor(gateway)


def ask(editor: Editor, model: str = "m", key: str = KEY, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    url = editor.gateway.url + CHAT
    return httpx.post(url, json=body(model), headers={"x-api-key": key} | named)


def test_issuers_of_tokens_come_and_go(editor: Editor) -> None:
    def status(token: str) -> int:
        headers = {"authorization": f"Bearer {token}"}
        url = editor.gateway.url + CHAT
        return httpx.post(url, json=body("m"), headers=headers).status_code

    with run_issuer() as issuer:
        entry = {"issuer": issuer.url, "audiences": [AUDIENCE], "jwks": {"uri": issuer.jwks_uri}}
        assert status(issuer.token()) == 401
        editor.change(identity={"jwt": {"local": {**entry, "default_caller": "demo"}}})
        wait_until(lambda: status(issuer.token()) == 200, what="the issuer's keys")
        editor.change(identity={})
        assert status(issuer.token()) == 401
        assert ask(editor).status_code == 200


def test_a_new_policy_serves_and_what_runs_under_the_old_one_ends(
    editor: Editor, simulator: Simulator
) -> None:
    providers = editor.providers
    gone = providers.pop("openai")
    providers["later"] = gone
    with ThreadPoolExecutor() as pool:
        streamed = body("long", stream=True)
        url, headers = editor.gateway.url + CHAT, {"x-api-key": KEY}
        long = pool.submit(httpx.post, url, json=streamed, headers=headers, timeout=30)
        slow = pool.submit(ask, editor, "slow")
        simulator.control.wait_for_requests(2)
        callers = {"new": {"keys": [digest(LIMITED_KEY)]}, "demo": {"keys": [digest(KEY)]}}
        changes = {"callers": callers, "pass_through": []}
        editor.change(models=models("later"), providers=providers, **changes)
        assert not long.done()
        assert not slow.done()
        assert said(CHAT, ask(editor, key=LIMITED_KEY)) == "You said: one two three"
        assert slow.result().json()["choices"]
        assert long.result().text.endswith("data: [DONE]\n\n")
    decision = ask(editor).headers["x-dragoman-decision"]
    assert decision == "strategy=weighted; order=later/sim/echo"


def test_a_change_of_the_listener_drops_nothing(editor: Editor, simulator: Simulator) -> None:
    """A header that a rule looks at has to be asked for in Envoy's own filters."""
    with ThreadPoolExecutor() as pool:
        url, headers = editor.gateway.url + CHAT, {"x-api-key": KEY}
        streamed = body("long", stream=True)
        long = pool.submit(httpx.post, url, json=streamed, headers=headers, timeout=30)
        simulator.control.wait_for_requests(1)
        rules = [{"when": {"headers": {"x-tier": "gold"}}, "use": "other"}]
        editor.change(models=models("openai", rules=rules))
        assert "rule=0(other)" in ask(editor, x_tier="gold").headers["x-dragoman-decision"]
        assert long.result().text.endswith("data: [DONE]\n\n")


def test_a_file_that_is_wrong_changes_nothing_also_for_a_worker_that_starts_later(
    editor: Editor,
) -> None:
    refused = editor.write("models: [", "policy_refused")
    assert "not YAML" in refused["problem"]
    (worker,) = editor.gateway.workers()
    os.kill(worker, signal.SIGKILL)
    wait_until(lambda: worker not in editor.gateway.workers() and editor.gateway.workers())
    wait_until(lambda: ask(editor).status_code == 200, what="the worker's successor")
    editor.change(models=models("openai-b"))
    assert "order=openai-b/" in ask(editor).headers["x-dragoman-decision"]


def test_what_envoy_refuses_changes_nothing(editor: Editor) -> None:
    """Roots that are none: only Envoy reads them."""
    roots = editor.gateway.folder / "roots.pem"
    roots.write_text("no certificate")
    away = {
        "kind": "openai",
        "url": "https://127.0.0.1:9",
        "key": editor.providers["openai"]["key"],
    }
    providers = {**editor.providers, "openai": away}
    refused = editor.change("policy_refused", ca_file=str(roots), providers=providers)
    assert "Envoy has not taken" in refused["problem"]
    assert refused["problem"].endswith("its log says why.")
    assert ask(editor).status_code == 200
    editor.change(models=models("openai-b"), pass_through=[])
    assert "order=openai-b/" in ask(editor).headers["x-dragoman-decision"]
    assert editor.gateway.stats("cds.update_rejected")


@pytest.mark.parametrize(
    ("sections", "path"),
    [
        ({"workers": 2}, "$.workers"),
        ({"listener": {"port": 12345}}, "$.listener.port"),
        ({"timeouts": {"drain_seconds": 1}}, "$.timeouts.drain_seconds"),
    ],
)
def test_what_takes_a_restart_is_refused_and_named(
    shared_editor: Editor, sections: dict[str, Any], path: str
) -> None:
    refused = shared_editor.change("policy_refused", **sections)
    assert f"{path}: changes with a restart only" in refused["problem"]
    assert ask(shared_editor).status_code == 200


def test_quotas_may_come_with_a_new_policy(editor: Editor) -> None:
    calls = {"name": "calls", "unit": "requests", "limit": 1, "window": "day"}
    editor.change(quotas=[calls])
    assert ask(editor).headers["x-ratelimit-limit-requests"] == "1"
    assert ask(editor).status_code == 429
    editor.change(quotas=[])
    assert ask(editor).status_code == 200


def test_guardrails_come_and_go(editor: Editor) -> None:
    """The first of them also need a namespace of metadata that Envoy's filter lets through."""
    strict = {"deny": [{"name": "number", "words": ["three"]}]}
    editor.change(guardrails={"default": "strict", "profiles": {"strict": strict}})
    refused = ask(editor)
    assert refused.status_code == 400
    assert "$.messages[0].content: number was found" in refused.text
    wanted = {"number": 1}
    wait_until(
        lambda: [e for e in editor.gateway.ledger() if e.get("dragoman.guardrails") == wanted]
    )
    editor.change(guardrails=None)
    assert ask(editor).status_code == 200


def test_callouts_come_and_go_and_no_request_is_lost(editor: Editor, simulator: Simulator) -> None:
    """The first needs a listener of its own; one that is gone is still asked by who began before."""
    calm = {"results": [{"category_scores": {"hate": 0.1}}]}
    simulator.control.script({"status": 200, "body": calm}, {"path": "/v1/moderations"})
    harm = {"kind": "moderation", "provider": "openai-b", "threshold": 0.5, "timeout_ms": 5000}
    changing = threading.Event()

    def keep_asking() -> set[str]:
        failed: set[str] = set()
        while changing.is_set():
            answer = ask(editor)
            failed |= set() if answer.status_code == 200 else {answer.text}
        return failed

    with ThreadPoolExecutor() as pool, ExitStack() as finished:
        changing.set()
        finished.callback(changing.clear)
        askers = [pool.submit(keep_asking) for _ in range(3)]
        for name in ("harm", "hurt", None):
            strict = {"callouts": [harm | {"name": name}]}
            section = {"default": "strict", "profiles": {"strict": strict}}
            editor.change(guardrails=section if name else None)
            before = len(simulator.control.requests(listener="openai-b"))
            assert ask(editor).status_code == 200
            asked = len(simulator.control.requests(listener="openai-b"))
            assert (asked > before) is bool(name)
        finished.close()
        assert [asker.result() for asker in askers] == [set()] * 3


@pytest.fixture(scope="module")
def shared_editor(all_providers: Simulator) -> Iterator[Editor]:
    with run_gateway(all_providers, models=models("openai")) as gateway:
        yield Editor(gateway)


def test_the_file_of_a_key_goes_with_the_last_cluster_that_led_to_it(
    shared_editor: Editor,
) -> None:
    """Which stays for what is on its way to it, until the change after the next."""
    file = shared_editor.gateway.folder / "run" / "key-later.json"
    providers = shared_editor.providers
    shared_editor.change(providers={**providers, "later": providers["openai"]})
    assert file.exists()
    shared_editor.change(providers=providers)
    assert file.exists()
    shared_editor.change(models=models("openai-b"))
    assert not file.exists()
    assert ask(shared_editor).status_code == 200
