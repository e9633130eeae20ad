"""Which counters a request takes from, and how much."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.catalog.costs import cost_nanodollars, encode_prices
from dragoman.catalog.profiles import Prices, Tier
from dragoman.config.load import parse
from dragoman.config.policy import Caller, Quota
from dragoman.errors import ConfigError, PermissionDenied
from dragoman.policies.quotas import (
    UNREAD_AMOUNTS,
    QuotaLevels,
    QuotaPolicy,
    amounts_of,
    counter_at,
    decode_holds,
    encode_holds,
)
from dragoman.stores.keeper import Levels, Reached
from dragoman.stores.leases import Counter, Hold

DEMO = Caller(name="demo", models=("*",))
POLICY = """
callers: {demo: {keys: [f6f53a67068fc28321efe05e4c062947ad3d72121c670e11a0bde6a52d363974]}}
providers: {openai: {}}
models: {fast: {targets: [{provider: openai, model: m}]}}
quotas: [%s]
"""


def quotas(text: str) -> tuple[Quota, ...]:
    return parse(POLICY % text, "test.yaml", {"OPENAI_API_KEY": "1"}).quotas


def quota(text: str) -> Quota:
    (found,) = quotas("{name: q, " + text + "}")
    return found


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("window", "now", "start", "end", "before"),
    [
        ("second", "2026-11-24T10:00:01", "2026-11-24T10:00:01", "2026-11-24T10:00:02", "2026-11-24T10:00:00"),
        ("minute", "2026-11-24T10:00:59", "2026-11-24T10:00", "2026-11-24T10:01", "2026-11-24T09:59"),
        ("hour", "2026-11-24T10:59:59", "2026-11-24T10:00", "2026-11-24T11:00", "2026-11-24T09:00"),
        ("day", "2026-11-24T10:00", "2026-11-24", "2026-11-25", "2026-11-23"),
        ("week", "2026-11-29T23:59", "2026-11-23", "2026-11-30", "2026-11-16"),
        ("week", "2026-11-30T00:00", "2026-11-30", "2026-12-07", "2026-11-23"),
        ("month", "2026-12-31T23:59", "2026-12-01", "2027-01-01", "2026-11-01"),
        ("month", "2028-02-29T12:00", "2028-02-01", "2028-03-01", "2028-01-01"),
    ],
)  # fmt: skip
def test_calendar_windows(window: str, now: str, start: str, end: str, before: str) -> None:
    carrying = quota(f"unit: requests, limit: 5, window: {window}, carry_over: true")
    counter = counter_at(carrying, "demo", at(now))
    assert counter.key == f"dragoman:quota:{{q|demo}}:{int(at(start))}"
    assert counter.before == f"dragoman:quota:{{q|demo}}:{int(at(before))}"
    assert counter.ends_at == at(end)
    plain = quota(f"unit: requests, limit: 5, window: {window}")
    assert counter_at(plain, "demo", at(now)).before == counter.key


def test_a_rolling_window_has_sixty_parts() -> None:
    rolling = quota("unit: requests, limit: 5, window: 24h")
    first, later = (counter_at(rolling, "demo", at(t)) for t in ("2026-11-24", "2026-11-25"))
    assert first.key == later.key
    assert later.oldest == first.bucket + 1
    assert later.bucket - first.bucket == 60
    assert first.ends_at - at("2026-11-24") <= 1440


def test_concurrency_counts_in_no_window() -> None:
    counter = counter_at(quota("unit: concurrency, limit: 3"), "demo", 1e9)
    assert (counter.bucket, counter.oldest, counter.ends_at) == (0, 0, 0.0)


def test_each_quota_that_covers_a_request_takes_its_own_amount() -> None:
    policy = QuotaPolicy(
        quotas(
            "{name: a, unit: requests, limit: 5, window: day},"
            "{name: b, unit: tokens, limit: 5, window: day, per: [model, caller]},"
            "{name: c, unit: tokens, limit: 5, window: day, per: [], models: [fast]},"
            "{name: d, unit: tokens, limit: 5, window: day, callers: [other]}"
        )
    )
    amounts = {"requests": 1, "tokens": 70}
    for _ in range(2):
        demands = policy.demands(DEMO, "fast", amounts, at("1970-01-02"))
        assert [(d.counter.key, d.amount) for d in demands] == [
            ("dragoman:quota:{a|demo}:86400", 1),
            ("dragoman:quota:{b|fast|demo}:86400", 70),
            ("dragoman:quota:{c|}:86400", 70),
        ]
    unread = policy.demands(DEMO, "", UNREAD_AMOUNTS, 0.0)
    assert [d.amount for d in unread] == [1, 0]


@pytest.mark.parametrize(
    ("body", "tokens"),
    [
        ({}, 1124),
        ({"max_tokens": 7}, 107),
        ({"max_completion_tokens": 8}, 108),
        ({"max_output_tokens": 9}, 109),
        ({"generationConfig": {"maxOutputTokens": 10}}, 110),
        ({"inferenceConfig": {"maxTokens": 11}}, 111),
        ({"generation_config": {"max_output_tokens": 12}}, 112),
        ({"max_tokens": 7, "n": 100}, 800),
        ({"n": 2}, 2148),
        ({"max_tokens": 7, "n": 2, "best_of": 4}, 128),
        ({"max_tokens": 7, "n": 2, "prompt": ["a", "b", "c"]}, 142),
        ({"max_tokens": 7, "prompt": [9, 8, 7]}, 107),
        ({"max_tokens": 7, "prompt": []}, 107),
        ({"generationConfig": {"maxOutputTokens": 10, "candidateCount": 3}}, 130),
        ({"max_tokens": 7, "n": -3, "best_of": "9", "parameters": {"best_of": 1e999}}, 107),
        ({"max_tokens": "7", "generationConfig": [], "inferenceConfig": None}, 1124),
        ({"max_tokens": True}, 1124),
        ({"max_tokens": -5}, 1124),
    ],
)
def test_tokens_are_reckoned_from_what_the_client_allows(body: Any, tokens: int) -> None:
    assert amounts_of(body, 100, None) == {"requests": 1, "concurrency": 1, "tokens": tokens}


def test_dollars_are_those_of_the_dearest_target() -> None:
    cheap, dear = Prices(input=1, output=2), Prices(input=10, output=20)
    assert amounts_of({"max_tokens": 10}, 100, [cheap, dear])["usd"] == 1_200_000
    assert "usd" not in amounts_of({}, 100, [cheap, None])
    assert "usd" not in amounts_of({}, 100, [cheap, Prices(input=1)])
    policy = QuotaPolicy(quotas("{name: a, unit: usd, limit: 0.5, window: day}"))
    with pytest.raises(PermissionDenied, match="quota a"):
        policy.demands(DEMO, "fast", amounts_of({}, 100, [None]), 0.0)


def test_a_quota_of_teams_counts_a_team_once_and_nobody_without_one() -> None:
    policy = QuotaPolicy(quotas("{name: a, unit: requests, limit: 5, window: day, per: [team]}"))
    for name, team in (("x", "web"), ("y", "web"), ("z", None)):
        caller = Caller(name=name, models=("*",), belongs={"team": team} if team else {})
        found = [d.counter.key for d in policy.demands(caller, "fast", UNREAD_AMOUNTS, 0.0)]
        assert found == (["dragoman:quota:{a|web}:0"] if team else [])


PRICES = Prices(
    input=2,
    output=10,
    cached=0.5,
    cache_write_5m=2.5,
    tiers=(Tier(above_tokens=1000, input=4, output=20),),
)


@pytest.mark.parametrize(
    ("prices", "counts", "cost"),
    [
        (PRICES, {"input_tokens": 100, "output_tokens": 10}, 300_000),
        (PRICES, {"input_tokens": 100, "output_tokens": 0, "cached": 60, "cache_write": 40}, 130_000),
        (PRICES, {"input_tokens": 1000, "output_tokens": 1}, 2_010_000),
        (PRICES, {"input_tokens": 1001, "output_tokens": 1}, 4_024_000),
        (Prices(input=0.05, output=0), {"input_tokens": 1, "output_tokens": 9}, 50),
        (Prices(input=2, output=1), {"input_tokens": 10, "output_tokens": 0, "cached": 10}, 20_000),
        (Prices(output=1), {"input_tokens": 10, "output_tokens": 1}, None),
        (Prices(input=1, output=2, reasoning=5), {"input_tokens": 1, "output_tokens": 9, "reasoning": 4}, 31_000),
        (Prices(input=1, output=2), {"input_tokens": 1, "output_tokens": 9, "reasoning": 4}, 19_000),
        (Prices(input=1, output=2, request=0.01), {"input_tokens": 1, "output_tokens": 1}, 10_003_000),
        (
            Prices(input=2.5, output=10, input_audio=32, output_audio=64),
            {"input_tokens": 100, "output_tokens": 60, "input_audio": 80, "output_audio": 50},
            50_000 + 2_560_000 + 100_000 + 3_200_000,
        ),
        (
            Prices(input=5, input_image=8, output_image=30),
            {"input_tokens": 100, "output_tokens": 1000, "input_image": 40},
            300_000 + 320_000 + 30_000_000,
        ),
        (Prices(request=0.002), {"input_tokens": 9, "output_tokens": 0}, 2_000_000),
    ],
)  # fmt: skip
def test_costs(prices: Prices, counts: dict[str, int], cost: int | None) -> None:
    assert cost_nanodollars(prices, **counts) == cost


rates = st.none() | st.floats(0, 100)
tiers = st.builds(
    Tier, above_tokens=st.integers(1, 10_000), input=rates, output=rates, cached=rates
)
priced = st.builds(
    Prices,
    input=rates,
    output=rates,
    cached=rates,
    cache_write=rates,
    reasoning=rates,
    request=rates,
    input_audio=rates,
    output_audio=rates,
    input_image=rates,
    output_image=rates,
    tiers=st.lists(tiers, max_size=1).map(tuple),
)


@given(priced, st.integers(0, 20_000), st.integers(0, 9000), st.data())
def test_envoy_reckons_as_the_ledger_does(
    prices: Prices, fresh: int, output: int, data: st.DataObject
) -> None:
    def some(most: int) -> int:
        return data.draw(st.integers(0, most))

    parts = {"cached": some(fresh), "cache_write": some(999), "input_audio": some(fresh)}
    parts |= {"input_image": some(9), "reasoning": some(output), "output_audio": some(output)}
    parts |= {"output_image": some(9)}
    total = fresh + parts["cache_write"]
    cost = cost_nanodollars(prices, input_tokens=total, output_tokens=output, **parts)
    encoded: Any = encode_prices(prices)
    if encoded is None:
        assert cost is None or prices.tiers
        return
    each = encoded["long" if "long" in encoded and total > encoded["above"] else "usual"]
    counted = {"input": total, "output": output} | parts
    reckoned = encoded["call"] + sum(counted[kind] * rate for kind, rate in each.items())
    assert cost == pytest.approx(max(reckoned, 0), rel=1e-9, abs=1)


def test_no_prices_of_several_tiers_are_told_envoy() -> None:
    tiers = (Tier(above_tokens=5, input=1, output=1), Tier(above_tokens=9, input=2, output=2))
    assert encode_prices(Prices(input=1, output=1, tiers=tiers)) is None
    assert encode_prices(Prices(input=1)) is None


def test_quotas_of_providers_are_apart_from_the_others() -> None:
    policy = QuotaPolicy(
        quotas(
            "{name: a, unit: requests, limit: 5, window: day},"
            "{name: b, unit: requests, limit: 5, window: day, per: [team, provider]},"
            "{name: c, unit: tokens, limit: 5, window: day, per: [], providers: [open*]}"
        )
    )
    caller = Caller(name="x", models=("*",), belongs={"team": "web"})
    amounts = {"requests": 1, "tokens": 7}
    assert policy.counts_providers
    found = {
        provider: [(d.counter.key, d.counter.provider) for d in demands]
        for provider in (None, "openai", "mistral")
        if (demands := policy.demands(caller, "fast", amounts, 0.0, provider))
    }
    assert found == {
        None: [("dragoman:quota:{a|x}:0", "")],
        "openai": [
            ("dragoman:quota:{b|web|openai}:0", "openai"),
            ("dragoman:quota:{c|}:0", "openai"),
        ],
        "mistral": [("dragoman:quota:{b|web|mistral}:0", "mistral")],
    }
    assert policy.demands(DEMO, "fast", amounts, 0.0, "mistral") == ()


def test_levels_are_found_by_a_counters_key() -> None:
    found = quotas(
        "{name: a, unit: usd, limit: 5, window: day, warn_at: [0.9, 0.5], per: [team, model]},"
        "{name: b, unit: tokens, limit: 5, window: 60m, warn_at: [1]},"
        "{name: c, unit: tokens, limit: 5, window: day}"
    )
    levels = QuotaLevels(found)
    keys = [counter_at(quota, "web|fast", 1e9).key for quota in found]
    assert levels.levels(keys[0], 1e9) == Levels(5_000_000_000, 0, (0.5, 0.9))
    assert levels.levels(keys[1], 1e9).oldest == counter_at(found[1], "", 1e9).oldest > 0
    assert levels.levels(keys[2], 1e9) == levels.levels("other", 1e9) == Levels()
    gone = QuotaLevels(()).describe(Reached(keys[0], 0.9, 4_600_000_000, 5_000_000_000))
    told = levels.describe(Reached(keys[0], 0.9, 4_600_000_000, 5_000_000_000))
    assert gone == {**told, "unit": ""}  # of a policy that was in force when it was used
    assert (told["quota"], told["subject"], told["percent"]) == ("a", "web|fast", 90)


def test_holds_travel_as_text() -> None:
    holds = (Hold("k", "w-1", 5, "tokens", 0, 60), Hold("l", "w-2", 1, "requests", 7, 90))
    assert decode_holds(encode_holds(holds)) == holds


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("unit: requests, limit: 5", "window"),
        ("unit: concurrency, limit: 5, window: day", "window"),
        ("unit: requests, limit: 0, window: day", "limit"),
        ("unit: requests, limit: 0.5, window: day", "limit"),
        ("unit: requests, limit: 5, window: fortnight", "window"),
        ("unit: requests, limit: 5, window: 24h, carry_over: true", "carry_over"),
        ("unit: apples, limit: 5, window: day", "unit"),
        ("unit: concurrency, limit: 5, warn_at: [0.5]", "warn_at"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_path(text: str, path: str) -> None:
    with pytest.raises(ConfigError) as refused:
        quota(text)
    assert refused.value.path == f"$.quotas[0].{path}"


def test_names_are_unique() -> None:
    twice = "{name: a, unit: concurrency, limit: 1}, {name: a, unit: concurrency, limit: 2}"
    with pytest.raises(ConfigError, match=r"quotas\[1\].name"):
        quotas(twice)


def test_a_counter_is_made_once_until_its_window_or_bucket_ends() -> None:
    policy = QuotaPolicy(
        quotas(
            "{name: a, unit: requests, limit: 5, window: day},"
            "{name: b, unit: requests, limit: 5, window: 2h}"
        )
    )

    def counters(now: float) -> list[Counter]:
        return [d.counter for d in policy.demands(DEMO, "fast", UNREAD_AMOUNTS, now)]

    times = [0.0, 119.9, 120.0, 86_399.0, 86_400.0, 30.0]
    for now in times:
        fresh = [counter_at(quota, "demo", now) for quota, _ in policy.covering(DEMO, "fast")]
        assert counters(now) == fresh
    assert all(a is b for a, b in zip(counters(30.0), counters(119.0), strict=True))
