"""Anthropic Messages as Bedrock's InvokeModel and Vertex AI's rawPredict have it."""

from __future__ import annotations

import base64
import json
from typing import Any

import msgspec
import pytest

from dragoman.dialects import CHAT, Call, StreamOptions
from dragoman.dialects.anthropic_messages import AnthropicMessages, Quirks
from dragoman.dialects.registry import client_call
from dragoman.errors import DragomanError, UpstreamError, UpstreamProtocolError
from dragoman.ir import Text
from dragoman.ir.events import Delta, Event, fold
from dragoman.ir.losses import Losses
from dragoman.wire.eventstream import EventStreamDecoder, encode_eventstream
from dragoman.wire.sse import SseDecoder
from tests.properties.cases import decode_stream, each_byte

BEDROCK = AnthropicMessages(Quirks(version="bedrock-2023-05-31", invoke_model=True))
VERTEX = AnthropicMessages(Quirks(version="vertex-2023-10-16"))
ANTHROPIC = AnthropicMessages()
INVOKE = StreamOptions(framing="invoke_model")
PROJECT = "/v1/projects/p/locations/eu/publishers/anthropic/models/"
SDK = {"x-stainless-lang": "python"}
EVENTS: list[dict[str, Any]] = [
    {
        "type": "message_start",
        "message": {
            "id": "msg_bdrk_1",
            "type": "message",
            "role": "assistant",
            "model": "claude",
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": 5, "output_tokens": 1},
        },
    },
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "ping"},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hé"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}},
    {
        "type": "message_stop",
        "amazon-bedrock-invocationMetrics": {"inputTokenCount": 5, "outputTokenCount": 3},
    },
]


def frame(event: dict[str, Any]) -> bytes:
    inner = base64.b64encode(msgspec.json.encode(event)).decode()
    headers = {":event-type": "chunk", ":message-type": "event"}
    return encode_eventstream(headers, msgspec.json.encode({"bytes": inner, "p": "abcdefgh"}))


STREAM = b"".join(map(frame, EVENTS))


def exception(name: str, words: str) -> bytes:
    headers = {":exception-type": name, ":message-type": "exception"}
    return encode_eventstream(headers, msgspec.json.encode({"message": words}))


@pytest.mark.parametrize(
    ("path", "headers", "model", "stream", "framing"),
    [
        ("/model/us.anthropic.claude-x-v1%3A0/invoke", {}, "us.anthropic.claude-x-v1:0", False, 1),
        ("/model/anthropic.c/invoke-with-response-stream", {}, "anthropic.c", True, 1),
        ("/model/fast/invoke", SDK, "fast", False, 1),
        (PROJECT + "claude-x%40latest:rawPredict", {}, "claude-x@latest", False, 0),
        (PROJECT + "fast%2Fx:streamRawPredict", {}, "fast/x", True, 0),
    ],
)
def test_paths_of_the_clouds(
    path: str, headers: dict[str, str], model: str, *, stream: bool, framing: int
) -> None:
    call = ANTHROPIC.match(path, "", headers)
    assert call == Call(
        operation=CHAT,
        model=model,
        stream=stream,
        framing="invoke_model" if framing else "",
        fields={"stream": stream or None},
        header_fields={"anthropic_beta": "anthropic-beta"},
    )


@pytest.mark.parametrize(
    "path",
    [
        PROJECT + "count-tokens:rawPredict",
        "/v1/projects/p/locations/eu/publishers/google/models/gemini:rawPredict",
    ],
)
def test_other_models_paths_are_not_its_own(path: str) -> None:
    assert ANTHROPIC.match(path, "", {}) is None


@pytest.mark.parametrize("end", ["invoke", "invoke-with-response-stream"])
def test_the_body_tells_whose_an_invoked_model_is(end: str) -> None:
    call = ANTHROPIC.match(f"/model/fast/{end}", "", {})
    assert call
    assert call.claims
    assert call.claims({"anthropic_version": "bedrock-2023-05-31", "messages": []})
    for other in ({"inputText": "x"}, {"messages": [], "inferenceConfig": {}}, {}):
        assert not call.claims(other)


def test_who_invokes_a_model_reads_bedrocks_errors() -> None:
    client = client_call("/model/fast/invoke", SDK).dialect
    answer = client.encode_error(UpstreamError("Slow down.", status=429))
    assert answer.headers["x-amzn-errortype"] == "ThrottlingException"
    assert json.loads(answer.body) == {"message": "Slow down."}


BODY = {"model": "m", "stream": True, "max_tokens": 9, "messages": [{"role": "user"}]}
CLOUD = {"anthropic_version": "bedrock-2023-05-31", "anthropic_beta": ["b"]}


@pytest.mark.parametrize(
    ("provider", "body", "edits"),
    [
        (ANTHROPIC, BODY, {}),
        (ANTHROPIC, BODY | CLOUD, {"anthropic_version": None, "anthropic_beta": None}),
        (
            BEDROCK,
            BODY,
            {"anthropic_version": "bedrock-2023-05-31", "model": None, "stream": None},
        ),
        (
            BEDROCK,
            BODY | CLOUD,
            {"model": None, "stream": None},
        ),
        (
            VERTEX,
            BODY | CLOUD,
            {"anthropic_version": "vertex-2023-10-16", "model": None, "anthropic_beta": None},
        ),
        (VERTEX, {"anthropic_version": "2027-01-01"}, {}),
        (VERTEX, {"anthropic_version": 7}, {"anthropic_version": "vertex-2023-10-16"}),
    ],
)
def test_edits(provider: AnthropicMessages, body: dict[str, Any], edits: dict[str, Any]) -> None:
    assert _changed(body, provider.edits(body)) == edits


def _changed(body: dict[str, Any], edits: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in edits.items() if body.get(name) != value}


def test_a_request_is_written_for_each_cloud() -> None:
    asked = ANTHROPIC.decode_request({**BODY, "messages": [{"role": "user", "content": "Hi"}]})
    rest = {"max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}

    assert BEDROCK.encode_request(asked, Losses(BEDROCK.name)) == {
        "anthropic_version": "bedrock-2023-05-31",
        **rest,
    }
    assert VERTEX.encode_request(asked, Losses(VERTEX.name)) == {
        "anthropic_version": "vertex-2023-10-16",
        "stream": True,
        **rest,
    }


def test_only_bedrock_frames_as_bedrock() -> None:
    assert [d.frames("invoke_model") for d in (ANTHROPIC, BEDROCK, VERTEX)] == [False, True, False]
    assert [d.frames("") for d in (ANTHROPIC, BEDROCK, VERTEX)] == [True, False, True]


def test_a_stream_in_aws_frames_says_the_same_however_it_is_cut() -> None:
    plain = b"".join(b"data: %b\n\n" % msgspec.json.encode(event) for event in EVENTS)
    whole = decode_stream(ANTHROPIC, [STREAM])

    assert whole == decode_stream(ANTHROPIC, [plain])
    assert decode_stream(ANTHROPIC, [b"", *each_byte(STREAM)]) == whole
    assert fold(whole).choices[0].parts == (Text(content="Hé"),)
    for end in range(1, len(STREAM)):
        with pytest.raises(UpstreamProtocolError):
            decode_stream(ANTHROPIC, [STREAM[:end]])


def test_a_client_of_bedrock_reads_aws_frames() -> None:
    written = _written(decode_stream(ANTHROPIC, [STREAM]), INVOKE)
    frames = list(EventStreamDecoder().feed(written))

    assert {frame.headers[":event-type"] for frame in frames} == {"chunk"}
    inner = [base64.b64decode(msgspec.json.decode(frame.payload)["bytes"]) for frame in frames]
    sse = SseDecoder().feed(_written(decode_stream(ANTHROPIC, [STREAM]), StreamOptions()))
    assert [msgspec.json.decode(event) for event in inner] == [
        msgspec.json.decode(event.data) for event in sse
    ]
    assert ANTHROPIC.stream_type(INVOKE) == "application/vnd.amazon.eventstream"


def _written(events: list[Event], options: StreamOptions) -> bytes:
    encoder = ANTHROPIC.stream_encoder(options)
    return b"".join(map(encoder.feed, events)) + encoder.close()


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("throttlingException", 429),
        ("modelStreamErrorException", 424),
        ("validationException", 400),
        ("somethingNew", 502),
    ],
)
def test_an_exception_of_aws_is_an_error_with_a_status(name: str, status: int) -> None:
    decoder = ANTHROPIC.stream_decoder()
    events: list[Event] = []
    with pytest.raises(UpstreamError) as caught:
        decoder.feed(STREAM[: -len(frame(EVENTS[-1]))] + exception(name, "Too many"), events)
    assert Delta(content="Hé") in events

    assert (caught.value.status, caught.value.message) == (status, "Too many")


@pytest.mark.parametrize("payload", [b"{", b'{"bytes": 7}', b'{"bytes": "a"}'])
def test_an_event_without_one_in_it_breaks_the_stream(payload: bytes) -> None:
    wire = encode_eventstream({":event-type": "chunk"}, payload)
    with pytest.raises(UpstreamProtocolError):
        ANTHROPIC.stream_decoder().feed(wire, [])


def test_a_new_kind_of_message_is_passed_over() -> None:
    other = encode_eventstream({":event-type": "later"}, b"{}")

    assert decode_stream(ANTHROPIC, [other + STREAM]) == decode_stream(ANTHROPIC, [STREAM])


def test_a_stream_for_bedrocks_client_fails_as_aws_does() -> None:
    error: DragomanError = UpstreamError("Slow down", status=429)
    (frame_,) = EventStreamDecoder().feed(ANTHROPIC.stream_encoder(INVOKE).fail(error))

    assert frame_.headers[":exception-type"] == "throttlingException"
    assert msgspec.json.decode(frame_.payload) == {"message": "Slow down"}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"message": "No such model"}', "No such model"),
        (b'{"Message": "No access"}', "No access"),
        (
            b'[{"error": {"code": 429, "message": "Quota", "status": "RESOURCE_EXHAUSTED"}}]',
            "Quota",
        ),
        (b'{"error": {"code": 429, "message": "Quota", "status": "X"}}', "Quota"),
    ],
)
def test_errors_of_the_clouds_are_read(body: bytes, message: str) -> None:
    error = ANTHROPIC.decode_error(429, body)

    assert error.message == message
    told = msgspec.json.decode(ANTHROPIC.encode_error(error).body)
    assert told["error"] == {"type": "rate_limit_error", "message": message}
