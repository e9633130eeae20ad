"""Who calls, what they may use, and in which order upstreams are asked."""

from __future__ import annotations

import hashlib
import random
from collections import Counter

import pytest

from dragoman.config.policy import Caller, Callers, Model, Target
from dragoman.errors import NotFound, Unauthenticated
from dragoman.exchange.heads import RequestHead
from dragoman.policies.authorize import find_model, list_models
from dragoman.policies.identify import identify
from dragoman.policies.route.weighted import (
    Chance,
    draw_groups,
    group_targets,
    name_targets,
)

KEY = "a-key"
CALLER = Caller(name="team", models=("fast", "openai/*"))
CALLERS = Callers({hashlib.sha256(KEY.encode()).hexdigest(): CALLER}, {"team": CALLER})


def _head(headers: dict[str, str], path: str = "/") -> RequestHead:
    return RequestHead(method="POST", path=path, headers=headers)


def target(provider: str, *, weight: int = 1, priority: int = 0, model: str = "m") -> Target:
    return Target(provider=provider, model=model, weight=weight, priority=priority)


def model(name: str, *targets: Target) -> Model:
    return Model(name=name, targets=targets, clamp=False)


def order_targets(model: Model, name: str, chance: Chance) -> list[Target]:
    return draw_groups(group_targets(name_targets(model, name)), chance)


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": f"Bearer {KEY}"},
        {"authorization": f"bearer  {KEY} "},
        {"x-api-key": KEY},
        {"api-key": KEY},
        {"x-goog-api-key": KEY},
        {"authorization": "Basic eDp5", "x-api-key": KEY},
    ],
)
def test_a_known_key_names_its_caller(headers: dict[str, str]) -> None:
    assert identify(_head(headers), CALLERS, None) is CALLER


def test_a_key_in_the_query_names_its_caller() -> None:
    assert identify(_head({}, f"/v1beta/models?alt=sse&key={KEY}"), CALLERS, None) is CALLER


@pytest.mark.parametrize(
    "headers",
    [{}, {"authorization": ""}, {"authorization": "Bearer "}, {"authorization": KEY}],
)
def test_no_key_is_said_to_be_missing(headers: dict[str, str]) -> None:
    with pytest.raises(Unauthenticated, match="No API key"):
        identify(_head(headers), CALLERS, None)


def test_an_unknown_key_is_refused_and_never_repeated() -> None:
    with pytest.raises(Unauthenticated) as refusal:
        identify(_head({"x-api-key": "sk-secret\udcff"}), CALLERS, None)
    assert "sk-secret" not in str(refusal.value)


def test_a_bearer_key_wins_over_another_header() -> None:
    with pytest.raises(Unauthenticated):
        identify(_head({"authorization": "Bearer wrong", "x-api-key": KEY}), CALLERS, None)


MODELS = {
    m.name: m for m in (model("fast"), model("slow"), model("openai/*"), model("openai/gpt-*"))
}


def test_the_exact_model_wins_over_a_pattern_and_the_longest_pattern_over_a_shorter() -> None:
    assert find_model("fast", CALLER, MODELS).name == "fast"
    assert find_model("openai/gpt-5", CALLER, MODELS).name == "openai/gpt-*"
    assert find_model("openai/o3", CALLER, MODELS).name == "openai/*"


@pytest.mark.parametrize("name", ["slow", "absent", "openai", "*"])
def test_what_is_absent_and_what_is_not_granted_look_the_same(name: str) -> None:
    with pytest.raises(NotFound, match="does not exist or you may not use it") as refusal:
        find_model(name, CALLER, MODELS)
    assert refusal.value.path == "$.model"


def test_a_pattern_is_not_itself_a_model_of_its_own_name() -> None:
    assert find_model("openai/*", CALLER, MODELS).name == "openai/*"
    with pytest.raises(NotFound):
        find_model("openai/*", Caller(name="x", models=("fast",)), MODELS)


def test_a_caller_sees_what_it_may_use() -> None:
    assert list_models(CALLER, MODELS) == ["fast", "openai/*", "openai/gpt-*"]


def test_a_plain_list_is_tried_in_its_order() -> None:
    targets = [target(name, priority=i) for i, name in enumerate("abc")]
    ordered = order_targets(model("m", *targets), "m", random.Random(1).random)
    assert [t.provider for t in ordered] == ["a", "b", "c"]


def test_one_priority_is_shared_by_weight_and_each_is_the_others_fallback() -> None:
    shared = model("m", target("a", weight=3), target("b"), target("last", priority=1))
    chance = random.Random(7).random
    orders = [tuple(t.provider for t in order_targets(shared, "m", chance)) for _ in range(4000)]
    assert set(orders) == {("a", "b", "last"), ("b", "a", "last")}
    assert Counter(orders)["a", "b", "last"] / 4000 == pytest.approx(0.75, abs=0.03)


def test_a_chance_at_the_very_end_still_draws() -> None:
    shared = model("m", target("a"), target("b"))
    assert order_targets(shared, "m", lambda: 1.0)[0].provider == "b"


def test_the_rest_of_a_pattern_fills_its_targets() -> None:
    pattern = model("openai/*", target("openai", model="*"), target("x", model="v-*", priority=1))
    ordered = order_targets(pattern, "openai/gpt-5", random.random)
    assert [t.model for t in ordered] == ["gpt-5", "v-gpt-5"]
