"""SDKs made for clouds as clients (Bedrock, Vertex AI, Azure), and the clouds as providers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import boto3
import httpx
import openai
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError

from dragoman.simulator import Simulator
from tests.envoy.gateway import KEY, Gateway, fresh_caller, wait_until

PROVIDERS = ("a", "o", "g", "b", "i", "v")
by_provider = pytest.mark.parametrize("p", PROVIDERS)
TURNS: Any = [{"role": "user", "content": "one two"}]
WEATHER: Any = {"name": "weather", "input_schema": {"type": "object", "properties": {}}}
CLIENTS = ("plain", "bedrock", "vertex")


def client_of(kind: str, gateway: Gateway, key: str = KEY) -> Any:
    match kind:
        case "bedrock":
            return anthropic.AnthropicBedrock(
                api_key=key, aws_region="x", base_url=gateway.url, max_retries=0
            )
        case "vertex":
            url = f"{gateway.url}/v1"
            return anthropic.AnthropicVertex(
                access_token=key, project_id="mine", region="x", base_url=url, max_retries=0
            )
        case _:
            return anthropic.Anthropic(api_key=key, base_url=gateway.url, max_retries=0)


@by_provider
@pytest.mark.parametrize("kind", CLIENTS)
def test_text_and_stream(gateway: Gateway, kind: str, p: str) -> None:
    with client_of(kind, gateway) as client:
        asked: Any = {"model": f"{p}/echo", "max_tokens": 50, "messages": TURNS}
        answer = client.messages.create(**asked)
        with client.messages.stream(**asked) as stream:
            final = stream.get_final_message()
    for said in (answer, final):
        assert [block.text for block in said.content] == ["You said: one two"]
        assert (said.usage.input_tokens, said.usage.output_tokens) == (2, 4)
        assert said.stop_reason == "end_turn"


@by_provider
@pytest.mark.parametrize("kind", ["bedrock", "vertex"])
def test_tools_and_errors(gateway: Gateway, kind: str, p: str) -> None:
    with client_of(kind, gateway) as client:
        turns: Any = [{"role": "user", "content": "Call the tool"}]
        asked: Any = {"model": f"{p}/echo", "max_tokens": 50, "messages": turns, "tools": [WEATHER]}
        with client.messages.stream(**asked) as stream:
            calls = [b for b in stream.get_final_message().content if b.type == "tool_use"]
        assert [call.name for call in calls] == ["weather"]
        with pytest.raises(anthropic.NotFoundError):
            client.messages.create(model="nothing", max_tokens=1, messages=TURNS)
    with client_of(kind, gateway, "wrong") as client, pytest.raises(anthropic.AuthenticationError):
        client.messages.create(model=f"{p}/echo", max_tokens=1, messages=TURNS)


@pytest.mark.parametrize("p", ["i", "v"])
def test_a_chat_client_reaches_claude_in_the_clouds(
    gateway: Gateway, simulator: Simulator, p: str
) -> None:
    with openai.OpenAI(api_key=KEY, base_url=f"{gateway.url}/v1", max_retries=0) as client:
        answer = client.chat.completions.create(model=f"{p}/echo", messages=TURNS)
    assert answer.choices[0].message.content == "You said: one two"
    (request,) = simulator.control.requests()
    assert (
        request.target
        == {
            "i": "/model/anthropic.sim%2Fecho/converse",
            "v": "/v1/projects/p1/locations/eu/publishers/anthropic/models/claude-sim%2Fecho:rawPredict",
        }[p]
    )


@pytest.mark.parametrize("p", ["i", "v"])
def test_beta_features_reach_each_cloud_where_it_reads_them(
    gateway: Gateway, simulator: Simulator, p: str
) -> None:
    with client_of("plain", gateway) as client:
        client.beta.messages.create(
            model=f"{p}/echo", max_tokens=50, messages=TURNS, betas=["x-1", "y-2"]
        )
    (request,) = simulator.control.requests()
    body = simulator.control.body(request.number)
    assert (b'"anthropic_beta":["x-1","y-2"]' in body) is (p == "i")
    assert dict(request.headers)["anthropic-beta"] == "x-1,y-2"
    assert "?" not in request.target


@pytest.mark.parametrize("failures", [1, 2])
def test_fallback_from_bedrock(gateway: Gateway, simulator: Simulator, failures: int) -> None:
    for listener in ("bedrock", "openai")[:failures]:
        simulator.control.script({"status": 503}, {"listener": listener})
    with client_of("bedrock", gateway) as client:
        asked: Any = {"model": "fall-i/echo", "max_tokens": 50, "messages": TURNS}
        with client.messages.stream(**asked) as stream:
            assert stream.get_final_text() == "You said: one two"
    asked_last = simulator.control.requests()[-1]
    assert asked_last.listener == ("openai", "anthropic")[failures - 1]


@pytest.mark.parametrize("kind", CLIENTS)
@pytest.mark.parametrize("p", ["a", "i", "v"])
@pytest.mark.parametrize("stream", [False, True])
def test_tokens_are_exact(gateway: Gateway, kind: str, p: str, *, stream: bool) -> None:
    caller, key = fresh_caller()
    with client_of(kind, gateway, key) as client:
        answer = client.messages.create(
            model=f"{p}/echo", max_tokens=50, messages=TURNS, stream=stream
        )
        if stream:
            list(answer)

    def entries() -> list[dict[str, Any]]:
        return [entry for entry in gateway.ledger() if caller in entry.values()]

    (entry,) = wait_until(entries, what="the ledger's entry")
    assert entry["dragoman.metering"] == "exact"
    assert (entry["gen_ai.usage.input_tokens"], entry["gen_ai.usage.output_tokens"]) == (2, 4)


def test_an_error_of_bedrocks_reads_as_anthropics(gateway: Gateway, simulator: Simulator) -> None:
    simulator.control.script({"status": 429, "body": {"message": "Too many"}})
    answer = httpx.post(
        f"{gateway.url}/v1/messages",
        json={"model": "i/echo", "max_tokens": 5, "messages": TURNS},
        headers={"x-api-key": KEY},
    )
    assert answer.status_code == 429
    error = {"type": "rate_limit_error", "message": "Too many"}
    assert answer.json() == {"type": "error", "error": error}


@pytest.fixture
def runtime(gateway: Gateway) -> Any:
    """boto3's, with the key put in by hand: it sends bearer tokens over TLS only."""
    config = Config(retries={"total_max_attempts": 1}, signature_version=UNSIGNED)
    kind = "bedrock-runtime"
    client = boto3.client(kind, region_name="x", endpoint_url=gateway.url, config=config)

    def authorize(request: Any, **_: Any) -> None:
        request.headers["Authorization"] = f"Bearer {KEY}"

    client.meta.events.register("before-send.bedrock-runtime.*", authorize)
    return client


def _invoked(**more: Any) -> str:
    asked = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 50, "messages": TURNS}
    return json.dumps(asked | more)


@by_provider
def test_boto3_invokes_any_model_with_anthropics_body(runtime: Any, p: str) -> None:
    """Whose body it is tells `anthropic_version`, whatever the model is called."""
    found = runtime.invoke_model(modelId=f"{p}/echo", body=_invoked())
    answer = json.loads(found["body"].read())
    assert [block["text"] for block in answer["content"]] == ["You said: one two"]
    streamed = runtime.invoke_model_with_response_stream(modelId=f"{p}/echo", body=_invoked())
    events = [json.loads(event["chunk"]["bytes"]) for event in streamed["body"]]
    said = [e["delta"]["text"] for e in events if e["type"] == "content_block_delta"]
    assert "".join(said) == "You said: one two"
    (call,) = json.loads(
        runtime.invoke_model(
            modelId=f"{p}/echo",
            body=_invoked(tools=[WEATHER], tool_choice={"type": "tool", "name": "weather"}),
        )["body"].read()
    )["content"]
    assert (call["type"], call["name"]) == ("tool_use", "weather")


def test_boto3_reads_errors_of_what_it_invokes(runtime: Any, simulator: Simulator) -> None:
    def refused(code: str, model: str, body: str, method: str = "invoke_model") -> str:
        with pytest.raises(ClientError) as caught:
            getattr(runtime, method)(modelId=model, body=body)
        found: Any = caught.value.response
        assert found["Error"]["Code"] == code
        return str(found["Error"]["Message"])

    assert "nothing" in refused("ResourceNotFoundException", "nothing", _invoked())
    assert "$.messages" in refused("ValidationException", "a/echo", _invoked(messages=[]))
    unknown = '{"messages": [], "inferenceConfig": {}}'
    assert "body" in refused("ValidationException", "a/echo", unknown)
    stream = "invoke_model_with_response_stream"
    assert "body" in refused("ValidationException", "a/echo", unknown, stream)
    for model in ("a/echo", "i/echo", "o/echo"):
        simulator.control.script({"status": 429, "message": "Too many"})
        assert refused("ThrottlingException", model, _invoked()) == "Too many"
    simulator.control.reset()
    simulator.control.script({"reset_before_headers": True})
    assert refused("503", "i/echo", _invoked()) == "No upstream can serve this now."


@pytest.fixture
def azure(gateway: Gateway) -> Iterator[openai.AzureOpenAI]:
    with openai.AzureOpenAI(
        api_key=KEY, azure_endpoint=gateway.url, api_version="2024-06-01", max_retries=0
    ) as client:
        yield client


@pytest.mark.parametrize("p", ["o", "a", "z", "y"])
def test_azures_sdk(azure: openai.AzureOpenAI, p: str) -> None:
    answer = azure.chat.completions.create(model=f"{p}/echo", messages=TURNS)
    assert answer.choices[0].message.content == "You said: one two"
    chunks = list(azure.chat.completions.create(model=f"{p}/echo", messages=TURNS, stream=True))
    said = [c.choices[0].delta.content or "" for c in chunks if c.choices]
    assert "".join(said) == "You said: one two"
    with pytest.raises(openai.NotFoundError):
        azure.chat.completions.create(model="nothing", messages=TURNS)


def test_azures_sdk_beside_its_deployments(azure: openai.AzureOpenAI) -> None:
    assert azure.responses.create(model="o/echo", input="one two").output_text
    assert "fast" in {model.id for model in azure.models.list()}


@pytest.mark.parametrize(
    ("model", "listener", "target"),
    [
        (
            "fast",
            "azure-classic",
            "/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21",
        ),
        ("o/echo", "openai", "/v1/chat/completions"),
    ],
)
def test_a_deployment_is_the_model(
    azure: openai.AzureOpenAI, simulator: Simulator, model: str, listener: str, target: str
) -> None:
    azure.chat.completions.create(model=model, messages=TURNS)
    (request,) = simulator.control.requests()
    assert (request.listener, request.target) == (listener, target)
