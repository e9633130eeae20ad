"""OpenAI Responses, Google Gemini and Bedrock Converse through the real Envoy, with their official SDKs.

`o/`, `a/`, `p/`, `g/` and `b/` are a provider each that speaks Chat Completions, Messages,
Responses, Gemini and Converse: every client dialect meets every provider dialect.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import anthropic
import boto3
import httpx
import openai
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError
from google import genai
from google.genai import errors, types
from google.oauth2.credentials import Credentials

from dragoman.simulator import Simulator
from tests.envoy.gateway import KEY, Gateway, fresh_caller, wait_until
from tests.envoy.test_sdk_openai import PIXEL

PROVIDERS = ("o", "a", "p", "g", "b")
by_provider = pytest.mark.parametrize("p", PROVIDERS)
BUSY = {"status": 429, "retry_after": "7", "message": "not now"}
WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


@pytest.fixture
def responses(gateway: Gateway) -> openai.OpenAI:
    return openai.OpenAI(api_key=KEY, base_url=gateway.url + "/v1", max_retries=0)


@pytest.fixture
def gemini(gateway: Gateway) -> genai.Client:
    options = types.HttpOptions(base_url=gateway.url)
    return genai.Client(api_key=KEY, http_options=options)


@by_provider
def test_responses_text(responses: openai.OpenAI, p: str) -> None:
    answer = responses.responses.create(model=f"{p}/echo", input="hello there")
    assert answer.output_text == "You said: hello there"
    assert answer.status == "completed"
    assert answer.usage
    assert answer.usage.input_tokens > 0
    assert answer.usage.output_tokens > 0


@by_provider
def test_responses_stream(responses: openai.OpenAI, p: str) -> None:
    with responses.responses.stream(model=f"{p}/echo", input="hello there") as stream:
        events = list(stream)
    final = stream.get_final_response()
    numbers = [event.sequence_number for event in events]
    assert numbers == sorted(numbers)
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(deltas) == final.output_text == "You said: hello there"
    assert final.usage
    assert final.usage.output_tokens > 0


@by_provider
def test_responses_tools(responses: openai.OpenAI, p: str) -> None:
    tool: Any = {"type": "function", "name": "weather", "parameters": WEATHER, "strict": False}
    asked: list[Any] = [{"role": "user", "content": 'Call the tool with {"city": "Ghent"}'}]
    first = responses.responses.create(model=f"{p}/echo", input=asked, tools=[tool])
    (call,) = [item for item in first.output if item.type == "function_call"]
    assert (call.name, json.loads(call.arguments)) == ("weather", {"city": "Ghent"})
    asked += [item.model_dump(exclude_none=True) for item in first.output]
    asked.append({"type": "function_call_output", "call_id": call.call_id, "output": "rain"})
    second = responses.responses.create(model=f"{p}/echo", input=asked, tools=[tool])
    assert second.output_text == "The tools said: rain"


@by_provider
def test_responses_structured_output(responses: openai.OpenAI, p: str) -> None:
    shape: Any = {"type": "json_schema", "name": "place", "schema": WEATHER}
    answer = responses.responses.create(model=f"{p}/echo", input="x", text={"format": shape})
    assert json.loads(answer.output_text).keys() == {"city"}


@by_provider
def test_responses_image(responses: openai.OpenAI, p: str) -> None:
    image = {"type": "input_image", "image_url": f"data:image/png;base64,{PIXEL}"}
    content = [{"type": "input_text", "text": "look"}, image]
    asked: Any = [{"role": "user", "content": content}]
    answer = responses.responses.create(model=f"{p}/echo", input=asked)
    assert answer.output_text == "You said: look I received 1 image."


@by_provider
@pytest.mark.parametrize("stream", [False, True])
def test_responses_errors(
    responses: openai.OpenAI, simulator: Simulator, p: str, *, stream: bool
) -> None:
    simulator.control.script(BUSY)
    with pytest.raises(openai.RateLimitError, match="not now") as caught:
        responses.responses.create(model=f"{p}/echo", input="x", stream=stream)
    assert caught.value.response.headers["retry-after"] == "7"


def test_responses_state_is_refused_where_it_means_nothing(responses: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="previous_response_id"):
        responses.responses.create(model="a/echo", input="x", previous_response_id="resp_1")
    answer = responses.responses.create(model="p/echo", input="x", previous_response_id="resp_1")
    assert answer.output_text == "You said: x"


@by_provider
def test_gemini_text(gemini: genai.Client, p: str) -> None:
    answer = gemini.models.generate_content(model=f"{p}/echo", contents="hello there")
    assert answer.text == "You said: hello there"
    assert answer.usage_metadata
    assert answer.usage_metadata.prompt_token_count
    assert answer.usage_metadata.candidates_token_count


@by_provider
def test_gemini_stream(gemini: genai.Client, p: str) -> None:
    chunks = list(gemini.models.generate_content_stream(model=f"{p}/echo", contents="hello there"))
    assert len(chunks) > 1
    assert "".join(chunk.text or "" for chunk in chunks) == "You said: hello there"
    assert chunks[-1].usage_metadata
    assert chunks[-1].usage_metadata.candidates_token_count


@by_provider
def test_gemini_tools(gemini: genai.Client, p: str) -> None:
    function = types.FunctionDeclaration(name="weather", parameters_json_schema=WEATHER)
    config = types.GenerateContentConfig(
        tools=[types.Tool(function_declarations=[function])],
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
    )
    asked: list[Any] = [types.UserContent('Call the tool with {"city": "Ghent"}')]
    first = gemini.models.generate_content(model=f"{p}/echo", contents=asked, config=config)
    (call,) = first.function_calls or ()
    assert (call.name, call.args) == ("weather", {"city": "Ghent"})
    assert first.candidates
    asked.append(first.candidates[0].content)
    answer = types.Part.from_function_response(name="weather", response={"output": "rain"})
    asked.append(types.UserContent([answer]))
    second = gemini.models.generate_content(model=f"{p}/echo", contents=asked, config=config)
    assert second.text == "The tools said: rain"


@by_provider
def test_gemini_image_and_schema(gemini: genai.Client, p: str) -> None:
    image = types.Part.from_bytes(data=b"\x89PNG\r\n\x1a\n", mime_type="image/png")
    config = types.GenerateContentConfig(
        response_mime_type="application/json", response_json_schema=WEATHER
    )
    answer = gemini.models.generate_content(
        model=f"{p}/echo", contents=["Look.", image], config=config
    )
    assert json.loads(answer.text or "").keys() == {"city"}


@by_provider
@pytest.mark.parametrize("stream", [False, True])
def test_gemini_errors(gemini: genai.Client, simulator: Simulator, p: str, *, stream: bool) -> None:
    simulator.control.script(BUSY)
    models = gemini.models
    ask = models.generate_content_stream if stream else models.generate_content
    with pytest.raises(errors.ClientError, match="not now") as caught:
        list(ask(model=f"{p}/echo", contents="x"))
    assert (caught.value.code, caught.value.status) == (429, "RESOURCE_EXHAUSTED")


@pytest.mark.parametrize("p", ["a", "g"])
def test_gemini_json_array_stream(gateway: Gateway, p: str) -> None:
    """A client that does not ask for SSE gets one array, also from another dialect's provider."""
    path = f"/v1beta/models/{p}%2Fecho:streamGenerateContent"
    body = {"contents": [{"role": "user", "parts": [{"text": "hello there"}]}]}
    answer = httpx.post(gateway.url + path, json=body, headers={"x-goog-api-key": KEY})
    assert answer.headers["content-type"] == "application/json"
    chunks = answer.json()
    said = [p["text"] for c in chunks for p in c["candidates"][0]["content"]["parts"]]
    assert "".join(said) == "You said: hello there"


def test_gemini_errors_and_models(gateway: Gateway, gemini: genai.Client) -> None:
    with pytest.raises(errors.ClientError) as caught:
        gemini.models.generate_content(model="nothing", contents="x")
    assert (caught.value.code, caught.value.status) == (404, "NOT_FOUND")
    listed = httpx.get(gateway.url + "/v1beta/models", params={"key": KEY}).json()
    assert "models/g/*" in [model["name"] for model in listed["models"]]


@pytest.fixture
def bedrock(gateway: Gateway) -> Any:
    """The SDK sends its own bearer tokens over TLS only, so the key goes in by hand."""
    config = Config(retries={"total_max_attempts": 1}, signature_version=UNSIGNED)
    kind = "bedrock-runtime"
    client = boto3.client(kind, region_name="x", endpoint_url=gateway.url, config=config)

    def authorize(request: Any, **_: Any) -> None:
        request.headers["Authorization"] = f"Bearer {KEY}"

    client.meta.events.register("before-send.bedrock-runtime.*", authorize)
    return client


def _turn(text: str) -> Any:
    return {"role": "user", "content": [{"text": text}]}


@by_provider
def test_bedrock_text(bedrock: Any, p: str) -> None:
    answer = bedrock.converse(modelId=f"{p}/echo", messages=[_turn("hello there")])
    assert answer["output"]["message"]["content"] == [{"text": "You said: hello there"}]
    assert answer["stopReason"] == "end_turn"
    assert answer["usage"]["inputTokens"] > 0
    assert answer["usage"]["outputTokens"] > 0


@by_provider
def test_bedrock_stream(bedrock: Any, p: str) -> None:
    answer = bedrock.converse_stream(modelId=f"{p}/echo", messages=[_turn("hello there")])
    events = list(answer["stream"])
    deltas = [e["contentBlockDelta"]["delta"] for e in events if "contentBlockDelta" in e]
    assert "".join(delta["text"] for delta in deltas) == "You said: hello there"
    assert events[-1]["metadata"]["usage"]["outputTokens"] > 0


@by_provider
def test_bedrock_tools(bedrock: Any, p: str) -> None:
    tool = {"toolSpec": {"name": "weather", "inputSchema": {"json": WEATHER}}}
    asked = [_turn('Call the tool with {"city": "Ghent"}')]
    whole: Any = {"modelId": f"{p}/echo", "toolConfig": {"tools": [tool]}}
    first = bedrock.converse(messages=asked, **whole)
    assert first["stopReason"] == "tool_use"
    asked.append(first["output"]["message"])
    (call,) = [b["toolUse"] for b in asked[-1]["content"] if "toolUse" in b]
    assert (call["name"], call["input"]) == ("weather", {"city": "Ghent"})
    result = {"toolUseId": call["toolUseId"], "content": [{"text": "rain"}]}
    asked.append({"role": "user", "content": [{"toolResult": result}]})
    second = bedrock.converse(messages=asked, **whole)
    assert second["output"]["message"]["content"] == [{"text": "The tools said: rain"}]


@by_provider
def test_bedrock_image_and_schema(bedrock: Any, p: str) -> None:
    image = {"image": {"format": "png", "source": {"bytes": base64.b64decode(PIXEL)}}}
    asked = [{"role": "user", "content": [{"text": "look"}, image]}]
    seen = bedrock.converse(modelId=f"{p}/echo", messages=asked)
    (block,) = seen["output"]["message"]["content"]
    assert block["text"] == "You said: look I received 1 image."
    shape = {"jsonSchema": {"schema": json.dumps(WEATHER), "name": "place"}}
    answer = bedrock.converse(
        modelId=f"{p}/echo",
        messages=[_turn("x")],
        outputConfig={"textFormat": {"type": "json_schema", "structure": shape}},
    )
    (block,) = answer["output"]["message"]["content"]
    assert json.loads(block["text"]).keys() == {"city"}


@by_provider
@pytest.mark.parametrize("method", ["converse", "converse_stream"])
def test_bedrock_providers_errors(bedrock: Any, simulator: Simulator, p: str, method: str) -> None:
    simulator.control.script(BUSY)
    with pytest.raises(ClientError, match="not now") as caught:
        getattr(bedrock, method)(modelId=f"{p}/echo", messages=[_turn("x")])
    found: Any = caught.value.response
    assert found["Error"]["Code"] == "ThrottlingException"
    assert found["ResponseMetadata"]["HTTPStatusCode"] == 429


def test_bedrock_errors(bedrock: Any) -> None:
    with pytest.raises(ClientError) as caught:
        bedrock.converse(modelId="nothing", messages=[_turn("x")])
    found: Any = caught.value.response
    assert found["Error"]["Code"] == "ResourceNotFoundException"
    assert found["ResponseMetadata"]["HTTPStatusCode"] == 404


def _paths(simulator: Simulator, listener: str) -> list[str]:
    return [r.target for r in simulator.control.requests() if r.listener == listener]


@pytest.mark.parametrize("stream", [False, True])
def test_a_chat_client_reaches_gemini_at_its_path(
    gateway: Gateway, simulator: Simulator, *, stream: bool
) -> None:
    client = openai.OpenAI(api_key=KEY, base_url=gateway.url + "/v1", max_retries=0)
    asked: Any = [{"role": "user", "content": "hi"}]
    answer = client.chat.completions.create(model="g/echo", messages=asked, stream=stream)
    if stream:
        list(answer)
    method = "streamGenerateContent?alt=sse" if stream else "generateContent"
    assert _paths(simulator, "gemini") == [f"/v1beta/models/sim%2Fecho:{method}"]


def test_gemini_on_vertex(gateway: Gateway, gemini: genai.Client, simulator: Simulator) -> None:
    """Reached as Vertex AI has it: its path, and a bearer token."""
    answer = gemini.models.generate_content(model="e/echo", contents="hi")
    assert answer.text == "You said: hi"
    client = openai.OpenAI(api_key=KEY, base_url=gateway.url + "/v1", max_retries=0)
    asked: Any = [{"role": "user", "content": "hi"}]
    with client.chat.completions.stream(model="e/echo", messages=asked) as stream:
        assert stream.get_final_completion().choices[0].message.content == "You said: hi"
    model = "/v1/projects/p1/locations/eu/publishers/google/models/sim%2Fecho"
    ends = (":generateContent", ":streamGenerateContent?alt=sse")
    assert _paths(simulator, "vertex") == [model + end for end in ends]


@pytest.mark.parametrize("model", ["renamed", "known", "fast"])
def test_googles_sdk_for_vertex(gateway: Gateway, model: str) -> None:
    """The same SDK, told that it calls Vertex AI. What stands before a slash is a publisher there."""
    client = genai.Client(
        vertexai=True,
        project="mine",
        location="eu",
        credentials=Credentials(token=KEY),  # type: ignore[no-untyped-call]
        http_options=types.HttpOptions(base_url=gateway.url),
    )
    with client:
        answer = client.models.generate_content(model=model, contents="hi")
        chunks = list(client.models.generate_content_stream(model=model, contents="hi"))
    assert answer.text == "".join(chunk.text or "" for chunk in chunks) == "You said: hi"


def test_a_client_key_in_the_query_never_leaves(gateway: Gateway, simulator: Simulator) -> None:
    body = {"contents": [{"parts": [{"text": "hi"}]}]}
    path = f"/v1beta/models/g/echo:generateContent?key={KEY}&prettyPrint=false"
    assert httpx.post(gateway.url + path, json=body).status_code == 200
    assert _paths(simulator, "gemini") == [
        "/v1beta/models/sim%2Fecho:generateContent?prettyPrint=false"
    ]


def test_fallback_from_gemini_to_anthropic(gateway: Gateway, simulator: Simulator) -> None:
    client = anthropic.Anthropic(api_key=KEY, base_url=gateway.url, max_retries=0)
    simulator.control.script({"status": 503}, {"listener": "gemini"})
    asked: Any = [{"role": "user", "content": "hi"}]
    answer: Any = client.messages.create(model="fall-g/echo", max_tokens=50, messages=asked)
    assert answer.content[0].text == "You said: hi"
    assert _paths(simulator, "anthropic") == ["/v1/messages"]


NATIVE: dict[str, tuple[str, str, dict[str, Any]]] = {
    "responses": ("p/echo", "/v1/responses", {"input": "hi"}),
    "gemini": (
        "g/echo",
        "/v1beta/models/g%2Fecho:generateContent",
        {"contents": [{"parts": [{"text": "hi"}]}]},
    ),
    "gemini stream": (
        "g/echo",
        "/v1beta/models/g%2Fecho:streamGenerateContent?alt=sse",
        {"contents": [{"parts": [{"text": "hi"}]}]},
    ),
    "bedrock": (
        "b/echo",
        "/model/b%2Fecho/converse",
        {"messages": [{"role": "user", "content": [{"text": "hi"}]}]},
    ),
    "bedrock stream": (
        "b/echo",
        "/model/b%2Fecho/converse-stream",
        {"messages": [{"role": "user", "content": [{"text": "hi"}]}]},
    ),
    "gemini array": (
        "g/echo",
        "/v1beta/models/g%2Fecho:streamGenerateContent",
        {"contents": [{"parts": [{"text": "hi"}]}]},
    ),
    "responses stream": ("p/echo", "/v1/responses", {"input": "hi", "stream": True}),
}


def _entries_of(gateway: Gateway, caller: str) -> list[dict[str, Any]]:
    return [entry for entry in gateway.ledger() if caller in entry.values()]


@pytest.mark.parametrize(("model", "path", "body"), NATIVE.values(), ids=NATIVE)
def test_what_passes_through_is_counted(
    gateway: Gateway, model: str, path: str, body: dict[str, Any]
) -> None:
    """Envoy's own filters find the tokens, but for an array, which the respond stage counts."""
    caller, key = fresh_caller()
    whole = {"model": model, **body} if path == "/v1/responses" else body
    answer = httpx.post(gateway.url + path, json=whole, headers={"authorization": f"Bearer {key}"})
    assert answer.status_code == 200, answer.text
    (entry,) = wait_until(lambda: _entries_of(gateway, caller), what="the ledger's entry")
    assert entry["dragoman.metering"] == "exact"
    assert entry["gen_ai.usage.input_tokens"] > 0
    assert entry["gen_ai.usage.output_tokens"] > 0
