"""Shadow traffic without Envoy: which requests are copied, and how a copy goes out."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from dragoman import metadata as names
from dragoman.actions import Mutate, Respond
from dragoman.config.load import parse
from dragoman.errors import ConfigError
from dragoman.exchange.decide import Decide
from dragoman.exchange.heads import RequestHead
from dragoman.exchange.shadow import read_copy
from dragoman.policies.authorize import Wish
from dragoman.policies.describe import describe, describe_model_line
from dragoman.policies.explain import explain
from dragoman.stores.leases import Counter, Demand, Hold, State

TEXT = """
callers:
  demo:
    keys: [f6f53a67068fc28321efe05e4c062947ad3d72121c670e11a0bde6a52d363974]
    models: [fast, coder, old, "any/*"]
    residency: [eu]
  tests: {}
providers:
  oa: {kind: openai, region: eu}
  an: {kind: anthropic, region: eu-west-1}
  far: {kind: anthropic, region: ap}
models:
  fast:
    aliases: [quick]
    targets: [{provider: oa, model: gpt}]
    shadow: {use: next, share: 0.25}
  coder:
    targets: [{provider: oa, model: gpt}]
    shadow: {use: away, share: 1, when: {code: true}, charge_to: tests}
  old:
    deprecated: {since: 2020-01-01, ends: 2021-01-01, use: fast, afterwards: substitute}
    targets: [{provider: oa, model: gpt}]
  any/*:
    targets: [{provider: oa, model: "*"}]
    shadow: {use: next, share: 1}
  next: {targets: [{provider: an, model: claude}]}
  away: {targets: [{provider: far, model: claude}]}
quotas:
  - {name: calls, unit: requests, limit: 9, window: day, per: [caller]}
  - {name: busy, unit: concurrency, limit: 9, per: [provider]}
"""
KEYS = {"OPENAI_API_KEY": "1", "ANTHROPIC_API_KEY": "3"}
POLICY = parse(TEXT, "s.yaml", KEYS)
CHAT = "/v1/chat/completions"
HEADERS = {"authorization": "Bearer dragoman-demo", "content-type": "application/json"}
CODE = "def f(x):\n    return x\n"


class Kept:
    """Quotas without end that note what was taken of which."""

    def __init__(self) -> None:
        self.taken: list[str] = []

    def reserve(self, demands: tuple[Demand, ...]) -> tuple[Hold, ...]:
        self.taken += [demand.counter.key.split(":")[2] for demand in demands]
        return ()

    def state(self, counter: Counter) -> State:
        return State(counter.limit, counter.limit)

    def is_spent(self, counter: Counter) -> bool:
        del counter
        return False

    def next_reached(self) -> None:
        return None


def decide(
    model: str,
    text: str = "hi",
    *,
    luck: float = 0,
    kept: Kept | None = None,
    path: str = CHAT,
    **headers: str,
) -> Any:
    said = {name.replace("_", "-"): value for name, value in headers.items()}
    head = RequestHead(method="POST", path=path, headers={**HEADERS, **said})
    body: dict[str, Any] = {"model": model, "max_tokens": 9}
    body["messages"] = [{"role": "user", "content": text}]
    stage = Decide(POLICY, lambda: luck, quotas=kept or Kept())
    return stage.on_request(head, json.dumps(body).encode())


def facts(action: Any) -> dict[str, Any]:
    assert isinstance(action, Mutate), action
    return dict(action.metadata[names.NAMESPACE])


def header(model: str, text: str = "hi", **headers: str) -> str:
    """What Envoy writes into the copy of a request."""
    told = facts(decide(model, text, **headers))[names.SHADOW]
    assert isinstance(told, str)
    return told


def test_so_many_requests_have_a_copy_as_the_share_says() -> None:
    found = [names.SHADOW in facts(decide("fast", luck=i / 100)) for i in range(100)]
    assert found == [i < 25 for i in range(100)]
    assert names.SHADOW not in facts(decide("any/gpt", path="/v1/embeddings", luck=1))


@pytest.mark.parametrize("model", ["fast", "quick", "old", "any/thing"])
def test_a_copy_tells_its_model_and_where_it_may_go(model: str) -> None:
    told = facts(decide(model))
    copy = read_copy(told[names.SHADOW])
    assert (copy.model, copy.demands) == ("next", (("eu",),))
    assert told[names.SHADOW_MODEL] == "next"
    narrowed = read_copy(header(model, dragoman_residency="eu"))
    assert narrowed.demands == (("eu",), ("eu",))


def test_a_condition_says_which_requests_have_one() -> None:
    assert names.SHADOW not in facts(decide("coder"))
    assert read_copy(header("coder", CODE)).charge_to == "tests"


def test_a_copy_is_asked_of_its_model_and_copied_no_further() -> None:
    """The request's own model is not looked at any more: it has the target's name by then."""
    action = decide("gpt", x_dragoman_shadow=header("fast"), authorization="")
    told = facts(action)
    assert (told[names.MODEL], told[names.CALLER]) == ("next", "")
    assert action.metadata[names.MODELS_NAMESPACE] == {"an": "claude"}
    assert told[names.DECISION] == "strategy=weighted; order=an/claude"
    assert names.SHADOW not in told


def test_a_copy_stays_where_its_request_has_to() -> None:
    action = decide("gpt", CODE, x_dragoman_shadow=header("coder", CODE))
    assert isinstance(action, Respond)
    assert (action.status, action.details) == (403, "dragoman_residency_not_served")


def test_a_copy_counts_where_it_is_charged_and_at_its_provider() -> None:
    asked, copied, charged = Kept(), Kept(), Kept()
    decide("fast", kept=asked)
    assert asked.taken == ["{calls|demo}", "{busy|oa}"]
    decide("gpt", kept=copied, x_dragoman_shadow=header("fast"))
    assert copied.taken == ["{busy|an}"]
    copy = read_copy(header("fast"))
    paid = type(copy)(copy.model, copy.demands, "tests")
    decide("gpt", kept=charged, x_dragoman_shadow=paid.facts[names.SHADOW])
    assert charged.taken == ["{calls|tests}", "{busy|an}"]


def test_a_model_that_is_gone_is_asked_no_more() -> None:
    copy = read_copy(header("fast"))
    gone = type(copy)("gone").facts[names.SHADOW]
    action = decide("gpt", x_dragoman_shadow=gone)
    assert isinstance(action, Respond)
    assert action.status == 404


def test_the_plan_tells_of_shadows() -> None:
    caller = POLICY.callers.by_name["demo"]
    lines = explain(POLICY, caller, Wish("chat", "openai_chat", "coder", ())).lines
    words = 'where {"code":true}, charged to tests'
    assert f"shadow: away is asked too, a share of 1, {words}" in lines
    lines = explain(POLICY, caller, Wish("chat", "openai_chat", "fast", ())).lines
    assert "shadow: next is asked too, a share of 0.25, charged to nobody" in lines
    told = {
        model.name: describe_model_line(model)
        for model in describe(POLICY, datetime.now(UTC).date())
    }
    assert told["fast"] == "fast; also quick; shadow next"
    assert told["next"] == "next"


@pytest.mark.parametrize(
    ("old", "new", "path", "words"),
    [
        ("{use: next, share: 0.25}", "{use: nobody, share: 1}", "fast.shadow.use", "no model"),
        ("{use: next, share: 0.25}", "{use: fast, share: 1}", "fast.shadow.use", "itself"),
        ("{use: next, share: 0.25}", "{use: coder, share: 1}", "fast.shadow.use", "a shadow"),
        ("{use: next, share: 0.25}", "{use: old, share: 1}", "fast.shadow.use", "leads to"),
        ("{use: next, share: 0.25}", "{use: next, share: 0}", "fast.shadow.share", "> 0"),
        ("{use: next, share: 0.25}", "{use: next, share: 1.1}", "fast.shadow.share", "<= 1"),
        ("{use: next, share: 0.25}", "{use: next}", "fast.shadow", "share"),
        ("{use: next, share: 0.25}", "{use: next, share: 1, to: x}", "fast.shadow", "to"),
        ("charge_to: tests", "charge_to: nobody", "coder.shadow.charge_to", "no caller nobody"),
        ("code: true", "hours: {between: '1'}", "coder.shadow.when.hours.between", ""),
        ("code: true", "patterns: ['(']", "coder.shadow.when.patterns[0]", ""),
        (
            "targets: [{provider: oa, model: gpt}]\n    shadow: {use: next",
            "route: envoy\n    shadow: {use: next",
            "fast.shadow",
            "let them mirror",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused_by_its_path(
    old: str, new: str, path: str, words: str
) -> None:
    assert old in TEXT
    text = TEXT.replace("aliases: [quick]\n    ", "").replace(old, new)
    with pytest.raises(ConfigError) as refused:
        parse(text, "s.yaml", KEYS)
    assert f"$.models.{path}: " in str(refused.value)
    assert words in str(refused.value)
