"""What only Anthropic Messages has: rules of its API, spellings, its errors, its streams."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from dragoman.dialects import StreamOptions
from dragoman.dialects.anthropic_messages import AnthropicMessages, Quirks
from dragoman.dialects.models import ModelCard
from dragoman.dialects.openai_chat import OpenAIChat
from dragoman.dialects.registry import client_dialect
from dragoman.errors import (
    InvalidRequest,
    MethodNotAllowed,
    Unrepresentable,
    UpstreamError,
    UpstreamProtocolError,
)
from dragoman.ir import Choice, Opaque, Reasoning, Refusal, Residue, Response, Text, ToolCall, Usage
from dragoman.ir.events import ChoiceEnd, Delta, Finish, PartEnd, PartStart, Start, fold
from dragoman.ir.losses import Losses
from tests import sdk
from tests.properties.cases import decode_stream, translate_stream

DIALECT = AnthropicMessages()
OPENAI = OpenAIChat()
USER = {"role": "user", "content": "Hi"}


def asked(**fields: Any) -> dict[str, Any]:
    return {"model": "m", "max_tokens": 10, "messages": [USER], **fields}


def said(*blocks: Any, role: str = "user") -> dict[str, Any]:
    return asked(messages=[{"role": role, "content": list(blocks)}])


def from_openai(losses: Losses | None = None, **fields: Any) -> dict[str, Any]:
    body = {"model": "m", "messages": [USER], **fields}
    return DIALECT.encode_request(OPENAI.decode_request(body), losses or Losses(DIALECT.name))


def conversation(*messages: Any, **fields: Any) -> dict[str, Any]:
    return from_openai(messages=list(messages), **fields)


# --- its own requests -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        asked(output_format={"type": "json_schema", "schema": {"type": "object"}}),
        asked(thinking={"type": "disabled"}),
        asked(thinking={"type": "adaptive", "display": "omitted"}, output_config={"effort": "max"}),
        asked(output_config={"effort": "low", "task_budget": {"type": "tokens", "total": 9}}),
        asked(metadata={"user_id": "u", "team": "t"}),
        asked(tools=[{"type": "custom", "name": "f", "input_schema": {"type": "object"}}]),
        asked(stream=False),
        said({"type": "image", "source": {"type": "file", "file_id": "file_1"}}),
        said({"type": "image", "source": {"type": "url", "url": "https://x/y", "new": 1}}),
        said(
            {
                "type": "document",
                "source": {"type": "text", "media_type": "text/plain", "data": "d"},
            }
        ),
        said({"type": "container_upload", "file_id": "file_1"}),
        said({"type": "redacted_thinking", "data": "d", "new": 1}, role="assistant"),
        asked(messages=[USER, {"role": "system", "content": "From now on"}]),
    ],
)
def test_a_request_survives(body: dict[str, Any]) -> None:
    losses = Losses(DIALECT.name)

    assert DIALECT.encode_request(DIALECT.decode_request(body), losses) == body
    assert losses.paths == []


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (asked(messages=[{"role": "tool", "content": ""}]), "$.messages[0].role"),
        (asked(messages=[{"content": ""}]), "$.messages[0].role"),
        (asked(tool_choice={"type": "some"}), "$.tool_choice.type"),
        (asked(tool_choice={}), "$.tool_choice.type"),
        (asked(thinking={}), "$.thinking.type"),
        (asked(output_config={"effort": "none"}), "$.output_config.effort"),
        ({"model": "m", "messages": [USER]}, "$.max_tokens"),
        (said({"type": "text"}), "$.messages[0].content[0].text"),
    ],
)
def test_a_broken_request_names_its_path(body: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        DIALECT.decode_request(body)

    assert caught.value.path == path


# --- another dialect's requests ---------------------------------------------------------------


def test_results_of_tools_stand_together_in_one_user_turn() -> None:
    calls = [
        {"id": name, "type": "function", "function": {"name": "f", "arguments": "{}"}}
        for name in "ab"
    ]
    body = conversation(
        USER,
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "tool_call_id": "a", "content": "1"},
        {"role": "tool", "tool_call_id": "b", "content": "2"},
        {"role": "user", "content": "Go on"},
    )

    assert [message["role"] for message in body["messages"]] == ["user", "assistant", "user"]
    kinds = [block["type"] for block in body["messages"][2]["content"]]
    assert kinds == ["tool_result", "tool_result", "text"]


def test_system_messages_lead_or_keep_their_place() -> None:
    body = conversation(
        {"role": "system", "content": "One"},
        {"role": "developer", "content": "Two"},
        USER,
        {"role": "system", "content": "Three"},
    )

    assert [block["text"] for block in body["system"]] == ["One", "Two"]
    assert [message["role"] for message in body["messages"]] == ["user", "system"]


def test_a_conversation_needs_more_than_a_system() -> None:
    with pytest.raises(InvalidRequest):
        conversation({"role": "system", "content": "One"})


def test_malformed_arguments_name_their_path() -> None:
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{"}}
    with pytest.raises(InvalidRequest) as caught:
        conversation(USER, {"role": "assistant", "tool_calls": [call]})

    assert caught.value.path == "$.messages[1].tool_calls[0].function.arguments"


@pytest.mark.parametrize(
    "fields",
    [
        {"n": 2},
        {"logprobs": True},
        {"stop": ["  "]},
        {"temperature": 1.5},
        {"response_format": {"type": "json_object"}},
    ],
)
def test_what_has_meaning_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(Unrepresentable) as caught:
        from_openai(**fields)

    assert caught.value.path == f"$.{next(iter(fields))}" or caught.value.path.startswith("$.stop")


def test_hints_are_dropped_aloud() -> None:
    losses = Losses(DIALECT.name)
    from_openai(losses, seed=1, service_tier="flex", parallel_tool_calls=True, name="x")

    assert {"$.seed", "$.service_tier", "$.parallel_tool_calls"} <= set(losses.paths)


@pytest.mark.parametrize(
    ("fields", "thinking", "max_tokens"),
    [
        ({"reasoning_effort": "low"}, {"type": "enabled", "budget_tokens": 2048}, 4096 + 2048),
        (
            {"reasoning_effort": "high", "max_completion_tokens": 2000},
            {"type": "enabled", "budget_tokens": 1999},
            2000,
        ),
        ({"reasoning_effort": "high", "max_completion_tokens": 1000}, None, 1000),
        ({"reasoning_effort": "none"}, {"type": "disabled"}, 4096),
    ],
)
def test_effort_becomes_the_largest_valid_budget(
    fields: dict[str, Any], thinking: Any, max_tokens: int
) -> None:
    body = from_openai(**fields)

    assert body.get("thinking") == thinking
    assert body["max_tokens"] == max_tokens


def test_no_tokens_asked_for_is_not_the_default() -> None:
    request = msgspec.structs.replace(DIALECT.decode_request(asked()), max_tokens=0)

    assert DIALECT.encode_request(request, Losses(DIALECT.name))["max_tokens"] == 0


def test_the_cache_mark_of_an_empty_text_is_dropped_aloud() -> None:
    losses = Losses(DIALECT.name)
    marked = {"type": "text", "text": "", "cache_control": {"type": "ephemeral"}}
    body = from_openai(losses, messages=[{"role": "user", "content": [marked]}, USER])

    assert body["messages"] == [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]
    assert losses.paths == ["$.messages[0].content[0].cache_control"]


def test_the_default_of_max_tokens_is_a_quirk() -> None:
    dialect = AnthropicMessages(Quirks(default_max_tokens=7))
    request = OPENAI.decode_request({"model": "m", "messages": [USER]})

    assert dialect.encode_request(request, Losses(dialect.name))["max_tokens"] == 7


def test_parallel_calls_can_be_switched_off() -> None:
    tool = {"type": "function", "function": {"name": "f"}}

    choice = from_openai(tools=[tool], parallel_tool_calls=False)["tool_choice"]
    assert choice == {"type": "auto", "disable_parallel_tool_use": True}
    assert "tool_choice" not in from_openai(tools=[tool], parallel_tool_calls=True)


def test_media_it_does_not_take_are_refused() -> None:
    audio = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
    with pytest.raises(Unrepresentable):
        conversation({"role": "user", "content": [audio]})


# --- answers ----------------------------------------------------------------------------------


def answered(*parts: Any, **fields: Any) -> Response:
    choice = Choice(parts=parts, finish_reason="stop")
    return Response(id="i", model="m", choices=(choice,), **fields)


def test_a_refusal_is_text_with_its_own_stop_reason() -> None:
    body = DIALECT.encode_response(answered(Refusal(content="No")), Losses(DIALECT.name))

    assert body["content"] == [{"type": "text", "text": "No"}]
    assert body["stop_reason"] == "refusal"


def test_foreign_reasoning_comes_back_through_its_signature() -> None:
    state = Residue(dialect="openai_chat", fields={"reasoning_details": [{"data": "x"}]})
    body = DIALECT.encode_response(
        answered(Reasoning(content="Hm", residue=state)), Losses(DIALECT.name)
    )
    block = body["content"][0]
    assert block["signature"].startswith("dragoman.v1.")

    request = DIALECT.decode_request(said(block, role="assistant"))
    part = request.messages[0].parts[0]
    assert isinstance(part, Reasoning)
    assert part.residue == state


@pytest.mark.parametrize("signature", ["dragoman.v1.!", "dragoman.v1.e30", "theirs", ""])
def test_a_signature_that_is_not_ours_stays_as_it_is(signature: str) -> None:
    block = {"type": "thinking", "thinking": "Hm", "signature": signature}
    part = DIALECT.decode_request(said(block, role="assistant")).messages[0].parts[0]

    assert part.residue == Residue(dialect=DIALECT.name, fields={"signature": signature})


def test_a_foreign_part_of_an_answer_is_reported() -> None:
    losses = Losses(DIALECT.name)
    opaque = Opaque(dialect="other", kind="audio", value={})

    assert DIALECT.encode_response(answered(opaque), losses)["content"] == []
    assert losses.paths == ["$.content.audio"]


def test_a_call_that_is_no_object_is_the_providers_fault() -> None:
    call = ToolCall(id="a", name="f", arguments="[")
    with pytest.raises(UpstreamProtocolError):
        DIALECT.encode_response(answered(call), Losses(DIALECT.name))


@pytest.mark.parametrize("body", [{}, {"id": "i"}, {"id": 1, "model": "m"}, {"content": 1}])
def test_an_answer_that_is_none_is_the_providers_fault(body: dict[str, Any]) -> None:
    with pytest.raises(UpstreamProtocolError):
        DIALECT.decode_response(body)


def test_cached_tokens_are_within_the_input() -> None:
    usage = {"input_tokens": 1, "output_tokens": 2, "cache_read_input_tokens": 3}
    usage |= {"cache_creation_input_tokens": 4, "output_tokens_details": {"thinking_tokens": 1}}
    body = {"id": "i", "model": "m", "content": [], "usage": usage}
    found = DIALECT.decode_response(body).usage

    assert found is not None
    assert (found.input_tokens, found.output_tokens, found.reasoning_tokens) == (8, 2, 1)


@pytest.mark.parametrize("wrong", ["x", None, 1.5, {}, []])
def test_wild_usage_costs_no_answer(wrong: Any) -> None:
    usage = {"input_tokens": wrong, "output_tokens_details": wrong}
    found = DIALECT.decode_response({"content": [], "usage": usage}).usage

    assert found is not None
    assert found.input_tokens == 0


# --- streams ----------------------------------------------------------------------------------


def wire(*events: dict[str, Any]) -> bytes:
    return b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)


START = {"type": "message_start", "message": {"id": "i", "model": "m"}}
END = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}
STOP = {"type": "message_stop"}


def block(start: dict[str, Any], *deltas: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"type": "content_block_start", "index": 0, "content_block": start},
        *({"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": 0},
    ]


def decoded(*events: dict[str, Any]) -> list[Any]:
    return decode_stream(DIALECT, [wire(START, *events, END, STOP)])


@pytest.mark.parametrize(
    "events",
    [
        [STOP],
        [END, STOP],
        [START, STOP],
        [START, START, END, STOP],
        [START, {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "x"}}],
        [START, END, *block({"type": "text", "text": ""}), STOP],
    ],
)
def test_an_event_out_of_its_place_breaks_the_stream(events: list[dict[str, Any]]) -> None:
    with pytest.raises(UpstreamProtocolError):
        DIALECT.stream_decoder().feed(wire(*events), [])


def test_a_block_ends_where_the_next_event_says_so() -> None:
    text, call = {"type": "text", "text": "a"}, {"type": "tool_use", "id": "t", "name": "f"}
    wanted = [*block(text), *block({**call, "input": {"a": 1}})]
    opened = [event for event in wanted if event["type"] == "content_block_start"]

    assert decoded(*opened) == decoded(*wanted)
    assert decoded(*wanted, wanted[-1]) == decoded(*wanted)
    part = fold(decoded(*wanted)).choices[0].parts[1]
    assert part == ToolCall(id="t", name="f", arguments='{"a":1}')


def test_the_last_reason_and_all_usage_count_and_what_follows_the_end_does_not() -> None:
    first = {"type": "message_delta", "delta": {"stop_reason": None}, "usage": {"input_tokens": 3}}
    last = {**END, "usage": {"output_tokens": 4}}
    answer = fold(decoded(first, last, STOP, STOP))

    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (3, 4)


def test_an_answer_too_many_is_not_written() -> None:
    with pytest.raises(UpstreamProtocolError):
        DIALECT.stream_encoder(StreamOptions()).feed(PartStart(kind="text", choice=1))
    with pytest.raises(UpstreamProtocolError):
        DIALECT.stream_encoder(StreamOptions()).feed(ChoiceEnd(reason="stop", choice=1))
    two = Response(
        id="r",
        model="m",
        choices=tuple(Choice(parts=(Text(content=text),), finish_reason="stop") for text in "ab"),
    )
    with pytest.raises(UpstreamProtocolError):
        DIALECT.encode_response(two, Losses(DIALECT.name))


def test_citations_and_signatures_end_with_their_part() -> None:
    cited = {"type": "citations_delta", "citation": {"title": "t"}}
    events = decoded(
        *block({"type": "thinking", "thinking": ""}, {"type": "signature_delta", "signature": "s"}),
        *block({"type": "text", "text": "A"}, {"type": "text_delta", "text": "B"}, cited),
        *block({"type": "redacted_thinking", "data": "d"}),
        {"type": "ping"},
        {"type": "something_new"},
    )
    parts = fold(events).choices[0].parts

    assert [part.residue.fields for part in parts] == [
        {"signature": "s"},
        {"citations": [{"title": "t"}]},
        {"data": "d"},
    ]
    assert parts[1].content == "AB"
    encoder = DIALECT.stream_encoder(StreamOptions())
    written = b"".join(map(encoder.feed, events))
    assert b"citations_delta" in written
    assert b'"signature_delta","signature":"s"' in written


def test_a_part_only_this_dialect_has_passes_whole() -> None:
    started = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}
    piece = {"type": "input_json_delta", "partial_json": "{}"}
    events = decoded(*block(started, piece))
    encoder = DIALECT.stream_encoder(StreamOptions())
    written = b"".join(map(encoder.feed, events))

    assert json.dumps(started, separators=(",", ":")).encode() in written
    assert json.dumps(piece, separators=(",", ":")).encode() in written


def test_an_error_in_a_stream_keeps_its_kind() -> None:
    with pytest.raises(UpstreamError) as caught:
        decoded({"type": "error", "error": {"type": "overloaded_error", "message": "Busy"}})

    assert (caught.value.status, caught.value.kind, caught.value.message) == (
        529,
        "overloaded_error",
        "Busy",
    )
    with pytest.raises(UpstreamError):
        decoded({"type": "error"})


@pytest.mark.parametrize("data", [b"data: {\n\n", b"data: []\n\n", b'data: {"type":1}\n\n'])
def test_a_broken_frame_raises(data: bytes) -> None:
    with pytest.raises(UpstreamProtocolError):
        DIALECT.stream_decoder().feed(data, [])


def test_a_stream_may_end_without_its_last_line_break_and_have_events_without_data() -> None:
    data = b"event: ping\n\ndata:\n\n" + wire(START, END, STOP).rstrip()
    assert decode_stream(DIALECT, [data]) == decoded()


def test_a_cut_stream_raises() -> None:
    decoder = DIALECT.stream_decoder()
    decoder.feed(wire(START), [])
    with pytest.raises(UpstreamProtocolError):
        decoder.close([])


def test_final_totals_stand_in_the_last_delta() -> None:
    usage = {"input_tokens": 5, "output_tokens": 1, "cache_read_input_tokens": 2}
    start = {"type": "message_start", "message": {"id": "i", "model": "m", "usage": usage}}
    end = {
        "type": "message_delta",
        "delta": {"stop_reason": "pause_turn"},
        "usage": {"output_tokens": 9},
    }
    encoder = DIALECT.stream_encoder(StreamOptions())
    written = b"".join(map(encoder.feed, decode_stream(DIALECT, [wire(start, end, STOP)])))
    first, last, _ = [
        json.loads(frame.partition(b"data: ")[2]) for frame in written.split(b"\n\n")[:3]
    ]

    assert first["message"]["usage"] == usage
    assert last["delta"]["stop_reason"] == "pause_turn"
    assert last["usage"] == {**usage, "output_tokens": 9}


_SAID = {"id": "c", "model": "m", "choices": [{"index": 0, "delta": {"content": "a"}}]}
_OVER = {"id": "c", "model": "m", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
_PART = {"content": {"parts": [{"text": "a"}]}, "index": 0}
EARLY: dict[str, tuple[str, list[dict[str, Any]], tuple[int, int]]] = {
    "Gemini tells its prompt at once": (
        "gemini_generate",
        [
            {"candidates": [_PART], "usageMetadata": {"promptTokenCount": 7}},
            {
                "candidates": [{**_PART, "finishReason": "STOP"}],
                "usageMetadata": {"promptTokenCount": 7, "candidatesTokenCount": 2},
            },
        ],
        (7, 0),
    ),
    "a server that counts as it goes": (
        "openai_chat",
        [
            {**_SAID, "usage": {"prompt_tokens": 7, "completion_tokens": 1}},
            {**_OVER, "usage": {"prompt_tokens": 7, "completion_tokens": 2}},
        ],
        (7, 1),
    ),
    "usage at the end alone": (
        "openai_chat",
        [_SAID, _OVER, {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 2}}],
        (0, 0),
    ),
}


@pytest.mark.parametrize(("provider", "chunks", "known"), EARLY.values(), ids=EARLY)
def test_a_stream_begins_with_the_usage_known_and_ends_with_all_of_it(
    provider: str, chunks: list[dict[str, Any]], known: tuple[int, int]
) -> None:
    out = translate_stream(client_dialect(provider), DIALECT, [wire(*chunks)])
    frames = [json.loads(frame.partition(b"data: ")[2]) for frame in out.split(b"\n\n")[:-1]]
    first, last = frames[0]["message"]["usage"], frames[-2]["usage"]

    assert (first["input_tokens"], first["output_tokens"]) == known
    assert (last["input_tokens"], last["output_tokens"]) == (7, 2)
    assert sdk.read(DIALECT.name, sdk.stream(DIALECT.name, out)).input_tokens == 7


def test_a_refusal_in_a_stream_ends_as_one() -> None:
    encoder = DIALECT.stream_encoder(StreamOptions())
    events = [
        Start(id="i", model="m"),
        PartStart(kind="refusal"),
        Delta(content="No"),
        PartEnd(),
        ChoiceEnd(reason="stop"),
        Finish(),
    ]

    written = b"".join(map(encoder.feed, events)) + encoder.close()
    assert b'"text_delta","text":"No"' in written
    assert b'"stop_reason":"refusal"' in written
    assert b'"type":"error"' in encoder.fail(UpstreamProtocolError("cut"))


def test_foreign_reasoning_in_a_stream_is_carried() -> None:
    encoder = DIALECT.stream_encoder(StreamOptions())
    state = Residue(dialect="openai_chat", fields={"reasoning_details": []})
    encoder.feed(PartStart(kind="reasoning"))

    assert b'"signature":"dragoman.v1.' in encoder.feed(PartEnd(residue=state))


# --- errors and models ------------------------------------------------------------------------


SILENT = "The provider answered with status 502 and no message."


@pytest.mark.parametrize(
    ("body", "message", "kind"),
    [
        (b'{"type":"error","error":{"type":"t","message":"m"}}', "m", "t"),
        (b'{"error":{}}', SILENT, None),
        (b"<html><title>Bad gateway</title></html>", "Bad gateway", None),
        (b"", SILENT, None),
        (b"\xff", "\ufffd", None),
        (b'{"error":"text"}', "text", None),
        (b'{"detail":[{"loc":["body","a"],"msg":"no"}]}', "body.a: no", None),
    ],
)
def test_any_error_body_is_read(body: bytes, message: str, kind: str | None) -> None:
    error = DIALECT.decode_error(502, body)

    assert (error.status, error.message, error.kind) == (502, message, kind)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (UpstreamError("m", status=529, kind="overloaded_error"), "overloaded_error"),
        (UpstreamError("m", status=429, kind="requests"), "rate_limit_error"),
        (UpstreamError("m", status=500), "api_error"),
        (UpstreamError("m", status=418), "invalid_request_error"),
        (UpstreamProtocolError("m"), "api_error"),
    ],
)
def test_errors_have_the_type_of_their_status(error: Any, kind: str) -> None:
    answer = DIALECT.encode_error(error)

    assert answer.status == error.status
    found = json.loads(answer.body)
    assert found["type"] == "error"
    assert found["error"] == {"type": kind, "message": "m"}


def test_a_wrong_method_is_told_the_right_one() -> None:
    answer = DIALECT.encode_error(MethodNotAllowed("m", allow="POST"))

    assert answer.headers["allow"] == "POST"


def test_models_are_listed_in_its_shape() -> None:
    listed = DIALECT.encode_models([ModelCard(id="a"), ModelCard(id="b")], "")

    assert [model["id"] for model in listed["data"]] == ["a", "b"]
    assert (listed["first_id"], listed["last_id"], listed["has_more"]) == ("a", "b", False)
    assert DIALECT.encode_models([], "")["first_id"] is None


def test_usage_is_in_every_stream_of_it() -> None:
    assert DIALECT.edits(asked()) == {}
    assert DIALECT.wants_usage(asked()) is None
    assert DIALECT.is_usage_frame("{}") is False


def test_text_of_an_answer_is_written_with_usage() -> None:
    usage = Usage(input_tokens=5, cache_read_input_tokens=2, output_tokens=1)
    body = DIALECT.encode_response(answered(Text(content="A"), usage=usage), Losses(DIALECT.name))

    assert body["usage"]["input_tokens"] == 3


def test_redacted_thinking_and_an_empty_result_are_written() -> None:
    hidden = Residue(dialect=DIALECT.name, fields={"data": "d"})
    body = DIALECT.encode_response(
        answered(Reasoning(content="", residue=hidden)), Losses(DIALECT.name)
    )
    assert body["content"] == [{"type": "redacted_thinking", "data": "d"}]

    result = asked(
        messages=[{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t"}]}]
    )
    assert DIALECT.encode_request(DIALECT.decode_request(result), Losses(DIALECT.name)) == result
