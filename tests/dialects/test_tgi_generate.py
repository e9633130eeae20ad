"""TGI's own dialect: what it says beyond what every dialect's properties try."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from dragoman.dialects import CHAT as OPERATION
from dragoman.dialects import LISTED, Call, StreamOptions
from dragoman.dialects.openai_chat import OpenAIChat
from dragoman.dialects.tgi_generate import TgiGenerate
from dragoman.errors import InvalidRequest, Unrepresentable, UpstreamError, UpstreamProtocolError
from dragoman.ir import Choice, Reasoning, Response, Text, ToolCall, Usage
from dragoman.ir.events import (
    ChoiceEnd,
    Delta,
    Event,
    Finish,
    PartEnd,
    PartStart,
    Start,
    UsageUpdate,
)
from dragoman.ir.losses import Losses
from tests.properties.cases import decode_stream, encode_stream

DIALECT = TgiGenerate()
CHAT = OpenAIChat()
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
TOKEN = {"id": 5, "text": " a", "logprob": -0.5, "special": False}
ANSWER: dict[str, Any] = {
    "generated_text": " a",
    "details": {
        "finish_reason": "stop_sequence",
        "generated_tokens": 2,
        "seed": 7,
        "prefill": [{"id": 1, "text": "<s>", "logprob": None}, {"id": 2, "text": "x"}],
        "tokens": [TOKEN, {"id": 2, "text": "</s>", "logprob": -0.1, "special": True}],
        "top_tokens": [[TOKEN], []],
        "best_of_sequences": None,
    },
}


def chat(**fields: Any) -> Any:
    body = {"model": "m", "messages": [{"role": "user", "content": "Once"}], **fields}
    return CHAT.decode_request(body)


def written(**fields: Any) -> tuple[dict[str, Any], list[str]]:
    """The parameters, and what was dropped."""
    losses = Losses(DIALECT.name)
    body = DIALECT.encode_request(chat(**fields), losses)
    assert body.keys() == {"inputs", "parameters"}
    assert body["inputs"] == "Once"
    return body["parameters"], losses.paths


@pytest.mark.parametrize(
    ("path", "model", "stream", "framing"),
    [
        ("/generate", None, False, ""),
        ("/generate_stream", None, True, ""),
        ("/models/org%2Fllama/generate", "org/llama", False, ""),
        ("/models/org/llama/generate_stream", "org/llama", True, ""),
        ("/", None, None, LISTED),
    ],
)
def test_paths(path: str, model: str | None, framing: str, *, stream: bool | None) -> None:
    call = Call(
        operation=OPERATION, model=model, default_model="tgi", stream=stream, framing=framing
    )
    assert DIALECT.match(path, "", {}) == call


@pytest.mark.parametrize("path", ["/models/m", "/api/generate", "/v1/generate", "/models/generate"])
def test_other_paths(path: str) -> None:
    assert DIALECT.match(path, "", {}) is None


@pytest.mark.parametrize("body", [{}, {"inputs": ["a"]}, {"inputs": "a", "stream": 1}])
def test_a_body_that_cannot_be_one(body: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        DIALECT.check_request(body)


@pytest.mark.parametrize(
    ("fields", "sent"),
    [
        ({}, {}),
        ({"temperature": 0}, {"do_sample": False}),
        ({"temperature": 0.5, "top_p": 1}, {"temperature": 0.5}),
        (
            {"top_p": 0.5, "max_tokens": 5, "seed": 3},
            {"max_new_tokens": 5, "top_p": 0.5, "seed": 3},
        ),
        ({"stop": "END"}, {"stop": ["END"]}),
        ({"logprobs": True}, {"top_n_tokens": 1}),
        ({"logprobs": True, "top_logprobs": 4}, {"top_n_tokens": 4}),
        ({"response_format": {"type": "text"}}, {}),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": SCHEMA}}},
            {"grammar": {"type": "json", "value": SCHEMA}},
        ),
    ],
)
def test_what_a_chat_asks(fields: dict[str, Any], sent: dict[str, Any]) -> None:
    assert written(**fields) == ({"details": True, **sent}, [])


def test_hints_are_dropped_and_named() -> None:
    shape = {"name": "n", "strict": True, "schema": SCHEMA}
    _, dropped = written(
        presence_penalty=0.5,
        user="u",
        reasoning_effort="low",
        response_format={"type": "json_schema", "json_schema": shape},
    )
    assert sorted(dropped) == [
        "$.presence_penalty",
        "$.reasoning_effort",
        "$.response_format.json_schema.name",
        "$.response_format.json_schema.strict",
        "$.user",
    ]


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"n": 2}, "$.n"),
        ({"top_logprobs": 2}, "$.top_logprobs"),
        ({"response_format": {"type": "json_object"}}, "$.response_format"),
        ({"messages": [{"role": "system", "content": "x"}]}, "$.messages[0]"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "$.tools[0]"),
    ],
)
def test_what_it_cannot_say_is_refused_by_name(fields: dict[str, Any], path: str) -> None:
    with pytest.raises(Unrepresentable) as caught:
        written(**fields)
    assert caught.value.path == path


@pytest.mark.parametrize(
    "parameters",
    [{"grammar": {"type": "json", "value": 7}}, {"grammar": {}}, {"stop": [1]}, {"seed": "x"}],
)
def test_wrong_parameters_name_their_path(parameters: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match=r"\$\.parameters\."):
        DIALECT.decode_request({"inputs": "a", "parameters": parameters})


def test_edits_ask_for_what_counts() -> None:
    body = {"inputs": "a", "model": "m", "parameters": {"seed": 1}}
    assert DIALECT.edits(body) == {
        "model": None,
        "stream": None,
        "parameters": {"seed": 1, "details": True},
    }
    assert DIALECT.edits({"parameters": 7})["parameters"] == {"details": True}
    assert (DIALECT.frames(""), DIALECT.frames(LISTED)) == (True, False)


def test_an_answer_survives_and_tells_chat_what_it_says() -> None:
    read = DIALECT.decode_response(ANSWER)
    assert DIALECT.encode_response(read, Losses(DIALECT.name)) == ANSWER
    assert read.usage == Usage(input_tokens=2, output_tokens=2)
    told = CHAT.encode_response(read, Losses(CHAT.name))
    (choice,) = told["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == (" a", "stop")
    assert choice["logprobs"]["content"][0]["top_logprobs"][0]["logprob"] == -0.5


@pytest.mark.parametrize("body", [{"generated_text": "a"}, {"generated_text": "", "details": None}])
def test_an_answer_without_details(body: dict[str, Any]) -> None:
    read = DIALECT.decode_response(body)
    assert DIALECT.encode_response(read, Losses(DIALECT.name)) == body
    assert read.usage is None
    assert read.choices[0].finish_reason == "stop"


def test_broken_answers_are_the_upstreams_fault() -> None:
    for body in ({}, {"generated_text": 7}):
        with pytest.raises(UpstreamProtocolError):
            DIALECT.decode_response(body)
    with pytest.raises(UpstreamError, match="full") as caught:
        DIALECT.decode_response({"error": "full", "error_type": "overloaded"})
    assert caught.value.status == 429


def test_what_is_no_text() -> None:
    losses = Losses(DIALECT.name)

    def answered(*parts: Any, count: int = 1) -> Response:
        choice = Choice(parts=parts, finish_reason="stop", stop_sequence="END")
        return Response(id="1", model="m", choices=(choice,) * count)

    body = DIALECT.encode_response(answered(Reasoning(content="hm"), Text(content="Hi")), losses)
    assert (body["generated_text"], losses.paths) == ("Hi", ["$.reasoning"])
    assert body["details"]["finish_reason"] == "stop_sequence"
    for answer in (answered(ToolCall(id="1", name="f", arguments="")), answered(count=2)):
        with pytest.raises(UpstreamProtocolError):
            DIALECT.encode_response(answer, losses)
    for start in (PartStart(kind="tool_call", name="f"), PartStart(kind="text", choice=1)):
        with pytest.raises(UpstreamProtocolError):
            DIALECT.stream_encoder(_options()).feed(start)
    encoder = DIALECT.stream_encoder(_options())
    assert encoder.feed(PartStart(kind="reasoning")) + encoder.feed(Delta(content="hm")) == b""


def _options() -> StreamOptions:
    return StreamOptions()


def event(**fields: Any) -> bytes:
    return b"data:%b\n\n" % msgspec.json.encode({"index": 1, "generated_text": None, **fields})


LAST = event(
    token={"id": 2, "text": "</s>", "logprob": -0.1, "special": True},
    generated_text=" a a",
    details={"finish_reason": "eos_token", "generated_tokens": 3, "input_length": 9, "seed": None},
)


def test_a_stream() -> None:
    wire = event(token=TOKEN, top_tokens=[TOKEN]) + event(token=TOKEN) + LAST
    events = decode_stream(DIALECT, [wire])
    deltas = [one for one in events if isinstance(one, Delta)]
    assert [delta.content for delta in deltas] == [" a", " a"]
    assert [delta.logprobs is not None for delta in deltas] == [True, False]
    usage = next(one.usage for one in events if isinstance(one, UsageUpdate))
    assert (usage.input_tokens, usage.output_tokens) == (9, 3)
    assert ChoiceEnd(reason="stop") in events
    assert decode_stream(DIALECT, [encode_stream(DIALECT, events)]) == events


def test_a_client_reads_the_text_whatever_the_tokens_were() -> None:
    likely = {"content": [{"token": "P", "logprob": -0.1}], "refusal": None}
    events = [Start(id="", model=""), PartStart(kind="text"), Delta(content="Par", logprobs=likely)]
    end: list[Event] = [PartEnd(), ChoiceEnd(reason="stop"), Finish()]
    frames = encode_stream(DIALECT, [*events, *end]).split(b"\n\n")
    first, last, _ = [
        msgspec.json.decode(frame.removeprefix(b"data: ") or b"0") for frame in frames
    ]
    assert first["token"]["text"] == last["generated_text"] == "Par"


def test_an_error_in_a_stream() -> None:
    decoder = DIALECT.stream_decoder()
    with pytest.raises(UpstreamError, match="Incomplete") as caught:
        decoder.feed(b'data:{"error":"Incomplete","error_type":"incomplete_generation"}\n\n', [])
    assert caught.value.status == 500


@pytest.mark.parametrize("wire", [b"", event(token=TOKEN), b"data:{\n\n", b'data:{"token":7}\n\n'])
def test_a_stream_that_is_not_whole_raises(wire: bytes) -> None:
    with pytest.raises(UpstreamProtocolError):
        decode_stream(DIALECT, [wire])


@pytest.mark.parametrize(
    ("status", "body", "message", "kind"),
    [
        (422, b'{"error":"bad","error_type":"validation"}', "bad", "validation"),
        (503, b'{"error":"Model is loading","estimated_time":20.0}', "Model is loading", None),
        (401, b'{"error":{"message":"no"}}', "no", None),
        (502, b"<html>", "The provider answered with status 502 and no message.", None),
        (500, b"", "The provider answered with status 500 and no message.", None),
        (500, b"out of memory", "out of memory", None),
    ],
)
def test_errors_are_read(status: int, body: bytes, message: str, kind: str | None) -> None:
    error = DIALECT.decode_error(status, body)
    assert (error.status, error.message, error.kind) == (status, message, kind)
