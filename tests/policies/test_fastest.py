"""`strategy: fastest`, from the decision to what the access log says of it, under a clock of ours."""

from __future__ import annotations

import heapq
import json
import math
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.actions import Mutate
from dragoman.config.load import parse
from dragoman.errors import ConfigError
from dragoman.exchange.decide import Decide
from dragoman.exchange.heads import RequestHead
from dragoman.metadata import encode_order
from dragoman.policies.authorize import Wish
from dragoman.policies.explain import explain
from dragoman.policies.route.choose import Chooser
from dragoman.policies.route.content import Asking, Content
from dragoman.policies.route.fastest import expect_ms, share_out
from dragoman.policies.route.observe import observe
from dragoman.stores.latencies import MOST_KEYS, Latencies, Sums
from dragoman.telemetry.attempts import Attempt
from dragoman.telemetry.ledger import AccessRecord, UpstreamTimes, make_entry

EXPLORE = 0.05
HALF_LIFE = 30
TEXT = """
callers:
  demo: {keys: [f6f53a67068fc28321efe05e4c062947ad3d72121c670e11a0bde6a52d363974]}
providers: {a: {kind: openai}, b: {kind: anthropic}, c: {kind: openai}}
models:
  fast:
    strategy: fastest
    learning: {half_life_seconds: 30}
    targets:
      - {provider: a, model: m, priority: 0, weight: 1}
      - {provider: b, model: m, priority: 0, weight: 3}
      - {provider: c, model: m, priority: 1}
  "p/*":
    strategy: fastest
    targets: [{provider: a, model: "*", priority: 0}, {provider: b, model: "*", priority: 0}]
"""
KEYS = {"OPENAI_API_KEY": "1", "ANTHROPIC_API_KEY": "3"}
HEADERS = {"content-type": "application/json", "authorization": "Bearer dragoman-demo"}
LEFT: dict[str, Any] = {"flags": ("DC",), "status": 0, "upstream": UpstreamTimes(5.0, None, None)}
MsOf = Callable[[str, int], float]
"""How long a target takes for an answer of so many tokens."""


class Gateway:
    """A worker, and an Envoy whose time is ours."""

    def __init__(self, seed: int = 1, text: str = TEXT) -> None:
        self.now = 1000.0
        self.chance = random.Random(seed)
        self.latencies = Latencies(lambda: self.now)
        policy = parse(text, "test.yaml", KEYS)
        self.model = policy.models["fast"]
        self.asking = Asking(
            policy.callers.by_name["demo"],
            "openai_chat",
            "chat",
            stream=False,
            now=self.now,
            content=Content({}, {}, 100, None),
        )
        self.chooser = Chooser(policy, self.chance.random, lambda: self.now, self.latencies)
        self.decide = Decide(
            policy, self.chance.random, clock=lambda: self.now, latencies=self.latencies
        )

    def ask(self, model: str = "fast", **fields: Any) -> dict[str, str]:
        """What the stages and the log are told."""
        body = {"model": model, "messages": [{"role": "user", "content": "hi"}]} | fields
        head = RequestHead(method="POST", path="/v1/chat/completions", headers=HEADERS)
        action = self.decide.on_request(head, json.dumps(body).encode())
        assert isinstance(action, Mutate), action
        return dict(action.metadata["dragoman"])  # type: ignore[arg-type]  # texts alone here

    def end(
        self,
        facts: dict[str, str],
        ms: float,
        tokens: int = 0,
        cost: int | None = None,
        **changes: Any,
    ) -> str | None:
        """Envoy logs the request: what it asked last answered after `ms`, for `cost` nanodollars.
        What the answer is known under."""
        last = changes.get("attempts", 1) - 1
        cluster = json.loads(facts["targets"])[last][0]
        record = AccessRecord(
            metadata={"dragoman": facts, "dragoman.usage": {"output_tokens": tokens}},
            cluster=cluster,
            upstream_reached=True,
            attempts=1,
            status=200,
            duration_ms=ms + 5,
            upstream=UpstreamTimes(5.0, ms / 2 + 5, ms + 5),
        )
        record = msgspec.structs.replace(record, **changes)
        entry = make_entry(record, lambda *_: None, lambda *_: None, lambda _: {})
        entry = msgspec.structs.replace(entry, cost_nanodollars=cost)
        return observe(record, entry, self.latencies)

    def choose(self) -> dict[str, str]:
        """What of `ask` the learning needs, at a tenth of its cost."""
        choice = self.chooser.choose(self.model, "fast", (), lambda: self.asking)
        order = [(target.provider, target.model) for target in choice.order]
        assert choice.latency_key is not None
        return {"targets": encode_order(order), "latency_key": choice.latency_key}

    def serve(self, count: int, ms_of: MsOf, every: float = 0.6) -> list[str]:
        """So many requests, one after the other; who was asked."""
        asked: list[str] = []
        for _ in range(count):
            facts = self.choose()
            asked.append(first(facts))
            tokens = int(self.chance.expovariate(1 / 200))
            self.end(facts, ms_of(asked[-1], tokens) * self.chance.lognormvariate(0, 0.3), tokens)
            self.now += every
        return asked


def first(facts: dict[str, str]) -> str:
    return str(json.loads(facts["targets"])[0][0])


def decision(facts: dict[str, str]) -> dict[str, str]:
    line = facts["decision"]
    assert line.isascii()
    return dict(word.split("=", 1) for word in line.split("; "))


def speeds(**ms: float) -> MsOf:
    return lambda target, tokens: ms[target] * (0.2 + 0.8 * tokens / 200)


@pytest.mark.parametrize("seed", range(4))
def test_it_finds_the_fastest_and_follows_when_speeds_swap(seed: int) -> None:
    gateway = Gateway(seed)
    before = gateway.serve(300, speeds(a=400, b=1200))
    assert Counter(before[100:])["a"] > 170
    gateway.serve(150, speeds(a=1200, b=400))  # three half-lives
    assert Counter(gateway.serve(200, speeds(a=1200, b=400)))["b"] > 180


@pytest.mark.parametrize("seed", range(4))
def test_whoever_is_slow_is_asked_again_and_again(seed: int) -> None:
    """Of 2,000 requests at least half of the share that exploring gives it."""
    asked = Counter(Gateway(seed).serve(2000, speeds(a=9000, b=100)))
    assert asked["a"] > 2000 * EXPLORE * 1 / 4 / 2
    asked = Counter(Gateway(seed).serve(2000, speeds(a=100, b=9000)))
    assert 2000 * EXPLORE * 3 / 4 / 2 < asked["b"] < 2000 * EXPLORE * 3 / 4 * 2


@pytest.mark.parametrize("seed", range(12))
def test_it_costs_no_more_than_weights_by_more_than_the_share_that_explores(seed: int) -> None:
    """From the first request on, at speeds that stay: the time of all requests is at most 1 + EXPLORE
    times what drawing by weight takes. Reckoned with what targets take on average, so that the
    answers' luck is left out."""
    chance = random.Random(seed)
    ms = {"a": chance.uniform(100, 2000), "b": chance.uniform(100, 2000)}
    asked = Gateway(seed).serve(400, speeds(**ms))
    by_weight = len(asked) * (ms["a"] + 3 * ms["b"]) / 4
    assert sum(ms[target] for target in asked) < (1 + EXPLORE) * by_weight


weighed = st.lists(
    st.tuples(st.integers(1, 1000), st.none() | st.just(math.inf) | st.floats(1e-3, 1e9)),
    min_size=1,
    max_size=5,
)


@given(weighed)
def test_no_share_makes_it_slower_than_weights(rows: list[tuple[int, float | None]]) -> None:
    """Of whatever is known: the exact bound, were what is expected what comes. What is not known has
    its weight's share; who is as fast and as heavy has as much."""
    weights, expected = [w for w, _ in rows], [ms for _, ms in rows]
    shares = share_out(weights, expected)
    assert sum(shares) == pytest.approx(1)
    for share, weight, ms in zip(shares, weights, expected, strict=True):
        assert share >= 0
        if ms is None:
            assert share == pytest.approx(weight / sum(weights))
    known = [(s, w / sum(weights), ms) for s, (w, ms) in zip(shares, rows, strict=True) if ms]
    if all(ms < math.inf for *_, ms in known):
        by_weight = sum(w * ms for _, w, ms in known)
        assert sum(s * ms for s, _, ms in known) <= by_weight * (1 + 1e-9)


def test_where_load_makes_slow_targets_share_it() -> None:
    """Each is as fast as the other up to six requests at once, and one alone would be overrun."""
    gateway = Gateway(3, TEXT.replace("weight: 3", "weight: 1"))
    running: list[tuple[float, float, str, dict[str, str]]] = []
    load, slowest = Counter[str](), 0.0
    for _ in range(3000):
        while running and running[0][0] <= gateway.now:
            at, began, target, facts = heapq.heappop(running)
            load[target] -= 1
            gateway.end(facts, (at - began) * 1000)
        facts = gateway.choose()
        target = first(facts)
        load[target] += 1
        took = max(1.0, load[target] / 6) * gateway.chance.uniform(0.8, 1.2)
        slowest = max(slowest, took)
        heapq.heappush(running, (gateway.now + took, gateway.now, target, facts))
        gateway.now += gateway.chance.expovariate(8)
    assert slowest < 6


def test_cold_it_draws_by_weight_and_says_what_it_knows() -> None:
    firsts = Counter(first(Gateway(seed).ask()) for seed in range(400))
    assert 260 < firsts["b"] < 340
    gateway = Gateway()
    facts = gateway.ask()
    said = decision(facts)
    assert said["strategy"] == "fastest"
    assert said["expected_ms"] == "a/m(unknown),b/m(unknown)"
    assert said["explore"] == f"{first(facts)}/m"
    assert said["propensity"] == {"a": "a/m(0.25)", "b": "b/m(0.75)"}[first(facts)]
    assert said["order"].endswith(",c/m")


def test_what_was_never_seen_keeps_the_share_of_its_weight() -> None:
    gateway = Gateway()
    while first(facts := gateway.ask()) != "a":
        pass
    gateway.end(facts, 100)
    gateway.now += 1
    asked = [gateway.ask() for _ in range(1000)]
    assert 690 < Counter(map(first, asked))["b"] < 810
    likely = {decision(facts)["propensity"] for facts in asked}
    assert likely == {"a/m(0.25)", "b/m(0.75)"}


def test_the_decision_gives_what_is_expected_and_how_likely_it_was() -> None:
    gateway = Gateway()
    gateway.serve(200, lambda target, _: {"a": 123.0, "b": 4567.0}[target], every=0.1)
    asked = Counter(gateway.ask()["decision"] for _ in range(2000))
    likely = 0.0
    for line, count in asked.items():
        said = dict(word.split("=", 1) for word in line.split("; "))
        name, _, share = said["propensity"].rstrip(")").partition("(")
        assert said["order"].startswith(f"{name},")
        if "explore" not in said:
            assert name == "a/m"
            likely = float(share)
        assert count > 0
    assert likely == pytest.approx(1 - EXPLORE * 3 / 4)
    assert sum(n for line, n in asked.items() if "order=a/m" in line) / 2000 == pytest.approx(
        likely, abs=0.02
    )


def test_a_target_that_fails_at_once_does_not_look_fast() -> None:
    gateway = Gateway()
    for _ in range(200):
        facts = gateway.ask()
        if first(facts) == "a":
            gateway.end(facts, 3, status=503)
        else:
            gateway.end(facts, 900, 100)
        gateway.now += 0.6
    assert "a/m(failing)" in decision(gateway.ask())["expected_ms"]
    assert Counter(first(gateway.ask()) for _ in range(400))["b"] > 380


def test_a_stream_that_ends_in_an_error_is_no_quick_answer() -> None:
    gateway = Gateway()
    while first(facts := gateway.ask(stream=True)) != "a":
        pass
    usage = {"output_tokens": 3, "exact": "0", "broken": "upstream_error"}
    gateway.end(facts, 5, metadata={"dragoman": facts, "dragoman.usage": usage})
    gateway.now += 1
    assert decision(gateway.ask(stream=True))["expected_ms"] == "a/m(failing),b/m(unknown)"


def test_an_attempt_that_was_left_for_another_target_counts_against_it_alone() -> None:
    gateway = Gateway()
    while first(facts := gateway.ask()) != "a":
        pass
    gateway.end(facts, 700, attempts=2, upstream=UpstreamTimes(600.0, 650.0, 700.0))
    gateway.now += 1
    assert decision(gateway.ask())["expected_ms"] == "a/m(failing),b/m(100)"


@pytest.mark.parametrize("status", [400, 404, 413, 422])
def test_an_error_that_is_the_requests_own_says_nothing(status: int) -> None:
    gateway = Gateway()
    gateway.end(gateway.ask(), 3, status=status)
    gateway.now += 1
    assert decision(gateway.ask())["expected_ms"] == "a/m(unknown),b/m(unknown)"


def test_a_client_that_leaves_early_makes_nobody_fast() -> None:
    gateway = Gateway()
    gateway.serve(60, lambda *_: 1000.0)
    before = decision(gateway.ask())["expected_ms"]
    for _ in range(100):
        gateway.end(gateway.ask(), 20, **LEFT)
    assert decision(gateway.ask())["expected_ms"] == before
    for _ in range(100):
        gateway.end(gateway.ask(), 60_000, **LEFT)
    gateway.now += 1
    assert decision(gateway.ask())["expected_ms"] != before


def test_long_prompts_and_streams_are_learned_apart() -> None:
    gateway = Gateway()
    gateway.end(gateway.ask(), 100)
    gateway.now += 1
    for fields in ({"stream": True}, {"user": "x" * 5000}, {"user": "x" * 300_000}):
        assert decision(gateway.ask(**fields))["expected_ms"].count("unknown") == 2
    assert decision(gateway.ask(user="x"))["expected_ms"].count("unknown") == 1


def test_what_is_old_is_forgotten() -> None:
    gateway = Gateway()
    gateway.end(gateway.ask(), 100)
    gateway.now += 3 * HALF_LIFE - 1
    assert decision(gateway.ask())["expected_ms"].count("unknown") == 1
    gateway.now += 2
    assert decision(gateway.ask())["expected_ms"].count("unknown") == 2


def test_names_of_the_clients_do_not_fill_the_memory() -> None:
    gateway = Gateway()
    for i in range(MOST_KEYS + 10):
        gateway.end(gateway.ask(f"p/{i}"), 100)
    assert len(gateway.latencies.send()) == MOST_KEYS
    gateway.end(gateway.ask("p/" + "x" * 1000), 100)
    assert not gateway.latencies.send()


ms = st.floats(1, 1e4)
lengths = st.lists(st.integers(0, 4000), min_size=2, max_size=20)


def seen(first_ms: float, ms_a_token: float, tokens: list[int]) -> Sums:
    found = Sums()
    for n in tokens:
        whole = first_ms + n * ms_a_token
        found = found.plus(Sums(1.0, whole, first_ms, float(n), float(n * n), whole * n))
    return found


@given(ms, st.floats(0, 100), lengths, lengths, st.booleans())
def test_long_answers_make_nobody_slow(
    first_ms: float,
    ms_a_token: float,
    short: list[int],
    long: list[int],
    streamed: bool,  # noqa: FBT001 - drawn
) -> None:
    """Whoever obeys the same law is expected to take as long, whatever lengths were seen."""
    if not streamed and (max(short) - min(short) < 5 or max(long) - min(long) < 5):
        return  # one length alone gives no slope
    a, b = expect_ms(
        [seen(first_ms, ms_a_token, short), seen(first_ms, ms_a_token, long)], streamed=streamed
    )
    assert a is not None
    if streamed and not (sum(short) and sum(long)):
        return
    assert a == pytest.approx(b, rel=1e-3)


@given(st.lists(st.tuples(*[st.floats(0, 1e6)] * 8), min_size=1, max_size=4), st.booleans())
def test_an_expectation_is_a_time_whatever_was_summed(
    rows: list[tuple[float, ...]],
    streamed: bool,  # noqa: FBT001 - drawn
) -> None:
    for row, found in zip(
        rows, expect_ms([Sums(*r) for r in rows], streamed=streamed), strict=True
    ):
        assert (found is None) == (row[0] + row[6] == 0)
        assert found is None or found == found  # noqa: PLR0124 - no NaN: it would sort nowhere


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        (
            "half_life_seconds: 30",
            "half_life_seconds: 0",
            "$.models.fast.learning.half_life_seconds",
        ),
        ("half_life_seconds: 30", "explore: 1.5", "$.models.fast.learning.explore"),
        ("half_life_seconds: 30", "speed: 3", "$.models.fast.learning"),
        ("strategy: fastest", "strategy: cheapest", "$.models.fast.learning"),
        ("strategy: fastest", "strategy: fastest\n    sticky: user", "$.models.fast.sticky"),
    ],
)
def test_a_setting_that_cannot_be_or_does_nothing_is_refused(old: str, new: str, path: str) -> None:
    assert old in TEXT
    with pytest.raises(ConfigError) as refusal:
        parse(TEXT.replace(old, new, 1), "test.yaml", KEYS)
    assert refusal.value.path == path


def test_explain_says_how_it_is_ordered() -> None:
    policy = parse(TEXT, "test.yaml", KEYS)
    told = explain(policy, policy.callers.by_name["demo"], Wish("chat", "openai_chat", "fast"))
    assert "strategy fastest: half-life 30 s, explores 5.00%" in told.lines


def test_each_target_that_failed_is_blamed_for_its_own_time() -> None:
    at = Gateway()
    facts = at.ask()
    (first, _), (second, _), *_ = json.loads(facts["targets"])
    failed = tuple(
        Attempt(cluster=name, started=0, duration_ms=ms, status=503, flags=(), failure="")
        for name, ms in ((first, 900.0), (second, 2.0))
    )
    at.end(facts, 10, attempts=3, failed=failed)
    keys = [f"{facts['latency_key']}\n{p}\n{m}" for p, m in json.loads(facts["targets"])[:2]]
    assert [at.latencies.find(key).failed_ms for key in keys] == [900.0, 2.0]
