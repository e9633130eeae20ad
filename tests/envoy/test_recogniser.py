"""The shipped recogniser and judge through the real Envoy: gRPC over a Unix socket and over TCP."""

from __future__ import annotations

import runpy
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dragoman.simulator import Simulator
from tests.envoy.gateway import Gateway, free_port, run_gateway, wait_until
from tests.envoy.test_redaction import send, text_of

EXAMPLE = runpy.run_path(str(Path(__file__).parents[2] / "envoy" / "recogniser.py"))
SLOW = {"timeout_ms": 2000}
NAME = "Ada Öz"
TEXT = f"Ask Dr. {NAME}, ada@example.com."


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
        models = {name: {"redaction": name, **targets} for name in profiles}
        options: dict[str, Any] = {"redaction": {"profiles": profiles}, "guardrails": guardrails}
        with run_gateway(all_providers, models=models, **options) as gateway:
            yield gateway
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
