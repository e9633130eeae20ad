"""What an answer says of its tokens: counted the same in every dialect, and never a loss."""

from __future__ import annotations

from typing import Any

import pytest

from dragoman.dialects.registry import CHAT_NAMES, client_dialect
from dragoman.ir import Choice, Response, Text, Usage
from dragoman.ir.losses import Losses

FULL = Usage(
    input_tokens=100,
    output_tokens=50,
    cache_read_input_tokens=20,
    cache_creation_input_tokens=30,
    cache_creation_1h_input_tokens=10,
    reasoning_tokens=15,
    audio_input_tokens=5,
    audio_output_tokens=6,
)
CACHE = {"cache_read_input_tokens", "cache_creation_input_tokens"}
TOLD = {
    "anthropic_messages": {*CACHE, "cache_creation_1h_input_tokens", "reasoning_tokens"},
    "bedrock_converse": {*CACHE, "cache_creation_1h_input_tokens"},
    "openai_chat": {*CACHE, "reasoning_tokens", "audio_input_tokens", "audio_output_tokens"},
    "openai_completions": {*CACHE, "reasoning_tokens", "audio_input_tokens", "audio_output_tokens"},
    "openai_responses": {*CACHE, "reasoning_tokens"},
    "gemini_generate": {
        "cache_read_input_tokens",
        "reasoning_tokens",
        "audio_input_tokens",
        "audio_output_tokens",
    },
    "cohere_chat": {"cache_read_input_tokens"},
    "ollama_chat": set[str](),
    "tgi_generate": set[str](),
}
"""The details each dialect has a place for."""


@pytest.mark.parametrize("name", CHAT_NAMES)
def test_each_detail_is_told_where_there_is_a_place_for_it(name: str) -> None:
    dialect = client_dialect(name)
    choice = Choice(parts=(Text(content="a"),), finish_reason="stop")
    losses = Losses(name)
    body = dialect.encode_response(
        Response(id="r", model="m", choices=(choice,), usage=FULL), losses
    )
    read = dialect.decode_response(body).usage

    told = {"input_tokens", "output_tokens", *TOLD[name]}
    assert losses.paths == []
    for field in Usage.__struct_fields__:
        if field != "residue":
            assert getattr(read, field) == (getattr(FULL, field) if field in told else 0), field


USAGES: dict[str, dict[str, Any]] = {
    "openai_chat": {
        "usage": {
            "prompt_tokens": 9,
            "completion_tokens": 5,
            "total_tokens": 14,
            "completion_tokens_details": {"accepted_prediction_tokens": 2},
            "cost": 0.01,
        }
    },
    "openai_completions": {
        "usage": {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14, "cost": 0.01}
    },
    "anthropic_messages": {
        "usage": {"input_tokens": 9, "output_tokens": 5, "server_tool_use": {"web_searches": 1}}
    },
    "gemini_generate": {
        "usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": 5, "trafficType": "X"}
    },
}


@pytest.mark.parametrize("provider", USAGES)
@pytest.mark.parametrize("client", CHAT_NAMES)
def test_accounting_without_a_place_is_no_loss(client: str, provider: str) -> None:
    dialect = client_dialect(provider)
    choice = Choice(parts=(Text(content="a"),), finish_reason="stop")
    answer = Response(id="r", model="m", choices=(choice,), usage=Usage())
    body = dialect.encode_response(answer, Losses(provider)) | USAGES[provider]
    losses = Losses(client)
    client_dialect(client).encode_response(dialect.decode_response(body), losses)

    assert losses.paths == []
