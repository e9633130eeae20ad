"""Lists of models, as each dialect's clients read them, page by page."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from dragoman.dialects.models import ModelCard
from dragoman.dialects.registry import CHAT_NAMES, client_dialect
from dragoman.errors import InvalidRequest

CARD = ModelCard(
    id="fast",
    title="A Fast One",
    created=date(2026, 2, 3),
    max_input_tokens=200,
    max_output_tokens=30,
    input=("text", "image", "document"),
    output=("text",),
    reasons=True,
    retires=date(2027, 4, 5),
)
CARDS = [ModelCard(id=f"m{i:02}") for i in range(45)]


def listed(dialect: str, query: str = "", cards: list[ModelCard] | None = None) -> Any:
    return client_dialect(dialect).encode_models([CARD] if cards is None else cards, query)


def test_openai_tells_limits_and_end() -> None:
    for name in ("openai_chat", "openai_responses"):
        assert listed(name) == {
            "object": "list",
            "data": [
                {
                    "id": "fast",
                    "object": "model",
                    "created": 1770076800,
                    "owned_by": "dragoman",
                    "type": "base",
                    "capabilities": {
                        "completion_chat": True,
                        "vision": True,
                        "audio": False,
                        "reasoning": True,
                    },
                    "context_window": 200,
                    "max_context_length": 200,
                    "max_completion_tokens": 30,
                    "shutdown_date": "2027-04-05",
                }
            ],
        }


def test_of_an_unknown_model_openai_tells_no_capability() -> None:
    (card,) = listed("openai_chat", cards=[ModelCard(id="x")])["data"]
    assert (card["capabilities"], "max_context_length" in card) == ({}, False)


def test_ollama_shows_context_and_capabilities() -> None:
    shown = client_dialect("ollama_chat").encode_model(CARD)
    architecture = shown["model_info"]["general.architecture"]
    assert shown["model_info"][f"{architecture}.context_length"] == 200
    assert shown["capabilities"] == ["completion", "tools", "vision", "thinking"]
    (tag,) = listed("ollama_chat")["models"]
    assert (tag["model"], tag["modified_at"]) == ("fast", "2026-02-03T00:00:00Z")
    vectors = ModelCard(id="v", input=("text",), output=("embedding",))
    assert client_dialect("ollama_chat").encode_model(vectors)["capabilities"] == ["embedding"]


def test_anthropic_tells_title_date_and_limits() -> None:
    assert listed("anthropic_messages")["data"] == [
        {
            "type": "model",
            "id": "fast",
            "display_name": "A Fast One",
            "created_at": "2026-02-03T00:00:00Z",
            "max_input_tokens": 200,
            "max_tokens": 30,
            "lifecycle": "deprecated",
            "retires_at": "2027-04-05T00:00:00Z",
        }
    ]


def test_gemini_tells_limits() -> None:
    (model,) = listed("gemini_generate")["models"]
    assert (model["name"], model["displayName"]) == ("models/fast", "A Fast One")
    assert (model["inputTokenLimit"], model["outputTokenLimit"]) == (200, 30)
    assert model["thinking"] is True


def test_bedrock_tells_modalities_and_life() -> None:
    (model,) = listed("bedrock_converse")["modelSummaries"]
    assert (model["modelId"], model["modelName"]) == ("fast", "A Fast One")
    assert (model["inputModalities"], model["outputModalities"]) == (["TEXT", "IMAGE"], ["TEXT"])
    assert model["modelLifecycle"] == {"status": "LEGACY", "endOfLifeTime": "2027-04-05T00:00:00Z"}
    assert listed("bedrock_converse", "byOutputModality=TEXT")["modelSummaries"] == [model]
    assert listed("bedrock_converse", "byOutputModality=IMAGE") == {"modelSummaries": []}
    assert client_dialect("bedrock_converse").encode_model(CARD) == {"modelDetails": model}


@pytest.mark.parametrize("name", CHAT_NAMES)
def test_what_is_not_known_is_not_told(name: str) -> None:
    told = client_dialect(name).encode_model(ModelCard(id="m"))
    assert "None" not in str(
        {k: v for k, v in told.items() if not k.startswith(("max_", "retire"))}
    )


@pytest.mark.parametrize("limit", [1, 7, 20, 45, 46])
def test_anthropics_pages_forth_and_back(limit: int) -> None:
    forth: list[str] = []
    query = f"limit={limit}"
    while True:
        page = listed("anthropic_messages", query, CARDS)
        forth += [model["id"] for model in page["data"]]
        assert page["last_id"] == forth[-1]
        if not page["has_more"]:
            break
        query = f"limit={limit}&after_id={page['last_id']}"
    assert forth == [card.id for card in CARDS]
    back: list[str] = [forth[-1]]
    more = True
    while more:
        page = listed("anthropic_messages", f"limit={limit}&before_id={back[0]}", CARDS)
        back = [model["id"] for model in page["data"]] + back
        more = page["has_more"]
    assert back == forth


def test_anthropic_gives_twenty_unless_told() -> None:
    page = listed("anthropic_messages", "beta=true", CARDS)
    assert (len(page["data"]), page["has_more"]) == (20, True)


@pytest.mark.parametrize("size", [1, 7, 45, 1000])
def test_geminis_pages(size: int) -> None:
    found: list[str] = []
    token: str | None = ""
    while token is not None:
        page = listed("gemini_generate", f"pageSize={size}&pageToken={token}", CARDS)
        found += [model["name"] for model in page["models"]]
        token = page.get("nextPageToken")
    assert found == [f"models/{card.id}" for card in CARDS]


@pytest.mark.parametrize(
    ("dialect", "query", "path"),
    [
        ("anthropic_messages", "limit=0", "limit"),
        ("anthropic_messages", "limit=1001", "limit"),
        ("anthropic_messages", "limit=x", "limit"),
        ("anthropic_messages", f"limit={'9' * 5000}", "limit"),
        ("anthropic_messages", "limit=%C2%B2", "limit"),
        ("anthropic_messages", "after_id=gone", "after_id"),
        ("anthropic_messages", "before_id=gone", "before_id"),
        ("gemini_generate", "pageSize=-1", "pageSize"),
        ("gemini_generate", "pageToken=gone", "pageToken"),
    ],
)
def test_a_page_that_cannot_be_is_refused(dialect: str, query: str, path: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        listed(dialect, query, CARDS)
    assert caught.value.path == path
