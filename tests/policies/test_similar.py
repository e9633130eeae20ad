"""Rules by likeness to examples: what is asked of whom, and what holds when no answer comes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.actions import Mutate, Respond
from dragoman.config.load import parse
from dragoman.errors import ConfigError
from dragoman.exchange.decide import Decide
from dragoman.exchange.guard import Consulting
from dragoman.exchange.heads import RequestHead
from dragoman.policies.redact.profiles import Redactors

TEXT = """
callers:
  demo: {keys: [f6f53a67068fc28321efe05e4c062947ad3d72121c670e11a0bde6a52d363974]}
providers:
  oa: {kind: openai, region: us}
  an: {kind: anthropic, region: eu}
models:
  auto:
    rules:
      - {when: {headers: {x-tier: gold}}, use: smart}
      - when:
          similar_to: {examples: [refund, "money back"], at_least: 0.8, by: &by {provider: oa, model: small}}
        use: billing
      - when:
          features: [tools]
          similar_to: {examples: [deploy, refund], at_least: 0.5, by: *by}
        use: smart
      - {use: plain}
  billing: {targets: [{provider: oa, model: billing}]}
  smart: {targets: [{provider: oa, model: smart}]}
  plain: {targets: [{provider: an, model: plain}]}
"""
KEYS = {"OPENAI_API_KEY": "1", "ANTHROPIC_API_KEY": "3"}
POLICY = parse(TEXT, "s.yaml", KEYS)
VECTORS = {
    "refund": [1.0, 0.0, 0.0],
    "money back": [0.0, 2.0, 0.0],
    "deploy": [0.0, 0.0, 1.0],
    "like money": [0.1, 0.9, 0.0],
    "between": [0.6, 0.6, 0.6],
    "other": [-1.0, -1.0, 0.1],
}


def ask(stage: Decide, text: str = "like money", **more: Any) -> Any:
    headers = {"authorization": "Bearer dragoman-demo", "content-type": "application/json"}
    headers |= {name.replace("_", "-"): value for name, value in more.pop("headers", {}).items()}
    head = RequestHead(method="POST", path="/v1/chat/completions", headers=headers)
    body = {"model": "auto", "messages": [{"role": "user", "content": text}], **more}
    return stage.on_request(head, json.dumps(body).encode())


def vectors(body: bytes | None) -> bytes:
    """What a provider answers; in any order, as each says which it is."""
    texts = json.loads(body or b"{}")["input"]
    data = [{"index": i, "embedding": VECTORS[text]} for i, text in enumerate(texts)]
    return json.dumps({"object": "list", "data": data[::-1]}).encode()


def answered(waits: Any, *answers: Any) -> Any:
    assert isinstance(waits, Consulting), waits
    given_back = answers or [vectors(question.body) for question in waits.questions]
    return waits.resume(given_back)


def decision(action: Any) -> str:
    assert isinstance(action, Mutate), action
    return str(action.metadata["dragoman"]["decision"])


def new() -> Decide:
    return Decide(POLICY)


def test_a_rule_holds_where_the_text_is_like_an_example() -> None:
    stage = new()
    waits = ask(stage)
    assert isinstance(waits, Consulting)
    (question,) = waits.questions
    assert question.route == "/embeddings/oa/small/500"
    assert json.loads(question.body or b"") == {
        "model": "small",
        "input": ["like money", "refund", "money back"],
    }
    found = decision(answered(waits))
    assert found == "strategy=weighted; similar=1(0.99); rule=1(billing); order=oa/billing"
    assert "rule=3(plain)" in decision(answered(ask(stage, "other")))


def test_examples_are_asked_about_once() -> None:
    stage = new()
    answered(ask(stage))
    waits = ask(stage, "between")
    assert json.loads(waits.questions[0].body)["input"] == ["between"]
    assert "rule=3(plain)" in decision(answered(waits))
    tools = [{"type": "function", "function": {"name": "f"}}]
    waits = ask(stage, "between", tools=tools)
    assert json.loads(waits.questions[0].body)["input"] == ["between", "deploy"]
    found = decision(answered(waits))
    assert "rule=2(smart)" in found
    assert "similar=1(0.58)" in found
    assert "similar=2(0.58)" in found


def test_nobody_is_asked_where_no_rule_would_go_by_it() -> None:
    gold = ask(new(), headers={"x_tier": "gold"})
    assert "rule=0(smart)" in decision(gold)
    picture = [{"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}]
    wordless = decision(ask(new(), messages=[{"role": "user", "content": picture}]))
    assert "similar=1(not_asked)" in wordless
    assert "rule=3(plain)" in wordless


def test_a_text_stays_where_its_request_has_to() -> None:
    found = decision(ask(new(), headers={"dragoman_residency": "eu"}))
    assert "similar=1(not_asked)" in found
    assert "rule=3(plain)" in found


def test_what_redaction_takes_out_nobody_is_shown() -> None:
    section = "redaction: {default: strict, profiles: {strict: {entities: {email: mask}}}}"
    policy = parse(TEXT + section, "s.yaml", KEYS)
    assert policy.redaction is not None
    stage = Decide(policy, redactors=Redactors(policy.redaction, b"k" * 32))
    waits = ask(stage, "a refund for ann@web.test")
    assert isinstance(waits, Consulting)
    (text, *_) = json.loads(waits.questions[0].body or b"")["input"]
    assert text.startswith("a refund for ")
    assert "ann" not in text


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("timeout", "timeout"),
        ("unreachable", "unreachable"),
        (b"", "bad_answer"),
        (b"{}", "bad_answer"),
        (b'{"data": []}', "bad_answer"),
        (b'{"data": [{"index": 0, "embedding": [1]}]}', "bad_answer"),
        (b'{"data": [{"index": 0, "embedding": [1]}, {"index": 0, "embedding": [1]}, {"index": 2, "embedding": [1]}]}', "bad_answer"),
        (b'{"data": [{"index": 0, "embedding": [1]}, {"index": 1, "embedding": [1]}, {"index": 2, "embedding": [1, 2]}]}', "bad_answer"),
        (b'{"data": [{"index": 0, "embedding": [0]}, {"index": 1, "embedding": [1]}, {"index": 2, "embedding": [1]}]}', "bad_answer"),
        (b'{"data": [{"index": 0, "embedding": [1e999]}, {"index": 1, "embedding": [1]}, {"index": 2, "embedding": [1]}]}', "bad_answer"),
        (b"[" * 100_000, "bad_answer"),
    ],
)  # fmt: skip
def test_without_an_answer_the_rule_does_not_hold_and_the_decision_says_why(
    said: Any, why: str
) -> None:
    stage = new()
    found = decision(answered(ask(stage), said))
    assert f"similar=1({why})" in found
    assert "rule=3(plain)" in found
    assert "rule=1(billing)" in decision(answered(ask(stage))), "nothing wrong was remembered"


def test_vectors_of_another_length_are_of_another_model() -> None:
    stage = new()
    answered(ask(stage))
    data = [{"index": 0, "embedding": [1.0, 0.0]}]
    found = decision(answered(ask(stage, "between"), json.dumps({"data": data}).encode()))
    assert "similar=1(bad_answer)" in found
    anew = json.loads(ask(stage, "between").questions[0].body)
    assert anew["input"] == ["between", "refund", "money back"]


def test_examples_may_be_forgotten_while_a_request_waits() -> None:
    stage = new()
    answered(ask(stage))
    waiting = [ask(stage, "between"), ask(stage, "between")]
    other_model = json.dumps({"data": [{"index": 0, "embedding": [1.0, 0.0]}]}).encode()
    for waits in waiting:
        found = decision(answered(waits, other_model))
        assert "similar=1(bad_answer)" in found
        assert "rule=3(plain)" in found
    assert "rule=1(billing)" in decision(answered(ask(stage)))


def test_what_cannot_be_served_is_refused_behind_the_answer_too() -> None:
    action = answered(ask(new(), "other", n=2))
    assert isinstance(action, Respond)
    assert (action.status, json.loads(action.body)["error"]["param"]) == (400, "n")


@given(
    st.lists(
        st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2, max_size=4),
        max_size=4,
    ),
    st.lists(st.integers(-1, 4), max_size=4),
)
def test_any_vectors_give_a_decision(rows: list[list[float]], order: list[int]) -> None:
    data = [{"index": i, "embedding": row} for i, row in zip(order, rows, strict=False)]
    found = decision(answered(ask(new()), json.dumps({"data": data}).encode()))
    assert "rule=1(billing)" in found or "rule=3(plain)" in found


@pytest.mark.parametrize(
    ("old", "new_text", "path", "words"),
    [
        ("at_least: 0.8", "at_least: 0", "rules[1].when.similar_to.at_least", "> 0"),
        ('[refund, "money back"]', "[]", "rules[1].when.similar_to.examples", "length >= 1"),
        ("{provider: oa,", "{provider: nobody,", "rules[1].when.similar_to.by.provider", "no provider"),
        ("{provider: oa,", "{provider: an,", "rules[1].when.similar_to.by.provider", "does not serve"),
        ("model: small}", "model: small, timeout_ms: 9000}", "rules[1].when.similar_to.by.timeout_ms", "a quarter"),
        ("model: small}", "model: small, key: x}", "rules[1].when.similar_to.by", "key"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused_by_its_path(
    old: str, new_text: str, path: str, words: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        parse(TEXT.replace(old, new_text, 1), "s.yaml", KEYS)
    assert f"$.models.auto.{path}: " in str(refused.value)
    assert words in str(refused.value)


def test_a_shadow_has_no_such_condition() -> None:
    when = "when: {similar_to: {examples: [a], at_least: 1, by: {provider: oa, model: s}}}"
    shadow = "billing: {shadow: {use: plain, share: 1, %s}, " % when
    with pytest.raises(ConfigError, match=r"billing\.shadow\.when\.similar_to: is for rules alone"):
        parse(TEXT.replace("billing: {", shadow, 1), "s.yaml", KEYS)
