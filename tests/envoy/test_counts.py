"""Counts of tokens through the real Envoy: each official SDK against each provider that counts."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import boto3
import httpx
import openai
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from google import genai
from google.genai import types

from dragoman.simulator import Simulator
from tests.envoy.gateway import KEY, Gateway

ANSWERS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "a": ("anthropic", "/v1/messages/count_tokens", {"input_tokens": 42}),
    "o": ("openai", "/v1/responses/input_tokens", {"object": "x", "input_tokens": 42}),
    "p": ("responses", "/v1/responses/input_tokens", {"object": "x", "input_tokens": 42}),
    "g": (
        "gemini",
        "/v1beta/models/sim%2Fecho:countTokens",
        {"totalTokens": 42, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 42}]},
    ),
    "b": ("bedrock", "/model/sim%2Fecho/count-tokens", {"inputTokens": 42}),
}
"""What each provider is asked, and answers."""
by_provider = pytest.mark.parametrize("p", ANSWERS)


@pytest.fixture
def counting(simulator: Simulator) -> Simulator:
    for listener, _, body in ANSWERS.values():
        simulator.control.script({"status": 200, "body": body}, {"listener": listener})
    return simulator


def asked(simulator: Simulator, p: str) -> dict[str, Any]:
    """The body the provider got, after a look at where it was asked."""
    (request,) = simulator.control.requests()
    assert (request.listener, request.target.partition("?")[0]) == ANSWERS[p][:2]
    body: dict[str, Any] = json.loads(simulator.control.body(request.number))
    return body


@by_provider
def test_anthropic(gateway: Gateway, counting: Simulator, p: str) -> None:
    client = anthropic.Anthropic(api_key=KEY, base_url=gateway.url, max_retries=0)
    found = client.messages.count_tokens(
        model=f"{p}/echo", system="Be brief.", messages=[{"role": "user", "content": "hi"}]
    )
    assert found.input_tokens == 42
    text = json.dumps(asked(counting, p))
    assert p == "b" or ("Be brief." in text and "hi" in text)
    assert "max_tokens" not in text


@by_provider
def test_openai(gateway: Gateway, counting: Simulator, p: str) -> None:
    client = openai.OpenAI(api_key=KEY, base_url=gateway.url + "/v1", max_retries=0)
    found = client.responses.input_tokens.count(
        model=f"{p}/echo",
        input="hi",
        instructions="Be brief.",
        tools=[{"type": "function", "name": "look", "parameters": {}, "strict": False}],
    )
    assert (found.input_tokens, found.object) == (
        42,
        "response.input_tokens" if p in "agb" else "x",
    )
    text = json.dumps(asked(counting, p))
    assert all(word in text for word in ("hi", "Be brief.", "look"))
    assert "max_tokens" not in text


@by_provider
def test_gemini(gateway: Gateway, counting: Simulator, p: str) -> None:
    options = types.HttpOptions(base_url=gateway.url)
    client = genai.Client(api_key=KEY, http_options=options)
    assert client.models.count_tokens(model=f"{p}/echo", contents="hi").total_tokens == 42
    assert "hi" in json.dumps(asked(counting, p))


@by_provider
def test_bedrock(gateway: Gateway, counting: Simulator, p: str) -> None:
    config = Config(retries={"total_max_attempts": 1}, signature_version=UNSIGNED)
    client: Any = boto3.client(
        "bedrock-runtime", region_name="x", endpoint_url=gateway.url, config=config
    )

    def authorize(request: Any, **_: Any) -> None:
        request.headers["Authorization"] = f"Bearer {KEY}"

    client.meta.events.register("before-send.bedrock-runtime.*", authorize)
    converse = {"messages": [{"role": "user", "content": [{"text": "hi"}]}]}
    found = client.count_tokens(modelId=f"{p}/echo", input={"converse": converse})
    assert found["inputTokens"] == 42
    assert "hi" in json.dumps(asked(counting, p))


def test_a_whole_request_of_geminis_names_the_targets_model(
    gateway: Gateway, counting: Simulator
) -> None:
    whole = {"model": "models/g/echo", "contents": [{"parts": [{"text": "hi"}]}]}
    found = httpx.post(
        gateway.url + "/v1beta/models/g%2Fecho:countTokens",
        json={"generateContentRequest": whole},
        headers={"x-goog-api-key": KEY},
    )
    assert found.json()["totalTokens"] == 42
    body = asked(counting, "g")
    assert body == {"generateContentRequest": {**whole, "model": "models/sim/echo"}}


def test_a_provider_that_does_not_count_is_estimated_for(
    gateway: Gateway, simulator: Simulator
) -> None:
    client = anthropic.Anthropic(api_key=KEY, base_url=gateway.url, max_retries=0)
    raw = client.messages.with_raw_response.count_tokens(
        model="m/echo", messages=[{"role": "user", "content": "x" * 400}]
    )
    assert raw.parse().input_tokens == 100
    assert raw.headers["x-dragoman-estimated"] == "true"
    assert not simulator.control.requests()


def test_what_cannot_be_counted_elsewhere_is_refused_by_its_path(gateway: Gateway) -> None:
    client = anthropic.Anthropic(api_key=KEY, base_url=gateway.url, max_retries=0)
    memory: Any = {"type": "memory_20250818", "name": "memory"}
    with pytest.raises(anthropic.BadRequestError, match=r"\$\.tools\[0\]"):
        client.messages.count_tokens(
            model="g/echo", messages=[{"role": "user", "content": "x"}], tools=[memory]
        )


def test_a_providers_error_keeps_its_words(gateway: Gateway, simulator: Simulator) -> None:
    error = {"message": "The provided model doesn't support counting tokens."}
    simulator.control.script({"status": 400, "body": error}, {"listener": "bedrock"})
    client = anthropic.Anthropic(api_key=KEY, base_url=gateway.url, max_retries=0)
    with pytest.raises(anthropic.BadRequestError, match="doesn't support counting"):
        client.messages.count_tokens(model="b/echo", messages=[{"role": "user", "content": "x"}])
