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
from dragoman.ir import (
    Effort,
    Message,
    Part,
    Reasoning,
    ReasoningConfig,
    Request,
    Residue,
    Text,
    Tool,
    ToolCall,
    ToolCallResponse,
)
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


ANTHROPIC = "anthropic_messages"


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


SIGNED = Reasoning(content="hm", residue=Residue(dialect=ANTHROPIC, fields={"signature": "s"}))
UNSIGNED = Reasoning(content="hm", at="$.h")
CALL = ToolCall(id="c1", name="f", arguments="{}")
RESULT = Message(role="tool", parts=(ToolCallResponse(id="c1", parts=(Text(content="1"),)),))


def _turn(*parts: Part) -> Message:
    return Message(role="assistant", parts=parts)


CONVERSATIONS: dict[str, tuple[tuple[Message, ...], bool]] = {
    "a thought of its own before the call": ((_turn(SIGNED, CALL), RESULT), True),
    "a thought in a turn before": ((_turn(SIGNED), _turn(CALL), RESULT), True),
    "no thought": ((_turn(CALL), RESULT), False),
    "another's thought": ((_turn(UNSIGNED, CALL), RESULT), False),
    "a thought behind a text": ((_turn(Text(content="a"), SIGNED, CALL), RESULT), False),
    "a question behind the result": ((_turn(CALL), RESULT, SAID), False),
    "an answer behind the result": ((_turn(CALL), RESULT, _turn(Text(content="a")), SAID), True),
    "the beginning of the answer": ((_turn(Text(content="a")),), False),
}


@pytest.mark.parametrize("dialect", [ANTHROPIC, "bedrock_converse"])
@pytest.mark.parametrize(("turns", "thinks"), CONVERSATIONS.values(), ids=CONVERSATIONS)
def test_claude_is_given_no_budget_where_it_would_refuse_it(
    turns: tuple[Message, ...], thinks: bool, dialect: str
) -> None:
    """As after a fallback: another model called the tools."""
    losses = Losses(dialect)
    tools = (Tool(name="f", parameters={"type": "object"}),)
    wanted = ReasoningConfig(budget_tokens=4000, at="$.r")
    asked = Request(
        model="m", messages=(SAID, *turns), tools=tools, reasoning=wanted, max_tokens=5000
    )
    body = client_dialect(dialect).encode_request(asked, losses)
    more = body.get("additionalModelRequestFields", body)
    assert ("thinking" in more) is thinks
    assert ("$.r" in losses.paths) is not thinks


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
