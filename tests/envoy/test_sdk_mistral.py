"""The official Mistral SDK, unmodified, through the real Envoy, to Mistral and to other dialects.

It speaks Chat Completions in Mistral's words. `m/`, `o/`, `a/`, `g/`, `b/` and `k/` are a provider
each: Mistral, OpenAI, and those of Messages, Gemini, Converse and Cohere's chat.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pydantic
import pytest
from mistralai.client import Mistral
from mistralai.client.errors import ResponseValidationError, SDKError

from dragoman.simulator import Simulator
from tests.envoy.gateway import KEY, Gateway

PROVIDERS = ("m", "o", "a", "g", "b", "k")
by_provider = pytest.mark.parametrize("p", PROVIDERS)
WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL: Any = {
    "type": "function",
    "function": {"name": "weather", "description": "Weather of a city", "parameters": WEATHER},
}
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
FAILS: Any = {"stream_error_after": 6, "message": "broke down", "chunk_pause_ms": 100}
CALL_IT = 'Call the tool with {"city": "Ghent"}'


class Place(pydantic.BaseModel):
    city: str


def _turn(content: Any) -> Any:
    return {"role": "user", "content": content}


@pytest.fixture
def mistral(gateway: Gateway) -> Iterator[Mistral]:
    with Mistral(api_key=KEY, server_url=gateway.url) as client:
        yield client


def _sent(simulator: Simulator) -> Any:
    return simulator.control.requests()[-1].json()


@by_provider
def test_text(mistral: Mistral, p: str) -> None:
    answer: Any = mistral.chat.complete(model=f"{p}/echo", messages=[_turn("hello there")])
    assert answer.choices[0].message.content == "You said: hello there"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.prompt_tokens > 0
    assert answer.usage.completion_tokens > 0


@by_provider
def test_stream(mistral: Mistral, p: str) -> None:
    with mistral.chat.stream(model=f"{p}/echo", messages=[_turn("hello there")]) as stream:
        choices: list[Any] = [choice for event in stream for choice in event.data.choices]
    deltas = [choice.delta.content for choice in choices if choice.delta.content]
    assert len(deltas) > 1
    assert "".join(deltas) == "You said: hello there"
    assert choices[-1].finish_reason == "stop"


@pytest.mark.parametrize("p", ["o", "a"])
def test_thoughts(mistral: Mistral, simulator: Simulator, p: str) -> None:
    answer: Any = mistral.chat.complete(model=f"{p}/echo+think", messages=[_turn("hello")])
    thought, text = answer.choices[0].message.content
    assert thought.thinking[0].text == "Let me think about it. The user said: hello"
    assert text.text == "You said: hello"

    history: list[Any] = [_turn("hello"), answer.choices[0].message, _turn("again")]
    again: Any = mistral.chat.complete(model=f"{p}/echo", messages=history)
    assert again.choices[0].message.content == "You said: again"
    sent = _sent(simulator)["messages"][1]["content"]
    if p == "o":  # which cannot be told thoughts
        assert sent == "You said: hello"
    else:
        assert sent[0]["signature"]


@pytest.mark.parametrize("p", ["o", "a", "g", "b", "k"])
def test_streamed_thoughts(mistral: Mistral, p: str) -> None:
    """They stand in the content, in chunks of their own."""
    with mistral.chat.stream(model=f"{p}/echo+think", messages=[_turn("hello")]) as stream:
        said: list[Any] = [event.data.choices[0].delta.content for event in stream]
    chunks = [chunk for content in said if isinstance(content, list) for chunk in content]
    thought = "".join(piece.text for chunk in chunks for piece in chunk.thinking)
    assert thought == "Let me think about it. The user said: hello"
    assert "".join(piece for piece in said if isinstance(piece, str)) == "You said: hello"


@by_provider
def test_tools(mistral: Mistral, p: str) -> None:
    """The result names its tool, as Mistral's does; `any` demands a call."""
    asked: list[Any] = [_turn(CALL_IT)]
    first: Any = mistral.chat.complete(
        model=f"{p}/echo", messages=asked, tools=[TOOL], tool_choice="any"
    )
    assert first.choices[0].finish_reason == "tool_calls"
    (call,) = first.choices[0].message.tool_calls
    assert (call.function.name, json.loads(call.function.arguments)) == (
        "weather",
        {"city": "Ghent"},
    )
    result = {"role": "tool", "tool_call_id": call.id, "name": "weather", "content": "rain"}
    asked += [first.choices[0].message, result]
    second: Any = mistral.chat.complete(model=f"{p}/echo", messages=asked, tools=[TOOL])
    assert second.choices[0].message.content == "The tools said: rain"


@by_provider
def test_streamed_tools(mistral: Mistral, p: str) -> None:
    """Each call whole in one chunk; usage in the last, which has a choice as all have."""
    asked: list[Any] = [_turn(CALL_IT)]
    model = f"{p}/echo+whole" if p == "m" else f"{p}/echo"
    with mistral.chat.stream(model=model, messages=asked, tools=[TOOL]) as stream:
        chunks: list[Any] = [event.data for event in stream]
    calls = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or ()]
    (call,) = calls
    assert call.id
    assert (call.function.name, json.loads(call.function.arguments)) == (
        "weather",
        {"city": "Ghent"},
    )
    assert chunks[-1].choices[0].finish_reason == "tool_calls"
    assert chunks[-1].usage.completion_tokens > 0
    assert not any(chunk.usage for chunk in chunks[:-1])


def test_openai_clients_get_a_calls_name_once(openai_client: openai.OpenAI) -> None:
    """Whatever else is asked on the same path."""
    tools: Any = [TOOL]
    with openai_client.chat.completions.stream(
        model="g/echo", messages=[{"role": "user", "content": CALL_IT}], tools=tools
    ) as stream:
        (call,) = stream.get_final_completion().choices[0].message.tool_calls or ()
    assert call.function.name == "weather"


@pytest.mark.parametrize("p", ["o", "g", "k"])
def test_json_object(mistral: Mistral, p: str) -> None:
    shape: Any = {"type": "json_object"}
    answer: Any = mistral.chat.complete(
        model=f"{p}/echo", messages=[_turn("json please")], response_format=shape
    )
    assert isinstance(json.loads(answer.choices[0].message.content), dict)


@pytest.mark.parametrize(
    ("p", "listener"), [("o", "openai"), ("a", "anthropic"), ("g", "gemini"), ("b", "bedrock")]
)
def test_an_error_within_a_stream(
    mistral: Mistral, simulator: Simulator, p: str, listener: str
) -> None:
    simulator.control.script(FAILS, {"listener": listener})
    stream = mistral.chat.stream(model=f"{p}/echo", messages=[_turn("one two three four five")])
    with stream, pytest.raises(ResponseValidationError) as caught:
        list(stream)
    assert "broke down" in caught.value.body


def test_models(mistral: Mistral) -> None:
    cards: Any = {card.id: card for card in mistral.models.list().data or ()}
    assert {"o/*", "known"} <= set(cards)
    assert cards["known"].type == "base"
    known: Any = mistral.models.retrieve(model_id="known")
    assert known == cards["known"]
    assert known.max_context_length == 200_000
    assert known.capabilities.completion_chat
    assert known.capabilities.vision
    assert not known.capabilities.audio


@by_provider
def test_image_as_a_bare_address_and_parse(mistral: Mistral, p: str) -> None:
    image = {"type": "image_url", "image_url": f"data:image/png;base64,{PNG}"}
    answer: Any = mistral.chat.parse(
        Place, model=f"{p}/echo", messages=[_turn([{"type": "text", "text": "Look."}, image])]
    )
    assert isinstance(answer.choices[0].message.parsed, Place)


@pytest.mark.parametrize(("p", "word"), [("m", "random_seed"), ("o", "seed")])
def test_a_seed_has_the_providers_name(
    mistral: Mistral, openai_client: openai.OpenAI, simulator: Simulator, p: str, word: str
) -> None:
    """Whichever client said it."""
    mistral.chat.complete(model=f"{p}/echo", messages=[_turn("x")], random_seed=7)
    assert _sent(simulator).items() & {("seed", 7), ("random_seed", 7)} == {(word, 7)}
    openai_client.chat.completions.create(model=f"{p}/echo", messages=[_turn("x")], seed=7)
    assert _sent(simulator).items() & {("seed", 7), ("random_seed", 7)} == {(word, 7)}


def test_a_seed_reaches_another_dialect(mistral: Mistral, simulator: Simulator) -> None:
    mistral.chat.complete(model="g/echo", messages=[_turn("x")], random_seed=7)
    assert _sent(simulator)["generationConfig"]["seed"] == 7


def test_guardrails_are_mistrals_alone(mistral: Mistral, simulator: Simulator) -> None:
    """A request that is to be guarded is never answered unguarded."""
    guards: Any = [{"block_on_error": True}]
    mistral.chat.complete(model="m/echo", messages=[_turn("x")], guardrails=guards)
    assert _sent(simulator)["guardrails"] == guards
    with pytest.raises(SDKError) as caught:
        mistral.chat.complete(model="a/echo", messages=[_turn("x")], guardrails=guards)
    assert caught.value.status_code == 400
    assert "$.guardrails" in caught.value.body


@by_provider
@pytest.mark.parametrize("stream", [False, True])
def test_providers_errors(mistral: Mistral, simulator: Simulator, p: str, *, stream: bool) -> None:
    simulator.control.script({"status": 429, "retry_after": "7", "message": "not now"})
    ask = mistral.chat.stream if stream else mistral.chat.complete
    with pytest.raises(SDKError, match="not now") as caught:
        ask(model=f"{p}/echo", messages=[_turn("x")])
    assert caught.value.status_code == 429
    assert caught.value.headers["retry-after"] == "7"


def test_errors(mistral: Mistral) -> None:
    with pytest.raises(SDKError) as caught:
        mistral.chat.complete(model="nothing", messages=[_turn("x")])
    assert caught.value.status_code == 404
    assert "nothing" in caught.value.body
