"""Counts of tokens: a chat request with less, wrapped in each dialect's own way."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from dragoman.dialects import COUNT
from dragoman.dialects.registry import NAMES, client_call, client_dialect, provider_dialect
from dragoman.errors import DragomanError, InvalidRequest, Unrepresentable, UpstreamProtocolError
from dragoman.ir import Request, TokenCount
from dragoman.ir.losses import Losses

ANTHROPIC, OPENAI = "anthropic_count_tokens", "openai_input_tokens"
GEMINI, BEDROCK = "gemini_count_tokens", "bedrock_count_tokens"
COUNTING = [name for name in NAMES if client_dialect(name).operation == COUNT]
MESSAGES = [{"role": "user", "content": "hi"}]
CONTENTS = [{"role": "user", "parts": [{"text": "hi"}]}]
CONVERSE = {"messages": [{"role": "user", "content": [{"text": "hi"}]}]}
VERTEX = provider_dialect(GEMINI, {"whole": False})


def native(**body: Any) -> dict[str, Any]:
    packed = base64.b64encode(json.dumps(body).encode()).decode()
    return {"input": {"invokeModel": {"body": packed}}}


def whole(**more: Any) -> dict[str, Any]:
    return {"generateContentRequest": {"model": "models/g", "contents": CONTENTS, **more}}


def translate(source: str, body: dict[str, Any], target: Any) -> tuple[Any, list[str]]:
    to = client_dialect(target) if isinstance(target, str) else target
    losses = Losses(to.name)
    request: Request = client_dialect(source).decode_request(body)
    return to.encode_request(request, losses), losses.paths


@pytest.mark.parametrize(
    ("path", "name", "model"),
    [
        ("/v1/messages/count_tokens?beta=true", ANTHROPIC, None),
        (
            "/v1/projects/p/locations/l/publishers/anthropic/models/count-tokens:rawPredict",
            ANTHROPIC,
            None,
        ),
        ("/v1/responses/input_tokens", OPENAI, None),
        ("/v1beta/models/a%2Fb:countTokens", GEMINI, "a/b"),
        ("/v1beta1/projects/p/locations/l/publishers/google/models/m:countTokens", GEMINI, "m"),
        ("/model/a%2Fb/count-tokens", BEDROCK, "a/b"),
    ],
)
def test_who_is_called_by_which_path(path: str, name: str, model: str | None) -> None:
    found = client_call(path, {})
    assert found.dialect.name == name
    assert found.call is not None
    assert (found.call.operation, found.call.model) == (COUNT, model)


@pytest.mark.parametrize("path", ["", "/tokenize", "/chat_tokenize"])
def test_no_client_calls_what_answers_with_tokens(path: str) -> None:
    assert client_call(path, {}).call is None


@pytest.mark.parametrize(
    ("source", "body"),
    [
        (ANTHROPIC, {"model": "m", "messages": MESSAGES}),
        (ANTHROPIC, {"model": "m", "messages": MESSAGES, "new": {"x": [1]}, "max_tokens": 9}),
        (OPENAI, {"model": "m", "input": "hi", "truncation": "auto"}),
        (GEMINI, {"contents": CONTENTS}),
        (GEMINI, {"contents": CONTENTS, "systemInstruction": {"parts": [{"text": "x"}]}}),
        (GEMINI, whole(generationConfig={"temperature": 1})),
        (BEDROCK, {"input": {"converse": CONVERSE}}),
        (BEDROCK, native(anthropic_version="bedrock-2023-05-31", max_tokens=5, messages=MESSAGES)),
    ],
)
def test_its_own_request_survives(source: str, body: dict[str, Any]) -> None:
    found, dropped = translate(source, body, source)
    if "invokeModel" in found.get("input", {}):
        packed = found["input"]["invokeModel"]["body"]
        found = native(**json.loads(base64.b64decode(packed)))
        assert json.loads(base64.b64decode(found["input"]["invokeModel"]["body"])) == json.loads(
            base64.b64decode(body["input"]["invokeModel"]["body"])
        )
    else:
        assert found == body
    assert dropped == []


def test_what_shapes_the_answer_is_not_counted_and_reported_by_its_place() -> None:
    config = {"temperature": 1, "stopSequences": ["x"], "maxOutputTokens": 5, "candidateCount": 2}
    found, dropped = translate(GEMINI, whole(generationConfig=config), ANTHROPIC)
    assert found == {
        "model": "g",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
    }
    at = "$.generateContentRequest.generationConfig"
    assert sorted(dropped) == sorted(f"{at}.{name}" for name in config)


def test_a_native_body_of_bedrocks_reaches_anthropic_without_its_version() -> None:
    body = native(
        anthropic_version="bedrock-2023-05-31",
        anthropic_beta=["b"],
        max_tokens=5,
        messages=MESSAGES,
        thinking={"type": "enabled", "budget_tokens": 1024},
    )
    found, dropped = translate(BEDROCK, body, ANTHROPIC)
    assert found == {
        "model": "",
        "messages": MESSAGES,
        "thinking": {"type": "enabled", "budget_tokens": 1024},
    }
    root = "$.input.invokeModel.body"
    assert sorted(dropped) == [f"{root}.anthropic_beta", f"{root}.max_tokens"]


def test_anthropics_own_words_reach_bedrock_as_they_are() -> None:
    body = {"model": "m", "messages": MESSAGES, "tools": [{"type": "web_search_20250305"}]}
    found, dropped = translate(ANTHROPIC, body, BEDROCK)
    inner = json.loads(base64.b64decode(found["input"]["invokeModel"]["body"]))
    assert inner["tools"] == body["tools"]
    assert inner["anthropic_version"] == "bedrock-2023-05-31"
    assert "model" not in inner
    assert dropped == []


def test_vertex_takes_claudes_count_with_the_model_in_the_body() -> None:
    vertex = provider_dialect(ANTHROPIC, {"version": "vertex-2023-10-16"})
    found, _ = translate(OPENAI, {"model": "claude", "input": "hi"}, vertex)
    assert (found["model"], found["anthropic_version"]) == ("claude", "vertex-2023-10-16")
    edits = vertex.edits({"model": "m", "messages": MESSAGES})
    assert edits == {"anthropic_version": "vertex-2023-10-16"}


def test_google_wraps_what_is_more_than_contents_and_vertex_never_does() -> None:
    body = {"model": "m", "input": "hi", "instructions": "x"}
    found, _ = translate(OPENAI, body, GEMINI)
    assert found["generateContentRequest"]["model"] == "models/m"
    assert set(found["generateContentRequest"]) == {"model", "contents", "systemInstruction"}
    assert set(translate(OPENAI, body, VERTEX)[0]) == {"contents", "systemInstruction"}
    assert set(translate(OPENAI, {"model": "m", "input": "hi"}, GEMINI)[0]) == {"contents"}


def test_google_and_vertex_take_each_others_form() -> None:
    config = {"temperature": 1}
    studio = client_dialect(GEMINI)
    bare = {"contents": CONTENTS, "generationConfig": config, "model": "t"}
    assert studio.edits(bare) == {
        "contents": None,
        "generationConfig": None,
        "generateContentRequest": {
            "model": "models/t",
            "contents": CONTENTS,
            "generationConfig": config,
        },
    }
    assert studio.edits({"contents": CONTENTS, "model": "t"}) == {}
    given = whole(generationConfig=config)
    assert studio.edits({**given, "model": "t"}) == whole(model="models/t", generationConfig=config)
    assert studio.edits(given) == given
    assert VERTEX.edits({**given, "model": "t"}) == {
        "contents": CONTENTS,
        "generationConfig": config,
        "generateContentRequest": None,
    }
    assert VERTEX.edits(bare) == {}


@pytest.mark.parametrize(
    ("source", "body", "path"),
    [
        (GEMINI, {"generateContentRequest": 3}, "$.generateContentRequest"),
        (GEMINI, {"generateContentRequest": {}}, "$.generateContentRequest.contents"),
        (GEMINI, {}, "$.contents"),
        (BEDROCK, {}, "$.input"),
        (BEDROCK, {"input": {"invokeModel": {"body": 3}}}, "$.input"),
        (BEDROCK, {"input": {"invokeModel": {"body": "?"}}}, "$.input.invokeModel.body"),
        (BEDROCK, {"input": {"invokeModel": {"body": "W10="}}}, "$.input.invokeModel.body"),
        (BEDROCK, native(messages=[]), "$.input.invokeModel.body.messages"),
        (BEDROCK, {"input": {"converse": {}}}, "$.input.converse.messages"),
        (ANTHROPIC, {"messages": []}, "$.messages"),
        (OPENAI, {"input": 3}, "$.input"),
    ],
)
def test_a_body_that_cannot_be_one_is_refused(source: str, body: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        client_dialect(source).check_request(body)
    assert caught.value.path == path
    assert caught.value.message.startswith(path + ":")


def test_openai_counts_what_stands_beside_no_input() -> None:
    body = {"model": "m", "input": None, "instructions": "Be brief."}
    dialect = client_dialect(OPENAI)
    dialect.check_request(body)
    request = dialect.decode_request(body)
    assert dialect.encode_request(request, Losses(OPENAI)) == body
    with pytest.raises(InvalidRequest):
        client_dialect(ANTHROPIC).encode_request(request, Losses(ANTHROPIC))


def test_what_goes_wrong_inside_is_named_by_its_whole_path() -> None:
    broken = {"input": {"converse": {"messages": [{"role": "user", "content": [{"text": 3}]}]}}}
    with pytest.raises(DragomanError) as caught:
        client_dialect(BEDROCK).decode_request(broken)
    assert caught.value.path == "$.input.converse.messages[0].content[0].text"
    sound = {"role": "user", "parts": [{"inlineData": {"mimeType": "audio/wav", "data": "AA=="}}]}
    with pytest.raises(Unrepresentable) as refused:
        translate(GEMINI, whole(contents=[sound]), ANTHROPIC)
    assert refused.value.path is not None
    assert refused.value.path.startswith("$.generateContentRequest.contents[0].parts[0]")
    assert str(refused.value).startswith(refused.value.path)


@pytest.mark.parametrize("name", COUNTING)
def test_an_answer_of_ours_is_read_again(name: str) -> None:
    dialect = client_dialect(name)
    answer = dialect.encode_response(TokenCount(input_tokens=7), Losses(name))
    assert dialect.decode_response(answer) == TokenCount(input_tokens=7)


@pytest.mark.parametrize(
    ("name", "answer", "count"),
    [
        ("vllm_tokenize", {"count": 3, "max_model_len": 9, "tokens": [1, 2, 3]}, 3),
        ("tgi_chat_tokenize", {"tokenize_response": [{"id": 1}, {"id": 2}]}, 2),
        (GEMINI, {"totalTokens": 4, "promptTokensDetails": [{"tokenCount": 4}]}, 4),
    ],
)
def test_each_providers_answer_is_a_number(name: str, answer: dict[str, Any], count: int) -> None:
    assert client_dialect(name).decode_response(answer).input_tokens == count


@pytest.mark.parametrize("name", COUNTING)
@pytest.mark.parametrize("answer", [{}, {"count": "3"}, {"input_tokens": True}])
def test_an_answer_without_a_count_is_the_providers_fault(name: str, answer: Any) -> None:
    with pytest.raises(UpstreamProtocolError):
        client_dialect(name).decode_response(answer)


@pytest.mark.parametrize("name", ["vllm_tokenize", "tgi_chat_tokenize"])
def test_a_chat_template_is_given_messages_and_tools_alone(name: str) -> None:
    tool = {"type": "function", "name": "look", "parameters": {}, "strict": False}
    body = {
        "model": "m",
        "input": "hi",
        "tools": [tool],
        "tool_choice": "required",
        "reasoning": {"effort": "low"},
    }
    found, dropped = translate(OPENAI, body, name)
    assert set(found) == {"model", "messages", "tools"}
    assert dropped == ["$.tool_choice", "$.reasoning"]


@pytest.mark.parametrize("name", COUNTING)
def test_a_count_does_not_stream(name: str) -> None:
    with pytest.raises(Unrepresentable):
        client_dialect(name).stream_decoder()


def test_a_quirk_that_does_not_exist_is_refused() -> None:
    for name in COUNTING:
        with pytest.raises(InvalidRequest):
            provider_dialect(name, {"colour": 1})
    with pytest.raises(InvalidRequest):
        provider_dialect(GEMINI, {"whole": "yes"})
