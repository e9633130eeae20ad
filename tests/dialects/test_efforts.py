"""The tables of the dialects' README that say what becomes of an effort, a budget and a service tier."""

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import dragoman.dialects
from dragoman.dialects.efforts import BUDGETS, level_of, says_level
from dragoman.dialects.gemini_generate.names import LEVELS as GEMINI_LEVELS
from dragoman.dialects.ollama_chat.names import LEVELS as OLLAMA_LEVELS
from dragoman.dialects.registry import client_dialect
from dragoman.dialects.tiers import TIERS, UNSAID, tier_of
from dragoman.ir import Effort, Message, ReasoningConfig, Request, Text
from dragoman.ir.losses import Losses

README = (Path(dragoman.dialects.__file__).parent / "README.md").read_text()
Json = dict[str, Any]
SAID = Message(role="user", parts=(Text(content="Hi"),))


def _table(heading: str) -> list[list[str]]:
    """The rows of the table whose first column is called `heading`."""
    found = re.search(rf"^\| {heading} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", README, re.MULTILINE)
    assert found, heading
    rows = found[1].splitlines()
    return [[cell.strip().strip("`") for cell in row.strip("|").split("|")] for row in rows]


def test_the_readme_states_the_efforts() -> None:
    stated = [
        [name, str(budget), GEMINI_LEVELS[name], OLLAMA_LEVELS[name]]
        for name, budget in BUDGETS.items()
    ]
    assert _table("effort") == stated


def test_the_readme_states_the_tiers() -> None:
    words: dict[str, None] = dict.fromkeys(word for table in TIERS.values() for word in table)
    dialects = ("openai_chat", "anthropic_messages", "bedrock_converse", "gemini_generate")
    stated = [
        [word, *(TIERS[name].get(word, "dropped") or "–" for name in dialects)] for word in words
    ]
    assert _table("asked for") == stated


@pytest.mark.parametrize("effort", BUDGETS)
def test_an_effort_comes_back_from_its_budget(effort: Effort) -> None:
    budget = ReasoningConfig(budget_tokens=BUDGETS[effort])
    assert level_of(budget) == effort
    assert says_level(budget, effort)


@given(st.integers(min_value=0, max_value=40_000))
def test_a_budget_becomes_the_least_level_that_holds_it(tokens: int) -> None:
    level = level_of(ReasoningConfig(budget_tokens=tokens))
    assert level is not None
    assert BUDGETS.get(level, 0) >= min(tokens, BUDGETS["max"])
    assert says_level(ReasoningConfig(budget_tokens=tokens), level) == (
        tokens in (0, *BUDGETS.values())
    )


def _sent(dialect: str, **fields: Any) -> tuple[Json, list[str]]:
    """The body for a provider, without its messages, and the losses."""
    losses, speaker = Losses(dialect), client_dialect(dialect)
    body = speaker.encode_request(Request(model="m", messages=(SAID,), **fields), losses)
    return body, losses.paths


@pytest.mark.parametrize(
    ("tokens", "limit", "sent", "lost"),
    [
        (4000, 5000, 4000, []),
        (4000, None, 4000, []),
        (4000, 4000, 3999, ["$.r"]),
        (512, 5000, 1024, ["$.r"]),
        (4000, 1024, None, ["$.r"]),
    ],
)
def test_a_budget_fits_between_claudes_bounds(
    tokens: int, limit: int | None, sent: int | None, lost: list[str]
) -> None:
    wanted = ReasoningConfig(budget_tokens=tokens, at="$.r")
    body, paths = _sent("anthropic_messages", reasoning=wanted, max_tokens=limit)
    assert body.get("thinking", {}).get("budget_tokens") == sent
    assert sent is None or body["max_tokens"] > sent
    assert paths == lost


def test_a_tier_without_a_like_is_reported() -> None:
    request = Request(model="m", messages=(), service_tier="scale")
    losses = Losses("bedrock_converse")
    assert tier_of(request, losses) is None
    assert losses.paths == ["$.service_tier"]


def test_what_a_provider_does_unasked_is_not_written() -> None:
    assert UNSAID in TIERS["bedrock_converse"].values()
    losses = Losses("bedrock_converse")
    assert tier_of(Request(model="m", messages=(), service_tier="auto"), losses) is None
    assert losses.paths == []
