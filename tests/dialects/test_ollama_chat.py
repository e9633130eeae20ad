"""What only Ollama's chat has: lines, calls without ids, images without a type, times."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import pytest

from dragoman.dialects import CHAT, MODELS, ChatDialect, StreamOptions
from dragoman.dialects.models import ModelCard
from dragoman.dialects.registry import client_call, client_dialect
from dragoman.errors import (
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    UpstreamError,
    UpstreamProtocolError,
)
from dragoman.ir import (
    Blob,
    Choice,
    Message,
    Opaque,
    Reasoning,
    Request,
    Residue,
    Response,
    Text,
    ToolCall,
    ToolCallResponse,
)
from dragoman.ir.events import (
    ChoiceEnd,
    Delta,
    Event,
    Finish,
    PartEnd,
    PartStart,
    Start,
    fold,
)
from dragoman.ir.losses import Losses
from tests.properties.cases import decode_stream, each_byte, encode_stream, translate

OLLAMA: ChatDialect = client_dialect("ollama_chat")
CHAT_CLIENT: ChatDialect = client_dialect("openai_chat")
MESSAGES: ChatDialect = client_dialect("anthropic_messages")
Json = dict[str, Any]
TIME = "2026-11-24T23:41:19.123456789Z"


def _asked(*messages: Json, **more: Any) -> Json:
    given = messages or ({"role": "user", "content": "Hi"},)
    return {"model": "llama", "messages": list(given), **more}


def _call(name: str, **more: Any) -> Json:
    return {"function": {"name": name, "arguments": {}}, **more}


def _answer(message: Json, **more: Any) -> Json:
    message = {"role": "assistant", "content": "", **message}
    return {"model": "llama", "created_at": TIME, "message": message, "done": True, **more}


def _lines(*bodies: Json) -> bytes:
    return b"".join(json.dumps(body).encode() + b"\n" for body in bodies)


# --- what a client asks -------------------------------------------------------------------------


def test_its_paths_are_its_own() -> None:
    chat, tags = client_call("/api/chat", {}), client_call("/api/tags", {})
    assert chat.dialect is tags.dialect is client_call("/api/unheard-of", {}).dialect is OLLAMA
    assert chat.call
    assert tags.call
    assert (chat.call.operation, tags.call.operation) == (CHAT, MODELS)
    assert client_call("/api/unheard-of", {}).call is None


@pytest.mark.parametrize(
    ("said", "streamed"),
    [({}, True), ({"stream": None}, True), ({"stream": True}, True), ({"stream": False}, False)],
)
def test_silence_asks_for_a_stream(said: Json, *, streamed: bool) -> None:
    call = client_call("/api/chat", {}).call
    assert call
    assert call.is_streamed(said) is streamed
    assert OLLAMA.decode_request(_asked(**said)).stream is streamed
    assert OLLAMA.encode_request(OLLAMA.decode_request(_asked()), Losses("ollama_chat")) == _asked()


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"messages": []}, r"\$\.messages"),
        ({"messages": "x"}, r"\$\.messages"),
        ({"messages": [{}], "stream": 1}, r"\$\.stream"),
    ],
)
def test_what_cannot_be_a_request_is_refused(body: Json, path: str) -> None:
    with pytest.raises(InvalidRequest, match=path):
        OLLAMA.check_request(body)
    OLLAMA.check_request({"messages": [{}]})


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"model": "m", "messages": []}, "$.messages"),
        (_asked({"content": "x"}), "$.messages[0].role"),
        (_asked({"role": "user", "images": [7]}), "$.messages[0].images[0]"),
        (_asked(format="xml"), "$.format"),
        (_asked(think="hardly"), "$.think"),
        (
            _asked(
                {
                    "role": "assistant",
                    "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}],
                }
            ),
            "$.messages[0].tool_calls[0].function.arguments",
        ),
    ],
)
def test_a_request_that_breaks_the_dialect_names_the_place(body: Json, path: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        OLLAMA.decode_request(body)
    assert caught.value.path == path


KEPT: dict[str, Json] = {
    "no content": _asked({"role": "user"}),
    "thinking of no words": _asked({"role": "assistant", "content": "x", "thinking": ""}),
    "calls without what says nothing": _asked(
        {"role": "assistant", "tool_calls": [{"function": {"name": "f"}}]},
        {"role": "tool"},
        tools=[{"function": {"name": "f"}}],
    ),
    "calls with all there is": _asked(
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {
                    "id": "c",
                    "type": "function",
                    "x": 1,
                    "function": {"name": "f", "index": 0, "arguments": {"a": 1}, "y": 2},
                }
            ],
        },
        {"role": "tool", "content": "x", "tool_call_id": "c", "tool_name": "f"},
        tools=[{"type": "function", "x": 1, "function": {"name": "f", "y": 2}}],
    ),
    "a result of no call": _asked({"role": "tool", "content": "x", "tool_name": "f"}),
    "tools newer than this code": _asked(tools=[{"type": "search"}, {"type": 7}]),
    "no limit": _asked(options={"num_predict": -2, "stop": "END"}),
    "no options": _asked(options={}),
    "the most thought": _asked(think="max"),
    "images of a result": _asked({"role": "tool", "content": "x", "images": ["aGk="]}),
}


@pytest.mark.parametrize("body", KEPT.values(), ids=KEPT)
def test_its_own_spellings_come_back(body: Json) -> None:
    losses = Losses("ollama_chat")
    assert OLLAMA.encode_request(OLLAMA.decode_request(body), losses) == body
    assert losses.paths == []


def _ids(body: Json) -> tuple[list[str], list[str]]:
    """Ids of calls and those of results, as another provider gets them."""
    told = CHAT_CLIENT.encode_request(OLLAMA.decode_request(body), Losses("openai_chat"))
    calls = [call["id"] for turn in told["messages"] for call in turn.get("tool_calls", ())]
    return calls, [turn["tool_call_id"] for turn in told["messages"] if turn["role"] == "tool"]


def test_results_find_their_calls_by_name_and_by_order() -> None:
    turns = [
        {"role": "assistant", "content": "", "tool_calls": [_call("f"), _call("g"), _call("f")]},
        {"role": "tool", "content": "g", "tool_name": "g"},
        {"role": "tool", "content": "f1", "tool_name": "f"},
        {"role": "tool", "content": "f2"},
    ]
    assert _ids(_asked(*turns)) == (["call_0", "call_1", "call_2"], ["call_1", "call_0", "call_2"])
    later = [{"role": "assistant", "content": "", "tool_calls": [_call("h")]}]
    assert _ids(_asked(*turns, *later))[0] == ["call_0", "call_1", "call_2", "call_3"]


def test_ids_that_are_given_are_kept() -> None:
    turns = [
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [_call("f", id="a"), _call("f", id="b")],
        },
        {"role": "tool", "content": "2", "tool_call_id": "b"},
        {"role": "tool", "content": "1", "tool_name": "f"},
        {"role": "tool", "content": "0", "tool_call_id": "elsewhere"},
        {"role": "tool", "content": "?"},
    ]
    assert _ids(_asked(*turns)) == (["a", "b"], ["b", "a", "elsewhere", "call_unknown"])


def test_a_name_that_no_call_has_is_reported() -> None:
    told = translate(
        OLLAMA, CHAT_CLIENT, _asked({"role": "tool", "content": "x", "tool_name": "f"})
    )
    assert told["dropped"] == ["$.messages[0].tool_name"]


@pytest.mark.parametrize(
    ("image", "mime"),
    [
        ("iVBORw0KGgoAAAA", "image/png"),
        ("/9j/4AAQSkZJ", "image/jpeg"),
        ("R0lGODlhAQAB", "image/gif"),
        ("UklGRiQAAABXRUJQ", "image/webp"),
        ("AAAA", "application/octet-stream"),
    ],
)
def test_an_image_tells_its_type_by_how_it_begins(image: str, mime: str) -> None:
    request = OLLAMA.decode_request(_asked({"role": "user", "images": [image]}))
    (part,) = request.messages[0].parts
    assert isinstance(part, Blob)
    assert part.mime_type == mime


# --- what it is asked as a provider ---------------------------------------------------------------


def test_a_turn_is_told_as_one_text_with_its_results_first() -> None:
    told = MESSAGES.decode_request(
        {
            "model": "m",
            "max_tokens": 9,
            "messages": [
                {
                    "role": "assistant",
                    "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}}],
                },
                {
                    "role": "user",
                    "content": [
                        {"type": "tool_result", "tool_use_id": "t", "content": "done"},
                        {"type": "text", "text": "And"},
                        {"type": "text", "text": "now?"},
                    ],
                },
            ],
        }
    )
    body = OLLAMA.encode_request(told, Losses("ollama_chat"))
    call = {"id": "t", "function": {"name": "f", "arguments": {"a": 1}}}
    assert body["messages"] == [
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "done", "tool_call_id": "t", "tool_name": "f"},
        {"role": "user", "content": "And\n\nnow?"},
    ]
    assert body["stream"] is False


def test_a_turn_that_says_nothing_here_is_left_out() -> None:
    empty = {"role": "assistant", "content": ""}
    told = translate(CHAT_CLIENT, OLLAMA, _asked(empty, {"role": "user", "content": "Hi"}))
    assert told["body"]["messages"] == [{"role": "user", "content": "Hi"}]
    with pytest.raises(InvalidRequest, match="a message that says something"):
        translate(CHAT_CLIENT, OLLAMA, _asked(empty))


def test_arguments_must_be_an_object() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "[1]"}}
    with pytest.raises(InvalidRequest, match="JSON object"):
        translate(CHAT_CLIENT, OLLAMA, _asked({"role": "assistant", "tool_calls": [call]}))


REFUSED: dict[str, Json] = {
    "a file of another provider's": {"type": "file", "file": {"file_id": "f"}},
    "sound": {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}},
    "an address": {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}},
    "what only its dialect has": {"type": "hologram"},
}


@pytest.mark.parametrize("part", REFUSED.values(), ids=REFUSED)
def test_what_it_cannot_say_is_refused_by_name(part: Json) -> None:
    told = translate(CHAT_CLIENT, OLLAMA, _asked({"role": "user", "content": [part]}))
    assert told["refused"] == "$.messages[0].content[0]"


def test_a_result_within_a_result_has_no_place() -> None:
    inner: Any = ToolCallResponse(id="c", parts=(), at="$.inner")
    one = ToolCallResponse(id="c", parts=(inner,))
    request = Request(model="m", messages=(Message(role="tool", parts=(one,)),))
    with pytest.raises(Exception, match=r"\$\.inner"):
        OLLAMA.encode_request(request, Losses("ollama_chat"))


# --- what it answers ----------------------------------------------------------------------------

ANSWERS: dict[str, Json] = {
    "text": _answer(
        {"content": "Hi"},
        done_reason="stop",
        total_duration=5,
        load_duration=1,
        prompt_eval_count=3,
        eval_count=2,
        x={"y": 1},
    ),
    "calls without ids": _answer({"tool_calls": [_call("f"), _call("f")], "z": 1}),
    "thinking": _answer({"thinking": "hm", "content": "Hi"}),
    "log probabilities": _answer(
        {"content": "Hi"},
        logprobs=[
            {"token": "Hi", "logprob": -0.5, "top_logprobs": [{"token": "Ho", "logprob": -1.5}]}
        ],
    ),
    "the least": {"message": {}},
}


@pytest.mark.parametrize("body", ANSWERS.values(), ids=ANSWERS)
def test_its_own_answers_come_back(body: Json) -> None:
    losses = Losses("ollama_chat")
    assert OLLAMA.encode_response(OLLAMA.decode_response(body), losses) == body
    assert losses.paths == []


def test_ids_of_calls_differ_from_answer_to_answer() -> None:
    def ids(created_at: str) -> list[str]:
        body = {**ANSWERS["calls without ids"], "created_at": created_at}
        parts = OLLAMA.decode_response(body).choices[0].parts
        streamed = fold(decode_stream(OLLAMA, [_lines(body)])).choices[0].parts
        found = [part.id for part in parts if isinstance(part, ToolCall)]
        assert found == [part.id for part in streamed if isinstance(part, ToolCall)]
        return found

    assert ids("2026-11-24T10:00:00Z") == ["call_20261124100000_0", "call_20261124100000_1"]
    assert not set(ids("2026-11-24T10:00:00Z")) & set(ids("2026-11-24T10:00:01Z"))


def test_clients_get_log_probabilities_in_full() -> None:
    answer = OLLAMA.decode_response(ANSWERS["log probabilities"])
    told = CHAT_CLIENT.encode_response(answer, Losses("openai_chat"))
    (entry,) = told["choices"][0]["logprobs"]["content"]
    assert entry["bytes"] is None
    assert entry["top_logprobs"] == [{"bytes": None, "token": "Ho", "logprob": -1.5}]


def test_an_echos_first_token_of_no_probability_is_left_out() -> None:
    likely = {"tokens": ["a", "b"], "token_logprobs": [None, -0.5]}
    choice = {"index": 0, "text": "ab", "finish_reason": "stop", "logprobs": likely}
    echo = client_dialect("openai_completions").decode_response({"choices": [choice]})

    told = OLLAMA.encode_response(echo, Losses("ollama_chat"))
    assert told["logprobs"] == [{"token": "b", "logprob": -0.5}]


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("stop", "stop"),
        (None, "stop"),
        ("load", "stop"),
        ("length", "length"),
        ("content_filter", "content_filter"),
        ("unheard of", "error"),
    ],
)
def test_an_end_means_the_same_in_a_body_and_in_a_stream(word: str | None, reason: str) -> None:
    body = _answer({}, done_reason=word)
    assert OLLAMA.decode_response(body).choices[0].finish_reason == reason
    streamed = fold(decode_stream(OLLAMA, [_lines(body)]))
    assert streamed.choices[0].finish_reason == reason


@pytest.mark.parametrize(
    ("created_at", "seconds"),
    [(TIME, 1795563679), ("yesterday", None), (7, None), ("2026-11-24T23:41:19", None)],
)
def test_times_are_seconds_elsewhere(created_at: Any, seconds: int | None) -> None:
    answer = OLLAMA.decode_response({**ANSWERS["text"], "created_at": created_at})
    assert answer.created == seconds


@pytest.mark.parametrize(
    ("seconds", "time"),
    [
        (1795563679, "2026-11-24T23:41:19Z"),
        (None, "1970-01-01T00:00:00Z"),
        (10**20, "1970-01-01T00:00:00Z"),
    ],
)
def test_there_is_always_a_time(seconds: int | None, time: str) -> None:
    choice = Choice(parts=(), finish_reason="stop")
    response = Response(id="r", model="m", created=seconds, choices=(choice,))
    assert OLLAMA.encode_response(response, Losses("ollama_chat"))["created_at"] == time


@pytest.mark.parametrize("body", [{}, {"message": {"content": 7}}, {"message": []}])
def test_what_is_no_answer_is_the_providers_fault(body: Json) -> None:
    with pytest.raises(UpstreamProtocolError):
        OLLAMA.decode_response(body)


def test_another_dialects_answer_is_told_as_one_text() -> None:
    state = Residue(dialect="anthropic_messages", fields={"signature": "s"})
    server = Opaque(dialect="anthropic_messages", kind="server_tool_use", value={})
    parts = (Reasoning(content="hm", residue=state), server, Text(content="a"), Text(content="b"))
    likely = {"content": [{"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []}]}
    choice = Choice(parts=parts, finish_reason="content_filter", logprobs=likely)
    losses = Losses("ollama_chat")
    told = OLLAMA.encode_response(Response(id="r", model="m", choices=(choice,)), losses)
    assert told["message"] == {"role": "assistant", "content": "ab", "thinking": "hm"}
    assert told["done_reason"] == "content_filter"
    assert told["logprobs"] == [{"token": "a", "logprob": -0.5, "bytes": [97]}]
    assert losses.paths == ["$.message.server_tool_use", "$.reasoning"]


def test_a_call_that_is_no_object_is_the_providers_fault() -> None:
    call = ToolCall(id="c", name="f", arguments="[1")
    choice = Choice(parts=(call,), finish_reason="tool_call")
    with pytest.raises(UpstreamProtocolError):
        OLLAMA.encode_response(
            Response(id="r", model="m", choices=(choice,)), Losses("ollama_chat")
        )
    events: list[Event] = [
        Start(id="", model="m"),
        PartStart(kind="tool_call", id="c", name="f"),
        Delta(content="[1"),
        PartEnd(),
    ]
    with pytest.raises(UpstreamProtocolError):
        encode_stream(OLLAMA, events)


# --- streams ------------------------------------------------------------------------------------


def _piece(message: Json, **more: Any) -> Json:
    return {**_answer(message), "done": False, **more}


STREAM = _lines(
    _piece({"thinking": "h"}),
    _piece({"thinking": "m"}),
    _piece({"content": "H"}, logprobs=[{"token": "H", "logprob": -0.5}]),
    _piece({"content": "i", "tool_calls": [_call("f")]}),
    _piece({"images": ["aGk="]}),
    _answer({}, done_reason="stop", prompt_eval_count=3, eval_count=4),
    _piece({"content": "after the end"}),
)


def test_a_stream_says_thoughts_text_and_calls() -> None:
    answer = fold(decode_stream(OLLAMA, each_byte(STREAM)))
    thought, text, call = answer.choices[0].parts
    assert (thought, text) == (Reasoning(content="hm"), Text(content="Hi"))
    assert isinstance(call, ToolCall)
    assert (call.name, call.arguments) == ("f", "{}")
    assert answer.choices[0].finish_reason == "tool_call"
    assert answer.choices[0].logprobs
    assert answer.usage
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (3, 4)
    assert (answer.model, answer.created) == ("llama", 1795563679)


@pytest.mark.parametrize(
    "wire",
    [
        b"{oops\n",
        b"[1]\n",
        _lines(_piece({"content": 7})),
        _lines(_piece({"content": "half"})),
        b"",
    ],
)
def test_a_broken_stream_is_the_providers_fault(wire: bytes) -> None:
    with pytest.raises(UpstreamProtocolError):
        decode_stream(OLLAMA, [wire])


def test_the_last_line_needs_no_end_and_the_first_no_head() -> None:
    answer = fold(decode_stream(OLLAMA, [b'{"done": true}']))
    assert (answer.model, answer.created, answer.usage) == ("", None, None)


@pytest.mark.parametrize(
    ("error", "words"), [("out of memory", "out of memory"), ({"x": {}}, "The provider failed.")]
)
def test_an_error_for_an_answer_is_an_error(error: Any, words: str) -> None:
    with pytest.raises(UpstreamError, match=words):
        decode_stream(OLLAMA, [_lines(_piece({"content": "half"}), {"error": error})])
    with pytest.raises(UpstreamError, match=words):
        OLLAMA.decode_response({"error": error})


def test_what_fails_ends_the_stream_with_its_words() -> None:
    wire = OLLAMA.stream_encoder(StreamOptions()).fail(NotFound("gone"))
    assert wire == b'{"error":"gone"}\n'


def test_only_the_first_answer_and_what_has_words_here_is_streamed() -> None:
    events: list[Event] = [
        Start(id="i", model="m"),
        PartStart(kind="opaque", name="x", dialect="anthropic_messages"),
        Delta(content="x"),
        PartEnd(),
        PartStart(kind="text", choice=1),
        PartEnd(choice=1),
        PartStart(kind="text"),
        Delta(content="Hi", logprobs={"content": [{"token": "Hi", "logprob": -0.5}]}),
        PartEnd(),
        ChoiceEnd(reason="length"),
        Finish(),
    ]
    wire = encode_stream(OLLAMA, events)
    said, end = map(json.loads, wire.splitlines())
    assert said["message"] == {"role": "assistant", "content": "Hi"}
    assert said["logprobs"] == [{"token": "Hi", "logprob": -0.5}]
    assert (end["done"], end["done_reason"]) == (True, "length")
    assert "eval_count" not in end


# --- errors and models ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"error": "slow down"}', "slow down"),
        (b"<html><title>Busy</title>", "Busy"),
        (b'{"error": false}', "The provider answered with status 429 and no message."),
        (b"", "The provider answered with status 429 and no message."),
    ],
)
def test_errors_are_read_whatever_they_are(body: bytes, message: str) -> None:
    error = OLLAMA.decode_error(429, body)
    assert (error.status, error.message) == (429, message)


def test_errors_and_models_have_its_shape() -> None:
    answer = OLLAMA.encode_error(MethodNotAllowed("No GET.", allow="POST"))
    assert (answer.status, answer.headers["allow"]) == (405, "POST")
    assert json.loads(answer.body) == {"error": "No GET."}
    assert "allow" not in OLLAMA.encode_error(NotFound("gone")).headers
    (model,) = OLLAMA.encode_models([ModelCard(id="a", created=date(2026, 1, 2))], "")["models"]
    assert (model["model"], model["modified_at"]) == ("a", "2026-01-02T00:00:00Z")
    assert OLLAMA.edits({}) == {}
    assert OLLAMA.frames("")
    assert OLLAMA.wants_usage({}) is None
    assert OLLAMA.is_usage_frame("") is False
