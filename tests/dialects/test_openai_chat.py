"""What the shared suites cannot know of OpenAI Chat Completions: its spellings, quirks and errors."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from dragoman.dialects import StreamOptions, StreamTranslator
from dragoman.dialects.models import ModelCard
from dragoman.dialects.openai_chat import OpenAIChat, Quirks
from dragoman.dialects.openai_chat.spelling import WHOLE_CALLS
from dragoman.dialects.registry import client_dialect
from dragoman.errors import (
    DragomanError,
    InvalidRequest,
    MethodNotAllowed,
    Unrepresentable,
    UpstreamError,
    UpstreamProtocolError,
)
from dragoman.ir import (
    Blob,
    Choice,
    File,
    Message,
    Opaque,
    OpaqueTool,
    Part,
    Reasoning,
    ReasoningConfig,
    Refusal,
    Request,
    Residue,
    Response,
    ResponseFormat,
    Text,
    Tool,
    ToolCall,
    ToolCallResponse,
    Uri,
    Usage,
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
from tests.properties.cases import decode_stream, each_byte

CHAT = OpenAIChat()
MISTRAL = OpenAIChat(Quirks(thinking_parts=True))
ANTHROPIC = "anthropic_messages"
SIGNED = Residue(dialect=ANTHROPIC, fields={"signature": "sig"})
REDACTED = Residue(dialect=ANTHROPIC, fields={"data": "secret"})
SIGNED_DETAIL = {
    "type": "reasoning.text",
    "text": "hm",
    "signature": "sig",
    "format": "anthropic-claude-v1",
    "index": 0,
}
REDACTED_DETAIL = {
    "type": "reasoning.encrypted",
    "data": "secret",
    "format": "anthropic-claude-v1",
    "index": 1,
}
FILE = {"type": "file", "file": {"file_id": "file-1", "filename": "a.pdf"}}


def _request(message: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [message or {"role": "user", "content": "hi"}], **fields}


def _user(*parts: Any) -> dict[str, Any]:
    return _request({"role": "user", "content": list(parts)})


def _assistant(**fields: Any) -> dict[str, Any]:
    return _request({"role": "assistant", **fields})


def _url(kind: str, value: Any, **fields: Any) -> dict[str, Any]:
    return {"type": kind, kind: value, **fields}


OWN: dict[str, dict[str, Any]] = {
    "nulls and empties": _request(tools=[], stop=[], temperature=None, stream_options=None),
    "not streamed": _request(stream=False, stop="x", stream_options={"include_usage": True}),
    "options": _request(stream=True, stream_options={"include_obfuscation": False}),
    "no options": _request(stream=True, stream_options={}),
    "old limit": _request(max_tokens=5),
    "both limits": _request(max_tokens=5, max_completion_tokens=6),
    "legacy functions": _request(functions=[{"name": "f"}], function_call="auto"),
    "legacy call": _assistant(content=None, function_call={"name": "f", "arguments": "{}"}),
    "legacy result": _request({"role": "function", "name": "f", "content": "1"}),
    "audio answer": _assistant(audio={"id": "audio_1"}),
    "custom tool": _request(
        tools=[{"type": "custom", "custom": {"name": "c"}}],
        tool_choice={"type": "custom", "custom": {"name": "c"}},
    ),
    "custom call": _assistant(
        tool_calls=[{"id": "1", "type": "custom", "custom": {"name": "c", "input": "x"}}]
    ),
    "allowed tools": _request(
        tool_choice={"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}}
    ),
    "tool named response_format": _request(tools=[{"type": "response_format"}]),
    "named": _request(tool_choice={"type": "function", "function": {"name": "f", "x": 1}}),
    "Mistral's any": _request(tool_choice="any"),
    "untyped": _request(
        tools=[{"function": {"name": "f", "strict": None}}],
        tool_choice={"function": {"name": "f"}},
    ),
    "untyped call": _assistant(
        tool_calls=[{"id": "1", "function": {"name": "f", "arguments": ""}}]
    ),
    "format of others": _request(response_format={"type": "grammar", "grammar": "x"}),
    "json": _request(response_format={"type": "json_object", "x": 1}),
    "text format": _request(response_format={"type": "text"}),
    "schema": _request(response_format={"type": "json_schema", "json_schema": {"schema": {}}}),
    "effort of others": _request(reasoning_effort="default"),
    "effort": _request(reasoning_effort="none", service_tier="new", top_k=3),
    "one part": _user({"type": "text", "text": "a"}),
    "marked": _user({"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}),
    "image": _user(_url("image_url", {"url": "https://x/a.png", "detail": "low"})),
    "inline image": _user(
        _url("image_url", {"url": "data:image/png;base64,AAAA", "detail": "low"})
    ),
    "odd data URL": _user(
        _url("image_url", {"url": "data:,a"}), _url("image_url", {"url": "data:x"})
    ),
    "bare address": _user(_url("image_url", "https://x/a.png")),
    "bare inline": _user(_url("image_url", "data:image/png;base64,AAAA")),
    "video": _user(_url("video_url", {"url": "https://x/a.mp4"})),
    "inline video": _user(_url("video_url", {"url": "data:video/mp4;base64,AAAA"})),
    "document": _user(_url("document_url", "https://x/a.pdf", document_name="a")),
    "mp3": _user(_url("input_audio", {"data": "AAAA", "format": "mp3"})),
    "plain choice": _request(tool_choice="none"),
    "sampling": _request(temperature=1, seed=2, n=3),
    "x-wav": _user(_url("input_audio", {"data": "AAAA", "format": "x-wav"})),
    "flac": _user(_url("input_audio", {"data": "AAAA", "format": "flac"})),
    "file by id": _user(FILE),
    "file by address": _user(_url("file", {"file_data": "https://x/a.pdf", "filename": "a"})),
    "file inline": _user(_url("file", {"file_data": "data:application/pdf;base64,AAAA"})),
    "file inline, named": _user(
        _url("file", {"file_data": "data:image/png;base64,AAAA", "filename": "a"})
    ),
    "file of no known shape": _user(_url("file", {"file_data": "AAAA"}), _url("file", {})),
    "unknown part": _user({"type": "hologram", "hologram": {}}),
    "Mistral's thinking": _assistant(
        content=[
            {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}], "closed": True},
            {"type": "thinking", "thinking": [{"type": "text", "text": "a", "x": 1}]},
            {"type": "thinking", "thinking": [{"type": "text", "text": "b"}], "signature": "s"},
            {"type": "thinking", "thinking": [], "signature": "s"},
            {"type": "thinking", "thinking": []},
        ]
    ),
    "refusal": _assistant(content=None, refusal="no"),
    "refusal part": _assistant(content=[{"type": "refusal", "refusal": "no"}]),
    "no content": _assistant(tool_calls=[], audio=None),
    "reasoning_content": _assistant(content="a", reasoning_content="hm"),
    "reasoning": _assistant(content="a", reasoning="hm"),
    "both": _assistant(content="a", reasoning="hm", reasoning_content="hm"),
    "both, unlike": _assistant(content="a", reasoning="hm", reasoning_content="ha"),
    "empty reasoning": _assistant(content="a", reasoning_content="", reasoning=None),
    "details": _assistant(content="a", reasoning_details=[SIGNED_DETAIL, REDACTED_DETAIL]),
    "details and text": _assistant(reasoning_content="hm", reasoning_details=[SIGNED_DETAIL]),
    "details unindexed": _assistant(
        reasoning_details=[{k: v for k, v in SIGNED_DETAIL.items() if k != "index"}]
    ),
    "details of others": _assistant(
        reasoning="ab",
        reasoning_details=[
            {"type": "reasoning.summary", "summary": "a", "index": 0},
            {"type": "reasoning.text", "text": "b", "index": 1},
            {"type": "reasoning.text", "text": None, "signature": "x", "index": 2},
            {**SIGNED_DETAIL, "text": None},
            {**SIGNED_DETAIL, "id": "r1", "text": ""},
            {**REDACTED_DETAIL, "id": "r1"},
            {"type": "reasoning.encrypted", "data": "x", "format": "openai-responses-v1"},
            {"type": 7},
        ],
    ),
    "result": _request({"role": "tool", "tool_call_id": "1", "content": "x", "name": "f"}),
    "result in parts": _request(
        {"role": "tool", "tool_call_id": "1", "content": [{"type": "text", "text": "x"}]}
    ),
    "result without content": _request({"role": "tool", "tool_call_id": "1", "content": None}),
}


@pytest.mark.parametrize("body", OWN.values(), ids=OWN)
def test_an_own_request_comes_back_as_it_was(body: dict[str, Any]) -> None:
    losses = Losses(CHAT.name)
    assert CHAT.encode_request(CHAT.decode_request(body), losses) == body
    assert losses.paths == []


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no messages": ({"model": "m"}, "$.messages"),
    "role": (_request({"role": "king"}), "$.messages[0].role"),
    "part": (_user("text"), "$.messages[0].content[0]"),
    "detail": (_assistant(reasoning_details=["x"]), "$.messages[0].reasoning_details[0]"),
    "result": (
        _request(
            {"role": "tool", "tool_call_id": "1", "content": [{"type": "refusal", "refusal": "a"}]}
        ),
        "$.messages[0].content[0].type",
    ),
}


@pytest.mark.parametrize(("body", "path"), WRONG.values(), ids=WRONG)
def test_a_wrong_request_is_refused_with_its_place(body: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        CHAT.decode_request(body)
    assert refusal.value.path == path


def test_signatures_travel_back_to_their_author() -> None:
    body = _assistant(content="a", reasoning_details=[SIGNED_DETAIL, REDACTED_DETAIL])
    signed, redacted, _ = CHAT.decode_request(body).messages[0].parts
    assert (signed.residue, redacted.residue) == (SIGNED, REDACTED)


def _foreign(*parts: Part, role: Any = "user", **fields: Any) -> Request:
    return Request(model="m", messages=(Message(role=role, parts=parts, at="$.m"),), **fields)


def _encode(request: Request, **quirks: Any) -> tuple[dict[str, Any], list[str]]:
    losses = Losses(CHAT.name)
    body = OpenAIChat(Quirks(**quirks)).encode_request(request, losses)
    return body, losses.paths


def _thinking(**wanted: Any) -> ReasoningConfig:
    return ReasoningConfig(at="$.t", **wanted)


ADAPTIVE = _thinking(adaptive=True)
THINKING: dict[str, tuple[str, ReasoningConfig, dict[str, Any], list[str]]] = {
    "a level": ("reasoning_effort", _thinking(effort="low"), {"reasoning_effort": "low"}, []),
    "the most": (
        "reasoning_effort",
        _thinking(effort="max"),
        {"reasoning_effort": "xhigh"},
        ["$.t"],
    ),
    "off, which has no word": ("reasoning_effort", _thinking(effort="none"), {}, ["$.t"]),
    "a level in an object": (
        "reasoning",
        _thinking(effort="high"),
        {"reasoning": {"effort": "high"}},
        [],
    ),
    "the most in an object": (
        "reasoning",
        _thinking(effort="max"),
        {"reasoning": {"effort": "xhigh"}},
        ["$.t"],
    ),
    "tokens in an object": (
        "reasoning",
        _thinking(budget_tokens=3000),
        {"reasoning": {"max_tokens": 3000}},
        [],
    ),
    "off in an object": (
        "reasoning",
        _thinking(budget_tokens=0),
        {"reasoning": {"effort": "none"}},
        [],
    ),
    "on in an object": ("reasoning", ADAPTIVE, {"reasoning": {"enabled": True}}, []),
    "nothing in an object": ("reasoning", _thinking(), {}, ["$.t"]),
    "a level beside a switch": (
        "thinking",
        _thinking(effort="max"),
        {"thinking": {"type": "enabled"}, "reasoning_effort": "max"},
        [],
    ),
    "tokens beside a switch": (
        "thinking",
        _thinking(budget_tokens=3000),
        {"thinking": {"type": "enabled"}, "reasoning_effort": "medium"},
        ["$.t"],
    ),
    "a switch off": ("thinking", _thinking(effort="none"), {"thinking": {"type": "disabled"}}, []),
    "a switch on": ("thinking", ADAPTIVE, {"thinking": {"type": "enabled"}}, []),
    "no switch": ("thinking", _thinking(), {}, ["$.t"]),
    "a template": (
        "chat_template_kwargs",
        _thinking(effort="high"),
        {"chat_template_kwargs": {"enable_thinking": True}, "reasoning_effort": "high"},
        [],
    ),
    "a level that servers lack": (
        "chat_template_kwargs",
        _thinking(effort="xhigh"),
        {"chat_template_kwargs": {"enable_thinking": True}, "reasoning_effort": "high"},
        ["$.t"],
    ),
    "a template, off": (
        "chat_template_kwargs",
        _thinking(effort="none"),
        {"chat_template_kwargs": {"enable_thinking": False}},
        [],
    ),
}


@pytest.mark.parametrize(("field", "wanted", "sent", "lost"), THINKING.values(), ids=THINKING)
def test_thinking_is_asked_for_in_the_provider_s_field(
    field: Any, wanted: ReasoningConfig, sent: dict[str, Any], lost: list[str]
) -> None:
    said = _foreign(Text(content="a"), reasoning=wanted)
    body, losses = _encode(said, thinking_field=field)

    assert {name: one for name, one in body.items() if name not in ("model", "messages")} == sent
    assert losses == lost


ASKED: dict[str, tuple[dict[str, Any], ReasoningConfig | None]] = {
    "a level": ({"reasoning_effort": "low"}, ReasoningConfig(effort="low")),
    "a level in an object": ({"reasoning": {"effort": "low"}}, ReasoningConfig(effort="low")),
    "tokens": ({"reasoning": {"max_tokens": 9}}, ReasoningConfig(budget_tokens=9)),
    "no number": ({"reasoning": {"max_tokens": True}}, None),
    "on": ({"reasoning": {"enabled": True}}, ReasoningConfig(adaptive=True)),
    "a switch": ({"thinking": {"type": "disabled"}}, ReasoningConfig(effort="none")),
    "a template": (
        {"chat_template_kwargs": {"enable_thinking": True}},
        ReasoningConfig(adaptive=True),
    ),
    "a level beside a switch": (
        {"reasoning_effort": "low", "thinking": {"type": "enabled"}},
        ReasoningConfig(effort="low"),
    ),
    "two switches": (
        {"thinking": {"type": "enabled"}, "chat_template_kwargs": {"enable_thinking": True}},
        None,
    ),
    "more than is known": ({"reasoning": {"effort": "low", "exclude": True}}, None),
    "another word": ({"reasoning_effort": "default"}, None),
}


@pytest.mark.parametrize(("fields", "wanted"), ASKED.values(), ids=ASKED)
def test_thinking_is_read_from_whichever_field_asks_for_it(
    fields: dict[str, Any], wanted: ReasoningConfig | None
) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "a"}], **fields}
    request = CHAT.decode_request(body)

    found = request.reasoning
    bare = found and msgspec.structs.replace(found, at="", residue=None)
    assert bare == wanted
    assert CHAT.encode_request(request, Losses(CHAT.name)) == body


IMAGE = Blob(modality="image", mime_type="image/png", content="AAAA", at="$.i")
REFUSED: dict[str, tuple[Request, str]] = {
    "audio by address": (_foreign(Uri(modality="audio", uri="https://x", at="$.a")), "$.a"),
    "video": (_foreign(Blob(modality="video", mime_type="video/x", content="", at="$.a")), "$.a"),
    "flac": (_foreign(Blob(modality="audio", mime_type="audio/flac", content="", at="$.a")), "$.a"),
    "file id": (_foreign(File(modality="document", file_id="1", at="$.a")), "$.a"),
    "image of a tool": (_foreign(ToolCallResponse(id="1", parts=(IMAGE,))), "$.i"),
    "image of the model": (_foreign(IMAGE, role="assistant"), "$.i"),
    "server tool": (
        _foreign(Opaque(dialect=ANTHROPIC, kind="server_tool_use", value={}, at="$.a")),
        "$.a",
    ),
    "tool": (
        _foreign(
            Text(content="a"), tools=(OpaqueTool(dialect=ANTHROPIC, kind="x", value={}, at="$.t"),)
        ),
        "$.t",
    ),
}


@pytest.mark.parametrize(("request_", "path"), REFUSED.values(), ids=REFUSED)
def test_what_has_meaning_is_refused(request_: Request, path: str) -> None:
    with pytest.raises(Unrepresentable) as refusal:
        _encode(request_)
    assert refusal.value.path == path


def test_hints_of_another_dialect_are_reported() -> None:
    mark = {"type": "ephemeral"}
    request = Request(
        model="m",
        messages=(
            Message(
                role="assistant",
                parts=(
                    Reasoning(content="hm", at="$.r", residue=SIGNED),
                    Text(content="a", at="$.x", cache_control=mark),
                    ToolCall(id="1", name="f", arguments="", at="$.c", cache_control=mark),
                ),
            ),
            Message(
                role="user",
                parts=(
                    ToolCallResponse(
                        id="1",
                        parts=(),
                        is_error=True,
                        error_at="$.e",
                        cache_control=mark,
                        at="$.t",
                    ),
                    Text(content="b"),
                ),
            ),
        ),
        tools=(Tool(name="f", cache_control=mark, at="$.f"),),
        top_k=3,
        service_tier="reserved",
        reasoning=ReasoningConfig(budget_tokens=5, at="$.thinking"),
        max_tokens=9,
        response_format=ResponseFormat(kind="json_schema", schema={}),
        stream=True,
    )
    body, lost = _encode(request)
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    assert body == {
        "model": "m",
        "messages": [
            {"role": "assistant", "content": "a", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "1", "content": ""},
            {"role": "user", "content": "b"},
        ],
        "tools": [{"type": "function", "function": {"name": "f"}}],
        "max_completion_tokens": 9,
        "reasoning_effort": "minimal",
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "response", "schema": {}},
        },
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert sorted(lost) == [
        "$.c.cache_control",
        "$.e",
        "$.f.cache_control",
        "$.r",
        "$.service_tier",
        "$.t.cache_control",
        "$.thinking",
        "$.top_k",
        "$.x.cache_control",
    ]


def test_quirks_say_what_a_provider_takes() -> None:
    request = _foreign(
        Text(content="a", cache_control={"type": "ephemeral"}),
        role="developer",
        top_k=3,
        max_tokens=9,
        stream=True,
        service_tier="auto",
        reasoning=ReasoningConfig(effort="low"),
    )
    body, lost = _encode(
        request,
        cache_control=True,
        developer_role=False,
        top_k=True,
        max_tokens_field="max_tokens",
        include_usage=False,
    )
    text = {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}
    assert body == {
        "model": "m",
        "messages": [{"role": "system", "content": [text]}],
        "max_tokens": 9,
        "top_k": 3,
        "reasoning_effort": "low",
        "service_tier": "auto",
        "stream": True,
    }
    assert lost == []


@pytest.mark.parametrize(
    ("quirks", "fields", "lost"),
    [
        ({}, {}, ["$.r", "$.s"]),
        ({"reasoning_field": "reasoning"}, {"reasoning": "hm"}, ["$.r.signature", "$.s.data"]),
        (
            {"reasoning_field": "reasoning", "reasoning_details": True},
            {"reasoning": "hm", "reasoning_details": [SIGNED_DETAIL, REDACTED_DETAIL]},
            [],
        ),
    ],
)
def test_reasoning_of_the_history(
    quirks: dict[str, Any], fields: dict[str, Any], lost: list[str]
) -> None:
    thoughts = (
        Reasoning(content="hm", at="$.r", residue=SIGNED),
        Reasoning(content="", at="$.s", residue=REDACTED),
    )
    body, found = _encode(_foreign(*thoughts, role="assistant"), **quirks)
    assert body["messages"] == [{"role": "assistant", "content": "", **fields}]
    assert found == lost


def test_texts_are_an_array_or_one_string() -> None:
    request = _foreign(Text(content="a"), Text(content="b"))
    assert len(_encode(request)[0]["messages"][0]["content"]) == 2
    assert _encode(request, text_array=False)[0]["messages"][0]["content"] == "a\n\nb"


def test_media_of_another_dialect() -> None:
    wav = Blob(modality="audio", mime_type="audio/wav", content="AAAA")
    pdf = Blob(modality="document", mime_type="application/pdf", content="AAAA")
    uri = Uri(modality="image", uri="https://x")
    (message,) = _encode(_foreign(IMAGE, uri, wav, pdf))[0]["messages"]
    data = "data:application/pdf;base64,AAAA"
    assert message["content"] == [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        {"type": "image_url", "image_url": {"url": "https://x"}},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
        {"type": "file", "file": {"file_data": data, "filename": "document.pdf"}},
    ]


def test_mistral_takes_bare_media_and_its_own_seed() -> None:
    sound = Blob(modality="audio", mime_type="audio/wav", content="AAAA")
    page = Blob(modality="document", mime_type="application/pdf", content="AAAA")
    linked = Uri(modality="document", uri="https://x")
    heard = Uri(modality="audio", uri="https://y")
    body, lost = _encode(
        _foreign(sound, page, linked, heard, seed=7), bare_media=True, seed_field="random_seed"
    )
    assert body["messages"][0]["content"] == [
        {"type": "input_audio", "input_audio": "AAAA"},
        {"type": "document_url", "document_url": "data:application/pdf;base64,AAAA"},
        {"type": "document_url", "document_url": "https://x"},
        {"type": "input_audio", "input_audio": "https://y"},
    ]
    assert (body["random_seed"], lost) == (7, [])


def test_bare_media_are_read() -> None:
    content = [
        {"type": "input_audio", "input_audio": "UklGRAAA"},
        {"type": "input_audio", "input_audio": "https://y"},
        {"type": "input_audio", "input_audio": "AAAA"},
        {"type": "file", "file_id": "f1"},
    ]
    request = CHAT.decode_request(
        {"model": "m", "messages": [{"role": "user", "content": content}]}
    )
    sound, heard, unknown, file = request.messages[0].parts
    assert isinstance(sound, Blob)
    assert (sound.mime_type, sound.content) == ("audio/wav", "UklGRAAA")
    assert isinstance(heard, Uri)
    assert isinstance(unknown, Opaque)
    assert isinstance(file, File)
    assert CHAT.encode_request(request, Losses(CHAT.name))["messages"][0]["content"] == content


def test_guards_are_this_dialects_alone() -> None:
    asked = {"guardrails": [{"block_on_error": True}], "safe_prompt": True, "random_seed": 7}
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}], **asked}
    request = CHAT.decode_request(body)
    assert [tool.at for tool in request.tools] == ["$.guardrails", "$.safe_prompt"]
    assert request.seed == 7
    assert CHAT.encode_request(request, Losses(CHAT.name)) == body


def test_a_refusal_of_another_dialect_is_the_message_s() -> None:
    (message,) = _encode(_foreign(Refusal(content="no"), role="assistant", stream=False))[0][
        "messages"
    ]
    assert message == {"role": "assistant", "content": None, "refusal": "no"}


EDITS: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "none": ({}, {"messages": []}, {}),
    "usage asked": ({}, {"stream": True, "stream_options": {"include_usage": True}}, {}),
    "usage": ({}, {"stream": True}, {"stream_options": {"include_usage": True}}),
    "usage refused": (
        {},
        {"stream": True, "stream_options": {"x": 1, "include_usage": False}},
        {"stream_options": {"x": 1, "include_usage": True}},
    ),
    "takes none": (
        {"include_usage": False},
        {"stream": True, "stream_options": {"include_usage": True}},
        {"stream_options": None},
    ),
    "takes none, others left": (
        {"include_usage": False},
        {"stream": True, "stream_options": {"x": 1, "include_usage": True}},
        {"stream_options": {"x": 1}},
    ),
    "takes none, none given": ({"include_usage": False}, {"stream": True}, {}),
    "limit": (
        {"max_tokens_field": "max_tokens"},
        {"max_completion_tokens": 5},
        {"max_tokens": 5, "max_completion_tokens": None},
    ),
    "limit kept": ({"max_tokens_field": "max_tokens"}, {"max_tokens": 5}, {}),
    "developer": (
        {"developer_role": False},
        {"messages": [{"role": "developer", "content": "a"}, "x"]},
        {"messages": [{"role": "system", "content": "a"}, "x"]},
    ),
    "seed": ({}, {"random_seed": 7}, {"random_seed": None, "seed": 7}),
    "random seed": ({"seed_field": "random_seed"}, {"seed": 7}, {"seed": None, "random_seed": 7}),
    "both seeds": ({}, {"seed": 1, "random_seed": 7}, {}),
    "any": ({}, {"tool_choice": "any"}, {"tool_choice": "required"}),
    "bare image": (
        {},
        {
            "messages": [
                {"content": [7, {"type": "image_url", "image_url": "https://x"}], "role": "user"}
            ]
        },
        {
            "messages": [
                {
                    "content": [7, {"type": "image_url", "image_url": {"url": "https://x"}}],
                    "role": "user",
                }
            ]
        },
    ),
    "no developer": ({"developer_role": False}, {"messages": [{"role": "user"}]}, {}),
    "no messages": ({"developer_role": False}, {"messages": 7}, {}),
}


@pytest.mark.parametrize(("quirks", "body", "edits"), EDITS.values(), ids=EDITS)
def test_edits(quirks: dict[str, Any], body: dict[str, Any], edits: dict[str, Any]) -> None:
    assert OpenAIChat(Quirks(**quirks)).edits(body) == edits


def test_usage_is_stripped_only_where_nobody_asked() -> None:
    assert CHAT.wants_usage({"stream_options": {"include_usage": True}})
    assert not CHAT.wants_usage({"stream_options": None})
    assert CHAT.is_usage_frame('{"choices":[],"usage":{"prompt_tokens":1}}')
    for data in ("[DONE]", '{"choices":[{}],"usage":{}}', '{"choices":[],"usage":null}', '"usage"'):
        assert not CHAT.is_usage_frame(data)


def test_models() -> None:
    (model,) = CHAT.encode_models([ModelCard(id="fast")], "")["data"]
    common = {"id": "fast", "object": "model", "created": 0, "owned_by": "dragoman"}
    assert model == {**common, "type": "base", "capabilities": {}}


# --- answers ---------------------------------------------------------------------------------


def _answer(message: dict[str, Any], finish: str | None = "stop", **fields: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": message, "finish_reason": finish}
    return {"id": "c-1", "model": "m", "choices": [choice], **fields}


def test_a_forced_call_is_a_call_however_it_ended() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    body = _answer({"role": "assistant", "tool_calls": [call]}, object="chat.completion", created=1)
    response = CHAT.decode_response(body)
    assert response.choices[0].finish_reason == "tool_call"
    assert CHAT.encode_response(response, Losses(CHAT.name)) == body


def test_a_built_in_function_is_called_like_any_other() -> None:
    function = {"name": "$web_search", "arguments": "{}"}
    call = {"id": "1", "type": "builtin_function", "function": function}
    message = {"role": "assistant", "tool_calls": [call]}
    body = _answer(message, "tool_calls", object="chat.completion", created=1)
    response = CHAT.decode_response(body)
    (part,) = response.choices[0].parts
    assert isinstance(part, ToolCall)
    assert (part.name, part.arguments) == ("$web_search", "{}")
    assert CHAT.encode_response(response, Losses(CHAT.name)) == body


def test_a_plain_field_speaks_for_details_without_words() -> None:
    details = [{"type": "reasoning.encrypted", "data": "E", "format": "x", "index": 0}]
    message = {"role": "assistant", "content": "a", "reasoning": "hm", "reasoning_details": details}
    body = _answer(message, object="chat.completion", created=1)
    response = CHAT.decode_response(body)
    assert [part.content for part in response.choices[0].parts if isinstance(part, Reasoning)] == [
        "hm",
        "",
    ]
    assert CHAT.encode_response(response, Losses(CHAT.name)) == body


def test_what_providers_leave_out_is_completed() -> None:
    calls = [
        {"function": {"name": "f"}},
        {"id": "", "function": {"name": "g", "arguments": {"a": 1}}},
    ]
    response = CHAT.decode_response(_answer({"content": None, "tool_calls": calls}, "eos"))
    first, second = response.choices[0].parts
    assert isinstance(first, ToolCall)
    assert isinstance(second, ToolCall)
    assert (first.id, first.arguments) == ("call_c-1_0", "")
    assert (second.id, second.arguments) == ("call_c-1_1", '{"a":1}')
    assert response.choices[0].residue == Residue(
        dialect=CHAT.name,
        fields={"message": {"content": None}, "finish_reason": "eos"},
        form=("role",),
    )


def test_an_answer_of_its_own_comes_back_as_it_was() -> None:
    message = {"role": "assistant", "content": "a", "audio": {"id": "1"}, "reasoning": "hm"}
    body = _answer(message, "model_length", created=1, object="chat.completion")
    assert CHAT.encode_response(CHAT.decode_response(body), Losses(CHAT.name)) == body


PREFIXED = {
    "model": "m",
    "messages": [
        {"role": "user", "content": "A haiku"},
        {"role": "assistant", "content": "Old pond,", "prefix": True},
    ],
}


@pytest.mark.parametrize("target", ["anthropic_messages", "bedrock_converse", "ollama_chat"])
def test_a_turn_to_go_on_with_is_the_last_one_where_answers_do(target: str) -> None:
    losses = Losses(target)
    body = client_dialect(target).encode_request(CHAT.decode_request(PREFIXED), losses)
    assert body["messages"][-1]["role"] == "assistant"
    assert losses.paths == []
    assert CHAT.encode_request(CHAT.decode_request(PREFIXED), Losses(CHAT.name)) == PREFIXED


@pytest.mark.parametrize("target", ["gemini_generate", "cohere_chat", "openai_responses"])
def test_a_turn_to_go_on_with_is_refused_where_answers_are_their_own(target: str) -> None:
    with pytest.raises(Unrepresentable) as caught:
        client_dialect(target).encode_request(CHAT.decode_request(PREFIXED), Losses(target))
    assert caught.value.path == "$.messages[1].prefix"


LEGACY = {"name": "f", "arguments": '{"a":1}'}


def test_a_function_call_of_an_answer_is_a_call() -> None:
    message = {"role": "assistant", "content": None, "function_call": LEGACY}
    body = _answer(message, "function_call", created=1, object="chat.completion")
    response = CHAT.decode_response(body)
    (call,) = response.choices[0].parts
    assert isinstance(call, ToolCall)
    assert (call.id, call.name, call.arguments) == ("call_c-1_0", "f", '{"a":1}')
    assert response.choices[0].finish_reason == "tool_call"
    assert CHAT.encode_response(response, Losses(CHAT.name)) == body
    losses = Losses("anthropic_messages")
    told = client_dialect("anthropic_messages").encode_response(response, losses)
    assert told["content"] == [
        {"type": "tool_use", "id": "call_c-1_0", "name": "f", "input": {"a": 1}}
    ]
    assert losses.paths == []


def test_what_an_answer_has_besides_is_lost_aloud() -> None:
    message = {"role": "assistant", "content": "a", "audio": {"id": "1"}, "function_call": {}}
    message["images"] = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}]
    losses = Losses("anthropic_messages")
    client_dialect("anthropic_messages").encode_response(
        CHAT.decode_response(_answer(message)), losses
    )
    assert losses.paths == ["$.content.image", "$.content.audio", "$.content.function_call"]


TWO_TEXTS = {
    "type": "thinking",
    "thinking": [{"type": "text", "text": "h"}, {"type": "text", "text": "m"}],
    "closed": True,
}
HI = {"type": "text", "text": "Hi"}


def test_a_thought_in_several_texts_is_one() -> None:
    body = _answer({"role": "assistant", "content": [TWO_TEXTS, HI]})
    response = CHAT.decode_response(body)
    losses = Losses("gemini_generate")
    told: Any = client_dialect("gemini_generate").encode_response(response, losses)

    parts = told["candidates"][0]["content"]["parts"]
    assert parts == [{"text": "hm", "thought": True}, {"text": "Hi"}]
    assert losses.paths == []
    assert CHAT.encode_response(response, Losses(CHAT.name)) == body


IN_CONTENT = [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, HI]


@pytest.mark.parametrize(
    ("message", "content"),
    [
        ({"content": "Hi", "reasoning_content": "hm"}, IN_CONTENT),
        ({"content": "Hi", "reasoning": "hm"}, IN_CONTENT),  # Groq's
        ({"content": "Hi", "reasoning": "hm", "reasoning_content": None}, IN_CONTENT),
        ({"content": None, "reasoning": "hm"}, IN_CONTENT[:1]),
        ({"content": [HI], "reasoning": "hm"}, IN_CONTENT),
        ({"content": IN_CONTENT}, IN_CONTENT),
        ({"content": "Hi", "reasoning": None}, "Hi"),
        ({"content": "Hi"}, "Hi"),
    ],
    ids=str,
)
def test_who_wants_calls_whole_reads_a_thought_in_the_content(
    message: dict[str, Any], content: Any
) -> None:
    """As Mistral's SDKs do."""
    dialect = client_dialect(CHAT.name, WHOLE_CALLS)
    response = dialect.decode_response(_answer({"role": "assistant", **message}))
    told = dialect.encode_response(response, Losses(dialect.name))["choices"][0]["message"]

    assert told["content"] == content
    assert not [name for name in ("reasoning", "reasoning_content") if told.get(name)]


def _thinks(text: str, **more: str) -> dict[str, Any]:
    """A chunk of Mistral's that holds a piece of a thought."""
    texts = [{"type": "text", "text": text}] if text else []
    return _delta(content=[{"type": "thinking", "thinking": texts, **more}])


@pytest.mark.parametrize("client", ["anthropic_messages", "gemini_generate", CHAT.name])
def test_a_signature_of_mistrals_comes_back_to_it(client: str) -> None:
    """From a stream, by way of a client of any dialect."""
    wire = _wire(_thinks("h"), _thinks("m"), _thinks("", signature="s"), _delta(content="Hi"), STOP)
    answer = fold(_decode(wire))
    dialect = client_dialect(client)
    told = dialect.decode_response(dialect.encode_response(answer, Losses(client)))
    history = Message(role="assistant", parts=told.choices[0].parts)
    sent = MISTRAL.encode_request(Request(model="m", messages=(history,)), Losses(CHAT.name))

    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}], "signature": "s"}
    assert sent["messages"][0]["content"] == [thought, HI]


def test_a_signature_of_mistrals_is_no_part_of_the_content_for_others() -> None:
    """Who does not know `thinking` refuses the message that holds it."""
    history = _assistant(content=[{**TWO_TEXTS, "signature": "s"}, HI])["messages"]
    request = CHAT.decode_request(_request(*history))
    moved = msgspec.structs.replace(request, residue=None)
    losses = Losses(CHAT.name)
    [message] = CHAT.encode_request(moved, losses)["messages"]
    assert (message["content"], losses.paths) == ("Hi", ["$.messages[0].content[0]"])
    losses = Losses(CHAT.name)
    details = OpenAIChat(Quirks(reasoning_details=True)).encode_request(moved, losses)
    [detail] = details["messages"][0]["reasoning_details"]
    assert detail == {"type": "reasoning.text", "text": "hm", "index": 0}
    assert losses.paths == ["$.messages[0].content[0]"]


@pytest.mark.parametrize("form", [(), ("7",), ("{",), ("[7]",), ("null",)], ids=str)
@pytest.mark.parametrize("word", ["texts", "closed"])
def test_a_state_of_the_clients_own_making_is_harmless(word: str, form: tuple[str, ...]) -> None:
    """Carried in a signature, which the client may write itself."""
    forged = Residue(dialect=CHAT.name, fields={"signature": "s"}, form=("thinking", word, *form))
    thought = Reasoning(content="hm", residue=forged)
    history = Message(role="assistant", parts=(thought, Text(content="Hi")))
    [message] = MISTRAL.encode_request(Request(model="m", messages=(history,)), Losses(CHAT.name))[
        "messages"
    ]
    assert message["content"][0]["thinking"] == [{"type": "text", "text": "hm"}]


@pytest.mark.parametrize(
    ("quirks", "told", "lost"),
    [
        ({}, {}, ["$.messages[1].content[0]"]),
        ({"reasoning_field": "reasoning_content"}, {"reasoning_content": "hm"}, []),
        ({"thinking_parts": True}, None, []),
    ],
    ids=str,
)
def test_what_mistrals_clients_send_back_reads_as_the_provider_takes_it(
    quirks: Any, told: Any, lost: list[str]
) -> None:
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
    answer = {"role": "assistant", "content": [thought, HI]}
    body: dict[str, Any] = {"messages": [{"role": "user", "content": "x"}, answer]}
    losses = Losses(CHAT.name)
    edits = OpenAIChat(Quirks(**quirks)).own_history(body, losses)
    changed = {"role": "assistant", "content": "Hi", **(told or {})}
    assert edits == ({} if told is None else {"messages": [body["messages"][0], changed]})
    assert losses.paths == lost


STATES = {
    "a signature": Residue(dialect=ANTHROPIC, fields={"signature": "s"}),
    "a redacted thought": Residue(dialect=ANTHROPIC, fields={"data": "x"}),
}


@pytest.mark.parametrize("state", STATES.values(), ids=STATES)
def test_the_state_of_a_thought_comes_back_from_mistrals_clients(state: Residue) -> None:
    """Whole, and as pieces of a stream that the client sends back as they came."""
    thought = Reasoning(content="" if "data" in state.fields else "hm", residue=state)
    parts = (thought, Text(content="Hi"))
    dialect = client_dialect(CHAT.name, WHOLE_CALLS)
    answer = Response(id="1", model="m", choices=(Choice(parts=parts, finish_reason="stop"),))
    told = dialect.encode_response(answer, Losses(dialect.name))
    whole = told["choices"][0]["message"]["content"]
    encoder = dialect.stream_encoder(StreamOptions(framing=WHOLE_CALLS))
    pieces = [Delta(content="h"), Delta(content="m")] if thought.content else []
    stream: list[Event] = [PartStart(kind="reasoning"), *pieces, PartEnd(residue=state)]
    opening = encoder.feed(Start(id="1", model="m"))
    wire = b"".join(map(encoder.feed, stream)).removeprefix(opening)
    chunks = [msgspec.json.decode(line[6:]) for line in wire.split(b"\n\n") if line]
    streamed = [item for chunk in chunks for item in chunk["choices"][0]["delta"]["content"]]

    for content in (whole, [*streamed, HI]):
        request = CHAT.decode_request(_assistant(content=content))
        message = request.messages[-1]
        assert [(part.content, part.residue) for part in message.parts[:1]] == [
            (thought.content, state)
        ]
        sent = client_dialect(ANTHROPIC).encode_request(request, Losses(ANTHROPIC))
        assert len(sent["messages"][-1]["content"]) == 2


def test_choices_come_in_order_with_what_stopped_them() -> None:
    body = _answer({"content": "a"}, "eos")
    first = {
        "index": 1,
        "message": {"content": "b"},
        "stop_reason": "END",
        "logprobs": {"content": []},
    }
    body["choices"] = [first, *body["choices"]]
    response = CHAT.decode_response(body)
    assert [choice.stop_sequence for choice in response.choices] == [None, "END"]
    again = CHAT.encode_response(response, Losses(CHAT.name))
    assert again["choices"][1]["stop_reason"] == "END"
    assert again["choices"][1]["logprobs"] == {"content": []}


@pytest.mark.parametrize(
    "body",
    [
        {"choices": []},
        {"choices": [{"index": 0}]},
        _answer({"content": 7}),
        _answer({"tool_calls": [{"function": None}]}),
    ],
)
def test_what_is_no_completion_is_the_provider_s_fault(body: dict[str, Any]) -> None:
    with pytest.raises(UpstreamProtocolError):
        CHAT.decode_response(body)


def test_an_error_with_status_200_is_an_error() -> None:
    with pytest.raises(UpstreamError) as error:
        CHAT.decode_response({"error": {"code": 429, "message": "slow down"}})
    assert (error.value.status, error.value.message) == (429, "slow down")


def test_an_answer_of_another_dialect() -> None:
    parts = (
        Reasoning(content="hm", residue=SIGNED),
        Text(content="a", residue=Residue(dialect=ANTHROPIC, fields={"citations": [1]})),
        Opaque(dialect=ANTHROPIC, kind="server_tool_use", value={}),
        Uri(modality="image", uri="x", at="$.u"),
        Text(content="b"),
        ToolCall(id="1", name="f", arguments=""),
    )
    usage = Usage(input_tokens=5, output_tokens=2, cache_creation_input_tokens=3)
    choice = Choice(parts=parts, finish_reason="tool_call", stop_sequence="S")
    losses = Losses(CHAT.name)
    body = CHAT.encode_response(Response(id="i", model="m", choices=(choice,), usage=usage), losses)
    assert body["choices"] == [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "ab",
                "refusal": None,
                "reasoning_content": "hm",
                "reasoning_details": [SIGNED_DETAIL],
                "images": [{"type": "image_url", "image_url": {"url": "x"}}],
                "tool_calls": [
                    {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
                ],
            },
            "finish_reason": "tool_calls",
            "stop_reason": "S",
        }
    ]
    assert body["usage"] == {
        "prompt_tokens": 5,
        "completion_tokens": 2,
        "total_tokens": 7,
        "prompt_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 3},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }
    assert losses.paths == ["$.choices[0].server_tool_use", ".citations"]


USAGES: dict[str, tuple[dict[str, Any], tuple[int, int, int, int]]] = {
    "plain": ({"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}, (5, 2, 0, 0)),
    "no total": ({"prompt_tokens": 5, "completion_tokens": 2}, (5, 2, 0, 0)),
    "reasoning beside": (
        {
            "prompt_tokens": 5,
            "completion_tokens": 2,
            "total_tokens": 10,
            "completion_tokens_details": {"reasoning_tokens": 3, "audio_tokens": 0},
        },
        (5, 5, 0, 3),
    ),
    "DeepSeek": (
        {"prompt_tokens": 5, "completion_tokens": 2, "prompt_cache_hit_tokens": 4},
        (5, 2, 4, 0),
    ),
    "cached": (
        {"prompt_tokens": 5, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}},
        (5, 2, 4, 0),
    ),
    "nulls": (
        {"prompt_tokens": 5, "completion_tokens": 2, "completion_tokens_details": None},
        (5, 2, 0, 0),
    ),
}


@pytest.mark.parametrize(("wire", "counts"), USAGES.values(), ids=USAGES)
def test_usage_is_read_and_given_back(
    wire: dict[str, Any], counts: tuple[int, int, int, int]
) -> None:
    response = CHAT.decode_response(_answer({"content": "a"}, usage=wire))
    usage = response.usage
    assert usage is not None
    assert counts == (
        usage.input_tokens,
        usage.output_tokens,
        usage.cache_read_input_tokens,
        usage.reasoning_tokens,
    )
    assert CHAT.encode_response(response, Losses(CHAT.name))["usage"] == wire


# --- errors ----------------------------------------------------------------------------------

SPOKEN: dict[str, tuple[bytes, str, str | None]] = {
    "OpenAI": (b'{"error":{"message":"m","type":"t","param":"p","code":"c"}}', "m", "c"),
    "a word": (b'{"error":"m"}', "m", None),
    "Mistral": (b'{"object":"error","message":"m","code":3000}', "m", "3000"),
    "FastAPI": (b'{"detail":[{"loc":["a",0],"msg":"bad"},{"msg":"no"}]}', "a.0: bad; no", None),
    "Gemini": (b'[{"error":{"message":"m"}}]', "m", None),
    "nginx": (b"<html><title>502 Bad Gateway</title></html>", "502 Bad Gateway", None),
    "a page without title": (b"<html></html>", "status 500", None),
    "plain": (b"upstream is down", "upstream is down", None),
    "nothing": (b"", "status 500", None),
    "not text": (b"\xff\xfe", "\ufffd\ufffd", None),
    "no words": (b'{"error":{"message":true}}', "status 500", None),
    "a number": (b"7", "7", None),
}


@pytest.mark.parametrize(("body", "message", "code"), SPOKEN.values(), ids=SPOKEN)
def test_any_error_is_read(body: bytes, message: str, code: str | None) -> None:
    error = CHAT.decode_error(500, body)
    assert message in error.message
    assert (error.status, error.upstream_code) == (500, code)


ERRORS: dict[str, tuple[DragomanError, dict[str, Any]]] = {
    "client's": (
        InvalidRequest("$.messages[0].role", "a role"),
        {"type": "invalid_request_error", "param": "messages[0].role", "code": "invalid_request"},
    ),
    "ours": (DragomanError("m"), {"type": "server_error", "param": None, "code": "internal_error"}),
    "upstream's": (
        UpstreamError("m", status=429, code="c", param="p"),
        {"type": "rate_limit_error", "param": "p", "code": "c"},
    ),
    "upstream's kind": (
        UpstreamError("m", status=529, kind="overloaded_error"),
        {"type": "overloaded_error", "param": None, "code": "upstream_error"},
    ),
}


@pytest.mark.parametrize(("error", "fields"), ERRORS.values(), ids=ERRORS)
def test_an_error_is_written(error: DragomanError, fields: dict[str, Any]) -> None:
    answer = CHAT.encode_error(error)
    expected = {"error": {"message": error.message, **fields}}
    assert (answer.status, msgspec.json.decode(answer.body)) == (error.status, expected)
    frame = CHAT.stream_encoder(StreamOptions()).fail(error)
    assert msgspec.json.decode(frame.removeprefix(b"data: ")) == expected


def test_another_method_is_named() -> None:
    assert CHAT.encode_error(MethodNotAllowed("m", allow="POST")).headers["allow"] == "POST"


# --- streams ---------------------------------------------------------------------------------


def _wire(*chunks: Any, done: bool = True) -> bytes:
    frames = [chunk if isinstance(chunk, bytes) else msgspec.json.encode(chunk) for chunk in chunks]
    end = [b"[DONE]"] if done else []
    return b"".join(b"data: %b\n\n" % frame for frame in [*frames, *end])


def _delta(finish: str | None = None, index: int = 0, **delta: Any) -> dict[str, Any]:
    return {
        "id": "c.1",
        "model": "m",
        "choices": [{"index": index, "delta": delta, "finish_reason": finish}],
    }


def _call(arguments: Any = None, **fields: Any) -> dict[str, Any]:
    name = fields.pop("name", None)
    return {**fields, "function": {"name": name, "arguments": arguments}}


def _piece(**fields: Any) -> dict[str, Any]:
    return {"type": "reasoning.text", "format": "anthropic-claude-v1", "index": 0, **fields}


STOP = _delta("stop")
AZURE = {"choices": [], "prompt_filter_results": []}


def _decode(wire: bytes) -> list[Event]:
    decoder, events = CHAT.stream_decoder(), list[Event]()
    decoder.feed(wire, events)
    decoder.close(events)
    decoder.feed(wire, events)
    return events


def _parts(wire: bytes) -> list[tuple[Any, ...]]:
    found = []
    for part in fold(_decode(wire)).choices[0].parts:
        if isinstance(part, ToolCall):
            found.append((part.id, part.name, part.arguments))
        else:
            found.append((type(part), getattr(part, "content", None), part.residue))
    return found


USAGE = {"usage": {"prompt_tokens": 5, "completion_tokens": 2}}
STREAMS: dict[str, tuple[bytes, list[tuple[Any, ...]]]] = {
    "Azure": (_wire(AZURE, _delta(content="a"), STOP), [(Text, "a", None)]),
    "role only": (_wire(_delta(role="assistant", content=""), STOP), []),
    "no delta": (_wire({"choices": [{"finish_reason": "stop"}]}), []),
    "empty reason": (_wire(_delta("", content="a"), STOP), [(Text, "a", None)]),
    "after the reason": (_wire(STOP, {"choices": [], **USAGE}, _delta(content="")), []),
    "no [DONE]": (_wire(STOP, {"choices": [], **USAGE}, done=False), []),
    "neither [DONE] nor usage": (_wire(_delta(content="a"), STOP, done=False), [(Text, "a", None)]),
    "no last line end": (_wire(STOP)[:-2], []),
    "Groq's usage": (_wire({**STOP, "x_groq": USAGE}, done=False), []),
    "comment": (
        b": OPENROUTER PROCESSING\n\n" + _wire(b"", _delta(content="a"), STOP),
        [(Text, "a", None)],
    ),
    "refusal": (_wire(_delta(refusal="no"), STOP), [(Refusal, "no", None)]),
    "reasoning, text": (
        _wire(_delta(reasoning="h"), _delta(reasoning_content="m"), _delta(content="a"), STOP),
        [(Reasoning, "hm", None), (Text, "a", None)],
    ),
    "Mistral": (
        _wire(
            _delta(
                content=[
                    {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}, 7]},
                    {"type": "text", "text": "a"},
                ]
            ),
            STOP,
        ),
        [(Reasoning, "hm", None), (Text, "a", None)],
    ),
    "calls by index": (
        _wire(
            _delta(tool_calls=[_call("", index=0, id="1", name="f")]),
            _delta(tool_calls=[_call("{", index=0), _call("}", index=0, id="1")]),
            _delta(tool_calls=[_call("{}", index=1, id="2", name="g")]),
            STOP,
        ),
        [("1", "f", "{}"), ("2", "g", "{}")],
    ),
    "calls in one delta, one index": (
        _wire(
            _delta(
                tool_calls=[
                    _call("1", index=0, id="1", name="f"),
                    _call("2", index=0, id="2", name="g"),
                ]
            ),
            STOP,
        ),
        [("1", "f", "1"), ("2", "g", "2")],
    ),
    "calls without index or id": (
        _wire(
            _delta(tool_calls=[_call("1", name="f"), _call("2"), _call({"a": 1}, name="g")]), STOP
        ),
        [("call_c1_0", "f", "12"), ("call_c1_1", "g", '{"a":1}')],
    ),
    "a call without function": (_wire(_delta(tool_calls=[{"id": "1"}]), STOP), [("1", "", "")]),
    "OpenRouter's details": (
        _wire(
            _delta(reasoning="h", reasoning_details=[_piece(text="h")]),
            _delta(reasoning="m", reasoning_details=[_piece(text="m")]),
            _delta(reasoning_details=[_piece(signature="sig", text=None)]),
            _delta(reasoning_details=[REDACTED_DETAIL]),
            _delta(content="a"),
            STOP,
        ),
        [(Reasoning, "hm", SIGNED), (Reasoning, "", REDACTED), (Text, "a", None)],
    ),
    "details after their text": (
        _wire(_delta(reasoning_content="hm"), _delta(reasoning_details=[SIGNED_DETAIL]), STOP),
        [(Reasoning, "hm", SIGNED)],
    ),
    "details unlike the text": (
        _wire(_delta(reasoning_content="ha"), _delta(reasoning_details=[SIGNED_DETAIL]), STOP),
        [(Reasoning, "ha", None), (Reasoning, "hm", SIGNED)],
    ),
    "details without their text": (
        _wire(
            _delta(reasoning_content="hm"),
            _delta(reasoning_details=[{"type": "reasoning.text", "signature": "x", "index": 0}]),
            STOP,
        ),
        [
            (
                Reasoning,
                "hm",
                Residue(
                    dialect=CHAT.name,
                    fields={"type": "reasoning.text", "signature": "x", "index": 0},
                ),
            )
        ],
    ),
    "encrypted in pieces": (
        _wire(
            _delta(reasoning_details=[{**REDACTED_DETAIL, "data": "x", "index": 0}]),
            _delta(reasoning_details=[{**REDACTED_DETAIL, "index": 0}]),
            STOP,
        ),
        [(Reasoning, "", REDACTED)],
    ),
}


@pytest.mark.parametrize(("wire", "parts"), STREAMS.values(), ids=STREAMS)
def test_streams_as_providers_send_them(wire: bytes, parts: list[tuple[Any, ...]]) -> None:
    assert _parts(wire) == parts
    assert decode_stream(CHAT, each_byte(wire)) == _decode(wire)


def test_a_streamed_function_call_is_a_call() -> None:
    pieces = [{"name": "f", "arguments": ""}, {"arguments": '{"a"'}, {"arguments": ":1}"}]
    wire = _wire(*(_delta(function_call=piece) for piece in pieces), _delta("function_call"))
    answer = fold(_decode(wire)).choices[0]
    (call,) = answer.parts
    assert isinstance(call, ToolCall)
    assert (call.name, call.arguments, answer.finish_reason) == ("f", '{"a":1}', "tool_call")
    assert call.id.startswith("call_")


SOUND = {"id": "a", "data": "AA", "transcript": "Hi"}
IMAGES = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}]


def test_sound_and_images_of_a_stream_are_lost_aloud() -> None:
    wire = _wire(_delta(audio=SOUND), _delta(audio=SOUND), _delta(images=IMAGES), STOP)
    stream = StreamTranslator(CHAT, client_dialect("anthropic_messages"), StreamOptions())
    stream.feed(wire, bytearray())
    assert stream.dropped == ["$.audio", "$.image"]

    mistral = StreamOptions(framing=WHOLE_CALLS)
    stream, out = StreamTranslator(CHAT, CHAT, mistral), bytearray()
    stream.feed(wire, out)
    assert stream.dropped == []
    assert out.count(b'"delta":{"audio":') == 2
    assert out.count(b'"delta":{"images":') == 1


def test_mistrals_clients_read_thoughts_in_the_content() -> None:
    stream, out = StreamTranslator(CHAT, CHAT, StreamOptions(framing=WHOLE_CALLS)), bytearray()
    stream.feed(_wire(_delta(reasoning_content="Hm"), _delta(content="Yes"), STOP), out)
    thinking = b'{"content":[{"type":"thinking","thinking":[{"type":"text","text":"Hm"}]}]}'
    assert b'"delta":' + thinking in out
    assert b'"delta":{"content":"Yes"}' in out


BROKEN: dict[str, bytes] = {
    "no end": _wire(_delta(content="a"), done=False),
    "nothing": b"",
    "no JSON": _wire(b"{"),
    "a function call that is none": _wire(_delta(function_call="f")),
    "wrong type": _wire({"choices": 7}),
    "a second choice without a first": _wire({"choices": [{"index": 1, "finish_reason": "stop"}]}),
    "unknown content": _wire(_delta(content=[{"kind": "image"}])),
    "a call goes on after its end": _wire(
        _delta(tool_calls=[_call("", index=0, id="1", name="f")]),
        _delta(content="a"),
        _delta(tool_calls=[_call("{}", index=0)]),
    ),
}


@pytest.mark.parametrize("wire", BROKEN.values(), ids=BROKEN)
def test_a_broken_stream_raises(wire: bytes) -> None:
    with pytest.raises(UpstreamProtocolError):
        _decode(wire)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        ({"type": "rate_limit_error", "message": "m"}, 429),
        ({"code": 503, "message": "m"}, 503),
        ({"code": "rate_limit_exceeded", "message": "m"}, 429),
        ({"code": 7, "message": "m"}, 502),
        ("m", 502),
    ],
)
def test_an_error_in_a_stream_is_the_provider_s(error: Any, status: int) -> None:
    with pytest.raises(UpstreamError) as raised:
        _decode(_wire({"error": error, "choices": []}))
    assert (raised.value.message, raised.value.status) == ("m", status)


def test_log_probabilities_stay_with_their_piece() -> None:
    logprobs = {"content": [{"token": "a"}], "refusal": None}
    chunk = _delta(content="a")
    chunk["choices"][0]["logprobs"] = logprobs
    silent = _delta(content="")
    silent["choices"][0]["logprobs"] = logprobs
    (choice,) = fold(_decode(_wire(chunk, silent, _delta(refusal="no"), STOP))).choices
    assert choice.logprobs == {"content": [{"token": "a"}] * 2, "refusal": None}


def test_what_stopped_a_stream() -> None:
    end = _delta("stop")
    end["choices"][0]["stop_reason"] = "END"
    assert fold(_decode(_wire(end))).choices[0].stop_sequence == "END"


def _frames(events: list[Event], *, include_usage: bool = False, framing: str = "") -> list[Any]:
    options = StreamOptions(include_usage=include_usage, framing=framing)
    encoder = CHAT.stream_encoder(options)
    wire = b"".join(map(encoder.feed, events)) + encoder.close()
    *frames, done = wire.decode().removesuffix("\n\n").split("\n\n")
    assert done == "data: [DONE]"
    return [msgspec.json.decode(frame.removeprefix("data: ")) for frame in frames]


EVENTS: list[Event] = [
    Start(
        id="i",
        model="m",
        created=1,
        residue=Residue(dialect=CHAT.name, fields={"service_tier": "x"}),
    ),
    PartStart(kind="reasoning"),
    Delta(content="hm"),
    PartEnd(residue=SIGNED),
    PartStart(kind="opaque", name="server_tool_use", value={}),
    Delta(content="x"),
    PartEnd(),
    PartStart(kind="refusal", choice=1),
    Delta(content="no", choice=1),
    PartEnd(choice=1),
    PartStart(kind="tool_call", id="1", name="f"),
    Delta(content="{}"),
    PartEnd(),
    UsageUpdate(usage=Usage(input_tokens=1)),
    ChoiceEnd(reason="tool_call", stop_sequence="S"),
    ChoiceEnd(reason="stop", choice=1),
    ChoiceEnd(reason="length", choice=2),
    Finish(),
]


def test_a_stream_is_written() -> None:
    frames = _frames(EVENTS)
    call = {"index": 0, "id": "1", "type": "function", "function": {"name": "f", "arguments": ""}}
    opening = {"role": "assistant", "content": ""}
    deltas = [(f["choices"][0]["index"], f["choices"][0]["delta"]) for f in frames]
    assert deltas == [
        (0, opening),
        (0, {"reasoning_content": "hm"}),
        (0, {"reasoning_details": [SIGNED_DETAIL]}),
        (1, opening),
        (1, {"refusal": "no"}),
        (0, {"tool_calls": [call]}),
        (0, {"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}),
        (0, {}),
        (1, {}),
        (2, opening),
        (2, {}),
    ]
    assert frames[-5]["choices"][0] == {
        "index": 0,
        "delta": {"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]},
        "logprobs": None,
        "finish_reason": None,
    }
    assert frames[-4]["choices"][0]["stop_reason"] == "S"
    assert all("usage" not in frame and frame["service_tier"] == "x" for frame in frames)


def test_calls_are_written_whole_and_usage_with_the_last_choice() -> None:
    """As Mistral's clients read them: no chunk without a choice, no call without its name."""
    frames = _frames(EVENTS, include_usage=True, framing="whole_calls")
    call = {"index": 0, "id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    choices = [frame["choices"][0] for frame in frames]
    assert [c["delta"] for c in choices if "tool_calls" in c["delta"]] == [{"tool_calls": [call]}]
    ends = [(c["index"], c["finish_reason"]) for c in choices if c["finish_reason"]]
    assert ends == [(0, "tool_calls"), (1, "stop"), (2, "length")]
    *others, last = frames
    assert (last["choices"][0]["index"], last["usage"]["prompt_tokens"]) == (2, 1)
    assert not any("usage" in frame for frame in others)


def test_what_is_written_whole_reads_as_what_is_written_in_pieces() -> None:
    def read(framing: str) -> Response:
        frames = _frames(EVENTS, include_usage=True, framing=framing)
        return fold(_decode(_wire(*frames)))

    assert read("whole_calls") == read("")


def test_usage_is_the_last_chunk_of_a_client_that_asked() -> None:
    *frames, last = _frames(EVENTS, include_usage=True)
    assert all(frame["usage"] is None for frame in frames)
    assert (last["choices"], last["usage"]["prompt_tokens"]) == ([], 1)
    silent = [event for event in EVENTS if not isinstance(event, UsageUpdate)]
    assert _frames(silent, include_usage=True)[-1]["usage"] is None


@pytest.mark.parametrize("dialect", ["anthropic_messages", "gemini_generate", "bedrock_converse"])
def test_an_answer_in_sound_is_refused_where_it_would_be_text(dialect: str) -> None:
    body = {
        "model": "m",
        "messages": [{"role": "user", "content": "a"}],
        "modalities": ["text", "audio"],
    }
    request = client_dialect("openai_chat").decode_request(body)
    with pytest.raises(Unrepresentable) as refusal:
        client_dialect(dialect).encode_request(request, Losses(dialect))
    assert refusal.value.path == "$.modalities"


def test_a_cache_mark_loses_nothing_in_silence() -> None:
    mark = {"type": "ephemeral", "ttl": "1h", "scope": "global"}
    parts = (Text(content="a", at="$.x", cache_control=mark),)
    tools = (Tool(name="f", at="$.t", cache_control=mark),)
    request = Request(model="m", messages=(Message(role="user", parts=parts),), tools=tools)
    losses = Losses("bedrock_converse")
    body = client_dialect("bedrock_converse").encode_request(request, losses)
    point = {"cachePoint": {"type": "default", "ttl": "1h"}}
    assert body["messages"][0]["content"][1] == point
    assert body["toolConfig"]["tools"][1] == point
    assert sorted(losses.paths) == ["$.t.cache_control.scope", "$.x.cache_control.scope"]
