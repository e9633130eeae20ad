"""The official `anthropic` SDK, changed in nothing but base URL and key, on both providers."""

from __future__ import annotations

from typing import Any

import anthropic
import pytest

from dragoman.simulator import Simulator
from tests.envoy.gateway import KEY, Gateway
from tests.envoy.test_sdk_openai import PDF, PIXEL

WEATHER: Any = {
    "name": "get_weather",
    "description": "Weather of a city.",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
}
CLOCK: Any = {
    "name": "get_time",
    "input_schema": {"type": "object", "properties": {"zone": {"type": "string"}}},
}
SCHEMA: Any = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}

both = pytest.mark.parametrize("p", ["o", "a"], ids=["openai", "anthropic"])
every = pytest.mark.parametrize(
    "p", ["a", "o", "g", "b", "k"], ids=["anthropic", "openai", "gemini", "bedrock", "cohere"]
)
"""Its own dialect, and four others."""


def user(content: Any) -> Any:
    return {"role": "user", "content": content}


def ask(client: anthropic.Anthropic, model: str, turns: Any, **more: Any) -> Any:
    turns = [user(turns)] if isinstance(turns, str) else turns
    options: Any = {"max_tokens": 500} | more
    return client.messages.create(model=model, messages=turns, **options)


@every
def test_chat(anthropic_client: anthropic.Anthropic, p: str) -> None:
    answer = ask(anthropic_client, f"{p}/echo", "Hello there friend", system="Be brief.")
    assert answer.type == "message"
    assert answer.role == "assistant"
    assert [block.text for block in answer.content] == ["You said: Hello there friend"]
    assert answer.stop_reason == "end_turn"
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (5, 5)


@every
def test_streaming(anthropic_client: anthropic.Anthropic, p: str) -> None:
    with anthropic_client.messages.stream(
        model=f"{p}/echo", max_tokens=500, messages=[user("one two three")]
    ) as stream:
        pieces = list(stream.text_stream)
        final = stream.get_final_message()
    assert "".join(pieces) == "You said: one two three"
    assert len(pieces) == 5
    assert final.stop_reason == "end_turn"
    assert (final.usage.input_tokens, final.usage.output_tokens) == (3, 5)


@both
def test_stream_events_are_in_order(anthropic_client: anthropic.Anthropic, p: str) -> None:
    events = [event.type for event in ask(anthropic_client, f"{p}/echo", "hi", stream=True)]
    shown = [name for name in events if name != "ping"]
    assert shown[:2] == ["message_start", "content_block_start"]
    assert shown[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert set(shown[2:-3]) == {"content_block_delta"}


def _assert_calls(blocks: Any) -> None:
    calls = [block for block in blocks if block.type == "tool_use"]
    inputs = [(call.name, call.input) for call in calls]
    assert inputs == [
        ("get_weather", {"city": "sample city"}),
        ("get_time", {"zone": "sample zone"}),
    ]
    assert len({call.id for call in calls}) == 2


@every
def test_parallel_tools_and_their_results(anthropic_client: anthropic.Anthropic, p: str) -> None:
    turns = [user("Please use all tools in parallel")]
    first = ask(anthropic_client, f"{p}/echo", turns, tools=[WEATHER, CLOCK])
    assert first.stop_reason == "tool_use"
    _assert_calls(first.content)
    results = [
        {"type": "tool_result", "tool_use_id": block.id, "content": f"result {i}"}
        for i, block in enumerate(b for b in first.content if b.type == "tool_use")
    ]
    turns += [{"role": "assistant", "content": first.content}, user(results)]
    second = ask(anthropic_client, f"{p}/echo", turns, tools=[WEATHER, CLOCK])
    assert second.content[0].text == "The tools said: result 0; result 1"


@every
def test_streamed_tool_arguments(anthropic_client: anthropic.Anthropic, p: str) -> None:
    with anthropic_client.messages.stream(
        model=f"{p}/echo",
        max_tokens=500,
        messages=[user("call all tools")],
        tools=[WEATHER, CLOCK],
    ) as stream:
        deltas = [event for event in stream if event.type == "input_json"]
        final = stream.get_final_message()
    _assert_calls(final.content)
    assert final.stop_reason == "tool_use"
    assert len(deltas) >= (4 if p in ("o", "a") else 2)  # others have whole arguments in one


@both
@pytest.mark.parametrize(
    ("choice", "prompt", "names"),
    [
        ({"type": "auto"}, "hello", []),
        ({"type": "none"}, "call a tool", []),
        ({"type": "any"}, "hello", ["get_weather"]),
        ({"type": "tool", "name": "get_time"}, "hello", ["get_time"]),
        ({"type": "auto", "disable_parallel_tool_use": True}, "all tools", ["get_weather"]),
    ],
    ids=["auto", "none", "any", "named", "one"],
)
def test_tool_choice(
    anthropic_client: anthropic.Anthropic, p: str, choice: Any, prompt: str, names: list[str]
) -> None:
    answer = ask(anthropic_client, f"{p}/echo", prompt, tools=[WEATHER, CLOCK], tool_choice=choice)
    assert [block.name for block in answer.content if block.type == "tool_use"] == names


@both
def test_images_and_documents(
    anthropic_client: anthropic.Anthropic, simulator: Simulator, p: str
) -> None:
    content = [
        {"type": "text", "text": "look"},
        {"type": "image", "source": {"type": "url", "url": "https://example.com/cat.png"}},
        {
            "type": "image",
            "source": {"type": "base64", "media_type": "image/png", "data": PIXEL},
        },
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": PDF},
        },
    ]
    answer = ask(anthropic_client, f"{p}/echo", [user(content)])
    expected = "You said: look I received 2 images. I received 1 file."
    assert answer.content[0].text == expected
    if p == "o":
        received: Any = simulator.control.requests()[-1].json()
        _, web, inline, file = received["messages"][0]["content"]
        assert web["image_url"]["url"] == "https://example.com/cat.png"
        assert inline["image_url"]["url"] == f"data:image/png;base64,{PIXEL}"
        assert file["file"]["file_data"] == f"data:application/pdf;base64,{PDF}"


@every
def test_an_inline_image(anthropic_client: anthropic.Anthropic, p: str) -> None:
    source = {"type": "base64", "media_type": "image/png", "data": PIXEL}
    content = [{"type": "text", "text": "look"}, {"type": "image", "source": source}]
    answer = ask(anthropic_client, f"{p}/echo", [user(content)])
    assert answer.content[0].text == "You said: look I received 1 image."


@every
def test_structured_output(anthropic_client: anthropic.Anthropic, p: str) -> None:
    answer = ask(
        anthropic_client,
        f"{p}/echo",
        'As json: {"name": "Ada", "age": 36}',
        output_config={"format": {"type": "json_schema", "schema": SCHEMA}},
    )
    assert answer.content[0].text == '{"name": "Ada", "age": 36}'


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("p", ["o", "a", "r"], ids=["openai", "anthropic", "openrouter"])
def test_thinking_comes_back_next_turn(
    anthropic_client: anthropic.Anthropic, p: str, *, stream: bool
) -> None:
    turns = [user("call a tool")]
    options: Any = {
        "max_tokens": 4000,
        "thinking": {"type": "enabled", "budget_tokens": 2000},
        "tools": [WEATHER],
    }
    if stream:
        with anthropic_client.messages.stream(
            model=f"{p}/think", messages=turns, **options
        ) as running:
            first: Any = running.get_final_message()
    else:
        first = ask(anthropic_client, f"{p}/think", turns, **options)
    thought, call = first.content
    assert thought.type == "thinking"
    assert thought.thinking.startswith("Let me think about it.")
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}
    turns += [{"role": "assistant", "content": first.content}, user([result])]
    second = ask(anthropic_client, f"{p}/echo", turns, **options)
    assert second.content[-1].text == "The tools said: sunny"


@pytest.mark.parametrize("is_stream", [True, False], ids=["stream", "body"])
@pytest.mark.parametrize("p", ["o", "g"], ids=["openai", "gemini"])
def test_a_conversation_comes_back_from_another_provider(
    anthropic_client: anthropic.Anthropic, p: str, *, is_stream: bool
) -> None:
    """As after a fallback: thoughts and calls of another model, and Claude asked to think."""
    thinking = {"type": "enabled", "budget_tokens": 2000}
    options: Any = {"max_tokens": 4000, "tools": [WEATHER], "thinking": thinking}
    turns = [user("Use the tool.")]
    with anthropic_client.messages.stream(model=f"{p}/think", messages=turns, **options) as stream:
        first = stream.get_final_message()
    kinds = [block.type for block in first.content]
    assert kinds == ["thinking", "tool_use"]
    result = {"type": "tool_result", "tool_use_id": first.content[1].id, "content": "Sunny"}
    turns = [*turns, {"role": "assistant", "content": first.content}, user([result])]

    with anthropic_client.messages.with_streaming_response.create(
        model="a/echo", messages=turns, stream=is_stream, **options
    ) as answer:
        text = answer.text()
    assert "Sunny" in text
    assert answer.headers["x-dragoman-dropped"] == "$.messages[1].content[0], $.thinking"


def test_withheld_thinking_comes_back(anthropic_client: anthropic.Anthropic) -> None:
    turns = [user("TRIGGER_REDACTED_THINKING")]
    options: Any = {"max_tokens": 4000, "thinking": {"type": "enabled", "budget_tokens": 2000}}
    first = ask(anthropic_client, "a/echo", turns, **options)
    assert first.content[0].type == "redacted_thinking"
    turns += [{"role": "assistant", "content": first.content}, user("and now?")]
    assert ask(anthropic_client, "a/echo", turns, **options).content[-1].text.endswith("now?")


@both
def test_refusal(anthropic_client: anthropic.Anthropic, p: str) -> None:
    answer = ask(anthropic_client, f"{p}/refuse", "please refuse")
    assert answer.stop_reason == "refusal"
    assert answer.content[0].text == "I'm sorry, but I can't help with that."


@both
def test_stop_sequence(anthropic_client: anthropic.Anthropic, p: str) -> None:
    answer = ask(anthropic_client, f"{p}/echo", "one two STOP three", stop_sequences=["STOP"])
    assert answer.content[0].text == "You said: one two "
    if p == "a":
        assert (answer.stop_reason, answer.stop_sequence) == ("stop_sequence", "STOP")
    else:  # OpenAI does not tell a stop sequence from an end
        assert answer.stop_reason == "end_turn"


@both
def test_length(anthropic_client: anthropic.Anthropic, p: str) -> None:
    answer = ask(anthropic_client, f"{p}/echo", "one two three", max_tokens=3)
    assert answer.content[0].text == "You said: one"
    assert answer.stop_reason == "max_tokens"


@both
def test_cached_tokens(anthropic_client: anthropic.Anthropic, p: str) -> None:
    system = [{"type": "text", "text": "word " * 1100, "cache_control": {"type": "ephemeral"}}]
    first = ask(anthropic_client, f"{p}/echo", "hi", system=system).usage
    second = ask(anthropic_client, f"{p}/echo", "hi", system=system).usage
    if p == "a":
        assert (first.input_tokens, first.cache_creation_input_tokens) == (1, 1100)
        assert (second.input_tokens, second.cache_read_input_tokens) == (1, 1100)
    else:
        assert first.input_tokens == 1101
        assert (second.input_tokens, second.cache_read_input_tokens) == (0, 1101)


@pytest.mark.parametrize("as_bearer", [False, True])
def test_key_as_either_header(gateway: Gateway, *, as_bearer: bool) -> None:
    option: Any = {"auth_token": KEY} if as_bearer else {"api_key": KEY}
    with anthropic.Anthropic(base_url=gateway.url, max_retries=0, **option) as client:
        assert ask(client, "a/echo", "hi").content[0].text == "You said: hi"


def test_unknown_key(gateway: Gateway) -> None:
    with (
        anthropic.Anthropic(base_url=gateway.url, api_key="wrong", max_retries=0) as client,
        pytest.raises(anthropic.AuthenticationError) as refused,
    ):
        ask(client, "a/echo", "hi")
    assert _error(refused.value)["type"] == "authentication_error"


def test_unknown_model(anthropic_client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError, match="nothing/here") as refused:
        ask(anthropic_client, "nothing/here", "hi")
    assert _error(refused.value)["type"] == "not_found_error"


def _error(error: anthropic.APIStatusError) -> dict[str, Any]:
    assert isinstance(error.body, dict)
    assert error.body["type"] == "error"
    return dict(error.body["error"])


@every
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("status", "kind"),
    [(429, "rate_limit_error"), (500, "api_error"), (529, "overloaded_error")],
)
def test_errors_keep_status_and_retry_after(
    anthropic_client: anthropic.Anthropic,
    simulator: Simulator,
    p: str,
    status: int,
    kind: str,
    *,
    stream: bool,
) -> None:
    simulator.control.script({"status": status, "retry_after": "7", "message": "not now"})
    with pytest.raises(anthropic.APIStatusError) as refused:
        ask(anthropic_client, f"{p}/echo", "hi", stream=stream)
    assert refused.value.status_code == status
    assert refused.value.response.headers["retry-after"] == "7"
    assert (_error(refused.value)["type"], _error(refused.value)["message"]) == (kind, "not now")


@both
def test_providers_refusal_keeps_its_words(anthropic_client: anthropic.Anthropic, p: str) -> None:
    with pytest.raises(anthropic.BadRequestError, match="absent") as refused:
        ask(
            anthropic_client,
            f"{p}/echo",
            "hi",
            tools=[WEATHER],
            tool_choice={"type": "tool", "name": "absent"},
        )
    assert _error(refused.value)["type"] == "invalid_request_error"


@every
def test_error_in_the_middle_of_a_stream(
    anthropic_client: anthropic.Anthropic, simulator: Simulator, p: str
) -> None:
    simulator.control.script({"stream_error_after": 6, "message": "broke down"})
    with pytest.raises(anthropic.APIStatusError, match="broke down"):
        list(ask(anthropic_client, f"{p}/echo", "one two three four five", stream=True))


def test_models(anthropic_client: anthropic.Anthropic) -> None:
    names = [model.id for model in anthropic_client.models.list()]
    assert {"o/*", "a/*", "renamed"} <= set(names)
    assert anthropic_client.models.retrieve("renamed").id == "renamed"


def test_dropped_hints_are_named(anthropic_client: anthropic.Anthropic) -> None:
    raw = anthropic_client.messages.with_raw_response.create(
        model="o/echo", max_tokens=50, messages=[user("hi")], extra_body={"top_k": 5}
    )
    assert "$.top_k" in raw.headers["x-dragoman-dropped"]
