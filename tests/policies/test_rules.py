"""Rules, experiments, aliases and deprecations: which model serves for the one that is asked."""

from __future__ import annotations

import json
import random
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.actions import Mutate, Respond
from dragoman.cli import main
from dragoman.config.load import parse
from dragoman.errors import ConfigError
from dragoman.exchange.decide import Decide
from dragoman.exchange.heads import RequestHead
from dragoman.policies.describe import describe, describe_model_line
from dragoman.policies.route.language import find_language
from dragoman.policies.route.rules import holds_code

CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
TEXT = """
callers:
  demo:
    keys: [f6f53a67068fc28321efe05e4c062947ad3d72121c670e11a0bde6a52d363974]
  clinic:
    team: health
    keys: ["76d685141fcb11a2356ee387d26aa6f267c94018492736a150eead3e0a85b1dd"]
    roles: [plain]
roles:
  plain: {deny: {models: [next]}}
providers: {openai: {}, anthropic: {}}
models:
  small: {targets: [{provider: openai, model: s}]}
  large: {targets: [{provider: anthropic, model: l}]}
  auto:
    aliases: [gpt-4o, best]
    rules: RULES
    targets: [{provider: openai, model: own}]
  always: {rules: [{when: {callers: ["cli*"]}, use: large}, {use: small}]}
  tried:
    experiment:
      name: sizes
      by: conversation
      variants: {a: {use: small, weight: 3}, b: {use: large}}
  through: {rules: [{when: {teams: [health]}, use: tried}], targets: [{provider: openai, model: own}]}
  old: {deprecated: {since: 2026-03-01, ends: 2026-06-01, use: small}, targets: [{provider: openai, model: o}]}
  older:
    deprecated: {since: 2026-03-01, ends: 2026-06-01, use: large, afterwards: substitute}
    targets: [{provider: openai, model: o}]
  fading: {deprecated: {since: 2026-03-01}, targets: [{provider: openai, model: f}]}
  next: {targets: [{provider: openai, model: n}]}
"""
KEYS = {"OPENAI_API_KEY": "1", "ANTHROPIC_API_KEY": "3"}
JSON = {"content-type": "application/json"}
DEMO = JSON | {"authorization": "Bearer dragoman-demo"}
CLINIC = JSON | {"authorization": "Bearer filer"}
NOON = datetime(2026, 5, 13, 12, 0, tzinfo=UTC)  # a Wednesday


def ask(  # noqa: PLR0917 - what rules look at
    when: dict[str, Any] | str,
    content: Any = "hi",
    fields: dict[str, Any] | None = None,
    headers: dict[str, str] = DEMO,
    path: str = CHAT,
    at: datetime = NOON,
    model: str = "auto",
    seed: int = 5,
) -> Mutate | Respond:
    rules = when if isinstance(when, str) else json.dumps([{"when": when, "use": "large"}])
    policy = parse(TEXT.replace("RULES", rules or "[]"), "p.yaml", KEYS)
    turns = [{"role": "user", "content": content}]
    body = {"model": model, "max_tokens": 9, "messages": turns} | (fields or {})
    head = RequestHead(method="POST", path=path, headers=headers)
    decide = Decide(policy, random.Random(seed).random, clock=at.timestamp)
    action = decide.on_request(head, json.dumps(body).encode())
    assert isinstance(action, Mutate | Respond)
    return action


def order(action: Mutate | Respond) -> list[str]:
    assert isinstance(action, Mutate), action
    return ["/".join(step) for step in json.loads(str(action.metadata["dragoman"]["targets"]))]


def decision(action: Mutate | Respond) -> str:
    assert isinstance(action, Mutate), action
    return str(action.metadata["dragoman"]["decision"])


TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
HOLDS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"callers": ["de*"]}, {}),
    ({"teams": ["health"]}, {"headers": CLINIC}),
    ({"headers": {"x-tier": "go*"}}, {"headers": DEMO | {"x-tier": "gold"}}),
    ({"metadata": {"job": "night"}}, {"fields": {"metadata": {"job": "night"}}}),
    ({"dialects": ["anthropic_*"]}, {"path": MESSAGES}),
    ({"operations": ["chat"]}, {}),
    ({"features": ["tools"]}, {"fields": {"tools": [TOOL]}}),
    ({"features": ["streaming"]}, {"fields": {"stream": True}}),
    ({"input_tokens_from": 100}, {"content": "four" * 100}),
    ({"input_tokens_below": 100}, {"content": "four" * 90}),
    ({"languages": ["fr", "de"]}, {"content": "Können Sie mir bitte sagen, wie das geht?"}),
    ({"code": True}, {"content": "Why does this fail?\n```python\nprint(1)\n```"}),
    ({"code": False}, {"content": "Tell me a story (a short one); with a moral."}),
    ({"words": ["refund", "money back"]}, {"content": "I want my Money Back!"}),
    ({"patterns": ["[A-Z]{3}-[0-9]+"]}, {"content": [{"type": "text", "text": "see ABC-12"}]}),
    ({"hours": {"between": "11:00-12:30"}}, {}),
    ({"hours": {"between": "13:30-14:30", "zone": "Europe/Berlin"}}, {}),
    ({"hours": {"between": "22:00-06:00", "days": ["wed"]}}, {"at": NOON.replace(day=14, hour=5)}),
    ({"hours": {"between": "00:00-00:00", "days": ["wed"]}}, {}),
]
FAILS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"callers": ["clinic"]}, {}),
    ({"teams": ["health"]}, {}),
    ({"headers": {"x-tier": "gold"}}, {}),
    ({"headers": {"x-tier": "gold"}}, {"headers": DEMO | {"x-tier": "golden"}}),
    ({"metadata": {"job": "night"}}, {"fields": {"metadata": {"job": 3}}}),
    ({"metadata": {"job": "night"}}, {"fields": {"metadata": "night"}}),
    ({"dialects": ["anthropic_*"]}, {}),
    ({"features": ["tools", "streaming"]}, {"fields": {"tools": [TOOL]}}),
    ({"input_tokens_from": 100}, {"content": "four" * 90}),
    ({"languages": ["fr"]}, {"content": "Können Sie mir bitte sagen, wie das geht?"}),
    ({"code": True}, {"content": "Tell me a story (a short one); with a moral."}),
    ({"words": ["refund"]}, {"content": "refundable"}),
    ({"patterns": ["ABC"]}, {"content": "abc"}),
    ({"hours": {"between": "12:01-13:00"}}, {}),
    ({"hours": {"between": "22:00-06:00", "days": ["wed"]}}, {"at": NOON.replace(hour=5)}),
    ({"callers": ["demo"], "words": ["refund"]}, {}),
]


@pytest.mark.parametrize(("when", "request_"), HOLDS)
def test_a_rule_holds(when: dict[str, Any], request_: dict[str, Any]) -> None:
    action = ask(when, **request_)
    assert order(action) == ["anthropic/l"]
    assert decision(action) == "strategy=weighted; rule=0(large); order=anthropic/l"


@pytest.mark.parametrize(("when", "request_"), FAILS)
def test_a_rule_does_not_hold_and_the_models_own_targets_serve(
    when: dict[str, Any], request_: dict[str, Any]
) -> None:
    action = ask(when, **request_)
    assert order(action) == ["openai/own"]
    assert decision(action) == "strategy=weighted; order=openai/own"


def test_the_first_rule_that_holds_wins() -> None:
    rules = "[{when: {code: true}, use: small}, {when: {words: [bug]}, use: large}, {when: {code: false}, use: next}]"
    assert order(ask(rules, "a bug")) == ["anthropic/l"]
    assert order(ask(rules, "```bug```")) == ["openai/s"]
    assert order(ask(rules, "other")) == ["openai/n"]
    assert order(ask("", model="always")) == ["openai/s"]
    assert order(ask("", model="always", headers=CLINIC)) == ["anthropic/l"]


def test_what_rules_look_at_is_the_users_last_turn() -> None:
    turns = [
        {"role": "user", "content": "refund"},
        {"role": "assistant", "content": "refund"},
        {"role": "user", "content": "thanks"},
        {"role": "assistant", "content": "refund"},
    ]
    assert order(ask({"words": ["refund"]}, fields={"messages": turns})) == ["openai/own"]
    turns[2]["content"] = "a refund, then"
    assert order(ask({"words": ["refund"]}, fields={"messages": turns})) == ["anthropic/l"]


def test_an_alias_is_its_model() -> None:
    assert order(ask("", model="gpt-4o")) == ["openai/own"]
    action = ask("", model="best")
    assert isinstance(action, Mutate)
    assert action.metadata["dragoman"]["model"] == "auto"


def test_an_experiment_keeps_a_conversation_and_shares_many_by_weight() -> None:
    served: Counter[str] = Counter()
    for i in range(400):
        first = ask("", f"question {i}", model="tried")
        again = ask("", f"question {i}", model="tried", seed=i, fields={"temperature": 1})
        assert order(first) == order(again)
        served[order(first)[0]] += 1
    assert 260 <= served["openai/s"] <= 340
    assert "experiment=sizes(" in decision(ask("", model="tried"))


def test_a_rule_may_lead_into_an_experiment() -> None:
    action = ask("", model="through", headers=CLINIC)
    assert "rule=0(tried); experiment=sizes(" in decision(action)
    assert order(ask("", model="through")) == ["openai/own"]


@pytest.mark.parametrize(
    ("model", "day", "told"),
    [
        ("old", "2026-02-28", {}),
        ("old", "2026-03-01", {"deprecation": "@1772323200", "sunset": "Mon, 01 Jun 2026 00:00:00 GMT"}),
        ("fading", "2027-01-01", {"deprecation": "@1772323200"}),
    ],
)  # fmt: skip
def test_a_deprecated_model_serves_and_says_so(model: str, day: str, told: dict[str, str]) -> None:
    action = ask("", model=model, at=datetime.fromisoformat(day).replace(tzinfo=UTC))
    assert isinstance(action, Mutate)
    facts = action.metadata["dragoman"]
    assert {name: facts[name] for name in ("deprecation", "sunset") if name in facts} == told
    assert (f"deprecated={model}" in decision(action)) is bool(told)


def test_a_model_that_ended_is_refused_or_another_serves() -> None:
    june = datetime(2026, 6, 1, tzinfo=UTC)
    refused = ask("", model="old", at=june)
    assert isinstance(refused, Respond)
    assert refused.status == 404
    assert b"ended on 2026-06-01. Ask for 'small'." in refused.body
    action = ask("", model="older", at=june)
    assert order(action) == ["anthropic/l"]
    assert decision(action) == "strategy=weighted; in_place_of=older; order=anthropic/l"
    assert isinstance(action, Mutate)
    assert action.metadata["dragoman"]["model"] == "large"


def test_what_serves_in_place_is_asked_for_by_roles() -> None:
    text = TEXT.replace("use: large, afterwards", "use: next, afterwards").replace("RULES", "[]")
    policy = parse(text, "p.yaml", KEYS)
    head = RequestHead(method="POST", path=CHAT, headers=CLINIC)
    june = datetime(2026, 6, 1, tzinfo=UTC).timestamp
    body = json.dumps({"model": "older", "messages": [{"role": "user", "content": "hi"}]})
    action = Decide(policy, clock=june).on_request(head, body.encode())
    assert isinstance(action, Respond)
    assert action.status == 403


@pytest.mark.parametrize(
    ("change", "path", "words"),
    [
        (("RULES", "[{when: {code: true}, use: nobody}]"), "$.models.auto.rules[0].use", "no model nobody"),
        (("RULES", "[{use: small}]"), "$.models.auto", "only one"),
        (("RULES", "[{when: {code: true}, use: always}]"), "$.models.auto.rules[0].use", "leads"),
        (("RULES", "[{when: {code: true}, use: auto}]"), "$.models.auto.rules[0].use", "leads"),
        (("RULES", '[{when: {patterns: ["("]}, use: small}]'), "$.models.auto.rules[0].when.patterns[0]", "RE2"),
        (("RULES", '[{when: {hours: {between: "01:00-02:00", zone: Mars/X}}, use: small}]'), "$.models.auto.rules[0].when.hours.zone", "Mars/X"),
        (("RULES", "[{when: {input_tokens_from: 9, input_tokens_below: 9}, use: small}]"), "$.models.auto.rules[0].when.input_tokens_below", "never"),
        (("small, weight: 3", "always"), "$.models.tried.experiment.variants.a.use", "leads"),
        (("use: large}, {use: small}", "use: large}"), "$.models.always", "give"),
        (("{use: small}]}", "{use: small}, {when: {code: true}, use: small}]}"), "$.models.always", "give"),
        (("[gpt-4o, best]", "[small]"), "$.models.auto.aliases[0]", "already"),
        (("[gpt-4o, best]", '["x*"]'), "$.models.auto.aliases[0]", "pattern"),
        (("ends: 2026-06-01, use: small", "ends: 2026-02-01, use: small"), "$.models.old.deprecated.ends", "after"),
        (("use: large, afterwards", "afterwards"), "$.models.older.deprecated.use", "needed"),
        (("since: 2026-03-01}", "since: soon}"), "$.models", "date"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(change: tuple[str, str], path: str, words: str) -> None:
    text = TEXT.replace(*change).replace("RULES", "[]")
    with pytest.raises(ConfigError) as refusal:
        parse(text, "p.yaml", KEYS)
    assert (refusal.value.path or "").startswith(path)
    assert words in str(refusal.value)


def test_a_model_goes_with_the_providers_of_those_it_leads_to() -> None:
    text = TEXT.replace("{openai: {}, anthropic: {}}", "{openai: {optional: true}, anthropic: {}}")
    models = parse(text.replace("RULES", "[]"), "p.yaml", {"ANTHROPIC_API_KEY": "3"}).models
    assert set(models) == {"large", "tried"}
    assert models["tried"].experiment is not None
    assert [variant.name for variant in models["tried"].experiment.variants] == ["b"]


def test_the_operator_sees_all_of_it() -> None:
    policy = parse(TEXT.replace("RULES", "[{when: {code: true}, use: small}]"), "p.yaml", KEYS)
    june = datetime(2026, 6, 1, tzinfo=UTC).date()
    lines = {model.name: describe_model_line(model) for model in describe(policy, june)}
    assert lines["auto"] == "auto; also gpt-4o, best; rules to small"
    assert lines["tried"] == "tried; experiment sizes: a small, b large"
    assert lines["old"] == "old; ended, ends 2026-06-01; use small"
    assert lines["fading"] == "fading; deprecated"


def test_explain_says_which_model_serves_where(tmp_path: Any, monkeypatch: Any) -> None:
    from click.testing import CliRunner  # noqa: PLC0415

    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    file = tmp_path / "p.yaml"
    file.write_text(TEXT.replace("RULES", "[{when: {words: [bug]}, use: small}]"))
    arguments = ["explain", "-c", str(file), "--as", "demo", "--model"]
    told = CliRunner().invoke(main, [*arguments, "best"]).output
    assert 'rule 0: small serves where {"words":["bug"]}' in told
    assert "upstream: openai with own" in told
    assert (
        "rule 1: small serves where nothing else holds"
        in CliRunner().invoke(main, [*arguments, "always"]).output
    )
    assert (
        "experiment sizes: large serves as b, weight 1"
        in CliRunner().invoke(main, [*arguments, "tried"]).output
    )
    told = CliRunner().invoke(main, [*arguments, "older"]).output
    assert "deprecated: since 2026-03-01, until 2026-06-01, then large serves" in told


LANGUAGES = {
    "ar": "ما هي عاصمة فرنسا؟",
    "de": "Was ist die Hauptstadt von Frankreich?",
    "el": "Ποια είναι η πρωτεύουσα;",
    "en": "What is the capital of France?",
    "es": "¿Cuál es la capital de Francia y cómo se llega?",
    "fr": "Quelle est la capitale de la France ?",
    "he": "מהי בירת צרפת?",
    "hi": "फ्रांस की राजधानी क्या है?",
    "it": "Qual è la capitale della Francia e come si raggiunge?",
    "ja": "フランスの首都は何ですか。",
    "ko": "프랑스의 수도는 무엇입니까?",
    "nl": "Wat is de hoofdstad van Frankrijk en hoe kom ik er?",
    "pl": "Jaka jest stolica Francji i jak się tam dostać?",
    "pt": "Qual é a capital da França e como não me perco?",
    "ru": "Какая столица Франции?",
    "sv": "Vad är huvudstaden i Frankrike och hur kommer jag till den?",
    "th": "เมืองหลวงของฝรั่งเศสคืออะไร",
    "tr": "Fransa'nın başkenti ne ve bu şehir için çok mu uzak?",
    "uk": "Яка столиця Франції?",
    "zh": "法国的首都是什么？",
}


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_language_is_known_by_a_question(language: str) -> None:
    assert find_language(LANGUAGES[language]) == language


@pytest.mark.parametrize("text", ["", "ok", "42", "OpenAI GPT", "xyzzy plugh", "🙂"])
def test_too_little_is_in_no_language(text: str) -> None:
    assert find_language(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "def f(x):\n    return x + 1\n",
        "SELECT id FROM t\nWHERE x = 1;",
        "#include <stdio.h>\nint main(void) {\n  return 0;\n}",
        "const a = b.map(x => x.y);\nlet c = 3;",
        "<div><p>Hello</p></div>",
    ],
)
def test_code_is_known_by_its_look(text: str) -> None:
    assert holds_code(text)


@pytest.mark.parametrize(
    "text",
    [
        "Please summarise the class I import from France.",
        "We met (all of us) at noon; then we left.",
        "Dear John,\n\nthank you for your letter.\n\nYours, Ann",
    ],
)
def test_prose_is_no_code(text: str) -> None:
    assert not holds_code(text)


@given(st.text())
def test_any_text_has_an_answer(text: str) -> None:
    assert find_language(text) in {None, *LANGUAGES}
    assert holds_code(text) in {True, False}
