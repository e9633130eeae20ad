"""What becomes of one provider's reasoning where the next turn goes to another."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from dragoman.dialects import ChatDialect
from dragoman.dialects.carrying import encode_signature
from dragoman.dialects.openai_chat import OpenAIChat, Quirks
from dragoman.dialects.registry import client_dialect
from dragoman.ir import Residue
from dragoman.ir.losses import Losses

Json = dict[str, Any]
OTHER = encode_signature(Residue(dialect="another", fields={"state": "s"}))
IN_BYTES = base64.b64encode(OTHER.encode()).decode()
ASKED = {"role": "user", "content": "x"}


def _chat(content: Any, **more: Any) -> Json:
    turn = {"role": "assistant", "content": content, **more}
    return {"model": "m", "messages": [ASKED, turn, ASKED]}


def _anthropic(signature: str) -> Json:
    thought = {"type": "thinking", "thinking": "hm", "signature": signature}
    return {**_chat([thought, {"type": "text", "text": "Hi"}]), "max_tokens": 9}


def _bedrock(signature: str) -> Json:
    thought = {"reasoningContent": {"reasoningText": {"text": "hm", "signature": signature}}}
    asked = {"role": "user", "content": [{"text": "x"}]}
    turn = {"role": "assistant", "content": [thought, {"text": "Hi"}]}
    return {"messages": [asked, turn, asked]}


def _gemini(signature: str) -> Json:
    thought = {"text": "hm", "thought": True, "thoughtSignature": signature}
    call = {"functionCall": {"id": "c", "name": "f", "args": {}}}
    answer = {"functionResponse": {"id": "c", "name": "f", "response": {"a": 1}}}
    turns = [{"role": "model", "parts": [thought, call]}, {"role": "user", "parts": [answer]}]
    return {
        "model": "gemini-3-pro",
        "contents": [{"role": "user", "parts": [{"text": "x"}]}, *turns],
    }


def _responses(state: str) -> Json:
    thought = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": state}
    return {"model": "m", "input": [ASKED, thought, {"role": "assistant", "content": "Hi"}, ASKED]}


def _cohere(signature: str) -> Json:
    thought = {"type": "thinking", "thinking": "hm", "signature": signature}
    return _chat([thought, {"type": "text", "text": "Hi"}])


def _details(signature: str) -> Json:
    form = "dragoman-v1" if signature == OTHER else "anthropic-claude-v1"
    detail = {"type": "reasoning.text", "text": "hm", "signature": signature, "format": form}
    return _chat("Hi", reasoning_content="hm", reasoning_details=[{**detail, "index": 0}])


def _mistral(signature: str) -> Json:
    texts = [{"type": "text", "text": "hm"}]
    thought = {"type": "thinking", "thinking": texts, "signature": signature}
    return _chat([thought, {"type": "text", "text": "Hi"}])


MISTRAL = OpenAIChat(Quirks(thinking_parts=True))
HISTORIES: dict[str, tuple[ChatDialect, Any, str]] = {
    "anthropic_messages": (client_dialect("anthropic_messages"), _anthropic, OTHER),
    "anthropic_messages, unsigned": (client_dialect("anthropic_messages"), _anthropic, ""),
    "bedrock_converse": (client_dialect("bedrock_converse"), _bedrock, OTHER),
    "gemini_generate": (client_dialect("gemini_generate"), _gemini, IN_BYTES),
    "openai_responses": (client_dialect("openai_responses"), _responses, OTHER),
    "cohere_chat": (client_dialect("cohere_chat"), _cohere, OTHER),
    "openai_chat": (client_dialect("openai_chat"), _details, OTHER),
    "Mistral": (MISTRAL, _mistral, OTHER),
}


@pytest.mark.parametrize(("dialect", "history", "state"), HISTORIES.values(), ids=HISTORIES)
def test_anothers_state_is_told_no_provider_of_the_clients_own_dialect(
    dialect: ChatDialect, history: Any, state: str
) -> None:
    """Who would refuse it, and with it the whole request."""
    losses, body = Losses(dialect.name), history(state)
    assert dialect.borrows(body)
    sent = body | dialect.own_history(body, losses)
    text = json.dumps(sent)
    assert not [word for word in (OTHER, IN_BYTES, "hm") if word in text]
    assert "Hi" in text or "skip_thought_signature_validator" in text  # Gemini's, of a call
    assert len(losses.paths) == 1
    assert not dialect.own_history(sent, Losses(dialect.name))


@pytest.mark.parametrize(("dialect", "history", "state"), HISTORIES.values(), ids=HISTORIES)
def test_its_own_state_comes_back_as_it_was(dialect: ChatDialect, history: Any, state: str) -> None:
    del state
    body, losses = history("b3du"), Losses(dialect.name)
    assert dialect.borrows(body) is (dialect is MISTRAL)  # who else speaks it may not take these
    assert (dialect.own_history(body, losses), losses.paths) == ({}, [])


def test_claude_is_not_asked_to_think_once_its_thoughts_are_gone() -> None:
    body = _anthropic(OTHER)
    body |= {"thinking": {"type": "enabled", "budget_tokens": 2000}, "max_tokens": 3000}
    call = {"type": "tool_use", "id": "c", "name": "f", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "c", "content": "1"}
    body["messages"][1]["content"].append(call)
    body["messages"][2] = {"role": "user", "content": [result]}
    losses = Losses("anthropic_messages")
    edits = client_dialect("anthropic_messages").own_history(body, losses)
    assert edits["thinking"] is None
    assert losses.paths == ["$.messages[1].content[0]", "$.thinking"]
