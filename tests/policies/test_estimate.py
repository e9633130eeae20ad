"""The service's own estimate of a count: the stated rule, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from dragoman.dialects.registry import client_dialect
from dragoman.policies.estimate import MEDIUM_TOKENS, estimate_tokens


def estimate(ratio: float | None = None, **body: Any) -> int:
    whole = {"model": "m", "messages": [{"role": "user", "content": ""}], **body}
    return estimate_tokens(client_dialect("openai_chat").decode_request(whole), ratio)


def said(*parts: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(parts)}]}


def text(content: str) -> dict[str, Any]:
    return {"type": "text", "text": content}


@pytest.mark.parametrize(("length", "tokens"), [(0, 0), (1, 1), (4, 1), (5, 2), (4000, 1000)])
def test_four_bytes_of_text_are_a_token(length: int, tokens: int) -> None:
    assert estimate(**said(text("x" * length))) == tokens


def test_bytes_count_and_not_characters() -> None:
    assert estimate(**said(text("é" * 8))) == 4


def test_the_models_ratio_multiplies_texts_and_not_media() -> None:
    image = {"type": "image_url", "image_url": {"url": "https://a.test/i.png"}}
    assert estimate(1.5, **said(text("x" * 40), image)) == 15 + MEDIUM_TOKENS


def test_media_inline_count_by_size_but_for_images_and_text() -> None:
    def medium(kind: str, size: int) -> dict[str, Any]:
        data = "A" * size
        return {
            "type": "file",
            "file": {"filename": "f", "file_data": f"data:{kind};base64,{data}"},
        }

    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 4_000_000}}
    assert estimate(**said(image)) == MEDIUM_TOKENS
    assert estimate(**said(medium("application/pdf", 400))) == MEDIUM_TOKENS
    assert estimate(**said(medium("application/pdf", 512_000))) == 3000
    assert estimate(**said(medium("text/plain", 1600))) == 300


def test_tools_calls_results_and_the_answers_schema_are_texts() -> None:
    function = {"name": "look", "description": "abcd", "parameters": {"type": "object"}}
    assert estimate(tools=[{"type": "function", "function": function}]) == -(-(8 + 17) // 4)
    call = {"id": "c", "type": "function", "function": {"name": "look", "arguments": '{"a": 1}'}}
    turns = [
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "x" * 20},
    ]
    assert estimate(messages=turns) == (4 + 8 + 20) // 4
    shape = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}
    assert estimate(response_format=shape) == -(-17 // 4)
