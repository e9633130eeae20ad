"""What only Cohere's chat has: plans, documents, citations, a count of its own, its models' list."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dragoman.dialects import CHAT, MODELS, ChatDialect
from dragoman.dialects.models import ModelCard
from dragoman.dialects.registry import client_call, client_dialect, provider_dialect
from dragoman.errors import (
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    Unrepresentable,
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
    UsageUpdate,
    fold,
)
from dragoman.ir.losses import Losses
from tests.properties.cases import decode_stream, each_byte, encode_stream, translate

COHERE: ChatDialect = client_dialect("cohere_chat")
CHAT_CLIENT: ChatDialect = client_dialect("openai_chat")
MESSAGES: ChatDialect = client_dialect("anthropic_messages")
Json = dict[str, Any]

CALL: Json = {
    "id": "weather_1",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"city":"Ghent"}'},
}


def _asked(*messages: Json, **more: Any) -> Json:
    given = messages or ({"role": "user", "content": "Hi"},)
    return {"model": "command-a", "messages": list(given), **more}


def _answer(message: Json, **more: Any) -> Json:
    return {
        "id": "a1",
        "finish_reason": "COMPLETE",
        "message": {"role": "assistant", **message},
        **more,
    }


def _events(*bodies: Json | str) -> bytes:
    lines = [body if isinstance(body, str) else json.dumps(body) for body in bodies]
    return b"".join(f"data: {line}\n\n".encode() for line in lines)


def _message(kind: str, message: Json, **more: Any) -> Json:
    return {"type": kind, "delta": {"message": message}, **more}


def _text(text: str) -> Json:
    return _message("content-delta", {"content": {"text": text}}, index=0)


def _end(word: str | None = "COMPLETE", **more: Any) -> Json:
    return {"type": "message-end", "delta": {"finish_reason": word, **more}}


# --- what a client asks -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "headers", "operation", "model"),
    [
        ("/v2/chat", {}, CHAT, None),
        ("/v1/models", {"x-fern-sdk-name": "cohere"}, MODELS, ""),
        ("/v1/models/a%2Fb", {"x-fern-sdk-name": "cohere-ai"}, MODELS, "a/b"),
    ],
)
def test_its_paths_are_its_own(
    path: str, headers: dict[str, str], operation: str, model: str | None
) -> None:
    found = client_call(path, headers)
    assert found.dialect is COHERE
    assert found.call
    assert (found.call.operation, found.call.model) == (operation, model)


@pytest.mark.parametrize("headers", [{}, {"x-fern-sdk-name": "another"}])
def test_other_clients_keep_their_list_of_models(headers: dict[str, str]) -> None:
    assert client_call("/v1/models", headers).dialect.name == "openai_chat"
    assert client_call("/v1/unheard-of", {"x-fern-sdk-name": "cohere"}).call is None
    assert client_call("/v2/unheard-of", {}).dialect is COHERE


def test_it_takes_no_quirks() -> None:
    with pytest.raises(InvalidRequest, match="no quirks"):
        provider_dialect("cohere_chat", {"anything": True})


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
        COHERE.check_request(body)
    COHERE.check_request({"messages": [{}], "stream": None})


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"model": "m", "messages": []}, "$.messages"),
        (_asked({"content": "x"}), "$.messages[0].role"),
        (_asked({"role": "wizard", "content": "x"}), "$.messages[0].role"),
        (_asked(response_format={}), "$.response_format.type"),
        (_asked(thinking={}), "$.thinking.type"),
        (_asked(tool_choice="SOME"), "$.tool_choice"),
        (
            _asked({"role": "user", "content": [{"type": "document", "document": {}}]}),
            "$.messages[0].content[0].document.data",
        ),
    ],
)
def test_a_request_that_breaks_the_dialect_names_the_place(body: Json, path: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        COHERE.decode_request(body)
    assert caught.value.path == path


KEPT: dict[str, Json] = {
    "a block without a list": _asked({"role": "user", "content": {"type": "text", "text": "Hi"}}),
    "an empty text": _asked({"role": "user", "content": ""}),
    "an empty list": _asked({"role": "user", "content": []}),
    "a result of no words": _asked({"role": "tool", "tool_call_id": "c", "content": ""}),
    "a result without content": _asked({"role": "tool", "tool_call_id": "c"}),
    "a stop sequence without a list": _asked(stop_sequences="END"),
    "calls without what says nothing": _asked(
        {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f"}}]},
        tools=[{"function": {"name": "f"}}],
    ),
    "blocks newer than this code": _asked(
        {"role": "user", "content": [{"type": "hologram", "x": 1}, {"text": "untyped"}]},
        tools=[{"type": "rag", "x": 1}, {"type": 7}],
    ),
    "thoughts in a result": _asked(
        {
            "role": "tool",
            "tool_call_id": "c",
            "content": [{"type": "thinking", "thinking": "hm"}, {"type": "image_url"}],
        }
    ),
    "another data address": _asked(
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,x"}}]}
    ),
    "fields in every place": _asked(
        {
            "role": "assistant",
            "tool_plan": "Look.",
            "content": [{"type": "thinking", "thinking": "", "x": 1}, {"type": "text", "text": ""}],
            "tool_calls": [{**CALL, "x": 1, "function": {**CALL["function"], "y": 2}}],
        },
        tools=[{"type": "function", "x": 1, "function": {"name": "f", "y": 2}}],
        response_format={"type": "json_object", "x": 1},
        thinking={"type": "disabled", "x": 1},
    ),
    "more than others may ask for": _asked(
        p=1.0, k=1000, presence_penalty=-1.0, stop_sequences=list("abcdef")
    ),
    "form of an answer beside tools": _asked(
        tools=[{"type": "function", "function": {"name": "f", "parameters": {}}}],
        response_format={"type": "json_object"},
    ),
}


@pytest.mark.parametrize("body", KEPT.values(), ids=KEPT)
def test_its_own_spellings_come_back(body: Json) -> None:
    losses = Losses("cohere_chat")
    assert COHERE.encode_request(COHERE.decode_request(body), losses) == body
    assert losses.paths == []


def _told(body: Json, source: ChatDialect = CHAT_CLIENT) -> Json:
    return translate(source, COHERE, body)


def test_what_led_to_calls_is_their_plan() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": ""}}
    turn = {
        "role": "assistant",
        "content": "Wait.",
        "reasoning_content": "Ask f.",
        "tool_calls": [call],
    }
    (_, told) = _told(_asked({"role": "user", "content": "Hi"}, turn))["body"]["messages"]
    assert told["tool_plan"] == "Ask f."
    assert told["content"] == "Wait."
    assert told["tool_calls"][0]["function"] == {"name": "f", "arguments": "{}"}


def test_a_turn_that_says_nothing_here_is_left_out() -> None:
    empty = {"role": "assistant", "content": ""}
    told = _told(_asked({"role": "user", "content": ""}, empty, {"role": "user", "content": "Hi"}))
    assert told["body"]["messages"] == [
        {"role": "user", "content": ""},
        {"role": "user", "content": "Hi"},
    ]
    with pytest.raises(InvalidRequest, match="a message that says something"):
        _told(_asked(empty))


REFUSED: dict[str, tuple[Json, str]] = {
    "six stop sequences": (_asked(stop=list("abcdef")), "$.stop"),
    "all of the likely": (_asked(top_p=1.0), "$.top_p"),
    "a form of answer beside tools": (
        _asked(
            tools=[{"type": "function", "function": {"name": "f"}}],
            response_format={"type": "json_object"},
        ),
        "$.response_format",
    ),
    "a tool there is not": (
        _asked(
            tools=[{"type": "function", "function": {"name": name}} for name in "fg"],
            tool_choice={"type": "function", "function": {"name": "h"}},
        ),
        "$.tool_choice",
    ),
    "an image in a tool's result": (
        _asked(
            {
                "role": "tool",
                "tool_call_id": "c",
                "content": [{"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}],
            }
        ),
        "$.messages[0].content[0]",
    ),
    "a file of another provider's": (
        _asked({"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}),
        "$.messages[0].content[0]",
    ),
}


@pytest.mark.parametrize(("body", "path"), REFUSED.values(), ids=REFUSED)
def test_what_it_cannot_say_is_refused_by_name(body: Json, path: str) -> None:
    assert _told(body)["refused"] == path


def test_media_and_parts_out_of_place() -> None:
    image = Blob(
        modality="image", mime_type="image/png", content="aGk=", filename="a.png", filename_at="$.f"
    )
    losses = Losses("cohere_chat")
    said = Message(role="user", parts=(image,))
    told = COHERE.encode_request(Request(model="m", messages=(said,)), losses)
    (block,) = told["messages"][0]["content"]
    assert block["image_url"] == {"url": "data:image/png;base64,aGk="}
    assert losses.paths == ["$.f"]
    inner: Any = ToolCallResponse(id="c", parts=(), at="$.inner")
    lost = Message(role="tool", parts=(ToolCallResponse(id="c", parts=(inner,)),))
    with pytest.raises(Unrepresentable, match=r"\$\.inner"):
        COHERE.encode_request(Request(model="m", messages=(lost,)), losses)


def test_a_limit_leaves_room_for_the_answer() -> None:
    body = _asked(reasoning_effort="high", max_completion_tokens=1000)
    assert _told(body)["body"]["thinking"] == {"type": "enabled", "token_budget": 500}
    assert _told(_asked(reasoning_effort="none"))["body"]["thinking"] == {"type": "disabled"}


def test_strict_holds_for_all_tools_or_for_none() -> None:
    def tool(name: str, **more: Any) -> Json:
        return {"type": "function", "function": {"name": name, **more}}

    assert _told(_asked(tools=[tool("f", strict=True)]))["body"]["strict_tools"] is True
    mixed = _told(_asked(tools=[tool("f", strict=True), tool("g")]))
    assert "strict_tools" not in mixed["body"]
    assert mixed["dropped"] == ["$.tools[0].function.strict"]


def test_documents_have_meaning_and_citations_are_a_hint() -> None:
    request = COHERE.decode_request(_asked(documents=["South."], citation_options={"mode": "OFF"}))
    with pytest.raises(Unrepresentable) as caught:
        MESSAGES.encode_request(request, Losses("anthropic_messages"))
    assert caught.value.path == "$.documents"
    told = translate(COHERE, MESSAGES, _asked(citation_options={"mode": "OFF"}))
    assert told["dropped"] == ["$.citation_options.mode"]


# --- what it answers ----------------------------------------------------------------------------

ANSWERS: dict[str, Json] = {
    "a plan and calls": _answer(
        {"tool_plan": "Look it up.", "tool_calls": [CALL]}, finish_reason="TOOL_CALL"
    ),
    "a plan of no words": _answer({"tool_plan": "", "content": [{"type": "text", "text": "x"}]}),
    "citations": _answer(
        {
            "content": [{"type": "text", "text": "South."}],
            "citations": [{"start": 0, "end": 5, "text": "South", "sources": []}],
        }
    ),
    "nothing": _answer({"content": []}),
    "no words of its own": {"message": {"content": [{"type": "text", "text": "x"}]}},
    "an unknown end": _answer({"content": []}, finish_reason="TIMEOUT"),
    "log probabilities": _answer(
        {"content": [{"type": "text", "text": "Hi"}]},
        logprobs=[{"text": "Hi", "token_ids": [1, 2], "logprobs": [-0.5, -0.25]}],
    ),
    "counts and fields newer than this code": _answer(
        {"content": [{"type": "text", "text": "Hi", "x": 1}]},
        usage={"billed_units": {"input_tokens": 3}, "tokens": {"input_tokens": 9.0}, "y": 2},
        z=3,
    ),
}


@pytest.mark.parametrize("body", ANSWERS.values(), ids=ANSWERS)
def test_its_own_answers_come_back(body: Json) -> None:
    losses = Losses("cohere_chat")
    assert COHERE.encode_response(COHERE.decode_response(body), losses) == body
    assert losses.paths == []


@pytest.mark.parametrize(
    ("usage", "counted"),
    [
        (
            {
                "tokens": {"input_tokens": 91, "output_tokens": 11},
                "billed_units": {"input_tokens": 25, "output_tokens": 9},
                "cached_tokens": 64,
            },
            (91, 11, 64),
        ),
        ({"billed_units": {"input_tokens": 25.0, "output_tokens": 9.0}}, (25, 9, 0)),
        ({"tokens": {"input_tokens": "many"}}, (0, 0, 0)),
    ],
)
def test_tokens_are_counted_as_the_model_read_them(
    usage: Json, counted: tuple[int, int, int]
) -> None:
    found = COHERE.decode_response(_answer({}, usage=usage)).usage
    assert found
    assert (found.input_tokens, found.output_tokens, found.cache_read_input_tokens) == counted


def test_a_text_of_several_tokens_is_as_likely_as_all_of_them() -> None:
    answer = COHERE.decode_response(ANSWERS["log probabilities"])
    told = CHAT_CLIENT.encode_response(answer, Losses("openai_chat"))
    assert told["choices"][0]["logprobs"] == {
        "content": [{"token": "Hi", "logprob": -0.75, "bytes": [72, 105], "top_logprobs": []}]
    }


def test_citations_are_reported_where_they_cannot_be_said() -> None:
    losses = Losses("openai_chat")
    CHAT_CLIENT.encode_response(COHERE.decode_response(ANSWERS["citations"]), losses)
    assert losses.paths == ["$.choices[0].message.citations"]


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("COMPLETE", "stop"),
        ("STOP_SEQUENCE", "stop"),
        ("MAX_TOKENS", "length"),
        ("ERROR_LIMIT", "length"),
        ("ERROR_TOXIC", "content_filter"),
        ("ERROR", "error"),
        ("TIMEOUT", "error"),
        ("unheard of", "error"),
        (None, "error"),
    ],
)
def test_an_end_means_the_same_in_a_body_and_in_a_stream(word: str | None, reason: str) -> None:
    body = COHERE.decode_response(_answer({"content": []}, finish_reason=word))
    assert body.choices[0].finish_reason == reason
    streamed = fold(decode_stream(COHERE, [_events(_end(word))]))
    assert streamed.choices[0].finish_reason == reason


def test_calls_are_what_a_complete_answer_ends_for() -> None:
    answer = COHERE.decode_response(_answer({"tool_calls": [CALL]}))
    assert answer.choices[0].finish_reason == "tool_call"


@pytest.mark.parametrize("body", [{}, {"message": {"content": 7}}, {"message": []}])
def test_what_is_no_answer_is_the_providers_fault(body: Json) -> None:
    with pytest.raises(UpstreamProtocolError):
        COHERE.decode_response(body)


def test_an_error_for_an_answer_is_an_error() -> None:
    with pytest.raises(UpstreamError, match="no such model"):
        COHERE.decode_response({"message": "no such model", "id": "1"})


def _said(*parts: Any, **more: Any) -> Response:
    choice = Choice(parts=parts, **{"finish_reason": "stop", **more})
    return Response(id="r", model="m", choices=(choice,))


def test_another_dialects_answer_is_told_in_blocks() -> None:
    state = Residue(dialect="anthropic_messages", fields={"signature": "s"})
    server = Opaque(dialect="anthropic_messages", kind="server_tool_use", value={})
    likely = {"content": [{"token": "Hi", "logprob": -0.5, "top_logprobs": []}]}
    losses = Losses("cohere_chat")
    told = COHERE.encode_response(
        _said(
            Reasoning(content="hm", residue=state),
            server,
            Text(content="Hi"),
            ToolCall(id="c", name="f", arguments=""),
            stop_sequence="END",
            logprobs=likely,
        ),
        losses,
    )
    thought, text = told["message"]["content"]
    assert (thought["thinking"], text) == ("hm", {"type": "text", "text": "Hi"})
    assert told["message"]["tool_calls"][0]["function"]["arguments"] == "{}"
    assert told["finish_reason"] == "STOP_SEQUENCE"
    assert told["logprobs"] == [{"text": "Hi", "token_ids": [], "logprobs": [-0.5]}]
    assert losses.paths == ["$.message.content.server_tool_use"]

    again = COHERE.decode_request(_asked({"role": "assistant", "content": [thought]}))
    assert again.messages[0].parts[0].residue == state
    back = MESSAGES.encode_request(again, Losses("anthropic_messages"))
    assert back["messages"][0]["content"][0]["signature"] == "s"


# --- streams ------------------------------------------------------------------------------------

STREAM = _events(
    _message("message-start", {"role": "assistant", "content": []}, id="a1"),
    _message("tool-plan-delta", {"tool_plan": "Look "}),
    _message("tool-plan-delta", {"tool_plan": "it up."}),
    _message("tool-call-start", {"tool_calls": {**CALL, "function": {"name": "weather"}}}, index=0),
    _message("tool-call-delta", {"tool_calls": {"function": {"arguments": '{"city":'}}}, index=0),
    _message("tool-call-delta", {"tool_calls": {"function": {"arguments": '"Ghent"}'}}}, index=0),
    {"type": "tool-call-end", "index": 0},
    _message("content-start", {"content": {"type": "text", "text": ""}}, index=0),
    _text("South."),
    _message("citation-start", {"citations": {"start": 0, "end": 5}}, index=0),
    {"type": "citation-end", "index": 0},
    {"type": "content-end", "index": 0},
    {"type": "newer-than-this-code"},
    _end("TOOL_CALL", usage={"tokens": {"input_tokens": 5, "output_tokens": 7}}),
    "[DONE]",
)


def test_a_stream_says_plan_calls_text_and_citations() -> None:
    answer = fold(decode_stream(COHERE, each_byte(STREAM)))
    plan, call, text = answer.choices[0].parts
    assert isinstance(plan, Reasoning)
    assert plan.content == "Look it up."
    assert isinstance(call, ToolCall)
    assert (call.id, json.loads(call.arguments)) == ("weather_1", {"city": "Ghent"})
    assert text == Text(content="South.")
    told = COHERE.encode_response(answer, Losses("cohere_chat"))
    assert told["message"]["citations"] == [{"start": 0, "end": 5}]
    assert answer.usage
    assert answer.usage.output_tokens == 7
    assert fold(decode_stream(COHERE, [STREAM.partition(b"data: [DONE]")[0][:-1]])) == answer


def test_deltas_open_what_nothing_opened() -> None:
    likely = {"text": "a", "token_ids": [1], "logprobs": [-0.5]}
    wire = _events(
        _message("content-delta", {"content": {"thinking": "hm"}}),
        _message("content-delta", {"content": {"text": "a"}}, logprobs=likely),
        _message("content-delta", {"content": {"text": 7}}),
        _end(),
    )
    choice = fold(decode_stream(COHERE, [wire])).choices[0]
    assert choice.parts == (Reasoning(content="hm"), Text(content="a"))
    assert choice.logprobs
    assert choice.logprobs["content"][0]["logprob"] == -0.5


@pytest.mark.parametrize(
    "wire",
    [
        b"data: {oops\n\n",
        _events("[1]"),
        _events(_message("tool-call-delta", {"tool_calls": {"function": {"arguments": "{"}}})),
        _events(_text("half")),
    ],
)
def test_a_broken_stream_is_the_providers_fault(wire: bytes) -> None:
    with pytest.raises(UpstreamProtocolError):
        decode_stream(COHERE, [wire])


@pytest.mark.parametrize(
    "wire", [_events({"message": "too slow"}), _events(_text("a"), _end("ERROR", error="too slow"))]
)
def test_an_error_within_a_stream_is_raised(wire: bytes) -> None:
    with pytest.raises(UpstreamError, match="too slow"):
        decode_stream(COHERE, [wire])


def test_what_fails_ends_the_stream_with_its_words() -> None:
    wire = COHERE.stream_encoder(_OPTIONS).fail(NotFound("gone"))
    with pytest.raises(UpstreamError, match="gone"):
        decode_stream(COHERE, [wire])


_OPTIONS: Any = None
"""The encoder looks at none."""


def test_only_the_first_answer_and_what_has_words_here_is_streamed() -> None:
    carried = Residue(dialect="anthropic_messages", fields={"signature": "s"})
    likely = {"content": [{"token": "Hi", "logprob": -0.5}]}
    events: list[Event] = [
        Start(id="i", model="m"),
        PartStart(kind="reasoning"),
        Delta(content="hm"),
        PartEnd(residue=carried),
        PartStart(kind="opaque", name="x", dialect="anthropic_messages"),
        Delta(content="x"),
        PartEnd(),
        PartStart(kind="text", choice=1),
        PartEnd(choice=1),
        PartStart(kind="text"),
        Delta(content="Hi", logprobs=likely),
        PartEnd(),
        PartStart(kind="tool_call", id="c", name="f"),
        PartEnd(),
        ChoiceEnd(reason="stop", stop_sequence="END"),
        Finish(),
    ]
    wire = encode_stream(COHERE, events)
    assert b'"finish_reason":"STOP_SEQUENCE"' in wire
    assert b'"signature":"dragoman' in wire
    read = decode_stream(COHERE, [wire])
    assert not any(isinstance(event, UsageUpdate) for event in read)
    choice = fold(read).choices[0]
    call = ToolCall(id="c", name="f", arguments="{}")
    assert choice.parts == (Reasoning(content="hm"), Text(content="Hi"), call)
    assert choice.logprobs
    assert choice.logprobs["content"][0]["logprob"] == -0.5


# --- errors and models ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"message": "slow down", "id": "1"}', "slow down"),
        (b"<html><title>Busy</title>", "Busy"),
        (b'{"message": {}}', "The provider answered with status 429 and no message."),
        (b"", "The provider answered with status 429 and no message."),
    ],
)
def test_errors_are_read_whatever_they_are(body: bytes, message: str) -> None:
    error = COHERE.decode_error(429, body)
    assert (error.status, error.message) == (429, message)


def test_errors_and_models_have_its_shape() -> None:
    answer = COHERE.encode_error(MethodNotAllowed("No GET.", allow="POST"))
    assert (answer.status, answer.headers["allow"]) == (405, "POST")
    assert json.loads(answer.body) == {"message": "No GET."}
    assert "allow" not in COHERE.encode_error(NotFound("gone")).headers
    assert COHERE.edits({}) == {}
    assert COHERE.frames("")
    assert COHERE.wants_usage({}) is None
    assert COHERE.is_usage_frame("") is False


def test_models_come_in_pages_that_say_what_is_known() -> None:
    seeing = ModelCard(id="a", max_input_tokens=9, input=("text", "image"), reasons=True)
    cards = [seeing, ModelCard(id="b"), ModelCard(id="c")]
    first = COHERE.encode_models(cards, "page_size=2")
    assert first["next_page_token"] == "b"
    assert first["models"] == [
        {
            "name": "a",
            "endpoints": ["chat"],
            "default_endpoints": [],
            "context_length": 9,
            "features": ["vision", "reasoning"],
        },
        {"name": "b", "endpoints": ["chat"], "default_endpoints": []},
    ]
    last = COHERE.encode_models(cards, "page_size=2&page_token=b")
    assert [model["name"] for model in last["models"]] == ["c"]
    assert "next_page_token" not in last
