"""The official OpenAI SDK against the simulator itself."""

import json
from collections.abc import Iterator

import httpx
import openai
import pytest

from dragoman.simulator import Simulator

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 2}},
            "required": ["city", "days"],
        },
    },
}
TIME = {"type": "function", "function": {"name": "get_time", "parameters": {"type": "object"}}}
PIXEL = "data:image/png;base64,iVBORw0KGgo="


@pytest.fixture
def client(simulator: Simulator) -> Iterator[openai.OpenAI]:
    url = f"{simulator.url('openai')}/v1"
    with openai.OpenAI(base_url=url, api_key="k", max_retries=0) as made:
        yield made


def ask(client, text="hello there", **more):
    messages = more.pop("messages", [{"role": "user", "content": text}])
    return client.chat.completions.create(**{"model": "gpt-4o", "messages": messages, **more})


def test_echo_and_usage(client):
    answer = ask(
        client,
        messages=[
            {"role": "developer", "content": "be kind"},
            {"role": "user", "content": "hello there"},
        ],
    )
    assert answer.choices[0].message.content == "You said: hello there"
    assert answer.choices[0].finish_reason == "stop"
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (4, 4)


def test_a_stream_says_the_same(client):
    chunks = list(ask(client, "tabs\tand  spaces ünï", stream=True))
    text = "".join(c.choices[0].delta.content or "" for c in chunks)
    assert text == "You said: tabs\tand  spaces ünï"
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert all("usage" not in c.model_fields_set for c in chunks)


def test_usage_chunk_only_where_asked(client):
    chunks = list(ask(client, stream=True, stream_options={"include_usage": True}))
    assert [bool(c.choices) for c in chunks] == [True] * (len(chunks) - 1) + [False]
    assert all(c.usage is None and "usage" in c.model_fields_set for c in chunks[:-1])
    assert chunks[-1].usage.total_tokens == 6


@pytest.mark.parametrize(
    "text, names",
    [
        ("use a tool please", ["get_weather"]),
        ("use both tools", ["get_weather", "get_time"]),
        ("run get_time now", ["get_time"]),
    ],
)
def test_tool_calls(client, text, names):
    calls = ask(client, text, tools=[WEATHER, TIME]).choices[0].message.tool_calls
    assert [call.function.name for call in calls] == names
    if "get_weather" in names:
        assert json.loads(calls[0].function.arguments) == {"city": "sample city", "days": 2}


def test_arguments_from_the_text_and_a_second_turn(client):
    text = 'use get_weather with {"city":"Łódź \\"x\\"","days":3} and {"city":"Rome","days":4}'
    with client.chat.completions.stream(
        model="m", messages=[{"role": "user", "content": text}], tools=[WEATHER]
    ) as stream:
        message = stream.get_final_completion().choices[0].message
    arguments = [json.loads(call.function.arguments) for call in message.tool_calls]
    assert arguments == [{"city": 'Łódź "x"', "days": 3}, {"city": "Rome", "days": 4}]
    results = [
        {"role": "tool", "tool_call_id": call.id, "content": f"sunny {i}"}
        for i, call in enumerate(message.tool_calls)
    ]
    turns = [{"role": "user", "content": text}, message.model_dump(exclude_none=True), *results]
    for turn in turns:
        turn.pop("parsed", None)
        for call in turn.get("tool_calls", ()):
            call["function"].pop("parsed_arguments", None)
            call.pop("index", None)
    answer = ask(client, messages=turns, tools=[WEATHER])
    assert answer.choices[0].message.content == "The tools said: sunny 0; sunny 1"


def test_tool_choice(client):
    forced = {"type": "function", "function": {"name": "get_time"}}
    for choice, expected in (("none", 0), ("required", 1), (forced, 1), ("auto", 0)):
        answer = ask(client, tools=[WEATHER, TIME], tool_choice=choice)
        assert len(answer.choices[0].message.tool_calls or ()) == expected
    answer = ask(client, "use all tools", tools=[WEATHER, TIME], parallel_tool_calls=False)
    assert len(answer.choices[0].message.tool_calls) == 1


def test_structured_output(client):
    schema = {
        "type": "object",
        "properties": {"city": {"enum": ["Rome"]}, "n": {"anyOf": [{"type": "integer"}]}},
        "required": ["city", "n"],
        "additionalProperties": False,
    }
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": schema}}
    answer = ask(client, response_format=wanted)
    assert json.loads(answer.choices[0].message.content) == {"city": "Rome", "n": 1}
    answer = ask(client, "json please", response_format={"type": "json_object"})
    assert json.loads(answer.choices[0].message.content) == {"answer": "You said: json please"}


def test_choices_logprobs_stop_and_length(client):
    answer = ask(client, n=2, logprobs=True, top_logprobs=2)
    assert [c.message.content for c in answer.choices] == [
        "You said: hello there",
        "You said: hello there [1]",
    ]
    tokens = answer.choices[0].logprobs.content
    assert "".join(t.token for t in tokens) == "You said: hello there"
    assert len(tokens[0].top_logprobs) == 2
    stopped = ask(client, "one STOP two", stop=["STOP"]).choices[0]
    assert (stopped.message.content, stopped.finish_reason) == ("You said: one ", "stop")
    cut = ask(client, max_completion_tokens=3).choices[0]
    assert (cut.message.content, cut.finish_reason) == ("You said: hello", "length")


def test_media_refusal_reasoning(client):
    content = [
        {"type": "text", "text": "look"},
        {"type": "image_url", "image_url": {"url": PIXEL}},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
        {
            "type": "file",
            "file": {"file_data": "data:application/pdf;base64,AA==", "filename": "a"},
        },
    ]
    answer = ask(client, messages=[{"role": "user", "content": content}])
    assert "I received 2 images. I received 1 file." in answer.choices[0].message.content
    refused = ask(client, "please refuse").choices[0].message
    assert refused.content is None and refused.refusal
    thought = ask(client, reasoning_effort="high")
    assert thought.choices[0].message.model_extra["reasoning_content"].startswith("Let me think")
    assert thought.usage.completion_tokens_details.reasoning_tokens == 10


def test_reasoning_details_come_back_unchanged(client):
    message = ask(client, extra_body={"reasoning": {"effort": "low"}}).choices[0].message
    details = message.model_extra["reasoning_details"]
    back = {"role": "assistant", "content": message.content, "reasoning_details": details}
    turns = [{"role": "user", "content": "a"}, back, {"role": "user", "content": "b"}]
    assert ask(client, messages=turns).choices
    details[0]["signature"] = "forged"
    with pytest.raises(openai.BadRequestError, match="signature"):
        ask(client, messages=turns)


def test_long_prompts_are_cached(client):
    text = "word " * 2000
    cached = [
        ask(client, text, max_tokens=5).usage.prompt_tokens_details.cached_tokens for _ in "ab"
    ]
    assert cached == [0, 2000]


@pytest.mark.parametrize(
    "change, param, code",
    [
        ({"messages": None}, "messages", "missing_required_parameter"),
        ({"messages": "hi"}, "messages", "invalid_type"),
        ({"messages": []}, "messages", "empty_array"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role", "invalid_value"),
        ({"messages": [{"role": "user"}]}, "messages[0].content", "missing_required_parameter"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image", "source": {}}]}]},
            "messages[0].content[0]",
            "invalid_value",
        ),
        ({"temperature": 3}, "temperature", "decimal_above_maximum_value"),
        ({"max_tokens": 0}, "max_tokens", "integer_below_minimum_value"),
        ({"max_tokens": "5"}, "max_tokens", "invalid_type"),
        ({"n": True}, "n", "invalid_type"),
        ({"stop": ["a"] * 5}, "stop", "array_above_max_length"),
        ({"stream_options": {"include_usage": True}}, "stream_options", None),
        ({"top_logprobs": 2}, "top_logprobs", None),
        ({"tool_choice": "auto"}, "tool_choice", None),
        (
            {"tools": [WEATHER], "tool_choice": {"type": "function", "function": {"name": "x"}}},
            "tool_choice",
            None,
        ),
        (
            {"tools": [{"name": "x", "input_schema": {}}]},
            "tools[0].type",
            "missing_required_parameter",
        ),
        ({"response_format": {"type": "json_object"}}, "messages", None),
        (
            {"response_format": {"type": "json_schema"}},
            "response_format.json_schema",
            "missing_required_parameter",
        ),
        ({"reasoning_effort": "huge"}, "reasoning_effort", "invalid_value"),
        ({"stop_sequences": ["x"]}, None, None),
        (
            {
                "messages": [
                    {"role": "user", "content": "x"},
                    {"role": "tool", "tool_call_id": "c", "content": "y"},
                ]
            },
            "messages.[1].role",
            None,
        ),
        (
            {
                "messages": [
                    {"role": "user", "content": "x"},
                    {
                        "role": "assistant",
                        "tool_calls": [
                            {
                                "id": "c",
                                "type": "function",
                                "function": {"name": "f", "arguments": "{}"},
                            }
                        ],
                    },
                    {"role": "user", "content": "y"},
                ]
            },
            "messages.[2].role",
            None,
        ),
    ],
)
def test_refusals(client, change, param, code):
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}], **change}
    body = {key: value for key, value in body.items() if value is not None}
    with pytest.raises(openai.BadRequestError) as raised:
        client.post("/chat/completions", body=body, cast_to=object)
    assert (raised.value.param, raised.value.code) == (param, code)
    assert raised.value.type == "invalid_request_error"


@pytest.mark.parametrize("listener, status", [("openai", 401), ("local", 200)])
def test_keys(simulator, listener, status):
    url = f"{simulator.url(listener)}/v1/chat/completions"
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    with httpx.Client() as client:
        answer = client.post(url, json=body)
    assert answer.status_code == status
    assert ("error" in answer.json()) is (status == 401)


def test_azure_path_and_models(simulator):
    url = simulator.url("openai")
    with openai.AzureOpenAI(azure_endpoint=url, api_key="k", api_version="2025-01-01") as azure:
        assert ask(azure).model == "gpt-4o"
    assert "/openai/deployments/gpt-4o/chat/completions?" in simulator.control.requests()[0].target
    with openai.OpenAI(base_url=f"{url}/v1", api_key="k") as client:
        assert [m.id for m in client.models.list()][0] == "gpt-4o"
        assert client.models.retrieve("gpt-x").id == "gpt-x"
