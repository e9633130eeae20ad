"""Services of the operator's through the real Envoy: the shipped recogniser, judge and scorer, in gRPC
over a Unix socket and over TCP, and a webhook that is told of events."""

from __future__ import annotations

import hashlib
import hmac
import json
import runpy
import tempfile
import threading
from base64 import b64decode
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from dragoman.simulator import Simulator
from tests.envoy.gateway import Gateway, free_port, run_gateway, wait_until
from tests.envoy.test_audit import run
from tests.envoy.test_redaction import send, text_of

EXAMPLE = runpy.run_path(str(Path(__file__).parents[2] / "envoy" / "recogniser.py"))
SLOW = {"timeout_ms": 2000}
NAME = "Ada Öz"
TEXT = f"Ask Dr. {NAME}, ada@example.com."


SECRET = "secret-of-events-3c1f"


class Told(BaseHTTPRequestHandler):
    """Takes nothing the first time, and all from then on."""

    protocol_version = "HTTP/1.1"
    seen: ClassVar[list[tuple[str, dict[str, str], bytes]]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.seen.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
        self.send_response(503 if len(self.seen) == 1 else 202)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name there
        del format, args


@pytest.fixture(scope="module")
def running(all_providers: Simulator) -> Iterator[Gateway]:
    """The profile `near` asks the example over a Unix socket, `nobody` asks where nobody is."""
    with tempfile.TemporaryDirectory(prefix="dg") as folder:
        socket, port = f"unix:{folder}/ner.sock", free_port()
        serving = [EXAMPLE["serve"](socket), EXAMPLE["serve"](f"127.0.0.1:{port}")]
        entities = {"person": "replace"}

        def profile(url: str, **more: Any) -> dict[str, Any]:
            recogniser = {"url": url, "entities": entities, **SLOW, **more}
            return {"entities": {"email": "mask"}, "recogniser": recogniser}

        dead = "http://127.0.0.1:9"
        profiles = {
            "near": profile(socket),
            "nobody": profile(dead),
            "lenient": profile(dead, on_failure="allow"),
        }
        judge = {"name": "house", "kind": "grpc", "url": f"http://127.0.0.1:{port}", **SLOW}
        guardrails = {"default": "asks", "profiles": {"asks": {"callouts": [judge]}}}
        targets = {"targets": [{"provider": "openai", "model": "sim/echo"}]}
        told = ThreadingHTTPServer(("127.0.0.1", 0), Told)
        threading.Thread(target=told.serve_forever, args=(0.05,), daemon=True).start()
        url = f"http://127.0.0.1:{told.server_address[1]}/events?v=1"
        secret = Path(folder, "events.secret")
        secret.write_text(SECRET)
        models: dict[str, Any] = {name: {"redaction": name, **targets} for name in profiles}
        options: dict[str, Any] = {"redaction": {"profiles": profiles}, "guardrails": guardrails}
        options["events"] = {"url": url, "secret": {"file": str(secret)}}
        quota = {"name": "calls", "unit": "requests", "limit": 100, "window": "day"}
        models["former"] = {
            "deprecated": {"since": "2026-01-01", "ends": "2999-01-01", "use": "near"},
            **targets,
        }
        models["graded"] = {
            "fallback_on": [{"scored_below": 0.5, "by": "quality"}],
            "targets": [{"provider": p, "model": "sim/echo"} for p in ("openai", "openai-b")],
        }
        scorer = {"kind": "grpc", "url": f"http://127.0.0.1:{port}", "on_failure": "next", **SLOW}
        options["scorers"] = {"quality": scorer}
        options |= {"issued_keys": True, "store": {"directory": folder}}
        options["quotas"] = [{**quota, "warn_at": [0.01]}]
        with run_gateway(all_providers, models=models, **options) as gateway:
            yield gateway
        told.shutdown()
        told.server_close()
        for server in serving:
            server.stop(0).wait()


def test_a_name_is_hidden_and_given_back(running: Gateway, simulator: Simulator) -> None:
    for stream in (False, True):
        answer = send(running, "openai_chat", "near", TEXT, stream=stream)
        assert answer.status_code == 200, answer.text
        said = text_of("openai_chat", answer, stream=stream)
        assert f"Dr. {NAME}, [EMAIL]" in said
    bodies = [simulator.control.body(r.number).decode() for r in simulator.control.requests()]
    assert len(bodies) == 2
    for body in bodies:
        assert "Dr. [PERSON_" in body
        assert NAME not in body
    entry = wait_until(
        lambda: next((e for e in running.ledger() if "dragoman.redacted" in e), None)
    )
    assert entry["dragoman.redacted"] == {"person": 1, "email": 1}
    assert NAME not in running.written()


def test_without_an_answer_it_goes_as_the_profile_says(
    running: Gateway, simulator: Simulator
) -> None:
    refused = send(running, "openai_chat", "nobody", TEXT, stream=False)
    assert refused.status_code == 503
    assert "The recogniser failed (status)" in refused.text
    assert not simulator.control.requests()
    answer = send(running, "openai_chat", "lenient", TEXT, stream=False)
    assert f"Dr. {NAME}, [EMAIL]" in text_of("openai_chat", answer, stream=False)

    def counted() -> bool:
        found = running.series("redactions").items()
        return any(("entity", "recogniser:failed") in who and n >= 1 for who, n in found)

    wait_until(counted, what="statistics")


def test_the_judge_is_asked_over_grpc(running: Gateway, simulator: Simulator) -> None:
    refused = send(running, "openai_chat", "near", "Of poison.", stream=False)
    assert refused.status_code == 400
    assert "refused by house: poison, score 0.8" in refused.text
    assert not simulator.control.requests()


def test_the_scorer_is_asked_over_grpc(running: Gateway, simulator: Simulator) -> None:
    for text, asked in (("Of cats.", ["openai"]), ("I do not know.", ["openai", "openai-b"])):
        simulator.control.reset()
        answer = send(running, "anthropic_messages", "graded", text, stream=False)
        assert text_of("anthropic_messages", answer, stream=False) == f"You said: {text}"
        assert [request.listener for request in simulator.control.requests()] == asked


def events_of(kind: str) -> list[dict[str, Any]]:
    found = [json.loads(body) for _, _, body in Told.seen[1:]]
    return [event["data"] for event in found if event["type"] == f"dev.dragoman.{kind}"]


def test_events_are_sent_until_they_are_taken(running: Gateway, simulator: Simulator) -> None:
    """The first tells which policy there is; a quota's first percent is reached by any request."""
    assert send(running, "openai_chat", "near", "Hi.", stream=False).status_code == 200
    first, again = wait_until(lambda: Told.seen[1:] and Told.seen[:2], what="events")
    for path, headers, body in (first, again):
        assert (path, headers["content-type"]) == ("/events?v=1", "application/cloudevents+json")
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        digest = hmac.new(SECRET.encode(), signed, hashlib.sha256).digest()
        assert b64decode(headers["webhook-signature"].removeprefix("v1,")) == digest
        assert "x-request-id" not in headers
    assert first[2] == again[2]
    event = json.loads(first[2])
    assert (event["specversion"], event["id"]) == ("1.0", first[1]["webhook-id"])
    assert event["type"] == "dev.dragoman.policy.loaded"
    text = (running.folder / "dragoman.yaml").read_bytes()
    assert event["data"]["sha256"] == hashlib.sha256(text).hexdigest()
    (reached,) = wait_until(lambda: events_of("quota.level_reached"), what="events")
    assert reached.pop("used") >= 1
    quota = {"quota": "calls", "subject": "demo", "unit": "requests"}
    assert reached == {**quota, "percent": 1, "limit": 100}
    assert SECRET not in running.written()
    assert not simulator.control.requests()[1:]


def test_keys_policies_and_models_that_end_are_told_of(
    running: Gateway, simulator: Simulator
) -> None:
    del simulator
    issued = run(running, "keys", "issue", "demo", "--expires", "90d", "--reason", "ticket 7")
    assert issued.returncode == 0, issued.stderr
    assert send(running, "openai_chat", "former", "Hi.", stream=False).status_code == 200
    path = running.folder / "dragoman.yaml"
    text = path.read_text()
    path.write_text("models: [")
    (refused,) = wait_until(lambda: events_of("policy.refused"), what="events")
    path.write_text(text)
    assert "not YAML" in refused["why"]
    (key,) = wait_until(lambda: events_of("key.issued"), what="events")
    assert (key["caller"], key["why"]) == ("demo", "ticket 7")
    (asked,) = wait_until(lambda: events_of("model.deprecated"), what="events")
    assert asked == {"model": "former", "caller": "demo", "use": "near", "ends": "2999-01-01"}
    assert issued.stdout.strip() not in b"".join(body for _, _, body in Told.seen).decode()
