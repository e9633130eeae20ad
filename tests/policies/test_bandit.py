"""`strategy: bandit` on synthetic targets, from the decision to what the access log says of it."""

from __future__ import annotations

import random
from collections import Counter
from typing import NamedTuple

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.catalog.costs import NANODOLLARS
from dragoman.config.load import parse
from dragoman.config.schema import Reward
from dragoman.errors import ConfigError
from dragoman.policies.authorize import Wish
from dragoman.policies.explain import explain
from dragoman.policies.route.bandit import share_by_gap
from dragoman.policies.route.content import Content
from dragoman.policies.route.reward import encode_reward, expect_rewards, find_reward, reward_answer
from dragoman.stores.latencies import Sums
from tests.policies.test_fastest import KEYS, LEFT, Gateway, decision, first
from tests.policies.test_fastest import TEXT as FASTEST

EXPLORE = 0.05
REWARD = "reward: {latency: 1, cost: 1, error: 2, latency_scale_ms: 1000, cost_scale_usd: 0.01}"
TEXT = FASTEST.replace("strategy: fastest", f"strategy: bandit\n    {REWARD}")
WEIGHTS = {"a": 0.25, "b": 0.75}
WORTH = Reward(latency=1, cost=1, error=2, latency_scale_ms=1000.0, cost_scale_usd=0.01)


class Upstream(NamedTuple):
    """Answers as luck has it, around these."""

    ms: float
    usd: float
    failing: float

    def answer(self, chance: random.Random) -> tuple[float, int, int]:
        """Milliseconds, nanodollars and a status."""
        ms, usd = (mean * chance.lognormvariate(0, 0.5) for mean in (self.ms, self.usd))
        return ms, int(usd * NANODOLLARS), 503 if chance.random() < self.failing else 200

    @property
    def worth(self) -> float:
        """The reward it gets on average."""
        chance, total = random.Random(0), 0.0
        for _ in range(1000):
            ms, cost, status = self.answer(chance)
            total += reward_answer(WORTH, ms, cost) if status == 200 else 0.0
        return total / 1000


Upstreams = dict[str, Upstream]
GOOD, BAD = Upstream(300, 0.002, 0.01), Upstream(1500, 0.02, 0.2)


def serve(gateway: Gateway, count: int, upstreams: Upstreams) -> list[float]:
    """So many requests, one after the other; how much less than the best each got on average."""
    worth = {name: upstream.worth for name, upstream in upstreams.items()}
    regrets: list[float] = []
    for _ in range(count):
        facts = gateway.choose()
        asked = first(facts)
        ms, cost, status = upstreams[asked].answer(gateway.chance)
        gateway.end(facts, ms, cost=cost, status=status)
        regrets.append(max(worth.values()) - worth[asked])
        gateway.now += 0.6
    return regrets


def regret_by_weight(upstreams: Upstreams) -> float:
    """Of a request that is drawn by weight."""
    worth = {name: upstream.worth for name, upstream in upstreams.items()}
    return max(worth.values()) - sum(WEIGHTS[name] * worth[name] for name in worth)


def test_regret_against_the_best_falls_with_time_and_again_after_rewards_swap() -> None:
    runs: list[list[float]] = []
    for seed in range(10):
        gateway = Gateway(seed, TEXT)
        before = serve(gateway, 200, {"a": GOOD, "b": BAD})
        runs.append(before + serve(gateway, 300, {"a": BAD, "b": GOOD}))
    mean = [sum(at) / len(runs) for at in zip(*runs, strict=True)]

    def regret(begin: int, end: int) -> float:
        return sum(mean[begin:end]) / (end - begin)

    assert regret(0, 5) > 2 * regret(5, 40) > 2 * regret(100, 200)
    assert regret(100, 200) > regret(300, 500)  # there it is the heavier one
    assert regret(200, 215) > 3 * regret(300, 500)
    assert regret(100, 200) < 0.25 * regret_by_weight({"a": GOOD, "b": BAD})


@pytest.mark.parametrize("seed", range(12))
def test_it_gets_no_less_than_weights_by_more_than_the_share_that_explores(seed: int) -> None:
    """Over all requests from the first on, whatever the targets are, also where they swap midway."""
    chance = random.Random(seed)
    a, b = (
        Upstream(chance.uniform(50, 3000), chance.uniform(0, 0.03), chance.uniform(0, 0.5))
        for _ in "ab"
    )
    gateway = Gateway(seed, TEXT)
    halves: list[Upstreams] = [{"a": a, "b": b}, {"a": b, "b": a}]
    regrets = [sum(serve(gateway, 200, upstreams)) for upstreams in halves]
    by_weight = [200 * regret_by_weight(upstreams) for upstreams in halves]
    assert regrets[0] <= by_weight[0] + EXPLORE * 200
    assert sum(regrets) <= sum(by_weight) + EXPLORE * 400


rows = st.lists(
    st.tuples(st.integers(1, 1000), st.none() | st.floats(0, 1)), min_size=1, max_size=5
)


@given(rows, st.floats(0.125, 1e6))
def test_no_shares_get_less_than_weights_do(
    known: list[tuple[int, float | None]], observations: float
) -> None:
    """Of whatever is known: the exact bound, were what is expected what comes. Nobody starves."""
    weights, expected = [w for w, _ in known], [reward for _, reward in known]
    shares = share_by_gap(weights, expected, observations)
    assert sum(shares) == pytest.approx(1)
    pairs = [(s, w / sum(weights), r) for s, (w, r) in zip(shares, known, strict=True)]
    assert all(s == pytest.approx(w) for s, w, r in pairs if r is None)
    assert min(shares) > 0
    got = sum(s * r for s, _, r in pairs if r is not None)
    assert got >= sum(w * r for _, w, r in pairs if r is not None) - 1e-9


@pytest.mark.parametrize("seed", range(4))
def test_whoever_is_worse_is_asked_again_and_again(seed: int) -> None:
    gateway, asked = Gateway(seed, TEXT), Counter[str]()
    for _ in range(1000):
        facts = gateway.choose()
        asked[first(facts)] += 1
        gateway.end(facts, 10, status=503 if first(facts) == "a" else 200)
        gateway.now += 0.6
    assert asked["a"] > 1000 * EXPLORE * WEIGHTS["a"] / 2
    assert asked["b"] > 900


def test_from_the_decisions_another_choice_can_be_judged() -> None:
    """What each target would have got had it always been asked, by inverse propensity."""
    gateway, estimates = Gateway(5, TEXT), Counter[str]()
    upstreams = {"a": Upstream(900, 0.004, 0.1), "b": Upstream(1200, 0.01, 0.1)}
    count = 1500
    for _ in range(count):
        facts = gateway.ask()
        likely = decision(facts)["propensity"].removesuffix(")").partition("/m(")
        assert likely[0] == first(facts)
        ms, cost, status = upstreams[first(facts)].answer(gateway.chance)
        got = reward_answer(WORTH, ms, cost) if status == 200 else 0.0
        estimates[first(facts)] += got / float(likely[2])  # type: ignore[assignment]  # floats add
        gateway.end(facts, ms, cost=cost, status=status)
        gateway.now += 0.6
    for name, upstream in upstreams.items():
        assert estimates[name] / count == pytest.approx(upstream.worth, abs=0.06)


def test_cold_it_draws_by_weight_and_says_what_it_knows() -> None:
    firsts = Counter(first(Gateway(seed, TEXT).ask()) for seed in range(400))
    assert 260 < firsts["b"] < 340
    gateway = Gateway(1, TEXT)
    said = decision(gateway.ask())
    assert said["strategy"] == "bandit"
    assert said["expected_reward"] == "a/m(unknown),b/m(unknown)"
    assert said["propensity"] in {"a/m(0.25)", "b/m(0.75)"}
    assert said["order"].endswith(",c/m")


def test_the_decision_gives_what_is_expected() -> None:
    gateway = Gateway(1, TEXT)
    while first(facts := gateway.ask()) != "a":
        pass
    gateway.end(facts, 0, cost=0)
    gateway.now += 1
    assert decision(gateway.ask())["expected_reward"] == "a/m(1.00),b/m(unknown)"
    while first(facts := gateway.ask()) != "b":
        pass
    gateway.end(facts, 1000, cost=10**7)
    gateway.now += 1
    assert decision(gateway.ask())["expected_reward"] == "a/m(1.00),b/m(0.68)"
    gateway.end(facts, 20, status=500)
    gateway.now += 1
    assert decision(gateway.ask())["expected_reward"] == "a/m(1.00),b/m(0.34)"
    for _ in range(20):
        gateway.end(facts, 20, status=400)
        gateway.end(facts, 20, **LEFT)
    gateway.now += 1
    assert decision(gateway.ask())["expected_reward"] == "a/m(1.00),b/m(0.34)"


def test_each_context_has_a_best_of_its_own() -> None:
    """Long bodies: `b`; short ones: `a`, which by weight would be asked first 50 times of 200."""
    gateway = Gateway(2, TEXT)
    short = gateway.asking
    long = short._replace(content=Content({}, {}, 50_000, None))
    asked: dict[bool, Counter[str]] = {False: Counter(), True: Counter()}
    for i in range(600):
        is_long = i % 2 == 1
        gateway.asking = long if is_long else short
        facts = gateway.choose()
        asked[is_long][first(facts)] += i >= 200
        best = "b" if is_long else "a"
        gateway.end(facts, 100 if first(facts) == best else 5000, cost=0)
        gateway.now += 0.6
    assert asked[False]["a"] > 140
    assert asked[True]["b"] > 180


def test_an_answer_of_no_known_cost_is_taken_for_dear_and_the_target_is_named() -> None:
    assert reward_answer(WORTH, 0, None) == 0.75
    assert "unpriced" not in decision(Gateway(1, FASTEST).ask())
    assert decision(Gateway(1, TEXT).ask())["unpriced"].endswith("/m")
    unaware = TEXT.replace("cost: 1, ", "").replace(", cost_scale_usd: 0.01", "")
    assert "unpriced" not in decision(Gateway(1, unaware).ask())


def test_with_another_reward_learning_begins_anew() -> None:
    keys = {
        Gateway(1, text).choose()["latency_key"]
        for text in (TEXT, TEXT.replace("error: 2", "error: 1"), FASTEST)
    }
    assert len(keys) == 3
    assert [find_reward(key) for key in sorted(keys)][-1] == WORTH


amounts = st.floats(0, 1000)
scales = st.floats(1e-9, 1000)


@given(amounts, amounts, st.floats(1e-9, 1000), scales, scales, st.floats(0, 1e9))
def test_a_reward_is_from_0_to_1_and_less_for_the_slower_and_the_dearer(  # noqa: PLR0917 - drawn
    latency: float, cost: float, error: float, ms: float, usd: float, took: float
) -> None:
    reward = Reward(
        latency=latency,
        cost=cost,
        error=error,
        feedback=cost,
        latency_scale_ms=ms,
        cost_scale_usd=usd,
    )
    assert find_reward(f"30 {encode_reward(reward)} 4k whole chat fast") == reward
    got = reward_answer(reward, took, int(took))
    assert 0 <= got <= 1 + 1e-12
    assert reward_answer(reward, took * 2, int(took)) <= got
    assert reward_answer(reward, took, int(took) * 2) <= got
    assert reward_answer(reward, took, None) <= got


@pytest.mark.parametrize(
    ("reward", "path"),
    [
        (None, ""),
        ({}, ""),
        ({"latency": 0}, ""),
        ({"feedback": 0}, ""),
        ({"feedback": 1001}, ".feedback"),
        ({"latency": -1}, ".latency"),
        ({"error": float("nan")}, ".error"),
        ({"speed": 1}, ""),
        ({"latency": 1}, ".latency_scale_ms"),
        ({"cost": 1}, ".cost_scale_usd"),
        ({"error": 1, "latency_scale_ms": 5}, ".latency_scale_ms"),
        ({"latency": 1, "latency_scale_ms": 0}, ".latency_scale_ms"),
    ],
)
def test_a_reward_that_cannot_be_is_refused(reward: dict[str, float] | None, path: str) -> None:
    written = "" if reward is None else f"reward: {msgspec.json.encode(reward).decode()}"
    if reward and reward.get("error", 0) != reward.get("error", 0):  # noqa: PLR0124 - NaN
        written = "reward: {error: .nan}"
    text = TEXT.replace(REWARD, written, 1)
    with pytest.raises(ConfigError) as refusal:
        parse(text, "test.yaml", KEYS)
    of = refusal.value.path.replace("[...]", ".fast")
    assert of == f"$.models.fast.reward{path}"


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        ("strategy: bandit", "strategy: fastest", "$.models.fast.reward"),
        ("strategy: bandit", "strategy: bandit\n    sticky: user", "$.models.fast.sticky"),
    ],
)
def test_a_setting_that_does_nothing_is_refused(old: str, new: str, path: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        parse(TEXT.replace(old, new, 1), "test.yaml", KEYS)
    assert refusal.value.path == path


LIKED = "reward: {latency: 1, error: 1, feedback: 3, latency_scale_ms: 1000}"


@pytest.mark.parametrize(("likes", "share"), [((0.3, 0.9), 0.8), ((0.6, 0.6), 0.25)])
def test_scores_lead_to_the_slower_target_if_it_is_liked(
    likes: tuple[float, float], share: float
) -> None:
    """`a` answers in 200 ms, `b` in 900; of five answers one is scored, a minute later."""
    text = TEXT.replace(REWARD, LIKED).replace("weight: 3", "weight: 1")
    gateway = Gateway(3, text.replace("half_life_seconds: 30", "half_life_seconds: 300"))
    scores: list[tuple[float, str, float]] = []
    asked: list[str] = []
    for _ in range(1200):
        while scores and scores[0][0] <= gateway.now:
            _, key, score = scores.pop(0)
            gateway.latencies.observe(key, Sums(scored=1.0, scores=score))
        facts = gateway.choose()
        asked.append(first(facts))
        is_slow = asked[-1] == "b"
        ms = (900 if is_slow else 200) * gateway.chance.lognormvariate(0, 0.3)
        key = gateway.end(facts, ms)
        assert key is not None
        if gateway.chance.random() < 0.2:
            likes_it = gateway.chance.random() < likes[is_slow]
            scores.append((gateway.now + 60, key, float(likes_it)))
        gateway.now += 0.6
    late = Counter(asked[600:])
    assert (late["b"] > 600 * share) is (likes[1] > likes[0])
    assert late["a"] > 600 * EXPLORE / 4


sums = st.builds(
    Sums,
    answers=st.floats(0.2, 50),
    failures=st.floats(0, 50),
    scored=st.floats(0, 50),
    scores=st.floats(-1, 60),
)


@given(st.lists(sums, min_size=1, max_size=4), st.floats(0.1, 9))
def test_what_is_expected_is_a_reward_whatever_scores_there_are(
    every: list[Sums], weight: float
) -> None:
    """Also of sums whose clocks differ; and where nobody scored, all get as much of that part."""
    reward = Reward(error=1, feedback=weight)
    worth = reward_answer(reward, 0, None)
    every = [known._replace(rewards=known.answers * worth) for known in every]
    for got in expect_rewards(reward, every):
        assert got is not None
        assert 0 <= got <= 1 + 1e-9
    silent = [known._replace(scored=0.0, scores=0.0, failures=0.0) for known in every]
    assert len({round(got or 0.0, 9) for got in expect_rewards(reward, silent)}) == 1


def test_explain_says_what_is_rewarded() -> None:
    policy = parse(TEXT, "test.yaml", KEYS)
    told = explain(policy, policy.callers.by_name["demo"], Wish("chat", "openai_chat", "fast"))
    at = told.lines.index("strategy bandit: half-life 30 s, explores 5.00%")
    assert told.lines[at + 1] == (
        "rewards: error 2; latency 1, at 1000 ms 0.37 of it; cost 1, at 0.01 USD 0.37 of it"
    )
