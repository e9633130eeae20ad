"""OpenAI Completions: what it says beyond what every dialect's properties try."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from dragoman.dialects import StreamOptions
from dragoman.dialects.openai_chat import OpenAIChat
from dragoman.dialects.openai_completions import OpenAICompletions, Quirks
from dragoman.errors import InvalidRequest, Unrepresentable, UpstreamError, UpstreamProtocolError
from dragoman.ir import Choice, Reasoning, Response, Text, ToolCall
from dragoman.ir.events import ChoiceEnd, Delta, PartStart, Start
from dragoman.ir.losses import Losses
from tests.properties.cases import decode_stream, encode_stream

DIALECT = OpenAICompletions()
CHAT = OpenAIChat()
AUDIO = {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}
ANSWER: dict[str, Any] = {
    "id": "cmpl-1",
    "object": "text_completion",
    "created": 1,
    "model": "m",
    "choices": [
        {
            "index": 0,
            "text": " upon a",
            "logprobs": {
                "tokens": [" upon", " a"],
                "token_logprobs": [None, -0.5],
                "top_logprobs": [None, {" a": -0.5, " the": -1.5}],
                "text_offset": [0, 5],
            },
            "finish_reason": "length",
        },
        {"index": 1, "text": "", "logprobs": None, "finish_reason": "abort", "stop_reason": "END"},
    ],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
    "system_fingerprint": "fp",
}


def asked(**fields: Any) -> dict[str, Any]:
    return {"model": "m", "prompt": "Once", **fields}


def chat(**fields: Any) -> Any:
    body = {"model": "m", "messages": [{"role": "user", "content": "Once"}], **fields}
    return CHAT.decode_request(body)


@pytest.mark.parametrize(
    ("prompt", "path"),
    [
        (None, "$.prompt"),
        ([], "$.prompt"),
        ({}, "$.prompt"),
        (7, "$.prompt"),
        ([1, "a"], "$.prompt"),
        (["a", 1], "$.prompt[1]"),
        ([[1], 2], "$.prompt"),
        ([[True]], "$.prompt"),
    ],
)
def test_a_prompt_that_is_none_names_its_path(prompt: Any, path: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        DIALECT.decode_request(asked(prompt=prompt))
    assert caught.value.path == path


@pytest.mark.parametrize("body", [{}, {"prompt": 7}, {"prompt": "a", "stream": "yes"}])
def test_a_body_that_cannot_be_one_is_seen_at_its_top(body: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        DIALECT.check_request(body)
    DIALECT.check_request(asked())


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"suffix": "."}, "$.suffix"),
        ({"echo": True}, "$.echo"),
        ({"prompt": [1, 2]}, "$.prompt[0]"),
        ({"prompt": ["a", "b"]}, "$.prompt[1]"),
    ],
)
def test_what_only_a_completion_knows_is_refused_by_name(fields: dict[str, Any], path: str) -> None:
    with pytest.raises(Unrepresentable) as caught:
        CHAT.encode_request(DIALECT.decode_request(asked(**fields)), Losses("openai_chat"))
    assert caught.value.path == path


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"messages": [{"role": "system", "content": "x"}] * 2}, "$.messages[0]"),
        ({"messages": [{"role": "user", "content": "x"}] * 2}, "$.messages[1]"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "$.tools[0]"),
        ({"tool_choice": "none"}, "$.tool_choice"),
        ({"response_format": {"type": "json_object"}}, "$.response_format"),
        (
            {"messages": [{"role": "user", "content": [AUDIO]}]},
            "$.messages[0].content[0]",
        ),
    ],
)
def test_what_a_prompt_cannot_say_is_refused_by_name(fields: dict[str, Any], path: str) -> None:
    with pytest.raises(Unrepresentable) as caught:
        DIALECT.encode_request(chat(**fields), Losses(DIALECT.name))
    assert caught.value.path == path


def test_hints_are_dropped_and_named() -> None:
    losses = Losses(DIALECT.name)
    request = chat(parallel_tool_calls=True, reasoning_effort="low", service_tier="auto", top_k=4)
    assert DIALECT.encode_request(request, losses) == {"model": "m", "prompt": "Once"}
    assert sorted(losses.paths) == [
        "$.parallel_tool_calls",
        "$.reasoning_effort",
        "$.service_tier",
        "$.top_k",
    ]
    assert DIALECT.encode_request(chat(response_format={"type": "text"}), losses)


@pytest.mark.parametrize(
    ("quirks", "sent"),
    [
        ({}, {"stream": True, "stream_options": {"include_usage": True}}),
        ({"include_usage": False, "top_k": True}, {"stream": True, "top_k": 4}),
    ],
)
def test_a_provider_with_quirks(quirks: dict[str, bool], sent: dict[str, Any]) -> None:
    provider = OpenAICompletions(Quirks(**quirks))
    body = provider.encode_request(chat(stream=True, top_k=4), Losses(DIALECT.name))
    assert body == {"model": "m", "prompt": "Once", **sent}
    assert "stream_options" in DIALECT.edits(asked(stream=True))


def test_an_answer_survives_and_tells_chat_what_it_says() -> None:
    read = DIALECT.decode_response(ANSWER)
    assert DIALECT.encode_response(read, Losses(DIALECT.name)) == ANSWER
    told = CHAT.encode_response(read, Losses(CHAT.name))
    first, second = told["choices"]
    assert first["message"]["content"] == " upon a"
    assert [token["logprob"] for token in first["logprobs"]["content"]] == [None, -0.5]
    assert first["finish_reason"] == "length"
    assert (second["finish_reason"], second["stop_reason"]) == ("stop", "END")
    again = DIALECT.encode_response(CHAT.decode_response(told), Losses(DIALECT.name))
    alike = again["choices"][0]["logprobs"]
    assert alike == {
        **ANSWER["choices"][0]["logprobs"],
        "top_logprobs": [{}, alike["top_logprobs"][1]],
    }


def test_an_answer_of_the_least_gets_nothing_made_up() -> None:
    least = {"choices": [{"text": "a"}]}
    assert DIALECT.encode_response(DIALECT.decode_response(least), Losses(DIALECT.name)) == least


def test_a_text_that_is_null_says_nothing() -> None:
    silent = {"choices": [{"text": None, "finish_reason": "stop"}]}
    read = DIALECT.decode_response(silent)
    losses = Losses(CHAT.name)
    assert CHAT.encode_response(read, losses)["choices"][0]["message"]["content"] is None
    assert losses.paths == []
    assert DIALECT.encode_response(read, Losses(DIALECT.name)) == silent


@pytest.mark.parametrize(
    "body", [{}, {"choices": []}, {"choices": [{}]}, {"choices": [{"text": 7}]}, {"choices": 7}]
)
def test_a_broken_answer_is_the_upstreams_fault(body: dict[str, Any]) -> None:
    with pytest.raises(UpstreamProtocolError):
        DIALECT.decode_response(body)


def test_an_error_with_status_200_is_raised() -> None:
    with pytest.raises(UpstreamError, match="busy"):
        DIALECT.decode_response({"error": {"message": "busy"}})
    with pytest.raises(UpstreamError, match="busy"):
        DIALECT.stream_decoder().feed(b'data: {"error": {"message": "busy"}}\n\n', [])


def test_reasoning_is_lost_aloud_and_a_call_is_an_error() -> None:
    losses = Losses(DIALECT.name)
    said = (Reasoning(content="hm"), Text(content="Hi"))
    body = DIALECT.encode_response(answered(*said), losses)
    assert body["choices"][0]["text"] == "Hi"
    assert losses.paths == ["$.choices[0].reasoning"]
    with pytest.raises(UpstreamProtocolError, match="tool"):
        DIALECT.encode_response(answered(ToolCall(id="1", name="f", arguments="")), losses)
    encoder = DIALECT.stream_encoder(StreamOptions())
    assert encoder.feed(PartStart(kind="reasoning")) + encoder.feed(Delta(content="hm")) == b""
    with pytest.raises(UpstreamProtocolError, match="tool"):
        encoder.feed(PartStart(kind="tool_call", name="f"))


def answered(*parts: Any) -> Response:
    return Response(id="1", model="m", choices=(Choice(parts=parts, finish_reason="stop"),))


def chunk(**choice: Any) -> bytes:
    body = {"id": "1", "model": "m", "choices": [{"index": 0, "text": "", **choice}]}
    return b"data: %b\n\n" % msgspec.json.encode(body)


DONE = b"data: [DONE]\n\n"
LIKELY = {"tokens": ["é"], "token_logprobs": [-1.0], "top_logprobs": None, "text_offset": [0]}


def test_a_stream_with_log_probabilities_and_a_stop_word() -> None:
    wire = chunk(text="é", logprobs=LIKELY) * 2 + chunk(finish_reason="eos", stop_reason="END")
    events = decode_stream(DIALECT, [wire, DONE])
    assert isinstance(events[0], Start)
    end = next(event for event in events if isinstance(event, ChoiceEnd))
    assert (end.reason, end.stop_sequence) == ("stop", "END")
    again = encode_stream(DIALECT, events)
    assert b'"text_offset":[1]' in again
    assert b'"finish_reason":"eos","stop_reason":"END"' in again
    assert decode_stream(DIALECT, [again])[1:] == events[1:]


def test_a_stream_that_says_it_ends_needs_no_reason() -> None:
    events = decode_stream(DIALECT, [chunk(text="a") + DONE])
    assert [event.reason for event in events if isinstance(event, ChoiceEnd)] == ["stop"]


@pytest.mark.parametrize(
    "wire",
    [
        b"data: {\n\n",
        chunk(text="a"),
        chunk(text="a", index=1, finish_reason="stop") + DONE,
        chunk(text="a", index=-1, finish_reason="stop") + DONE,
        DONE,
        b"",
    ],
)
def test_a_stream_that_is_not_whole_raises(wire: bytes) -> None:
    with pytest.raises(UpstreamProtocolError):
        decode_stream(DIALECT, [wire])
