"""Requests to Bedrock leave signed by Envoy, after translation; no credential passes Python."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import openai
import pytest

from dragoman.simulator import Simulator
from tests.envoy.gateway import KEY, KINDS, digest, run_gateway

ACCESS, SECRET = "AKIAEXAMPLE0000000", "secret-of-the-signer-77c1"


def test_the_translated_body_is_what_is_signed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    with Simulator(list(KINDS)) as simulator:
        provider = {"url": simulator.url("bedrock"), "params": {"region": "eu-west-1"}}
        changes: dict[str, Any] = {
            "callers": {"demo": {"keys": [digest(KEY)]}},
            "providers": {"bedrock": provider},
            "models": {"m": {"targets": [{"provider": "bedrock", "model": "sim/echo"}]}},
            "pass_through": [],
        }
        with run_gateway(simulator, **changes) as gateway:
            client = openai.OpenAI(api_key=KEY, base_url=gateway.url + "/v1", max_retries=0)
            asked: Any = [{"role": "user", "content": "hi"}]
            answer = client.chat.completions.create(model="m", messages=asked)
            seen = [Path(f"/proc/{pid}/environ").read_text() for pid in gateway.workers()]
            written = gateway.written()
        (request,) = simulator.control.requests()
        body = simulator.control.body(request.number)
    assert answer.choices[0].message.content == "You said: hi"
    headers = dict(request.headers)
    scope = "/eu-west-1/bedrock/aws4_request"
    assert headers["authorization"].startswith(f"AWS4-HMAC-SHA256 Credential={ACCESS}/")
    assert scope in headers["authorization"]
    assert headers["x-amz-content-sha256"] == hashlib.sha256(body).hexdigest()
    assert KEY not in str(request.headers)
    assert SECRET not in written
    assert seen
    assert not [one for one in seen if SECRET in one or ACCESS in one]
