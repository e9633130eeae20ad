"""Strategies: cheapest, sticky, residency, limits; and the words that explain a choice."""

from __future__ import annotations

import json
import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.actions import Mutate, Respond
from dragoman.config.load import parse
from dragoman.config.policy import Target
from dragoman.errors import ConfigError
from dragoman.exchange.decide import Decide
from dragoman.exchange.heads import RequestHead
from dragoman.policies.route.naming import name_target
from dragoman.policies.route.residency import complies
from dragoman.policies.route.sticky import rank_sticky

CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
TEXT = """
callers:
  demo: {keys: [f6f53a67068fc28321efe05e4c062947ad3d72121c670e11a0bde6a52d363974]}
  clinic:
    keys: ["76d685141fcb11a2356ee387d26aa6f267c94018492736a150eead3e0a85b1dd"]
    residency: [eu]
    providers: [us, eu]
providers:
  us: {kind: openai, region: us-east}
  eu: {kind: openai, url: "https://eu.test", region: eu-west}
  an: {kind: anthropic}
models:
  priced:
    strategy: cheapest
    targets:
      - {provider: an, model: unknown, priority: 0}
      - {provider: us, model: dear, priority: 0}
      - {provider: eu, model: cheap, priority: 0}
      - {provider: us, model: free, priority: 1}
  wordy:
    strategy: cheapest
    targets:
      - {provider: us, model: dear-words, priority: 0}
      - {provider: eu, model: dear-start, priority: 0}
  long:
    fit_context: true
    targets: [{provider: us, model: short}, {provider: eu, model: long}, {provider: an, model: x}]
  small: {fit_context: true, targets: [{provider: us, model: short}, {provider: eu, model: short}]}
  talk: &talk
    sticky: conversation
    targets: [{provider: us, model: a, priority: 0}, {provider: eu, model: b, priority: 0}]
  whose: {<<: *talk, sticky: user}
  session: {<<: *talk, sticky: "header:x-session"}
  near: {targets: [{provider: us, model: m}, {provider: an, model: m, region: eu}, {provider: eu, model: m}]}
  far: {targets: [{provider: us, model: m}, {provider: an, model: m}]}
  routed: {route: envoy}
  "o/*": {targets: [{provider: us, model: "*"}]}
pass_through: [{prefix: /v1/realtime, provider: us}]
profiles:
  - {provider: us, model: dear, prices: {input: 4, output: 4}}
  - {provider: eu, model: cheap, prices: {input: 2, output: 2}}
  - {provider: us, model: free, prices: {input: 0, output: 0}}
  - {provider: us, model: dear-words, prices: {input: 1, output: 100}}
  - {provider: eu, model: dear-start, prices: {input: 50, output: 1}}
  - {provider: us, model: short, max_input_tokens: 100, max_output_tokens: 50}
  - {provider: eu, model: short, max_input_tokens: 200}
  - {provider: eu, model: long, max_input_tokens: 10000, max_output_tokens: 500}
"""
KEYS = {"OPENAI_API_KEY": "1", "ANTHROPIC_API_KEY": "3"}
POLICY = parse(TEXT, "test.yaml", KEYS)
JSON = {"content-type": "application/json"}
DEMO = JSON | {"authorization": "Bearer dragoman-demo"}
CLINIC = JSON | {"authorization": "Bearer filer"}


def ask(
    model: str, text: Any = "hi", headers: dict[str, str] = DEMO, path: str = CHAT, **fields: Any
) -> Mutate | Respond:
    turns = [{"role": "user", "content": text}]
    body = {"model": model, "messages": turns} | fields
    return send(json.dumps(body).encode(), headers, path)


def send(
    body: bytes | None, headers: dict[str, str], path: str = CHAT, method: str = "POST"
) -> Mutate | Respond:
    head = RequestHead(method=method, path=path, headers=headers)
    action = Decide(POLICY, random.Random(5).random).on_request(head, body)
    assert isinstance(action, Mutate | Respond)
    return action


def decision(action: Mutate | Respond) -> dict[str, str]:
    assert isinstance(action, Mutate), action
    line = str(action.metadata["dragoman"]["decision"])
    assert line.isascii()
    assert line.isprintable()
    return dict(word.split("=", 1) for word in line.split("; "))


def order(action: Mutate | Respond) -> list[str]:
    found = decision(action)["order"].split(",")
    assert isinstance(action, Mutate)
    told = json.loads(str(action.metadata["dragoman"]["targets"]))
    assert found == ["/".join(step) for step in told]
    groups: Any = action.metadata["dragoman.route"]["priority_groups"]
    assert [group["name"] for group in groups] == [step[0] for step in told]
    return found


def refused(action: Mutate | Respond) -> tuple[int, str]:
    assert isinstance(action, Respond), action
    return action.status, action.body.decode()


def test_a_plain_model_says_its_order_and_no_more() -> None:
    assert decision(ask("far")) == {"strategy": "weighted", "order": "us/m,an/m"}
    assert decision(ask("routed")) == {"strategy": "envoy"}


def test_the_cheapest_comes_first_within_its_priority_and_the_unpriced_last() -> None:
    action = ask("priced")
    assert order(action) == ["eu/cheap", "us/dear", "an/unknown", "us/free"]
    assert decision(action)["unpriced"] == "an/unknown"
    assert decision(action)["strategy"] == "cheapest"


def test_what_is_cheapest_depends_on_the_tokens_in_and_out() -> None:
    """Per million: 1 in and 100 out, against 50 in and 1 out."""
    long = "four" * 3000
    assert order(ask("wordy", long, max_tokens=10))[0] == "us/dear-words"
    assert order(ask("wordy", long, max_tokens=5000))[0] == "eu/dear-start"
    assert order(ask("wordy"))[0] == "eu/dear-start"  # an answer of 1,024 tokens is reckoned with
    assert order(ask("wordy", long, path=MESSAGES, max_tokens=10))[0] == "us/dear-words"


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
def test_a_request_too_long_for_a_model_goes_to_the_next(path: str) -> None:
    action = ask("long", "four" * 101, path=path, max_tokens=9)
    assert order(action) == ["eu/long", "an/x"]
    assert decision(action)["left_out"] == "us/short(input_too_long)"
    action = ask("long", path=path, max_tokens=51)
    assert decision(action)["left_out"] == "us/short(output_too_long)"
    assert order(ask("long", "four" * 80, path=path, max_tokens=50))[0] == "us/short"


def test_an_image_is_not_estimated_by_its_bytes() -> None:
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{'A' * 80_000}"}}
    assert order(ask("long", [image])) == ["eu/long", "an/x"]


def test_an_estimate_alone_refuses_nothing() -> None:
    action = ask("small", "four" * 1000)
    assert order(action) == ["us/short", "eu/short"]
    assert decision(action)["fits"] == "none"


def test_what_a_target_cannot_say_is_left_out_and_named() -> None:
    action = ask("far", n=2)
    assert order(action) == ["us/m"]
    assert decision(action)["left_out"] == "an/m(unsupported_by_upstream)"


def test_one_conversation_keeps_its_target_and_many_share() -> None:
    firsts = [order(ask("talk", f"question {i}"))[0] for i in range(200)]
    again = [order(ask("talk", f"question {i}"))[0] for i in range(200)]
    assert firsts == again
    assert 70 < Counter(firsts)["us/a"] < 130


@pytest.mark.parametrize("i", range(12))
def test_a_conversation_keeps_its_target_as_it_grows_in_any_dialect(i: int) -> None:
    first = {"role": "user", "content": f"question {i}"}
    more = [first, {"role": "assistant", "content": "a"}, {"role": "user", "content": "b"}]
    marked = {"type": "text", "text": first["content"], "cache_control": {"type": "ephemeral"}}
    expected = order(ask("talk", messages=[first], path=MESSAGES, max_tokens=5))
    assert order(ask("talk", messages=more, path=MESSAGES, max_tokens=5)) == expected
    kept = [first | {"content": [marked]}, *more[1:]]
    assert order(ask("talk", messages=kept, path=MESSAGES, max_tokens=9)) == expected
    assert order(ask("talk", messages=more)) == expected


def test_a_user_or_a_header_may_stand_for_the_conversation() -> None:
    for i in range(20):
        users = {order(ask("whose", f"{n}", user=f"u{i}"))[0] for n in range(5)}
        said = DEMO | {"x-session": f"s{i}"}
        sessions = {order(ask("session", f"{n}", said))[0] for n in range(5)}
        assert len(users) == len(sessions) == 1
    assert decision(ask("whose", user="u"))["sticky"] == "user"
    assert decision(ask("whose"))["sticky"] == "none"
    assert decision(ask("session"))["sticky"] == "none"


names = st.text(min_size=1, max_size=8)
targets = st.lists(
    st.builds(Target, provider=names, model=names, weight=st.integers(1, 9), priority=st.just(0)),
    min_size=1,
    max_size=6,
    unique_by=lambda target: (target.provider, target.model),
)


@given(targets, st.binary(min_size=1, max_size=64), st.randoms())
def test_a_target_added_or_removed_moves_nothing_between_the_others(
    many: list[Target], key: bytes, shuffle: random.Random
) -> None:
    ranked = rank_sticky(many, key)
    assert sorted(map(id, ranked)) == sorted(map(id, many))
    for gone in many:
        left = [target for target in many if target is not gone]
        shuffle.shuffle(left)
        assert rank_sticky(left, key) == [target for target in ranked if target is not gone]


def test_conversations_are_shared_by_weight() -> None:
    many = [Target(provider=f"p{i}", model="m", weight=i, priority=0) for i in (1, 2, 5)]
    firsts = Counter(rank_sticky(many, b"%d" % i)[0].weight for i in range(8000))
    for target in many:
        assert firsts[target.weight] / 1000 == pytest.approx(target.weight, abs=0.25)


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
def test_residency_leaves_out_what_is_elsewhere_or_does_not_say(path: str) -> None:
    for headers in (CLINIC, DEMO | {"dragoman-residency": "EU, ch"}):
        action = ask("near", headers=headers, path=path, max_tokens=5)
        assert order(action) == ["an/m", "eu/m"]
        assert decision(action)["left_out"] == "us/m(residency)"
    assert order(ask("near", path=path, max_tokens=5)) == ["us/m", "an/m", "eu/m"]


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
@pytest.mark.parametrize("model", ["far", "routed", "o/x"])
def test_what_would_not_stay_is_refused(model: str, path: str) -> None:
    status, text = refused(ask(model, headers=CLINIC, path=path, max_tokens=5))
    assert status == 403
    assert f"No upstream of {model} is in eu" in text
    assert ("type" in json.loads(text)) is (path == MESSAGES)


def test_a_header_narrows_what_the_caller_declared_and_never_widens_it() -> None:
    for region in ("us", "us,ch", ","):
        status, _ = refused(ask("near", headers=CLINIC | {"dragoman-residency": region}))
        assert status == 403
    narrowed = CLINIC | {"dragoman-residency": "eu-west"}
    assert order(ask("near", headers=narrowed)) == ["eu/m"]
    assert order(ask("near", headers=CLINIC | {"dragoman-residency": ""})) == ["an/m", "eu/m"]


def test_residency_holds_for_what_nobody_reads() -> None:
    assert refused(send(None, CLINIC, "/v1/files", "GET"))[0] == 403
    there = CLINIC | {"dragoman-provider": "eu"}
    assert isinstance(send(None, there, "/v1/files", "GET"), Mutate)
    assert refused(send(b"", CLINIC, "/v1/realtime/x"))[0] == 403


def test_a_region_is_inside_another_by_whole_words() -> None:
    assert complies("eu-west-1", (("eu",),))
    assert complies("eu", (("us", "eu"),))
    assert not complies("europe", (("eu",),))
    assert not complies("eu", (("eu-west-1",),))
    assert not complies(None, (("eu",),))
    assert complies(None, ())


@given(st.text(max_size=300))
def test_a_name_of_the_clients_cannot_break_a_header(name: str) -> None:
    target = Target(provider="p", model=name, weight=1, priority=0)
    shown = name_target(target)
    assert shown.isascii()
    assert not set(shown) & set(" ;,()\r\n=")


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        ("residency: [eu]", "residency: [mars]", "$.callers.clinic.residency[0]"),
        ("region: us-east", "region: US", "$.providers.us.region"),
        ("sticky: user", "sticky: mood", "$.models.whose.sticky"),
        ("strategy: cheapest", "strategy: best", "$.models.priced.strategy"),
        ("far: {", "far: {strategy: cheapest, ", "$.models.far.strategy"),
        ("far: {", "far: {sticky: user, ", "$.models.far.sticky"),
        ("routed: {", "routed: {sticky: user, ", "$.models.routed.sticky"),
        ('"o/*": {', '"o/*": {fit_context: true, ', "$.models.o/*.fit_context"),
        ('"o/*": {', '"o/*": {fallback_on: [refusal], ', "$.models.o/*.fallback_on"),
        ("small: {", "small: {fallback_on: [shorter_than], ", "$.models.small.fallback_on[0]"),
        (
            "small: {",
            "small: {fallback_on: [empty, {shorter_than: 0}], ",
            "$.models.small.fallback_on[1].shorter_than",
        ),
        (
            "small: {",
            "small: {fallback_on: [{shorter_than: 3}, {shorter_than: 9}], ",
            "$.models.small.fallback_on",
        ),
        (
            "small: {",
            "small: {fallback_on: [{longer_than: 9}], ",
            "$.models.small.fallback_on[0]",
        ),
    ],
)
def test_a_setting_that_cannot_be_or_does_nothing_is_refused(old: str, new: str, path: str) -> None:
    assert old in TEXT
    with pytest.raises(ConfigError) as refusal:
        parse(TEXT.replace(old, new, 1), "test.yaml", KEYS)
    assert refusal.value.path == path
