"""Cohere's and Ollama's official SDKs through the real Envoy, to providers of other dialects.

`o/`, `a/`, `g/`, `b/`, `k/` and `l/` are a provider each that speaks Chat Completions, Messages,
Gemini, Converse, Cohere's chat and Ollama's.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import cohere
import httpx
import ollama
import openai
import pytest
from cohere.core.api_error import ApiError

from dragoman.simulator import Simulator
from tests.envoy.gateway import KEY, Gateway, fresh_caller, wait_until

PROVIDERS = ("o", "a", "g", "b", "k", "l")
by_provider = pytest.mark.parametrize("p", PROVIDERS)
WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL: Any = {
    "type": "function",
    "function": {"name": "weather", "description": "Weather of a city", "parameters": WEATHER},
}
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
FAILS: Any = {"stream_error_after": 4, "chunk_pause_ms": 20}
CALL_IT = 'Call the tool with {"city": "Ghent"}'


def _turn(content: Any) -> Any:
    return {"role": "user", "content": content}


# --- Cohere -----------------------------------------------------------------------------------


@pytest.fixture
def co(gateway: Gateway) -> Iterator[cohere.ClientV2]:
    with httpx.Client() as http:
        yield cohere.ClientV2(api_key=KEY, base_url=gateway.url, max_retries=0, httpx_client=http)


@by_provider
def test_cohere_text(co: cohere.ClientV2, p: str) -> None:
    answer: Any = co.chat(model=f"{p}/echo", messages=[_turn("hello there")])
    assert [block.text for block in answer.message.content] == ["You said: hello there"]
    assert answer.finish_reason == "COMPLETE"
    assert answer.usage.tokens.input_tokens > 0
    assert answer.usage.tokens.output_tokens > 0


@by_provider
def test_cohere_stream(co: cohere.ClientV2, p: str) -> None:
    events: list[Any] = list(co.chat_stream(model=f"{p}/echo", messages=[_turn("hello there")]))
    deltas = [e.delta.message.content.text for e in events if e.type == "content-delta"]
    assert len(deltas) > 1
    assert "".join(deltas) == "You said: hello there"
    assert (events[0].type, events[-1].type) == ("message-start", "message-end")
    assert events[-1].delta.finish_reason == "COMPLETE"
    assert events[-1].delta.usage.tokens.output_tokens > 0


@by_provider
def test_cohere_tools(co: cohere.ClientV2, p: str) -> None:
    asked: list[Any] = [_turn(CALL_IT)]
    first: Any = co.chat(model=f"{p}/echo", messages=asked, tools=[TOOL])
    assert first.finish_reason == "TOOL_CALL"
    (call,) = first.message.tool_calls
    assert (call.function.name, json.loads(call.function.arguments)) == (
        "weather",
        {"city": "Ghent"},
    )
    document = {"type": "document", "document": {"data": {"sky": "rain"}}}
    asked += [first.message, {"role": "tool", "tool_call_id": call.id, "content": [document]}]
    second: Any = co.chat(model=f"{p}/echo", messages=asked, tools=[TOOL])
    assert second.message.content[0].text == 'The tools said: {"sky":"rain"}'


@by_provider
def test_cohere_streamed_tool_call(co: cohere.ClientV2, p: str) -> None:
    events: list[Any] = list(
        co.chat_stream(model=f"{p}/echo", messages=[_turn(CALL_IT)], tools=[TOOL])
    )
    (start,) = [e for e in events if e.type == "tool-call-start"]
    assert start.delta.message.tool_calls.function.name == "weather"
    said = [
        e.delta.message.tool_calls.function.arguments for e in events if e.type == "tool-call-delta"
    ]
    assert json.loads("".join(said)) == {"city": "Ghent"}
    assert events[-1].delta.finish_reason == "TOOL_CALL"


@by_provider
def test_cohere_image_and_schema(co: cohere.ClientV2, p: str) -> None:
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
    shape: Any = {"type": "json_object", "json_schema": WEATHER}
    answer: Any = co.chat(
        model=f"{p}/echo",
        messages=[_turn([{"type": "text", "text": "Look."}, image])],
        response_format=shape,
    )
    assert json.loads(answer.message.content[0].text).keys() == {"city"}


@by_provider
@pytest.mark.parametrize("stream", [False, True])
def test_cohere_providers_errors(
    co: cohere.ClientV2, simulator: Simulator, p: str, *, stream: bool
) -> None:
    simulator.control.script({"status": 422, "message": "not so"})
    ask: Any = co.chat_stream if stream else co.chat
    with pytest.raises(ApiError) as caught:
        list(ask(model=f"{p}/echo", messages=[_turn("x")]))
    assert (caught.value.status_code, caught.value.body["message"]) == (422, "not so")


def test_cohere_errors_and_models(co: cohere.ClientV2) -> None:
    with pytest.raises(ApiError) as caught:
        co.chat(model="nothing", messages=[_turn("x")])
    assert caught.value.status_code == 404
    assert "nothing" in caught.value.body["message"]
    with pytest.raises(ApiError) as caught:
        co.chat(model="a/echo", messages=[_turn("x")], documents=["Penguins live in the south."])
    assert caught.value.status_code == 400
    assert "$.documents" in caught.value.body["message"]
    assert "o/*" in [model.name for model in co.models.list().models]


def test_an_error_within_a_stream_reaches_cohere(co: cohere.ClientV2, simulator: Simulator) -> None:
    simulator.control.script(FAILS, {"listener": "anthropic"})
    events: list[Any] = list(co.chat_stream(model="a/echo", messages=[_turn("hi")]))
    assert events[-1].type == "message-end"
    assert events[-1].delta.finish_reason == "ERROR"
    assert events[-1].delta.error


# --- Ollama -----------------------------------------------------------------------------------


@pytest.fixture
def lama(gateway: Gateway) -> Iterator[ollama.Client]:
    headers = {"authorization": f"Bearer {KEY}"}
    with ollama.Client(host=gateway.url, headers=headers) as client:
        yield client


@by_provider
def test_ollama_text(lama: ollama.Client, p: str) -> None:
    answer = lama.chat(model=f"{p}/echo", messages=[_turn("hello there")])
    assert answer.message.content == "You said: hello there"
    assert (answer.done, answer.done_reason) == (True, "stop")
    assert answer.prompt_eval_count
    assert answer.eval_count


@by_provider
def test_ollama_stream(lama: ollama.Client, p: str) -> None:
    chunks = list(lama.chat(model=f"{p}/echo", messages=[_turn("hello there")], stream=True))
    assert len(chunks) > 2
    assert "".join(chunk.message.content or "" for chunk in chunks) == "You said: hello there"
    assert [chunk.done for chunk in chunks][-2:] == [False, True]
    assert chunks[-1].eval_count


@by_provider
def test_ollama_tools(lama: ollama.Client, p: str) -> None:
    """The SDK keeps no id of a call: its result finds it by the tool's name."""
    asked: list[Any] = [_turn(CALL_IT)]
    first = lama.chat(model=f"{p}/echo", messages=asked, tools=[TOOL])
    (call,) = first.message.tool_calls or ()
    assert (call.function.name, dict(call.function.arguments)) == ("weather", {"city": "Ghent"})
    asked += [first.message, {"role": "tool", "content": "rain", "tool_name": "weather"}]
    second = lama.chat(model=f"{p}/echo", messages=asked, tools=[TOOL])
    assert second.message.content == "The tools said: rain"


@by_provider
def test_ollama_streamed_tool_call(lama: ollama.Client, p: str) -> None:
    chunks = list(
        lama.chat(model=f"{p}/echo", messages=[_turn(CALL_IT)], tools=[TOOL], stream=True)
    )
    (call,) = [call for chunk in chunks for call in chunk.message.tool_calls or ()]
    assert (call.function.name, dict(call.function.arguments)) == ("weather", {"city": "Ghent"})


@by_provider
def test_ollama_image_and_schema(lama: ollama.Client, p: str) -> None:
    asked = {"role": "user", "content": "Look.", "images": [PNG]}
    answer = lama.chat(model=f"{p}/echo", messages=[asked], format=WEATHER)
    assert json.loads(answer.message.content or "").keys() == {"city"}


@by_provider
@pytest.mark.parametrize("stream", [False, True])
def test_ollama_providers_errors(
    lama: ollama.Client, simulator: Simulator, p: str, *, stream: bool
) -> None:
    simulator.control.script({"status": 429, "message": "not now"})
    with pytest.raises(ollama.ResponseError, match="not now") as caught:
        list(lama.chat(model=f"{p}/echo", messages=[_turn("x")], stream=stream))
    assert caught.value.status_code == 429


def test_ollama_errors_and_models(lama: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError, match="nothing") as caught:
        lama.chat(model="nothing", messages=[_turn("x")])
    assert caught.value.status_code == 404
    assert "o/*" in [model.model for model in lama.list().models]


def test_an_error_within_a_stream_reaches_ollama(lama: ollama.Client, simulator: Simulator) -> None:
    simulator.control.script(FAILS, {"listener": "anthropic"})
    chunks = iter(lama.chat(model="a/echo", messages=[_turn("hi")], stream=True))
    assert next(chunks).message.content
    with pytest.raises(ollama.ResponseError, match="Internal server error"):
        list(chunks)


def test_a_body_that_does_not_say_is_answered_in_lines(gateway: Gateway) -> None:
    """Also where the provider streams in another way, or in the same."""
    for model in ("o/echo", "l/echo"):
        body = {"model": model, "messages": [_turn("hi")]}
        headers = {"authorization": f"Bearer {KEY}"}
        answer = httpx.post(gateway.url + "/api/chat", json=body, headers=headers)
        assert answer.headers["content-type"] == "application/x-ndjson"
        lines = [json.loads(line) for line in answer.text.splitlines()]
        assert lines[-1]["done"] is True
        assert "".join(line["message"]["content"] for line in lines) == "You said: hi"


# --- both as providers --------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("p", "path"), [("k", "/v2/chat"), ("l", "/api/chat")])
def test_a_messages_client_reaches_them_at_their_paths(
    anthropic_client: anthropic.Anthropic, simulator: Simulator, p: str, path: str, *, stream: bool
) -> None:
    asked: Any = [_turn("hi")]
    answer: Any = anthropic_client.messages.create(
        model=f"{p}/echo", max_tokens=50, messages=asked, stream=stream
    )
    if stream:
        list(answer)
    else:
        assert answer.content[0].text == "You said: hi"
    assert [r.target for r in simulator.control.requests()] == [path]


def test_an_answer_without_an_id_is_named_after_its_request(openai_client: openai.OpenAI) -> None:
    said = openai_client.chat.completions.with_raw_response.create(
        model="l/echo", messages=[_turn("hi")], stream=True
    )
    request_id = said.headers["x-dragoman-request-id"].replace("-", "")

    assert {chunk.id for chunk in said.parse()} == {f"chatcmpl-{request_id}"}


def test_a_chat_client_reaches_coheres_endpoint_of_its_own_dialect(
    openai_client: openai.OpenAI, simulator: Simulator
) -> None:
    asked: Any = [_turn("hi")]
    answer = openai_client.chat.completions.create(model="k/echo", messages=asked)
    assert answer.choices[0].message.content == "You said: hi"
    (request,) = simulator.control.requests()
    assert request.target == "/compatibility/v1/chat/completions"


PASSED: dict[str, tuple[str, dict[str, Any]]] = {
    "cohere": ("/v2/chat", {"model": "k/echo"}),
    "cohere stream": ("/v2/chat", {"model": "k/echo", "stream": True}),
    "ollama": ("/api/chat", {"model": "l/echo", "stream": False}),
    "ollama stream": ("/api/chat", {"model": "l/echo"}),
}


@pytest.mark.parametrize(("path", "body"), PASSED.values(), ids=PASSED)
def test_what_passes_through_is_counted(gateway: Gateway, path: str, body: dict[str, Any]) -> None:
    """Envoy's own filters find the tokens, but for lines, which the respond stage counts."""
    caller, key = fresh_caller()
    whole = {**body, "messages": [_turn("hi")]}
    answer = httpx.post(gateway.url + path, json=whole, headers={"authorization": f"Bearer {key}"})
    assert answer.status_code == 200, answer.text
    (entry,) = wait_until(
        lambda: [e for e in gateway.ledger() if caller in e.values()], what="the ledger's entry"
    )
    assert entry["dragoman.metering"] == "exact"
    assert entry["gen_ai.usage.input_tokens"] > 0
    assert entry["gen_ai.usage.output_tokens"] > 0


@pytest.mark.parametrize("path", ["/v2/chat", "/api/chat"])
def test_what_envoy_refuses_by_itself_has_their_shapes(gateway: Gateway, path: str) -> None:
    content = b'{"model":"o/echo","messages":"' + b"x" * 2**25 + b'"}'
    headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
    answer = httpx.post(gateway.url + path, content=content, headers=headers, timeout=30)
    assert answer.status_code == 413
    (words,) = answer.json().values()
    assert "larger" in words
    assert set(answer.json()) == ({"message"} if path.startswith("/v2") else {"error"})


@pytest.mark.parametrize("path", ["/v2/unheard-of", "/api/unheard-of"])
def test_unknown_paths_are_refused_in_their_shapes(gateway: Gateway, path: str) -> None:
    headers = {"authorization": f"Bearer {KEY}"}
    answer = httpx.post(gateway.url + path, json={}, headers=headers)
    assert answer.status_code == 404
    assert set(answer.json()) == ({"message"} if path.startswith("/v2") else {"error"})
