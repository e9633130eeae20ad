"""What only Gemini has: signatures on any part, and how they come back through every client."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dragoman.dialects import MODELS, ChatDialect, StreamOptions
from dragoman.dialects.registry import client_call, client_dialect
from dragoman.errors import InvalidRequest, UpstreamError, UpstreamProtocolError
from dragoman.ir import Residue
from dragoman.ir.events import ChoiceEnd, Delta, Event, Finish, PartEnd, PartStart, Start, fold
from dragoman.ir.losses import Losses
from tests.properties.cases import decode_stream, each_byte, encode_stream, translate_stream

GEMINI: ChatDialect = client_dialect("gemini_generate")
Json = dict[str, Any]

PARTS: list[Json] = [
    {"text": "Let me see.", "thought": True, "thoughtSignature": "c2lnbmVkMQ=="},
    {"text": "Both cities:", "thoughtSignature": "c2lnbmVkMg=="},
    {
        "functionCall": {"id": "c1", "name": "weather", "args": {"city": "Oslo"}},
        "thoughtSignature": "c2lnbmVkMw==",
    },
    {"functionCall": {"id": "c2", "name": "weather", "args": {"city": "Rome"}}},
]
"""What Gemini 3 says before two calls in parallel: it signs the first."""


def _answer(parts: list[Json]) -> Json:
    content = {"parts": parts, "role": "model"}
    candidate = {"content": content, "finishReason": "STOP", "index": 0}
    usage = {"promptTokenCount": 1, "candidatesTokenCount": 2, "totalTokenCount": 3}
    head = {"modelVersion": "gemini-3-pro", "responseId": "r1"}
    return {"candidates": [candidate], "usageMetadata": usage, **head}


def _stream(*parts: Json) -> bytes:
    """One chunk a part; the last says that it ends."""
    chunks = [_answer([part]) for part in parts]
    for chunk in chunks[:-1]:
        del chunk["candidates"][0]["finishReason"]
    return b"".join(b"data: %b\r\n\r\n" % json.dumps(chunk).encode() for chunk in chunks)


def _next_turn(client: str, answer: Json) -> Json:
    """The request in which a client of the dialect sends `answer` back, as it got it."""
    match client:
        case "openai_chat":
            said = [answer["choices"][0]["message"]]
            return {"model": "m", "messages": [{"role": "user", "content": "Hi"}, *said]}
        case "anthropic_messages":
            said = [{"role": "assistant", "content": answer["content"]}]
            messages = [{"role": "user", "content": "Hi"}, *said]
            return {"model": "m", "max_tokens": 9, "messages": messages}
        case "openai_responses":
            return {"model": "m", "input": [{"role": "user", "content": "Hi"}, *answer["output"]]}
        case "bedrock_converse":
            said = [answer["output"]["message"]]
            return {"messages": [{"role": "user", "content": [{"text": "Hi"}]}, *said]}
        case _:
            said = [answer["candidates"][0]["content"]]
            return {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}, *said]}


CLIENTS = (
    "openai_chat",
    "anthropic_messages",
    "openai_responses",
    "bedrock_converse",
    "gemini_generate",
)


@pytest.mark.parametrize("client", CLIENTS)
def test_signatures_come_back_through_every_client(client: str) -> None:
    dialect: ChatDialect = client_dialect(client)
    answer = dialect.encode_response(GEMINI.decode_response(_answer(PARTS)), Losses(client))

    assert _sent_again(client, answer) == PARTS


@pytest.mark.parametrize("client", CLIENTS)
def test_signatures_come_back_after_a_stream(client: str) -> None:
    """The text's signature comes behind its text, in a piece of its own."""
    signature = {"text": "", "thoughtSignature": PARTS[1]["thoughtSignature"]}
    thought = {"text": "", "thought": True, "thoughtSignature": PARTS[0]["thoughtSignature"]}
    unsigned = [{k: v for k, v in part.items() if k != "thoughtSignature"} for part in PARTS[:2]]
    wire = _stream(unsigned[0], thought, unsigned[1], signature, *PARTS[2:])
    dialect: ChatDialect = client_dialect(client)
    streamed = translate_stream(GEMINI, dialect, [wire])
    answer = dialect.encode_response(fold(decode_stream(dialect, [streamed])), Losses(client))

    assert _text_and_signatures(_sent_again(client, answer)) == _text_and_signatures(PARTS)


def _sent_again(client: str, answer: Json) -> list[Json]:
    """The parts that Gemini gets on the next turn, nothing of them reported as lost."""
    losses = Losses("gemini_generate")
    request = client_dialect(client).decode_request(_next_turn(client, answer))
    parts: list[Json] = GEMINI.encode_request(request, losses)["contents"][1]["parts"]
    assert not [path for path in losses.paths if "ignature" in path]
    return parts


def _text_and_signatures(parts: list[Json]) -> list[tuple[str, str]]:
    """Each kind of part with the signature on it, texts that follow each other put together."""
    found: list[tuple[str, str]] = []
    for part in parts:
        kind = (
            json.dumps(part.get("functionCall"), sort_keys=True)
            if "functionCall" in part
            else "text"
        )
        kind = "thought" if part.get("thought") else kind
        signature = part.get("thoughtSignature", "")
        if found and found[-1] == (kind, "") and kind in ("text", "thought"):
            found[-1] = (kind, signature)
        else:
            found.append((kind, signature))
    return found


# --- signatures, one by one -------------------------------------------------------------------


def test_an_answer_keeps_each_signature_where_it_stood() -> None:
    for part in (
        {"text": "", "thoughtSignature": "YQ=="},
        {"thoughtSignature": "YQ=="},
        {"inlineData": {"mimeType": "image/png", "data": "YQ=="}, "thoughtSignature": "Yg=="},
        {"executableCode": {"language": "PYTHON", "code": "1"}, "thoughtSignature": "Yg=="},
        {"function_call": {"name": "f", "args": {}}, "thought_signature": "Yg=="},
    ):
        body = _answer([{"text": "So"}, part])
        losses = Losses("gemini_generate")

        assert GEMINI.encode_response(GEMINI.decode_response(body), losses) == body
        assert losses.paths == []


@pytest.mark.parametrize(
    ("model", "signature"),
    [("gemini-3-pro", "skip_thought_signature_validator"), ("gemini-2.5-flash", None)],
)
def test_a_call_of_another_model_gets_the_placeholder(model: str, signature: str | None) -> None:
    """Gemini 3 refuses a turn whose first call bears none."""
    calls = [_openai_call("c1"), _openai_call("c2")]
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "tool_calls": calls}]
    request = client_dialect("openai_chat").decode_request({"model": model, "messages": messages})
    parts = GEMINI.encode_request(request, Losses("gemini_generate"))["contents"][1]["parts"]

    assert [part.get("thoughtSignature") for part in parts] == [signature, None]


def _openai_call(ident: str, **more: Any) -> Json:
    return {"id": ident, "type": "function", "function": {"name": "f", "arguments": "{}"}, **more}


def test_a_signature_whose_call_is_gone_is_reported() -> None:
    extra = {"extra_content": {"google": {"thought_signature": "YQ=="}}}
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "So", **extra}]
    body = {"model": "gpt-x", "messages": messages}
    losses = Losses("anthropic_messages")
    client_dialect("anthropic_messages").encode_request(
        client_dialect("openai_chat").decode_request(body), losses
    )

    assert "$.messages[1].extra_content.google.thought_signature" in losses.paths


def test_googles_own_chat_endpoint_signs_for_clients_of_other_dialects() -> None:
    """Its stream of Chat Completions, read for a client of Anthropic Messages."""
    extra = {"google": {"thought_signature": "YQ=="}}
    call = {"index": 0, **_openai_call("c1", extra_content=extra)}
    delta = {"role": "assistant", "tool_calls": [call]}
    chunk = {"id": "x", "model": "gemini-3-pro", "created": 1}
    said = {**chunk, "choices": [{"index": 0, "delta": delta}]}
    signed = {"index": 0, "delta": {"extra_content": {"google": {"thought_signature": "Yg=="}}}}
    end = {**chunk, "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}
    chunks = [{**chunk, "choices": [signed]}, said, end]
    wire = b"".join(b"data: %b\n\n" % json.dumps(one).encode() for one in chunks)
    wire += b"data: [DONE]\n\n"
    openai, anthropic = client_dialect("openai_chat"), client_dialect("anthropic_messages")
    streamed = translate_stream(openai, anthropic, [wire])
    answer = anthropic.encode_response(
        fold(decode_stream(anthropic, [streamed])), Losses("anthropic_messages")
    )

    assert _text_and_signatures(_sent_again("anthropic_messages", answer)) == [
        ("text", "Yg=="),
        ('{"args": {}, "id": "c1", "name": "f"}', "YQ=="),
    ]


# --- streams ----------------------------------------------------------------------------------

ARRAY = StreamOptions(framing="json")
CODE: Json = {"executableCode": {"language": "PYTHON", "code": "print(1)"}}


def _array(parts: list[Json]) -> bytes:
    encoder = GEMINI.stream_encoder(ARRAY)
    events = decode_stream(GEMINI, [_stream(*parts)])
    return b"".join(map(encoder.feed, events)) + encoder.close()


def test_a_stream_without_alt_sse_is_one_json_array() -> None:
    chunks = json.loads(_array(PARTS))

    assert [chunk["candidates"][0]["content"]["parts"][0] for chunk in chunks if chunk][-2] == {
        **PARTS[3]
    }
    assert chunks[-1]["candidates"][0]["finishReason"] == "STOP"
    assert GEMINI.stream_type(ARRAY) == "application/json"


def test_either_framing_says_the_same_however_it_is_cut() -> None:
    array, sse = _array(PARTS), encode_stream(GEMINI, decode_stream(GEMINI, [_stream(*PARTS)]))
    whole = decode_stream(GEMINI, [sse])

    assert decode_stream(GEMINI, [array]) == whole
    assert decode_stream(GEMINI, each_byte(array)) == whole
    for end in range(len(array)):
        with pytest.raises(UpstreamProtocolError):
            decode_stream(GEMINI, [array[:end]])


def test_an_object_that_answers_a_stream_alone_is_all_of_it() -> None:
    whole = _answer(PARTS[:3])
    alone = b"\n" + json.dumps(whole, indent=2).encode() + b"\n"
    events = decode_stream(GEMINI, [alone])

    assert events == decode_stream(GEMINI, [b"[%b]" % alone])
    assert decode_stream(GEMINI, each_byte(alone)) == events
    assert fold(events).usage == GEMINI.decode_response(whole).usage
    for broken in (alone[:-3], alone * 2, b"{}", alone + b"]"):
        with pytest.raises(UpstreamProtocolError):
            decode_stream(GEMINI, [broken])
    with pytest.raises(UpstreamError, match="Too many"):
        decode_stream(GEMINI, [b'{"error": {"code": 429, "message": "Too many."}}'])


def test_an_error_ends_an_array() -> None:
    error = UpstreamError("Too many.", status=429, kind="RESOURCE_EXHAUSTED")
    encoder = GEMINI.stream_encoder(ARRAY)
    wire = encoder.feed(Start(id="r", model="m")) + encoder.fail(error)

    assert json.loads(wire)[0]["error"]["status"] == "RESOURCE_EXHAUSTED"
    with pytest.raises(UpstreamError, match="Too many") as caught:
        decode_stream(GEMINI, [wire])
    assert caught.value.status == 429


@pytest.mark.parametrize("client", [name for name in CLIENTS if name != "gemini_generate"])
def test_code_that_gemini_ran_is_no_block_of_another_dialect(client: str) -> None:
    wire = _stream({"text": "So: "}, CODE, {"text": "1"})
    streamed = translate_stream(GEMINI, client_dialect(client), [wire])

    assert b"executableCode" not in streamed
    assert b"So: " in streamed


def test_a_refused_prompt_is_an_answer_without_a_candidate() -> None:
    body = {"promptFeedback": {"blockReason": "SAFETY"}, "modelVersion": "m", "responseId": "r"}
    response = GEMINI.decode_response(body)
    wire = b"data: %b\n\n" % json.dumps(body).encode()

    assert response.choices[0].finish_reason == "content_filter"
    assert GEMINI.encode_response(response, Losses("gemini_generate")) == body
    assert fold(decode_stream(GEMINI, [wire])).choices[0].finish_reason == "content_filter"


# --- errors and paths -------------------------------------------------------------------------


def test_an_error_keeps_when_to_retry_and_why() -> None:
    details = [
        {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "RATE_LIMIT_EXCEEDED"},
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34s"},
    ]
    status = {"code": 429, "message": "Quota.", "status": "RESOURCE_EXHAUSTED", "details": details}
    error = GEMINI.decode_error(429, json.dumps([{"error": status}]).encode())

    assert (error.message, error.kind) == ("Quota. Retry in 34s.", "RESOURCE_EXHAUSTED")
    told = json.loads(GEMINI.encode_error(error).body)["error"]
    assert told["details"][0]["reason"] == "RATE_LIMIT_EXCEEDED"


def test_an_error_names_the_field() -> None:
    told = json.loads(GEMINI.encode_error(InvalidRequest("$.contents[0].role", "user")).body)

    violation = told["error"]["details"][0]["fieldViolations"][0]
    assert violation["field"] == "contents[0].role"


VERTEX = "/v1/projects/p/locations/global/publishers/google/models/gemini-3-pro"


@pytest.mark.parametrize(
    ("path", "query", "model", "framing"),
    [
        ("/v1beta/models/gemini-3-pro:generateContent", "", "gemini-3-pro", ""),
        ("/v1alpha/models/g:streamGenerateContent", "key=k&alt=sse", "g", ""),
        ("/v1/models/g:streamGenerateContent", "key=k", "g", "json"),
        (f"{VERTEX}:streamGenerateContent", "alt=sse", "gemini-3-pro", ""),
        (f"{VERTEX.replace('v1', 'v1beta1')}:generateContent", "", "gemini-3-pro", ""),
        ("/v1/publishers/google/models/g:generateContent", "", "g", ""),
        ("/v1beta/tunedModels/mine:generateContent", "", "mine", ""),
    ],
)
def test_the_path_says_the_model_and_the_framing(
    path: str, query: str, model: str, framing: str
) -> None:
    found = client_call(f"{path}?{query}", {})

    assert found.dialect.name == "gemini_generate"
    assert found.call is not None
    assert (found.call.model, found.call.framing) == (model, framing)
    assert found.call.stream is ("stream" in path)


def test_models_are_listed_for_a_key_of_googles() -> None:
    for path, headers, asked in (
        ("/v1beta/models", {}, ""),
        ("/v1beta/models/g", {}, "g"),
        ("/v1/models", {"x-goog-api-key": "k"}, ""),
        ("/v1/models/g", {"x-goog-api-key": "k"}, "g"),
    ):
        found = client_call(path, headers)
        assert found.dialect.name == "gemini_generate"
        assert found.call is not None
        assert (found.call.operation, found.call.model) == (MODELS, asked)
    assert client_call("/v1/models", {}).dialect.name == "openai_chat"


def _thinks(state: Json, *pieces: str) -> list[Event]:
    """A thought of Claude's, streamed."""
    end = PartEnd(residue=Residue(dialect="anthropic_messages", fields=state))
    return [PartStart(kind="reasoning"), *(Delta(content=piece) for piece in pieces), end]


SIGNED: list[Event] = [
    Start(id="m", model="c"),
    *_thinks({"signature": "s"}, "h", "m"),
    *_thinks({"data": "x"}),
    PartStart(kind="text"),
    *(Delta(content=piece) for piece in ("Hi", "\n", " Bob")),
    PartEnd(),
    ChoiceEnd(reason="stop"),
    Finish(),
]


@pytest.mark.parametrize("turns", ["one turn", "a turn each"])
def test_what_was_streamed_comes_back_whole(turns: str) -> None:
    """Google's SDK keeps each chunk's content as a turn of the model's."""
    wire = encode_stream(GEMINI, SIGNED)
    chunks = [json.loads(line[6:]) for line in wire.splitlines() if line.startswith(b"data: ")]
    contents = [chunk["candidates"][0]["content"] for chunk in chunks if chunk.get("candidates")]
    told = [content for content in contents if content.get("parts")]
    if turns == "one turn":
        told = [{"role": "model", "parts": [part for one in told for part in one["parts"]]}]
    user = {"role": "user", "parts": [{"text": "x"}]}
    request = GEMINI.decode_request({"contents": [user, *told, user]})
    losses = Losses("anthropic_messages")
    sent: Any = client_dialect(losses.dialect).encode_request(request, losses)

    assert sent["messages"][1]["content"] == [
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "redacted_thinking", "data": "x"},
        {"type": "text", "text": "Hi\n Bob"},
    ]


@pytest.mark.parametrize("data", ["-_8=", "-_8", "+/8=", "AAAA"])
def test_bytes_of_either_alphabet_are_the_same(data: str) -> None:
    """Google's SDKs write the one for URLs, which others hold to be no base64."""
    image = {"inlineData": {"mimeType": "image/png", "data": data}}
    body = {"contents": [{"role": "user", "parts": [image]}]}
    request = GEMINI.decode_request(body)
    sent: Any = client_dialect("openai_chat").encode_request(request, Losses("openai_chat"))
    standard = {"AAAA": "AAAA"}.get(data, "+/8=")
    url = sent["messages"][0]["content"][0]["image_url"]["url"]
    assert url == f"data:image/png;base64,{standard}"
    assert GEMINI.encode_request(request, Losses(GEMINI.name)) == body

    embeds = client_dialect("gemini_embed")
    asked = embeds.decode_request({"content": {"parts": [image]}})
    assert asked.inputs[0].parts[0].content == standard
    told: Any = embeds.encode_request(asked, Losses(embeds.name))
    assert told["content"]["parts"] == [image]
