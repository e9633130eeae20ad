"""The catalogue's facts on models: each table whole, and found by whatever name a platform gives."""

from __future__ import annotations

from datetime import date

import msgspec
import pytest

from dragoman.catalog import provider_rows
from dragoman.catalog.profiles import (
    Override,
    Prices,
    Profile,
    Profiles,
    find_row,
    find_table,
)
from dragoman.ir import Request
from dragoman.ir.losses import WEIGHTS

FOUND = [
    ("openai", "gpt-5-mini", "GPT-5 mini"),
    ("openai", "gpt-5-mini-2025-08-07", "GPT-5 mini"),
    ("openai", "gpt-4o-2024-05-13", "GPT-4o (2024-05-13)"),
    ("openai", "gpt-4o-2024-08-06", "GPT-4o"),
    ("anthropic", "claude-sonnet-4-5-20250929", "Claude Sonnet 4.5"),
    ("bedrock", "anthropic.claude-sonnet-4-5-20250929-v1:0", "Claude Sonnet 4.5"),
    ("bedrock", "eu.anthropic.claude-sonnet-4-5-20250929-v1:0", "Claude Sonnet 4.5"),
    ("bedrock-key", "global.anthropic.claude-opus-4-6-v1", "Claude Opus 4.6"),
    ("bedrock", "us.amazon.nova-pro-v1:0:300k", "Nova Pro"),
    (
        "bedrock",
        "arn:aws:bedrock:us-east-1:1:inference-profile/us.anthropic.claude-haiku-4-5-20251001-v1:0",
        "Claude Haiku 4.5",
    ),
    ("vertex", "gemini-2.5-pro@default", "Gemini 2.5 Pro"),
    ("gemini", "models/gemini-2.5-flash-001", "Gemini 2.5 Flash"),
    ("groq", "openai/gpt-oss-120b", "GPT OSS 120B"),
    ("together", "zai-org/GLM-5.3", "GLM-5.3"),
    ("fireworks", "accounts/fireworks/models/glm-5p2", "GLM-5.2"),
]


@pytest.mark.parametrize(("kind", "model", "title"), FOUND)
def test_a_model_is_found_by_every_name_it_goes_by(kind: str, model: str, title: str) -> None:
    found = find_row(kind, model)
    assert found is not None
    assert found.title == title


@pytest.mark.parametrize(
    ("kind", "model"),
    [
        ("openai", "claude-sonnet-4-5"),
        ("openai", "gpt-5-mini-of-ours"),
        ("openai", "gpt"),
        ("openai", ""),
        ("openai", "/" * 5000),
        ("openai", "-20250929"),
        ("nobody", "gpt-5-mini"),
        ("vllm", "gpt-5-mini"),
    ],
)
def test_a_name_that_is_not_known_has_no_profile(kind: str, model: str) -> None:
    assert find_row(kind, model) is None


def test_a_snapshot_and_a_provider_may_differ() -> None:
    old, new = find_row("openai", "gpt-4o-2024-05-13"), find_row("openai", "gpt-4o")
    assert old and new
    assert (old.prices, old.max_output_tokens) != (new.prices, new.max_output_tokens)
    groq, bedrock = (
        find_row("groq", "openai/gpt-oss-20b"),
        find_row("bedrock", "openai.gpt-oss-20b-1:0"),
    )
    assert groq and bedrock
    assert groq.input == bedrock.input
    assert groq.max_output_tokens != bedrock.max_output_tokens


def test_the_providers_are_rows_of_the_catalogue() -> None:
    from dragoman.catalog.profiles import _index  # noqa: PLC0415, PLC2701 - all there is

    assert set(_index()) <= provider_rows().keys()


def every_profile() -> list[tuple[str, Profile]]:
    from dragoman.catalog.profiles import _index  # noqa: PLC0415, PLC2701 - all there is

    return [
        (f"{kind} {name}", profile)
        for kind, rows in _index().items()
        for name, profile in rows.items()
    ]


@pytest.mark.parametrize(("name", "profile"), every_profile())
def test_each_profile_holds_together(name: str, profile: Profile) -> None:
    assert name == name.lower()
    assert profile.source
    assert profile.source.startswith("https://")
    assert profile.read == date(2026, 11, 24)
    assert profile.output
    prices = msgspec.to_builtins(profile.prices_on(profile.read) or Prices(input=1))
    assert all(price > 0 for price in prices.values() if isinstance(price, float))
    assert prices["input"] is not None
    if prices["cached"] is not None:
        assert prices["cached"] <= prices["input"]
    for tier in prices["tiers"]:
        assert tier["input"] > prices["input"]
    fields = {*(profile.refuses or ()), *(profile.fixed or ()), *(profile.not_both or ())}
    fields |= {*(profile.refuses_reasoning or ())}
    assert fields <= set(Request.__struct_fields__) & WEIGHTS.keys()


def test_of_the_prices_that_hold_on_a_day_the_latest_count() -> None:
    old = Prices(input=3, until=date(2026, 6, 30))
    new = Prices(input=2, since=date(2026, 7, 1))
    offer = Prices(input=1, since=date(2026, 8, 1), until=date(2026, 8, 31))
    profile = Profile(prices=(offer, old, new))
    days = {"06-30": 3, "07-01": 2, "07-31": 2, "08-01": 1, "08-31": 1, "09-01": 2}
    for day, price in days.items():
        found = profile.prices_on(date.fromisoformat(f"2026-{day}"))
        assert found is not None
        assert found.input == price
    assert Profile(prices=offer).prices_on(date(2026, 9, 1)) is None
    assert Profile(prices=new).prices_on(date(2026, 7, 1)) == new
    assert Profile().prices_on(date(2026, 9, 1)) is None


def test_an_operators_word_wins_and_what_it_leaves_out_is_the_catalogues() -> None:
    one = Override(
        provider="mine", model="gpt-5-mini", like=None, facts=Profile(prices=Prices(input=0.1))
    )
    alike = Override(provider="mine", model="prod-*", like="gpt-5.4", facts=Profile())
    longer = Override(provider="mine", model="prod-x*", like=None, facts=Profile(title="X"))
    profiles = Profiles([alike, longer, one])
    found = profiles.find("mine", "openai", "gpt-5-mini")
    assert found
    assert (found.prices, found.title) == (Prices(input=0.1), "GPT-5 mini")
    assert profiles.find("mine", "azure-openai", "prod-chat") == find_table("gpt-5.4")
    assert profiles.find("mine", "azure-openai", "prod-xl") == Profile(title="X")
    assert profiles.find("other", "openai", "prod-chat") is None
    assert find_table("gpt-0") is None
