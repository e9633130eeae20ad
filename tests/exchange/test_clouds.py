"""Anthropic's dialect where Bedrock or Vertex AI serves it: what each attempt is told and sends."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dragoman.actions import Mutate, Respond
from dragoman.config.load import parse
from dragoman.dialects import StreamOptions
from dragoman.dialects.registry import client_dialect
from dragoman.exchange.decide import Decide
from dragoman.exchange.heads import AttemptHead, RequestHead
from dragoman.exchange.translate import Translate
from tests.dialects.test_anthropic_clouds import STREAM
from tests.properties.cases import decode_stream

MESSAGES = "/v1/messages"
POLICY = parse(
    """
callers: {demo: {keys: [f6f53a67068fc28321efe05e4c062947ad3d72121c670e11a0bde6a52d363974]}}
providers:
  bedrock: {kind: bedrock-key}
  vertex: {kind: vertex, params: {project: p1, location: eu}}
  an: {kind: anthropic}
  oa: {kind: openai}
  az: {kind: azure-openai-deployments, url: "https://r.test"}
models:
  claude:
    targets:
      - {provider: bedrock, model: us.anthropic.claude-x}
      - {provider: an, model: claude-x}
      - {provider: oa, model: gpt}
  cloud: {targets: [{provider: bedrock, model: us.anthropic.claude-x}]}
  nova: {targets: [{provider: bedrock, model: amazon.nova}]}
  vertex: {targets: [{provider: vertex, model: claude-x@1}]}
  gemini: {targets: [{provider: vertex, model: gemini-x}]}
  own: {targets: [{provider: an, model: claude-x}]}
  deployed: {targets: [{provider: az, model: gpt/4o}]}
  chat: {targets: [{provider: oa, model: gpt}]}
  routed: {route: envoy}
""",
    "test.yaml",
    {
        "ANTHROPIC_API_KEY": "1",
        "OPENAI_API_KEY": "2",
        "AWS_BEARER_TOKEN_BEDROCK": "3",
        "AZURE_OPENAI_API_KEY": "4",
    },
)
TURNS = [{"role": "user", "content": "hi"}]
BEDROCK_BODY = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 9, "messages": TURNS}


def admitted(path: str, body: dict[str, Any], **headers: str) -> tuple[Mutate, Any, dict[str, str]]:
    """The action, the body that goes on, and the facts."""
    given = {"authorization": "Bearer dragoman-demo", **headers}
    raw = json.dumps(body).encode()
    head = RequestHead(method="POST", path=path, headers=given)
    action = Decide(POLICY, lambda: 0.0).on_request(head, raw)
    assert isinstance(action, Mutate), action
    facts = {k: v for k, v in action.metadata["dragoman"].items() if isinstance(v, str)}
    return action, json.loads(action.body or raw), facts


def attempt(cluster: str, number: int, body: Any, facts: dict[str, str]) -> tuple[Translate, Any]:
    stage = Translate(POLICY, AttemptHead(cluster=cluster, attempt=number, metadata=facts))
    action = stage.on_request(json.dumps(body).encode())
    assert isinstance(action, Mutate), action
    return stage, json.loads(action.body or json.dumps(body))


def messages(model: str, **more: Any) -> dict[str, Any]:
    return {"model": model, "max_tokens": 9, "messages": TURNS, **more}


def test_a_plain_client_reaches_bedrock_and_falls_back_with_nothing_lost() -> None:
    asked = messages("claude", stream=True)
    action, sent, facts = admitted(MESSAGES, asked, **{"anthropic-beta": "a, b"})
    assert sent == {**BEDROCK_BODY, "anthropic_beta": ["a", "b"]}
    assert action.metadata["dragoman.paths"] == {
        "bedrock": "/model/us.anthropic.claude-x/invoke-with-response-stream",
        "an": MESSAGES,
        "oa": "/v1/chat/completions",
    }
    assert not [name for name in facts if name.startswith("keep:")]

    again, second = attempt("an", 2, sent, facts)
    assert again.passes_response
    assert second == messages("claude-x", stream=True)
    third = attempt("oa", 3, sent, facts)[1]
    assert (third["model"], third["stream"]) == ("gpt", True)


def test_bedrocks_frames_become_server_sent_events() -> None:
    _, sent, facts = admitted(MESSAGES, messages("cloud", stream=True))
    stage, same = attempt("bedrock", 1, sent, facts)
    assert same == sent
    kind = {":status": "200", "content-type": "application/vnd.amazon.eventstream"}
    assert stage.on_headers(kind, end_of_stream=False) == []
    head, *chunks = [a for i in range(len(STREAM)) for a in _fed(stage, i)]
    assert head.set_headers["content-type"] == "text/event-stream"
    body = b"".join(chunk.body for chunk in chunks)
    assert body.startswith(b"event: message_start\n")
    assert body.endswith(b'{"type":"message_stop"}\n\n')
    usage = chunks[-1].metadata["dragoman.usage"]
    assert (usage["input_tokens"], usage["output_tokens"], usage["exact"]) == (5, 3, "1")


def _fed(stage: Translate, at: int) -> list[Any]:
    return list(stage.on_body(STREAM[at : at + 1], end_of_stream=at + 1 == len(STREAM)))


def test_bedrocks_errors_become_the_clients() -> None:
    _, sent, facts = admitted(MESSAGES, messages("cloud"))
    stage, _ = attempt("bedrock", 1, sent, facts)
    stage.on_headers({":status": "429", "content-type": "application/json"}, end_of_stream=False)
    _, chunk = stage.on_body(b'{"message":"Too many tokens"}', end_of_stream=True)
    error = {"type": "rate_limit_error", "message": "Too many tokens"}
    assert json.loads(chunk.body) == {"type": "error", "error": error}


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_of_bedrock_passes_through_to_bedrock(*, stream: bool) -> None:
    method = "invoke-with-response-stream" if stream else "invoke"
    headers = {"x-stainless-lang": "python"}
    action, sent, facts = admitted(f"/model/cloud/{method}", BEDROCK_BODY, **headers)
    assert action.body is None
    assert sent == BEDROCK_BODY
    assert facts["keep:bedrock"] == "1"
    assert ("respond" in facts) is stream  # Envoy cannot count inside base64
    paths = {"bedrock": f"/model/us.anthropic.claude-x/{method}"}
    assert action.metadata["dragoman.paths"] == paths


def test_a_client_of_bedrock_reaches_anthropic() -> None:
    body = {**BEDROCK_BODY, "anthropic_beta": ["a", "b"]}
    headers = {"x-stainless-lang": "python"}
    path = "/model/own/invoke-with-response-stream"
    action, sent, facts = admitted(path, body, **headers)
    assert sent == messages("claude-x", stream=True)
    assert action.set_headers == {"anthropic-beta": "a,b"}
    assert "keep:an" not in facts
    stage, again = attempt("an", 1, sent, facts)
    assert again == sent
    assert not stage.passes_response
    stage.on_headers({":status": "200", "content-type": "text/event-stream"}, end_of_stream=False)
    encoder = client_dialect("anthropic_messages").stream_encoder(StreamOptions())
    events = decode_stream(client_dialect("anthropic_messages"), [STREAM])
    head, chunk = stage.on_body(b"".join(map(encoder.feed, events)), end_of_stream=True)
    assert isinstance(head, Mutate)
    assert head.set_headers["content-type"] == "application/vnd.amazon.eventstream"
    assert chunk.body.startswith(b"\0")


def test_vertex_passes_through_with_edits() -> None:
    action, sent, facts = admitted(MESSAGES + "?beta=true", messages("vertex", stream=True))
    assert sent == {
        "stream": True,
        "max_tokens": 9,
        "messages": TURNS,
        "anthropic_version": "vertex-2023-10-16",
    }
    assert facts["keep:vertex"] == "1"
    start = "/v1/projects/p1/locations/eu/publishers/anthropic/models/"
    assert action.metadata["dragoman.paths"] == {"vertex": start + "claude-x%401:streamRawPredict"}


def test_a_client_of_vertex_reaches_any_of_them() -> None:
    start = "/v1/projects/mine/locations/us/publishers/anthropic/models/"
    body = {"anthropic_version": "vertex-2023-10-16", "max_tokens": 9, "messages": TURNS}
    action, sent, facts = admitted(f"{start}vertex:rawPredict", body)
    assert action.body is None
    assert facts["keep:vertex"] == "1"
    _, sent, facts = admitted(f"{start}own:streamRawPredict", body)
    assert sent == messages("claude-x", stream=True)
    assert facts["keep:an"] == "1"
    _, sent, _ = admitted(f"{start}cloud:streamRawPredict", body)
    assert sent == BEDROCK_BODY


@pytest.mark.parametrize(
    ("model", "provider", "path"),
    [
        ("nova", "bedrock", "/model/amazon.nova/converse"),
        (
            "gemini",
            "vertex",
            "/v1/projects/p1/locations/eu/publishers/google/models/gemini-x:generateContent",
        ),
    ],
)
def test_other_makers_models_are_asked_in_their_own_dialect(
    model: str, provider: str, path: str
) -> None:
    action, _, facts = admitted(MESSAGES, messages(model))
    assert action.metadata["dragoman.paths"] == {provider: path}
    assert f"keep:{provider}" not in facts


def test_where_envoy_routes_only_the_usual_framing_is_kept() -> None:
    headers = {"x-stainless-lang": "python"}
    _, _, facts = admitted("/model/routed/invoke", BEDROCK_BODY, **headers)
    assert "keep_dialect" not in facts
    _, _, facts = admitted(MESSAGES, messages("routed"))
    assert facts["keep_dialect"] == "anthropic_messages"


@pytest.mark.parametrize("said", [{"model": "other"}, {}])
def test_an_azure_deployment_names_the_model(said: dict[str, str]) -> None:
    path = "/openai/deployments/{}/chat/completions?api-version=1"
    action, sent, _ = admitted(path.format("deployed"), {**said, "messages": TURNS})
    assert sent == {**said, "messages": TURNS}
    assert action.metadata["dragoman.paths"] == {
        "az": "/openai/deployments/gpt%2F4o/chat/completions?api-version=2024-10-21"
    }
    _, sent, _ = admitted(path.format("chat"), {**said, "messages": TURNS})
    assert sent == {"model": "gpt", "messages": TURNS}


def test_other_operations_have_their_deployments() -> None:
    action, _, facts = admitted("/openai/deployments/deployed/embeddings", {"input": "a"})
    assert action.metadata["dragoman.paths"] == {
        "az": "/openai/deployments/gpt%2F4o/embeddings?api-version=2024-10-21"
    }
    assert facts["keep:az"] == "1"


@pytest.mark.parametrize("path", ["/openai/deployments/chat/heard-of", "/openai/files"])
def test_azure_has_no_path_of_its_own(path: str) -> None:
    head = RequestHead(method="POST", path=path, headers={"authorization": "Bearer dragoman-demo"})
    answer = Decide(POLICY, lambda: 0.0).on_request(head, b"{}")
    assert isinstance(answer, Respond)
    assert answer.status == 404
