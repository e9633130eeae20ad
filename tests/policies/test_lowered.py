"""Lowered targets: what becomes of orders, and what of a log says how a target did."""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.actions import Mutate
from dragoman.config.load import parse
from dragoman.config.policy import Target
from dragoman.errors import ConfigError
from dragoman.exchange.decide import Decide
from dragoman.exchange.heads import RequestHead
from dragoman.policies.route.lowered import lower
from dragoman.policies.route.observe import see_targets
from dragoman.stores.incidents import Incident, Seen
from dragoman.telemetry.ledger import AccessRecord, UpstreamTimes, make_entry

TEXT = """
callers:
  demo: {keys: [f6f53a67068fc28321efe05e4c062947ad3d72121c670e11a0bde6a52d363974]}
providers:
  a: {kind: openai, region: eu}
  b: {kind: anthropic, region: eu}
  c: {kind: openai}
healing: {to: 0.2}
models:
  even:
    targets: [{provider: a, model: m, priority: 0}, {provider: b, model: m, priority: 0}]
  listed: {targets: [{provider: a, model: m}, {provider: b, model: m}, {provider: c, model: m}]}
  alone: {targets: [{provider: a, model: m}]}
  quick:
    strategy: fastest
    targets: [{provider: a, model: m, priority: 0}, {provider: b, model: m, priority: 0}]
  led: {rules: [{use: listed}]}
"""
KEYS = {"OPENAI_API_KEY": "1", "ANTHROPIC_API_KEY": "3"}
HEADERS = {"content-type": "application/json", "authorization": "Bearer dragoman-demo"}


def incident(target: str, *signals: str) -> Incident:
    return Incident(target=target, signals=list(signals or ["errors"]), reasons=[], since=0.0)


class Known:
    def __init__(self) -> None:
        self.incidents: Mapping[str, Incident] = {}

    def have(self, *targets: str) -> None:
        self.incidents = {target: incident(target) for target in targets}


class Gateway:
    def __init__(self, text: str = TEXT) -> None:
        self.known = Known()
        policy = parse(text, "test.yaml", KEYS)
        self.decide = Decide(
            policy, random.Random(4).random, clock=lambda: 0.0, incidents=self.known
        )

    def ask(self, model: str, **headers: str) -> tuple[list[str], str]:
        """Who is asked, in order, and the decision."""
        body = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
        head = RequestHead(method="POST", path="/v1/chat/completions", headers=HEADERS | headers)
        action = self.decide.on_request(head, json.dumps(body).encode())
        assert isinstance(action, Mutate), action
        facts: dict[str, Any] = dict(action.metadata["dragoman"])
        assert facts["retries"] == str(max(1, len(json.loads(facts["targets"])) - 1))
        return [step[0] for step in json.loads(facts["targets"])], facts["decision"]

    def first(self, model: str, count: int = 2000) -> Counter[str]:
        return Counter(self.ask(model)[0][0] for _ in range(count))


def test_in_an_ordered_list_it_goes_behind_but_for_its_share() -> None:
    gateway = Gateway()
    gateway.known.have("a/m")
    asked = gateway.first("listed")
    assert 300 < asked["a"] < 500
    assert asked["a"] + asked["b"] == 2000
    found = {" ".join(order): said for order, said in (gateway.ask("listed") for _ in range(50))}
    assert found == {
        "a b c": "strategy=weighted; probe=a/m(errors); order=a/m,b/m,c/m",
        "b c a": "strategy=weighted; lowered=a/m(errors); order=b/m,c/m,a/m",
    }
    assert gateway.ask("led")[1].startswith("strategy=weighted; rule=0(listed); ")


def test_of_a_weight_a_share_is_left() -> None:
    gateway = Gateway()
    gateway.known.have("a/m")
    assert 150 < gateway.first("even")["a"] < 260  # a fifth of a half


def test_plans_that_are_remembered_follow_as_incidents_begin_and_end() -> None:
    gateway = Gateway()
    plain = gateway.ask("listed")
    assert plain == (["a", "b", "c"], "strategy=weighted; order=a/m,b/m,c/m")
    gateway.known.have("a/m")
    assert {tuple(gateway.ask("listed")[0]) for _ in range(40)} == {
        ("a", "b", "c"),
        ("b", "c", "a"),
    }
    gateway.known.have("b/m")
    assert {tuple(gateway.ask("listed")[0]) for _ in range(40)} == {
        ("a", "b", "c"),
        ("a", "c", "b"),
    }
    gateway.known.have()
    assert all(gateway.ask("listed") == plain for _ in range(40))


def test_no_model_is_left_without_targets() -> None:
    gateway = Gateway()
    gateway.known.have("a/m", "b/m", "c/m")
    assert all(gateway.ask("alone") == (["a"], "strategy=weighted; order=a/m") for _ in range(20))
    plain = (["a", "b", "c"], "strategy=weighted; order=a/m,b/m,c/m")
    assert all(gateway.ask("listed") == plain for _ in range(20))


def test_residency_holds() -> None:
    gateway = Gateway()
    gateway.known.have("a/m", "b/m")
    asked = [gateway.ask("listed", **{"dragoman-residency": "eu"})[0] for _ in range(20)]
    assert asked == [["a", "b"]] * 20
    gateway.known.have("a/m")
    asked = [gateway.ask("listed", **{"dragoman-residency": "eu"})[0] for _ in range(40)]
    assert {tuple(order) for order in asked} == {("a", "b"), ("b", "a")}


def test_how_likely_an_order_was_is_not_said_where_it_was_changed() -> None:
    gateway = Gateway()
    gateway.known.have("c/m")
    assert "propensity=" in gateway.ask("quick")[1]
    gateway.known.have("a/m")
    said = {gateway.ask("quick")[1] for _ in range(40)}
    assert not any("propensity=" in line for line in said)
    assert any("lowered=a/m(errors)" in line for line in said)


TARGETS = [Target(provider=p, model="m", weight=1, priority=0) for p in "abcd"]


@given(order=st.permutations(TARGETS), bad=st.sets(st.sampled_from("abcd")), draw=st.floats(0, 0.9))
def test_nobody_comes_or_goes_and_the_rest_keep_their_order(
    order: list[Target], bad: set[str], draw: float
) -> None:
    known = {f"{name}/m": incident(f"{name}/m", "errors", "usd") for name in bad}
    changed = lower(order, known, 0.5, lambda: draw)
    if not bad or len(bad) == 4:
        assert changed is None
        return
    assert changed is not None
    left, notes = changed
    assert len(notes) == len(bad)
    assert sorted(left, key=order.index) == order
    for some in (bad, set("abcd") - bad):
        alike = [target for target in order if target.provider in some]
        assert [target for target in left if target.provider in some] == alike
    if draw >= 0.5:
        assert {target.provider for target in left[-len(bad) :]} == bad
    else:
        assert left == order


@pytest.mark.parametrize(
    "healing",
    ["{to: 0}", "{to: 1}", "{signals: {speed: {times: 3, at_least: 1}}}", "{requests: 1}"],
)
def test_what_means_nothing_is_refused(healing: str) -> None:
    with pytest.raises(ConfigError):
        parse(TEXT.replace("{to: 0.2}", healing), "test.yaml", KEYS)


def seen(**changes: Any) -> dict[str, dict[str, tuple[float, int]]]:
    """What is told of a request for the targets a and b."""
    facts = {"targets": '[["a","m"],["b","m"]]', "stream": changes.pop("stream", "0")}
    usage = {"output_tokens": 50, "input_tokens": 9}
    fields: dict[str, Any] = {
        "metadata": {"dragoman": facts, "dragoman.usage": usage | changes.pop("usage", {})},
        "cluster": "a",
        "upstream_reached": True,
        "attempts": 1,
        "status": 200,
        "upstream": UpstreamTimes(5.0, 105.0, 605.0),
    }
    record = AccessRecord(**fields | changes)
    entry = make_entry(record, lambda *_: None, lambda *_: None, lambda _: {})
    found: dict[str, Seen] = {}
    see_targets(record, entry, lambda provider, _: found.setdefault(provider, Seen()))
    return {provider: one.sums for provider, one in found.items()}


WELL = (0.0, 1)
FAILED = {"errors": (1.0, 1)}


def test_what_an_answer_tells() -> None:
    tokens = (math.log(50), 1)
    whole = {"errors": WELL, "answer_ms": (math.log(600), 1), "output_tokens": tokens}
    assert seen() == {"a": whole}
    times = {"first_byte_ms": (math.log(100), 1), "ms_per_token": (math.log(10), 1)}
    assert seen(stream="1") == {"a": {"errors": WELL, **times, "output_tokens": tokens}}


def test_who_failed_and_who_did_not() -> None:
    assert seen(status=503, attempts=2, cluster="b") == {"a": FAILED, "b": FAILED}
    after = seen(attempts=2, cluster="b")
    assert after["a"] == FAILED
    assert after["b"]["errors"] == WELL
    assert seen(status=400) == {}  # the request's own
    assert seen(flags=("DC",)) == {}  # the client's own
    assert seen(attempts=0) == {}
    assert seen(flags=("UC",)) == {"a": FAILED}
