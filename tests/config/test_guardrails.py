"""The `guardrails` section: whatever is wrong with it is said at load, with its path."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dragoman.config.environment import key_names
from dragoman.config.guardrails import MOST_HELD, SIGNS
from dragoman.config.load import parse
from dragoman.config.policy import Policy
from dragoman.errors import ConfigError
from dragoman.policies.authorize import Wish
from dragoman.policies.explain import explain

RULE = {"name": "codename", "words": ["Bluebird"]}
GOOD = {"deny": [RULE], "injection": {}}
HOUSE = {"name": "house", "kind": "webhook", "url": "http://127.0.0.1:9/"}
HARM = {"name": "harm", "kind": "moderation", "provider": "one", "threshold": 0.5}
BASE: dict[str, Any] = {
    "callers": {"team": {"keys": ["0" * 64]}},
    "providers": {
        "one": {"kind": "openai", "key": {"env": "KEY"}},
        "mute": {"kind": "anthropic", "key": {"env": "KEY"}},
    },
    "models": {"m": {"targets": [{"provider": "one", "model": "m"}]}},
}


def load(section: Any, **more: Any) -> Policy:
    document = {**BASE, **({"guardrails": section} if section else {}), **more}
    return parse(json.dumps(document), "p.yaml", {"KEY": "1"})


def callouts(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"profiles": {"a": {"callouts": list(entries)}}}


BAD: dict[str, tuple[Any, str]] = {
    "nothing": ({"profiles": {"a": {}}}, "$.guardrails.profiles.a: names nothing"),
    "off": ({"profiles": {"off": GOOD}}, "$.guardrails.profiles.off: is the name of no"),
    "default": ({"profiles": {"a": GOOD}, "default": "b"}, "$.guardrails.default: no profile b"),
    "words": (
        {"profiles": {"a": {"deny": [{"name": "x"}]}}},
        "$.guardrails.profiles.a.deny[0]: lists no words",
    ),
    "file": (
        {"profiles": {"a": {"deny": [{"name": "x", "file": "/nowhere"}]}}},
        "$.guardrails.profiles.a.deny[0].file: cannot be read",
    ),
    "pattern": (
        {"profiles": {"a": {"deny": [{"name": "x", "patterns": ["(a)\\1"]}]}}},
        "$.guardrails.profiles.a.deny[0].patterns[0]: is no RE2 pattern",
    ),
    "twice": (
        {"profiles": {"a": {"deny": [RULE, RULE]}}},
        "$.guardrails.profiles.a.deny[1].name: codename is taken",
    ),
    "score": (
        {"profiles": {"a": {"deny": [RULE | {"name": "score"}]}}},
        "$.guardrails.profiles.a.deny[0].name: score is taken",
    ),
    "sign": (
        {"profiles": {"a": {"deny": [RULE | {"name": "fake_turn"}]}}},
        "$.guardrails.profiles.a.deny[0].name: fake_turn is taken",
    ),
    "speaker": ({"profiles": {"a": {"deny": [RULE | {"in": ["dog"]}]}}}, "$.guardrails.profiles"),
    "callout_name": (
        callouts(HOUSE, HOUSE),
        "$.guardrails.profiles.a.callouts[1].name: house is taken",
    ),
    "callout_sign": (
        callouts(HOUSE | {"name": "fake_turn"}),
        "$.guardrails.profiles.a.callouts[0].name: fake_turn is taken",
    ),
    "callout_kind": (callouts({"name": "x", "kind": "oracle"}), "$.guardrails.profiles"),
    "callout_url": (
        callouts(HOUSE | {"url": "judge.sock"}),
        "$.guardrails.profiles.a.callouts[0].url: expected http(s)://",
    ),
    "callout_grpc_path": (
        callouts(HOUSE | {"kind": "grpc", "url": "http://h/judge"}),
        "$.guardrails.profiles.a.callouts[0].url: expected http(s)://HOST[:PORT] or unix:",
    ),
    "callout_key": (
        callouts(HOUSE | {"key": {"env": "A", "file": "b"}}),
        "$.guardrails.profiles.a.callouts[0].key: give either env or file",
    ),
    "callout_unset": (
        callouts(HOUSE | {"key": {"env": "A"}}),
        "$.guardrails.profiles.a.callouts[0].key: variable A is not set",
    ),
    "callout_no_file": (
        callouts(HOUSE | {"key": {"file": "/nowhere"}}),
        "$.guardrails.profiles.a.callouts[0].key: no file /nowhere",
    ),
    "callout_timeout": (
        callouts(HOUSE | {"timeout_ms": 5001}),
        "$.guardrails.profiles.a.callouts[0].timeout_ms: is more than half of timeouts.service",
    ),
    "callout_whose": (
        callouts(HOUSE | {"applies_to": ["answer"], "in": ["user"]}),
        "$.guardrails.profiles.a.callouts[0].in: is about requests, and the callout is not",
    ),
    "answer_window": (
        {"profiles": {"a": {"callouts": [HOUSE], "answer_window": 100}}},
        "$.guardrails.profiles.a.answer_window: has no effect without callouts of answers",
    ),
    "callout_threshold": (
        callouts(HARM | {"categories": {"hate": 0.5}}),
        "$.guardrails.profiles.a.callouts[0]: give one of threshold and categories",
    ),
    "callout_nothing": (
        callouts({name: value for name, value in HARM.items() if name != "threshold"}),
        "$.guardrails.profiles.a.callouts[0]: give one of threshold and categories",
    ),
    "callout_provider": (
        callouts(HARM | {"provider": "two"}),
        "$.guardrails.profiles.a.callouts[0].provider: no provider two in this file",
    ),
    "callout_operation": (
        callouts(HARM | {"provider": "mute"}),
        "$.guardrails.profiles.a.callouts[0].provider: mute does not serve openai_moderations",
    ),
    "whose": (
        {"profiles": {"a": {"deny": [RULE | {"applies_to": ["answer"], "in": ["user"]}]}}},
        "$.guardrails.profiles.a.deny[0].in: is about requests",
    ),
    "nowhere": (
        {"profiles": {"a": {"deny": [RULE | {"applies_to": []}]}}},
        "$.guardrails.profiles",
    ),
    "length": ({"profiles": {"a": {"max_answer_characters": 0}}}, "$.guardrails.profiles"),
    "length_taken": (
        {"profiles": {"a": {"deny": [RULE | {"name": "answer_length"}]}}},
        "$.guardrails.profiles.a.deny[0].name: answer_length is taken",
    ),
    "disclaimer": ({"profiles": {"a": {"disclaimer": {"text": " "}}}}, "$.guardrails.profiles"),
    "schema_taken": (
        {"profiles": {"a": {"schema": {}, "deny": [RULE | {"name": "schema"}]}}},
        "$.guardrails.profiles.a.deny[0].name: schema is taken",
    ),
    "schema_action": ({"profiles": {"a": {"schema": {"action": "mask"}}}}, "$.guardrails.profiles"),
    "disclaimer_taken": (
        {"profiles": {"a": {"deny": [RULE | {"name": "disclaimer"}]}}},
        "$.guardrails.profiles.a.deny[0].name: disclaimer is taken",
    ),
    "threshold": ({"profiles": {"a": {"injection": {"threshold": 0}}}}, "$.guardrails.profiles"),
}


@pytest.mark.parametrize(("section", "said"), BAD.values(), ids=BAD)
def test_what_is_wrong_is_said_with_its_path(section: Any, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load(section)
    assert str(refused.value).startswith(f"p.yaml: {said}")


@pytest.mark.parametrize(("place", "name"), [("callers", "team"), ("models", "m")])
def test_a_profile_that_is_named_is_there(place: str, name: str) -> None:
    named = {place: {name: BASE[place][name] | {"guardrails": "strict"}}}
    with pytest.raises(ConfigError, match=rf"\$\.{place}\.{name}\.guardrails: no profile strict"):
        load({"profiles": {"a": GOOD}}, **named)
    assert load(None, **{place: {name: BASE[place][name] | {"guardrails": "off"}}})


def test_all_that_may_be_found() -> None:
    other = {"deny": [RULE, RULE | {"name": "a"}]}
    section = load({"profiles": {"a": {"deny": [RULE]}, "b": other}}).guardrails
    assert section
    assert section.rules() == ("a", "codename")
    asking = {"callouts": [HOUSE, HARM]}
    section = load({"profiles": {"a": GOOD, "b": other, "c": asking}}).guardrails
    assert section
    asked = ("harm", "harm:failed", "house", "house:failed")
    assert section.rules() == ("a", "codename", *SIGNS, *asked)


def test_keys_of_webhooks_are_nobodys_but_envoys() -> None:
    policy = load(callouts(HOUSE | {"key": {"env": "KEY"}}), providers={}, models={})
    assert key_names(policy) == {"KEY"}


def test_what_is_looked_for_in_answers() -> None:
    rules = [
        RULE | {"applies_to": ["answer"], "action": "report"},
        {"name": "b", "words": ["xy"], "applies_to": ["request", "answer"]},
        {"name": "c", "words": ["xyz"], "patterns": ["a+b"]},
    ]
    section = load({"profiles": {"a": {"deny": rules}}}).guardrails
    assert section
    assert section.looks_at_answers
    assert section.rules() == ("b", "c")
    assert section.rules(answers=True) == ("b", "codename")
    one = section.profiles["a"]
    assert [(rule.name, rule.reach, rule.blocks) for rule in one.answers] == [
        ("codename", 8, False),
        ("b", 2, True),
    ]
    assert one.deny[1].reach == MOST_HELD
    plain = load({"profiles": {"a": GOOD}}).guardrails
    assert plain
    assert not plain.looks_at_answers


def test_words_of_a_file_are_added(tmp_path: Path) -> None:
    file = tmp_path / "words.txt"
    file.write_text("Falcon\n\nOsprey\n", encoding="utf-8")
    section = load({"profiles": {"a": {"deny": [RULE | {"file": str(file)}]}}}).guardrails
    assert section
    (pattern,) = section.profiles["a"].deny[0].patterns
    assert all(word in pattern for word in ("Bluebird", "Falcon", "Osprey"))


def test_explain_says_which_profile_applies() -> None:
    house = {"callouts": [HOUSE | {"on_failure": "allow"}]}
    named = RULE | {"applies_to": ["answer"]}
    mild = {"injection": {"threshold": 0.9, "action": "report"}, "deny": [named]}
    both = {"schema": {}, "disclaimer": {"text": "x", "where": "start"}}
    section = {"default": "a", "profiles": {"a": GOOD, "mild": mild, "house": house, "both": both}}
    wish = Wish("chat", "openai_chat", "m")
    for own, said in (
        (None, "guardrails a: denies codename, blocks injection from 0.6"),
        ("mild", "guardrails mild: denies codename in answers, reports injection from 0.9"),
        (
            "both",
            (
                "guardrails both: has a disclaimer at the start of answers, "
                "blocks answers that do not fit the request's schema"
            ),
        ),
        ("house", "guardrails house: asks house (block; on failure allow)"),
    ):
        policy = load(section, models={"m": BASE["models"]["m"] | {"guardrails": own}})
        assert said in explain(policy, policy.callers.by_name["team"], wish).lines
    policy = load(section, callers={"team": BASE["callers"]["team"] | {"guardrails": "off"}})
    lines = explain(policy, policy.callers.by_name["team"], wish).lines
    assert not [line for line in lines if line.startswith("guardrails")]
