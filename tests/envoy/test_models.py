"""The list of models through the real Envoy, with the official SDKs."""

from __future__ import annotations

from typing import Any

import anthropic
import boto3
import cohere
import httpx
import ollama
import openai
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError
from google import genai
from google.genai import types

from dragoman.simulator import Simulator
from tests.envoy.gateway import KEY, LIMITED_KEY, Gateway


@pytest.fixture(autouse=True)
def _nobody_else_is_asked(simulator: Simulator) -> Any:
    yield
    assert not simulator.control.requests()


def test_openai(gateway: Gateway) -> None:
    client = openai.OpenAI(api_key=KEY, base_url=gateway.url + "/v1", max_retries=0)
    assert {"o/*", "known", "renamed"} <= {model.id for model in client.models.list()}
    known = client.models.retrieve("known")
    assert (known.id, known.created > 0) == ("known", True)
    assert known.model_extra
    assert known.model_extra["context_window"] == 200_000
    assert client.models.retrieve("o/echo").id == "o/echo"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("absent")
    limited = openai.OpenAI(api_key=LIMITED_KEY, base_url=gateway.url + "/v1", max_retries=0)
    assert [model.id for model in limited.models.list()] == ["o/*"]


def test_anthropic(gateway: Gateway) -> None:
    client = anthropic.Anthropic(api_key=KEY, base_url=gateway.url, max_retries=0)
    first = client.models.list(limit=3)
    assert (len(first.data), first.has_more) == (3, True)
    every = [model.id for model in client.models.list(limit=3)]
    assert len(every) == len(set(every)) > 3
    assert [m.id for m in client.models.list(before_id=every[2], limit=1)][0] == every[1]
    known = client.models.retrieve("known")
    assert (known.display_name, known.created_at.year) == ("Claude Haiku 4.5", 2025)
    assert (known.max_input_tokens, known.max_tokens) == (200_000, 64_000)
    with pytest.raises(anthropic.BadRequestError, match="after_id"):
        client.models.list(after_id="absent")


def test_gemini(gateway: Gateway) -> None:
    options = types.HttpOptions(base_url=gateway.url)
    client = genai.Client(api_key=KEY, http_options=options)
    every = [model.name for model in client.models.list(config={"page_size": 4})]
    assert len(every) == len(set(every)) > 4
    assert "models/known" in every
    known = client.models.get(model="models/known")
    assert (known.display_name, known.input_token_limit) == ("Claude Haiku 4.5", 200_000)
    assert (known.output_token_limit, known.thinking) == (64_000, True)


def test_bedrock(gateway: Gateway) -> None:
    """AWS lists models on another host than it runs them on; here both are the gateway."""
    config = Config(retries={"total_max_attempts": 1}, signature_version=UNSIGNED)
    client: Any = boto3.client("bedrock", region_name="x", endpoint_url=gateway.url, config=config)

    def authorize(request: Any, **_: Any) -> None:
        request.headers["Authorization"] = f"Bearer {KEY}"

    client.meta.events.register("before-send.bedrock.*", authorize)
    found = {m["modelId"]: m for m in client.list_foundation_models()["modelSummaries"]}
    assert found["known"]["modelName"] == "Claude Haiku 4.5"
    assert found["known"]["inputModalities"] == ["TEXT", "IMAGE"]
    detail = client.get_foundation_model(modelIdentifier="known")["modelDetails"]
    assert detail["modelLifecycle"]["status"] == "ACTIVE"
    with pytest.raises(ClientError, match="ResourceNotFound"):
        client.get_foundation_model(modelIdentifier="absent")


def test_cohere(gateway: Gateway) -> None:
    """On the path that is OpenAI's too: by the header that Cohere's SDKs send."""
    with httpx.Client() as http:
        client = cohere.ClientV2(api_key=KEY, base_url=gateway.url, httpx_client=http)
        first = client.models.list(page_size=3)
        rest = client.models.list(page_size=1000, page_token=first.next_page_token)
        names = [model.name for model in [*first.models, *rest.models]]
        assert len(first.models) == 3
        assert len(names) == len(set(names))
        assert {"o/*", "known", "renamed"} <= set(names)
        known = client.models.get(model="known")
    assert (known.name, known.context_length) == ("known", 200_000)


def test_ollama(gateway: Gateway) -> None:
    headers = {"authorization": f"Bearer {KEY}"}
    with ollama.Client(host=gateway.url, headers=headers) as client:
        assert {"o/*", "known"} <= {model.model for model in client.list().models}
        known = client.show("known")
        assert known.modelinfo
        architecture = known.modelinfo["general.architecture"]
        assert known.modelinfo[f"{architecture}.context_length"] == 200_000
        assert known.capabilities == ["completion", "tools", "vision", "thinking"]
        assert client.ps().models == []
        with pytest.raises(ollama.ResponseError, match="absent") as caught:
            client.show("absent")
        assert caught.value.status_code == 404
        with pytest.raises(ollama.ResponseError, match="/api/chat") as caught:
            client.generate(model="known", prompt="hello")
        assert caught.value.status_code == 404
    version = httpx.get(f"{gateway.url}/api/version", headers=headers).json()["version"]
    assert tuple(map(int, version.split("."))) >= (0, 6, 4)  # what VS Code asks for
    assert httpx.get(f"{gateway.url}/api/version").status_code == 401
    refused = httpx.post(f"{gateway.url}/api/show", json={}, headers=headers)
    assert (refused.status_code, "$.model" in refused.json()["error"]) == (400, True)
