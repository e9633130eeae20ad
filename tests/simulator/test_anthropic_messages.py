"""The official Anthropic SDK against the simulator itself."""

import json
from collections.abc import Iterator

import anthropic
import httpx
import pytest

from dragoman.simulator import Simulator

WEATHER = {
    "name": "get_weather",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
}
TIME = {"name": "get_time", "input_schema": {"type": "object"}}
THINK = {"type": "enabled", "budget_tokens": 1024}


@pytest.fixture
def client(simulator: Simulator) -> Iterator[anthropic.Anthropic]:
    url = simulator.url("anthropic")
    with anthropic.Anthropic(base_url=url, api_key="k", max_retries=0) as made:
        yield made


def request(text="hello there", **more):
    messages = [{"role": "user", "content": text}]
    return {"model": "claude", "max_tokens": 2000, "messages": messages, **more}


def test_echo_and_usage(client):
    message = client.messages.create(**request(system="be kind"))
    assert message.content[0].text == "You said: hello there"
    assert message.stop_reason == "end_turn"
    assert (message.usage.input_tokens, message.usage.output_tokens) == (4, 4)
    assert (
        client.messages.count_tokens(
            model="m", messages=[{"role": "user", "content": "one two three"}]
        ).input_tokens
        == 3
    )


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"thinking": THINK},
        {"tools": [WEATHER, TIME]},
        {"thinking": THINK, "tools": [WEATHER, TIME]},
        {"stop_sequences": ["call"]},
        {"max_tokens": 2},
    ],
)
def test_a_stream_says_the_same(client, more):
    asked = request("call both tools, ünïcode", **more)
    whole = client.messages.create(**asked)
    with client.messages.stream(**asked) as stream:
        streamed = stream.get_final_message()
    strip = {"id": True, "content": {"__all__": {"parsed_output"}}}
    assert streamed.model_dump(exclude=strip, warnings=False) == whole.model_dump(exclude=strip)


def test_tools(client):
    message = client.messages.create(**request("use all tools", tools=[WEATHER, TIME]))
    assert [(b.name, b.input) for b in message.content] == [
        ("get_weather", {"city": "sample city"}),
        ("get_time", {}),
    ]
    assert message.stop_reason == "tool_use"
    results = [
        {"type": "tool_result", "tool_use_id": b.id, "content": f"r{i}"}
        for i, b in enumerate(message.content)
    ]
    turns = [
        {"role": "user", "content": "use all tools"},
        {"role": "assistant", "content": message.content},
        {"role": "user", "content": results},
    ]
    answer = client.messages.create(model="m", max_tokens=50, messages=turns, tools=[WEATHER, TIME])
    assert answer.content[0].text == "The tools said: r0; r1"
    one = {"type": "tool", "name": "get_time"}
    forced = client.messages.create(**request(tools=[WEATHER, TIME], tool_choice=one))
    assert [b.name for b in forced.content] == ["get_time"]


def test_structured_output(client):
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    }
    wanted = {"type": "json_schema", "schema": schema}
    message = client.messages.create(**request(output_config={"format": wanted}))
    assert json.loads(message.content[0].text) == {"city": "sample city"}


@pytest.mark.parametrize("text", ["hello", "TRIGGER_REDACTED_THINKING"])
def test_thinking_comes_back_unchanged(client, text):
    message = client.messages.create(**request(text, thinking=THINK))
    first = message.content[0].model_dump()
    turns = [
        {"role": "user", "content": text},
        {"role": "assistant", "content": [first, {"type": "text", "text": "x"}]},
        {"role": "user", "content": "and?"},
    ]
    assert client.messages.create(**{**request(), "messages": turns}).content
    key = "signature" if "signature" in first else "data"
    first[key] = first[key][:-4] + "AAAA"
    with pytest.raises(anthropic.BadRequestError, match="Invalid"):
        client.messages.create(**{**request(), "messages": turns})


def test_cache_marks(client):
    block = {"type": "text", "text": "a b c", "cache_control": {"type": "ephemeral"}}
    usages = [client.messages.create(**request("d e", system=[block])).usage for _ in "ab"]
    assert [
        (u.input_tokens, u.cache_creation_input_tokens, u.cache_read_input_tokens) for u in usages
    ] == [(2, 3, 0), (2, 0, 3)]


def test_media_refusal_stop(client):
    pixel = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}
    pdf = {"type": "base64", "media_type": "application/pdf", "data": "AA=="}
    content = [
        {"type": "image", "source": pixel},
        {"type": "document", "source": pdf},
        {"type": "text", "text": "look"},
    ]
    message = client.messages.create(**request(content))
    assert message.content[0].text == "You said: look I received 1 image. I received 1 file."
    assert client.messages.create(**request("please refuse")).stop_reason == "refusal"
    stopped = client.messages.create(**request("one STOP two", stop_sequences=["STOP"]))
    assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", "STOP")


TOOL_TURNS = [
    {"role": "user", "content": "x"},
    {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {}}]},
]
RESULT = {"type": "tool_result", "tool_use_id": "t", "content": "y"}


@pytest.mark.parametrize(
    "change, message",
    [
        ({"max_tokens": None}, "max_tokens: Field required"),
        ({"model": None}, "model: Field required"),
        ({"messages": None}, "messages: Field required"),
        ({"messages": []}, "at least one message"),
        ({"max_tokens": "5"}, "max_tokens: Input should be a valid integer"),
        ({"temperature": 1.5}, "temperature: range: 0..1"),
        ({"response_format": {}}, "response_format: Extra inputs are not permitted"),
        ({"messages": [{"role": "system", "content": "x"}]}, 'Unexpected role "system"'),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role: Input should be"),
        ({"messages": [{"role": "user", "content": ""}]}, "must be non-empty"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            "Input tag 'image_url'",
        ),
        (
            {"messages": [*TOOL_TURNS, {"role": "user", "content": "y"}]},
            "without `tool_result` blocks",
        ),
        ({"messages": TOOL_TURNS}, "without `tool_result` blocks"),
        ({"messages": [{"role": "user", "content": [RESULT]}]}, "unexpected `tool_use_id`"),
        (
            {"messages": [*TOOL_TURNS, {"role": "user", "content": [RESULT]}], "thinking": THINK},
            "Expected `thinking`",
        ),
        ({"thinking": {"type": "enabled", "budget_tokens": 5}}, "greater than or equal to 1024"),
        ({"thinking": {"type": "enabled", "budget_tokens": 5000}}, "`max_tokens` must be greater"),
        ({"tools": [{"name": "x", "input_schema": {}}]}, "tools.0.custom.input_schema.type"),
        ({"tools": [WEATHER], "tool_choice": {"type": "tool", "name": "x"}}, "Tool 'x' not found"),
        (
            {"tools": [WEATHER], "tool_choice": {"type": "any"}, "thinking": THINK},
            "forces tool use",
        ),
        ({"stop_sequences": [" "]}, "non-whitespace"),
        (
            {"system": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}] * 5},
            "maximum of 4 blocks",
        ),
    ],
)
def test_refusals(client, change, message):
    body = {key: value for key, value in request(**change).items() if value is not None}
    with pytest.raises(anthropic.BadRequestError, match=message) as raised:
        client.post("/v1/messages", body=body, cast_to=object)
    assert raised.value.body["type"] == "error"
    assert raised.value.body["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    "headers, status",
    [
        ({"anthropic-version": "2023-06-01"}, 401),
        ({"x-api-key": "k"}, 400),
        ({"x-api-key": "k", "anthropic-version": "2023-06-01"}, 200),
    ],
)
def test_key_and_version_are_needed(simulator, headers, status):
    url = f"{simulator.url('anthropic')}/v1/messages"
    with httpx.Client(headers=headers) as client:
        answer = client.post(url, json=request())
    kinds = {401: "authentication_error", 400: "invalid_request_error"}
    assert answer.status_code == status
    assert answer.json().get("error", {}).get("type") == kinds.get(status)


def test_models(client):
    assert [m.id for m in client.models.list()] == ["claude-sonnet-4-6", "claude-haiku-4-5"]


def test_instructions_in_the_middle(client):
    turns = [{"role": "user", "content": "hi"}, {"role": "system", "content": "be brief"}]
    message = client.messages.create(model="m", max_tokens=9, messages=turns)
    assert message.content[0].text == "You said: hi"
    assert message.usage.input_tokens == 3
