"""Requests to Bedrock leave signed by Envoy, after translation; no credential passes Python."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import cohere
import httpx
import openai
import pytest

from dragoman.simulator import Simulator
from tests.envoy.gateway import KEY, KINDS, digest, run_gateway

ARN = "arn:aws:bedrock:eu-west-1::foundation-model/cohere.rerank-v3-5:0"
ACCESS, SECRET = "AKIAEXAMPLE0000000", "secret-of-the-signer-77c1"


def test_the_translated_body_is_what_is_signed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bedrock's runtime in chat, its agent runtime in rerank."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    with Simulator(list(KINDS)) as simulator:
        provider = {"url": simulator.url("bedrock"), "params": {"region": "eu-west-1"}}
        changes: dict[str, Any] = {
            "callers": {"demo": {"keys": [digest(KEY)]}},
            "providers": {"bedrock": provider, "bedrock-agent": provider},
            "models": {
                "m": {"targets": [{"provider": "bedrock", "model": "sim/echo"}]},
                "r": {"targets": [{"provider": "bedrock-agent", "model": ARN}]},
            },
            "pass_through": [],
        }
        with run_gateway(simulator, **changes) as gateway:
            client = openai.OpenAI(api_key=KEY, base_url=gateway.url + "/v1", max_retries=0)
            asked: Any = [{"role": "user", "content": "hi"}]
            answer = client.chat.completions.create(model="m", messages=asked)
            with httpx.Client() as http:
                co = cohere.ClientV2(api_key=KEY, base_url=gateway.url, httpx_client=http)
                ranked = co.rerank(model="r", query="two", documents=["one", "two"])
            seen = [Path(f"/proc/{pid}/environ").read_text() for pid in gateway.workers()]
            written = gateway.written()
        chat, rerank = simulator.control.requests()
        bodies = [simulator.control.body(request.number) for request in (chat, rerank)]
    assert answer.choices[0].message.content == "You said: hi"
    assert [one.index for one in ranked.results] == [1, 0]
    assert (rerank.target, ARN in bodies[1].decode()) == ("/rerank", True)
    for request, body in zip((chat, rerank), bodies, strict=True):
        headers = dict(request.headers)
        scope = "/eu-west-1/bedrock/aws4_request"
        assert headers["authorization"].startswith(f"AWS4-HMAC-SHA256 Credential={ACCESS}/")
        assert scope in headers["authorization"]
        assert headers["x-amz-content-sha256"] == hashlib.sha256(body).hexdigest()
        assert KEY not in str(request.headers)
    assert SECRET not in written
    assert seen
    assert not [one for one in seen if SECRET in one or ACCESS in one]
