"""The official `openai` SDK, changed in nothing but base URL and key, on both kinds of provider."""

from __future__ import annotations

import base64
import json
from typing import Any

import openai
import pydantic
import pytest

from dragoman.simulator import Simulator

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
PDF = base64.b64encode(b"%PDF-1.4\n%%EOF\n").decode()
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}
CLOCK: Any = {
    "type": "function",
    "function": {
        "name": "get_time",
        "parameters": {"type": "object", "properties": {"zone": {"type": "string"}}},
    },
}

both = pytest.mark.parametrize("p", ["o", "a"], ids=["openai", "anthropic"])
every = pytest.mark.parametrize(
    "p", ["o", "a", "g", "b", "k"], ids=["openai", "anthropic", "gemini", "bedrock", "cohere"]
)
"""Its own dialect, and four others."""


def user(text: Any) -> Any:
    return {"role": "user", "content": text}


@every
def test_chat(openai_client: openai.OpenAI, p: str) -> None:
    turns: Any = [{"role": "system", "content": "Be brief."}, user("Hello there friend")]
    answer = openai_client.chat.completions.create(model=f"{p}/echo", messages=turns)
    assert answer.object == "chat.completion"
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].message.content == "You said: Hello there friend"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    counts = answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens
    assert counts == (5, 5, 10)


@every
@pytest.mark.parametrize("include_usage", [True, False, None])
def test_streaming(openai_client: openai.OpenAI, p: str, include_usage: bool | None) -> None:
    options: Any = {}
    if include_usage is not None:
        options = {"stream_options": {"include_usage": include_usage}}
    chunks = list(
        openai_client.chat.completions.create(
            model=f"{p}/echo", messages=[user("one two three")], stream=True, **options
        )
    )
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    pieces = [c.choices[0].delta.content or "" for c in chunks if c.choices]
    assert "".join(pieces) == "You said: one two three"
    assert len([piece for piece in pieces if piece]) == 5
    reasons = [c.choices[0].finish_reason for c in chunks if c.choices]
    assert [r for r in reasons if r] == ["stop"]
    with_usage = [chunk for chunk in chunks if chunk.usage is not None]
    if include_usage:
        assert with_usage == chunks[-1:]
        assert chunks[-1].choices == []
        assert (chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens) == (3, 5)
    else:
        assert not with_usage
        assert all(chunk.choices for chunk in chunks)


def _assert_calls(calls: Any) -> None:
    assert [call.function.name for call in calls] == ["get_weather", "get_time"]
    assert json.loads(calls[0].function.arguments) == {"city": "sample city"}
    assert json.loads(calls[1].function.arguments) == {"zone": "sample zone"}
    assert all(call.id and call.type == "function" for call in calls)
    assert len({call.id for call in calls}) == 2


@every
def test_parallel_tools_and_their_results(openai_client: openai.OpenAI, p: str) -> None:
    turns: Any = [user("Please use all tools in parallel")]
    first = openai_client.chat.completions.create(
        model=f"{p}/echo", messages=turns, tools=[WEATHER, CLOCK]
    )
    assert first.choices[0].finish_reason == "tool_calls"
    message = first.choices[0].message
    _assert_calls(message.tool_calls)
    turns.append(message.model_dump(exclude_none=True))
    for call, result in zip(message.tool_calls or (), ("sunny", "noon"), strict=True):
        turns.append({"role": "tool", "tool_call_id": call.id, "content": result})
    second = openai_client.chat.completions.create(
        model=f"{p}/echo", messages=turns, tools=[WEATHER, CLOCK]
    )
    assert second.choices[0].message.content == "The tools said: sunny; noon"


@every
def test_streamed_tool_arguments(openai_client: openai.OpenAI, p: str) -> None:
    with openai_client.chat.completions.stream(
        model=f"{p}/echo", messages=[user("call all tools")], tools=[WEATHER, CLOCK]
    ) as stream:
        deltas = [e for e in stream if e.type == "tool_calls.function.arguments.delta"]
        final = stream.get_final_completion()
    _assert_calls(final.choices[0].message.tool_calls)
    assert final.choices[0].finish_reason == "tool_calls"
    assert len(deltas) >= 4


@both
@pytest.mark.parametrize(
    ("choice", "prompt", "names"),
    [
        ("auto", "hello", []),
        ("none", "call a tool", []),
        ("required", "hello", ["get_weather"]),
        ({"type": "function", "function": {"name": "get_time"}}, "hello", ["get_time"]),
    ],
    ids=["auto", "none", "required", "named"],
)
def test_tool_choice(
    openai_client: openai.OpenAI, p: str, choice: Any, prompt: str, names: list[str]
) -> None:
    answer = openai_client.chat.completions.create(
        model=f"{p}/echo", messages=[user(prompt)], tools=[WEATHER, CLOCK], tool_choice=choice
    )
    calls: Any = answer.choices[0].message.tool_calls or []
    assert [call.function.name for call in calls] == names


@both
def test_one_tool_at_a_time(openai_client: openai.OpenAI, p: str) -> None:
    answer = openai_client.chat.completions.create(
        model=f"{p}/echo",
        messages=[user("call all tools")],
        tools=[WEATHER, CLOCK],
        parallel_tool_calls=False,
    )
    assert len(answer.choices[0].message.tool_calls or ()) == 1


@both
def test_images_and_files(openai_client: openai.OpenAI, simulator: Simulator, p: str) -> None:
    content = [
        {"type": "text", "text": "look"},
        {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
        {
            "type": "file",
            "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF}"},
        },
    ]
    answer = openai_client.chat.completions.create(model=f"{p}/echo", messages=[user(content)])
    expected = "You said: look I received 2 images. I received 1 file."
    assert answer.choices[0].message.content == expected
    if p == "a":
        received: Any = simulator.control.requests()[-1].json()
        _, web, inline, file = received["messages"][0]["content"]
        assert web["source"] == {"type": "url", "url": "https://example.com/cat.png"}
        assert inline["source"] == {"type": "base64", "media_type": "image/png", "data": PIXEL}
        assert file["source"]["data"] == PDF


@every
def test_an_inline_image(openai_client: openai.OpenAI, p: str) -> None:
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}
    content = [{"type": "text", "text": "look"}, image]
    answer = openai_client.chat.completions.create(model=f"{p}/echo", messages=[user(content)])
    assert answer.choices[0].message.content == "You said: look I received 1 image."


class Person(pydantic.BaseModel):
    """What the model is asked to fill in."""

    name: str
    age: int


@every
def test_structured_output(openai_client: openai.OpenAI, p: str) -> None:
    answer = openai_client.chat.completions.parse(
        model=f"{p}/echo",
        messages=[user('As json: {"name": "Ada", "age": 36}')],
        response_format=Person,
    )
    assert answer.choices[0].message.parsed == Person(name="Ada", age=36)


def test_json_object(openai_client: openai.OpenAI) -> None:
    def ask(model: str) -> str | None:
        answer = openai_client.chat.completions.create(
            model=model,
            messages=[user("json please")],
            response_format={"type": "json_object"},
        )
        return answer.choices[0].message.content

    assert json.loads(ask("o/echo") or "") == {"answer": "You said: json please"}
    with pytest.raises(openai.BadRequestError, match=r"\$\.response_format"):
        ask("a/echo")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("p", ["o", "a", "r"], ids=["openai", "anthropic", "openrouter"])
def test_reasoning_comes_back_next_turn(
    openai_client: openai.OpenAI, simulator: Simulator, p: str, *, stream: bool
) -> None:
    turns: Any = [user("call a tool")]
    options: Any = {"model": f"{p}/think", "tools": [WEATHER], "max_completion_tokens": 40_000}
    asks = {"reasoning": {"effort": "high"}} if p == "r" else {"reasoning_effort": "high"}
    options["extra_body"] = asks
    create = openai_client.chat.completions.create
    if stream:
        message = _assemble(create(messages=turns, stream=True, **options))
    else:
        message = create(messages=turns, **options).choices[0].message.model_dump(exclude_none=True)
    thought = message.get("reasoning_content") or message.get("reasoning")
    assert thought.startswith("Let me think about it.")
    call = message["tool_calls"][0]
    turns += [message, {"role": "tool", "tool_call_id": call["id"], "content": "sunny"}]
    second = create(messages=turns, **options)
    assert second.choices[0].message.content == "The tools said: sunny"
    if p == "a":
        sent: Any = simulator.control.requests()[-1].json()
        block = sent["messages"][1]["content"][0]
        assert block["type"] == "thinking"
        assert block["signature"]


def _assemble(chunks: Any) -> dict[str, Any]:
    """A message as a client puts it together from deltas that it does not know in advance."""
    message: dict[str, Any] = {"role": "assistant"}
    for chunk in chunks:
        for choice in chunk.choices:
            _merge(message, choice.delta.model_dump(exclude_none=True))
    for call in message.get("tool_calls", []):
        call.pop("index", None)
    return message


def _merge(whole: dict[str, Any], delta: dict[str, Any]) -> None:
    for name, value in delta.items():
        if name in ("role", "type", "id", "format", "index"):
            whole[name] = value
        elif isinstance(value, str):
            whole[name] = whole.get(name, "") + value
        elif isinstance(value, list):
            items = whole.setdefault(name, [])
            for item in value:
                at = item.get("index", 0)
                items.extend({} for _ in range(at + 1 - len(items)))
                _merge(items[at], item)
        elif isinstance(value, dict):
            _merge(whole.setdefault(name, {}), value)


@both
def test_refusal(openai_client: openai.OpenAI, p: str) -> None:
    answer = openai_client.chat.completions.create(
        model=f"{p}/refuse", messages=[user("please refuse")]
    )
    words = answer.choices[0].message.refusal
    if p == "a":  # Anthropic says it in a text block, with the stop reason beside it
        assert answer.choices[0].finish_reason in ("content_filter", "stop")
        words = words or answer.choices[0].message.content
    assert words == "I'm sorry, but I can't help with that."


@both
def test_stop_sequence(openai_client: openai.OpenAI, p: str) -> None:
    answer = openai_client.chat.completions.create(
        model=f"{p}/echo", messages=[user("one two STOP three")], stop=["STOP", "never"]
    )
    assert answer.choices[0].message.content == "You said: one two "
    assert answer.choices[0].finish_reason == "stop"


@both
def test_length(openai_client: openai.OpenAI, p: str) -> None:
    answer = openai_client.chat.completions.create(
        model=f"{p}/echo", messages=[user("one two three")], max_completion_tokens=3
    )
    assert answer.choices[0].message.content == "You said: one"
    assert answer.choices[0].finish_reason == "length"


def test_choice_count(openai_client: openai.OpenAI) -> None:
    answer = openai_client.chat.completions.create(model="o/echo", messages=[user("hi")], n=2)
    assert [c.message.content for c in answer.choices] == ["You said: hi", "You said: hi [1]"]
    with pytest.raises(openai.BadRequestError) as refused:
        openai_client.chat.completions.create(model="a/echo", messages=[user("hi")], n=2)
    assert refused.value.param == "n"
    assert "$.n" in refused.value.message


def test_logprobs(openai_client: openai.OpenAI) -> None:
    answer = openai_client.chat.completions.create(
        model="o/echo", messages=[user("hi")], logprobs=True, top_logprobs=2
    )
    content = answer.choices[0].logprobs
    assert content is not None
    assert len((content.content or [])[0].top_logprobs) == 2
    with pytest.raises(openai.BadRequestError) as refused:
        openai_client.chat.completions.create(model="a/echo", messages=[user("hi")], logprobs=True)
    assert refused.value.param == "logprobs"
    assert "$.logprobs" in refused.value.message


@both
def test_cached_tokens(openai_client: openai.OpenAI, p: str) -> None:
    text = {"type": "text", "text": "word " * 1100}
    if p == "a":
        text |= {"cache_control": {"type": "ephemeral"}}  # type: ignore[dict-item]
    turns: Any = [{"role": "system", "content": [text]}, user("hi")]
    usages = [
        openai_client.chat.completions.create(model=f"{p}/echo", messages=turns).usage
        for _ in range(2)
    ]
    assert all(usage is not None and usage.prompt_tokens == 1101 for usage in usages)
    cached: Any = [usage.prompt_tokens_details for usage in usages if usage is not None]
    assert cached[0] is None or not cached[0].cached_tokens
    assert cached[1].cached_tokens == (1100 if p == "a" else 1101)


def test_unknown_key(gateway: Any) -> None:
    with (
        openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="wrong", max_retries=0) as client,
        pytest.raises(openai.AuthenticationError) as refused,
    ):
        client.chat.completions.create(model="o/echo", messages=[user("hi")])
    assert refused.value.code == "invalid_api_key"


def test_unknown_model(openai_client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="nothing/here"):
        openai_client.chat.completions.create(model="nothing/here", messages=[user("hi")])


@both
def test_providers_refusal_keeps_its_words(openai_client: openai.OpenAI, p: str) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        openai_client.chat.completions.create(
            model=f"{p}/echo",
            messages=[user("hi")],
            tools=[WEATHER],
            tool_choice={
                "type": "function",
                "function": {"name": "absent"},
            },
        )
    assert "absent" in refused.value.message
    if p == "o":
        assert refused.value.param == "tool_choice"


@every
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("status", "error"),
    [
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
        (529, openai.InternalServerError),
        (403, openai.PermissionDeniedError),
    ],
)
def test_errors_keep_status_and_retry_after(
    openai_client: openai.OpenAI,
    simulator: Simulator,
    p: str,
    status: int,
    error: type[openai.APIStatusError],
    *,
    stream: bool,
) -> None:
    simulator.control.script({"status": status, "retry_after": "7", "message": "not now"})
    with pytest.raises(error) as refused:
        openai_client.chat.completions.create(
            model=f"{p}/echo", messages=[user("hi")], stream=stream
        )
    assert refused.value.status_code == status
    assert refused.value.response.headers["retry-after"] == "7"
    assert "not now" in refused.value.message
    assert isinstance(refused.value.body, dict)
    assert refused.value.body["message"] == "not now"


@every
def test_error_in_the_middle_of_a_stream(
    openai_client: openai.OpenAI, simulator: Simulator, p: str
) -> None:
    simulator.control.script({"stream_error_after": 6, "message": "broke down"})
    with pytest.raises(openai.APIError, match="broke down"):
        list(
            openai_client.chat.completions.create(
                model=f"{p}/echo", messages=[user("one two three four five")], stream=True
            )
        )


def test_models(openai_client: openai.OpenAI) -> None:
    names = [model.id for model in openai_client.models.list()]
    assert {"o/*", "a/*", "renamed"} <= set(names)
    assert openai_client.models.retrieve("renamed").id == "renamed"
    with pytest.raises(openai.NotFoundError):
        openai_client.models.retrieve("nothing")


def test_dropped_hints_are_named(openai_client: openai.OpenAI) -> None:
    raw = openai_client.chat.completions.with_raw_response.create(
        model="a/echo", messages=[user("hi")], seed=7, presence_penalty=0.5
    )
    dropped = raw.headers["x-dragoman-dropped"]
    assert "$.seed" in dropped
    assert "$.presence_penalty" in dropped
    kept = openai_client.chat.completions.with_raw_response.create(
        model="o/echo", messages=[user("hi")], seed=7
    )
    assert "x-dragoman-dropped" not in kept.headers


def test_out_of_range_is_refused_or_clamped(openai_client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        openai_client.chat.completions.create(
            model="a/echo", messages=[user("hi")], temperature=1.7
        )
    assert refused.value.param == "temperature"
    assert "$.temperature" in refused.value.message
    raw = openai_client.chat.completions.with_raw_response.create(
        model="clamped", messages=[user("hi")], temperature=1.7
    )
    assert "$.temperature" in raw.headers["x-dragoman-dropped"]


@pytest.mark.parametrize("p", ["m", "z"], ids=["mistral", "azure"])
def test_other_rows_of_the_catalogue(
    openai_client: openai.OpenAI, simulator: Simulator, p: str
) -> None:
    answer = openai_client.chat.completions.create(
        model=f"{p}/echo", messages=[user("one two")], max_completion_tokens=50
    )
    assert answer.choices[0].message.content == "You said: one two"
    chunks = openai_client.chat.completions.create(
        model=f"{p}/echo", messages=[user("one two")], stream=True
    )
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == "You said: one two"
    received: Any = simulator.control.requests()[0].json()
    assert received["max_tokens" if p == "m" else "max_completion_tokens"] == 50
