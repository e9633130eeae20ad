"""Documents in words, where a dialect has none or none of this kind."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from dragoman.dialects.documents import write_document
from dragoman.dialects.registry import client_dialect
from dragoman.errors import Unrepresentable
from dragoman.ir.losses import Losses

GRAZ = "Graz lies on the Mur."
SAID = f"<document>\ntitle: Graz\n\n{GRAZ}\n</document>"


def translated(source: str, target: str, body: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    losses = Losses(target)
    request = client_dialect(source).decode_request(body)
    return client_dialect(target).encode_request(request, losses), losses.paths


def messages(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": [*blocks]}]}


def file(mime: str, words: bytes, name: str = "Graz") -> dict[str, Any]:
    data = f"data:{mime};base64,{base64.b64encode(words).decode()}"
    return {"type": "file", "file": {"filename": name, "file_data": data}}


def test_what_is_not_known_has_no_line() -> None:
    assert write_document("document", {"title": None}, "a\nb") == "<document>\na\nb\n</document>"


@pytest.mark.parametrize("mime", ["text/plain", "text/markdown", "text/csv", "text/html"])
def test_a_text_file_is_a_document_of_text_for_claude(mime: str) -> None:
    body, dropped = translated("openai_chat", "anthropic_messages", messages(file(mime, b"a,b")))
    source = {"type": "text", "media_type": "text/plain", "data": "a,b"}
    (block,) = body["messages"][0]["content"]
    assert block == {"type": "document", "source": source, "title": "Graz"}
    assert dropped == []


@pytest.mark.parametrize("target", ["cohere_chat", "ollama_chat"])
def test_a_text_file_is_text_where_there_are_none(target: str) -> None:
    body, dropped = translated("openai_chat", target, messages(file("text/plain", GRAZ.encode())))
    assert body["messages"][0]["content"] == SAID
    assert dropped == []


@pytest.mark.parametrize("target", ["openai_completions", "tgi_generate"])
def test_it_is_part_of_a_prompt_too(target: str) -> None:
    asked = messages(file("text/plain", GRAZ.encode()), {"type": "text", "text": "Where?"})
    body, _ = translated("openai_chat", target, asked)
    assert f"{SAID}\n\nWhere?" in (body.get("prompt"), body.get("inputs"))


@pytest.mark.parametrize(
    "part", [file("application/pdf", b"%PDF"), file("text/plain", b"\xff\xfe\x00")]
)
def test_what_is_no_text_is_still_refused(part: dict[str, Any]) -> None:
    with pytest.raises(Unrepresentable) as caught:
        translated("openai_chat", "cohere_chat", messages(part))
    assert caught.value.path == "$.messages[0].content[0]"


RESULT = {"type": "search_result", "source": "https://x.test", "title": "Graz"}
MIXED = [{"type": "text", "text": "a"}, {"type": "image", "source": {"type": "url", "url": "u"}}]


@pytest.mark.parametrize(
    "block",
    [
        {"type": "document", "source": {"type": "content", "content": MIXED}},
        {"type": "document", "source": {"type": "text", "media_type": "text/rtf", "data": "a"}},
        {**RESULT, "content": []},
        {**RESULT, "content": MIXED},
        {**RESULT, "title": 7, "content": [{"type": "text", "text": "a"}]},
    ],
)
def test_what_is_more_than_text_is_refused_elsewhere_and_kept_at_home(
    block: dict[str, Any],
) -> None:
    body = messages(block)
    with pytest.raises(Unrepresentable) as caught:
        translated("anthropic_messages", "openai_chat", body)
    assert caught.value.path == "$.messages[0].content[0]"
    assert translated("anthropic_messages", "anthropic_messages", body)[0] == body


def test_a_tool_may_answer_with_one() -> None:
    found = {**RESULT, "content": [{"type": "text", "text": GRAZ}]}
    answer = {"type": "tool_result", "tool_use_id": "t", "content": [found]}
    call = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
    body = messages(answer)
    body["messages"].insert(0, {"role": "assistant", "content": [call]})
    out, dropped = translated("anthropic_messages", "openai_chat", body)
    said = f"<search_result>\nsource: https://x.test\ntitle: Graz\n\n{GRAZ}\n</search_result>"
    assert out["messages"][-1] == {"role": "tool", "tool_call_id": "t", "content": said}
    assert dropped == []


@pytest.mark.parametrize("target", ["bedrock_converse", "ollama_chat"])
def test_none_is_refused_in_a_conversation_that_has_called(target: str) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    body = {
        "model": "m",
        "messages": [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c", "content": "1"},
        ],
        "tools": [{"type": "function", "function": {"name": "f"}}],
        "tool_choice": "none",
    }
    with pytest.raises(Unrepresentable) as caught:
        translated("openai_chat", target, body)
    assert caught.value.path == "$.tool_choice"
    body["messages"] = body["messages"][:1]
    out, dropped = translated("openai_chat", target, body)
    assert not {"tools", "toolConfig"} & out.keys()
    assert dropped == ["$.tool_choice", "$.tools[0]"]
    assert translated("openai_chat", target, {**body, "tools": []})[1] == ["$.tool_choice"]
