"""Strategies through the real Envoy: who is asked, who is not, and what is said of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from dragoman.simulator import Simulator
from tests.envoy.gateway import KEY, Gateway, digest, run_gateway, wait_until
from tests.envoy.test_fail_closed import assert_shape
from tests.envoy.test_routing import body, both_clients, listeners, said

REQUEST_ID = "x-dragoman-request-id"
CLINIC_KEY = "client-key-of-clinic-3c77"


def _on(*providers: str, **settings: Any) -> dict[str, Any]:
    targets = [{"provider": name, "model": "sim/echo", "priority": 0} for name in providers]
    return {"targets": targets} | settings


MODELS: dict[str, Any] = {
    "cheap": _on("openai", "anthropic", "openai-b", strategy="cheapest"),
    "talk": _on("openai", "anthropic", "openai-b", "anthropic-b", sticky="conversation"),
    "quick": _on("openai", "anthropic", strategy="fastest", learning={"explore": 0.2}),
    "worth": _on(
        "openai",
        "anthropic",
        strategy="bandit",
        reward={
            "latency": 1,
            "latency_scale_ms": 1000,
            "cost": 1,
            "cost_scale_usd": 0.01,
            "error": 2,
        },
    ),
    "liked": _on("openai", "anthropic", strategy="bandit", reward={"error": 1, "feedback": 1}),
    "flaky": {
        "strategy": "fastest",
        "targets": [
            {"provider": "openai", "model": "sim/echo", "priority": 0, "weight": 1000},
            {"provider": "anthropic", "model": "sim/echo", "priority": 0},
        ],
    },
    "session": _on("openai", "anthropic", sticky="header:x-session"),
    "near": {
        "targets": [
            {"provider": "openai", "model": "sim/echo", "region": "us"},
            {"provider": "anthropic", "model": "sim/echo", "region": "eu-west"},
            {"provider": "openai-b", "model": "sim/echo", "region": "eu"},
        ]
    },
    "far": _on("openai"),
    "claude": _on("anthropic"),
    "auto": _on(
        "openai",
        rules=[
            {"when": {"headers": {"x-tier": "gold"}}, "use": "claude"},
            {"when": {"code": True}, "use": "claude"},
        ],
    ),
    "wary": {
        "targets": [
            {"provider": "openai", "model": "sim/echo"},
            {"provider": "anthropic", "model": "sim/echo"},
            {"provider": "openai-b", "model": "sim/echo"},
        ],
        "fallback_on": ["context_length", "empty", "invalid"],
    },
    "frugal": {
        "targets": [
            {"provider": "openai", "model": "sim/echo"},
            {"provider": "anthropic", "model": "sim/echo"},
            {"provider": "openai-b", "model": "sim/echo"},
        ],
        "fallback_on": ["refusal", "truncated", {"shorter_than": 12}],
    },
    "thrifty": {
        "targets": [
            {"provider": "openai", "model": "sim/echo"},
            {"provider": "anthropic", "model": "sim/echo"},
        ],
        "fallback_on": [{"shorter_than": 1000}],
        "fallback_limits": {"usd": 1e-9, "within_ms": 60_000},
    },
    "fading": _on("openai", deprecated={"since": "2026-03-01", "ends": "2099-01-01"}),
    "old": _on("openai", deprecated={"since": "2026-03-01", "ends": "2026-04-01"}),
    "older": _on(
        "openai",
        deprecated={
            "since": "2026-03-01",
            "ends": "2026-04-01",
            "use": "claude",
            "afterwards": "substitute",
        },
    ),
    "routed": {"route": "envoy"},
}
CALLERS = {
    "demo": {"keys": [digest(KEY)]},
    "clinic": {"keys": [digest(CLINIC_KEY)], "residency": ["eu"], "providers": ["openai"]},
}
PROFILES = [
    {"provider": "openai", "model": "*", "prices": {"input": 9, "output": 9}},
    {"provider": "anthropic", "model": "*", "prices": {"input": 1, "output": 1}},
]


@pytest.fixture(scope="module")
def strategic_gateway(all_providers: Simulator) -> Iterator[Gateway]:
    settings: dict[str, Any] = {"models": MODELS, "callers": CALLERS, "profiles": PROFILES}
    with run_gateway(all_providers, workers=2, **settings) as gateway:
        yield gateway


@pytest.fixture
def strategic(strategic_gateway: Gateway, simulator: Simulator) -> Gateway:
    del simulator
    return strategic_gateway


def ask(
    gateway: Gateway, path: str, content: dict[str, Any], key: str = KEY, **headers: str
) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.post(gateway.url + path, json=content, headers={"x-api-key": key} | named)


@both_clients
@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
def test_the_cheapest_is_asked_first_and_the_header_and_ledger_say_so(
    strategic: Gateway, simulator: Simulator, path: str, *, stream: bool
) -> None:
    simulator.control.script({"status": 503}, {"listener": "anthropic"})
    answer = ask(strategic, path, body("cheap", stream=stream))
    assert said(path, answer) == "You said: one two three"
    assert listeners(simulator) == ["anthropic", "openai"]
    told = "anthropic/sim/echo,openai/sim/echo,openai-b/sim/echo"
    decision = f"strategy=cheapest; unpriced=openai-b/sim/echo; order={told}"
    assert answer.headers["x-dragoman-decision"] == decision

    def logged() -> list[dict[str, Any]]:
        entries = [e for e in strategic.ledger() if e.get("gen_ai.request.model") == "cheap"]
        return [e for e in entries if e["dragoman.stream"] is stream]

    entry = wait_until(logged)[-1]
    assert entry["dragoman.decision"] == decision
    assert entry["dragoman.attempts"] == 2
    assert entry["gen_ai.provider.name"] == "openai"


def _expected(answer: httpx.Response, note: str = "expected_ms") -> dict[str, str]:
    """What is expected of each provider, such as milliseconds."""
    said = answer.headers["x-dragoman-decision"].split("; ")
    told = next(word for word in said if word.startswith(f"{note}=")).partition("=")[2]
    pairs = (word.removesuffix(")").partition("/sim/echo(") for word in told.split(","))
    return {provider: ms for provider, _, ms in pairs}


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
def test_the_fastest_is_learned_by_every_worker(
    strategic: Gateway, simulator: Simulator, *, stream: bool
) -> None:
    """Envoy logs an answer to one worker; the other has it from the store."""
    slow = {"first_byte_delay_ms": 100}
    simulator.control.script(slow, {"listener": "openai"})

    def answers() -> list[httpx.Response]:
        found = [ask(strategic, "/v1/messages", body("quick", stream=stream)) for _ in range(6)]
        assert {answer.status_code for answer in found} == {200}
        return found

    def known() -> bool:
        expected = [_expected(answer) for answer in answers()]
        return all("unknown" not in ms.values() for ms in expected)

    wait_until(known, what="both workers know both targets")
    found = answers()
    for answer in found:
        said, expected = answer.headers["x-dragoman-decision"], _expected(answer)
        assert float(expected["openai"]) >= 100
        fastest = min(expected, key=lambda name: float(expected[name]))
        first, _, likely = said.partition("propensity=")[2].partition("/sim/echo(")
        assert (float(likely.partition(")")[0]) > 0.5) is (first == fastest)
        assert f"; order={first}/" in said


def test_a_target_that_fails_is_not_fast_and_its_time_is_not_the_nexts(
    strategic: Gateway, simulator: Simulator
) -> None:
    fault = {"status": 503, "first_byte_delay_ms": 500}
    simulator.control.script(fault, {"listener": "openai"})
    assert ask(strategic, "/v1/messages", body("flaky")).status_code == 200
    assert listeners(simulator) == ["openai", "anthropic"]

    def learned() -> dict[str, str]:
        expected = _expected(ask(strategic, "/v1/messages", body("flaky")))
        return {} if "unknown" in expected.values() else expected

    expected = wait_until(learned)
    assert expected["openai"] == "failing"
    assert float(expected["anthropic"]) < 500


def test_rewards_are_learned_of_answers_and_failures(
    strategic: Gateway, simulator: Simulator
) -> None:
    """Of `anthropic`, which fails, none; `openai` serves in its place."""
    simulator.control.script({"status": 503}, {"listener": "anthropic"})
    likely: dict[str, float] = {}

    def learned() -> dict[str, str]:
        answer = ask(strategic, "/v1/messages", body("worth"))
        assert answer.status_code == 200
        expected = _expected(answer, "expected_reward")
        said = answer.headers["x-dragoman-decision"].partition("propensity=")[2]
        likely[said] = float(said.partition("/sim/echo(")[2].partition(")")[0])
        return {} if "unknown" in expected.values() else expected

    expected = wait_until(learned)
    assert expected["anthropic"] == "0.00"
    assert 0.5 < float(expected["openai"]) <= 1

    def logged() -> list[dict[str, Any]]:
        entries = [e for e in strategic.ledger() if e.get("gen_ai.request.model") == "worth"]
        return [e for e in entries if "unknown" not in e["dragoman.decision"]]

    told = wait_until(logged)[0]["dragoman.decision"].partition("propensity=")[2]
    assert told in likely
    assert (likely[told] > 0.5) is told.startswith("openai")


@both_clients
def test_an_answer_that_falls_short_is_kept_where_another_costs_too_much(
    strategic: Gateway, simulator: Simulator, path: str
) -> None:
    answer = ask(strategic, path, body("thrifty"))
    assert said(path, answer) == "You said: one two three"
    assert answer.headers["x-dragoman-kept"] == "shorter_than(cost)"
    assert listeners(simulator) == ["openai"]

    def logged() -> list[dict[str, Any]]:
        entries = [e for e in strategic.ledger() if e.get("gen_ai.request.model") == "thrifty"]
        return [e for e in entries if e["dragoman.request_id"] == answer.headers[REQUEST_ID]]

    [entry] = wait_until(logged)
    assert entry["dragoman.kept"] == "shorter_than(cost)"
    assert "dragoman.fallbacks" not in entry
    assert (entry["dragoman.metering"], entry["dragoman.attempts"]) == ("exact", 1)


def test_what_clients_say_of_answers_is_learned_by_every_worker(
    strategic: Gateway, simulator: Simulator
) -> None:
    """Unscored, an answer is expected to be worth 0.75; where all scores are 0, it is 0.50."""
    del simulator
    answer = ask(strategic, "/v1/messages", body("liked"))
    score = {"request_id": answer.headers["x-dragoman-request-id"], "score": 0}
    assert ask(strategic, "/v1/feedback", score, CLINIC_KEY).status_code == 200

    def worth() -> set[str]:
        found = [ask(strategic, "/v1/messages", body("liked")) for _ in range(6)]
        expected = [_expected(each, "expected_reward") for each in found]
        return {reward for each in expected for reward in each.values()}

    wait_until(lambda: worth() == {"0.75"}, what="both workers know both targets")
    assert ask(strategic, "/v1/feedback", score).status_code == 200
    wait_until(lambda: worth() == {"0.50"}, what="both workers know of the score")


@both_clients
def test_a_conversation_stays_where_it_began(
    strategic: Gateway, simulator: Simulator, path: str
) -> None:
    asked: Counter[str] = Counter()
    for i in range(12):
        content = body("talk", f"question {i}")
        for _ in range(3):
            assert ask(strategic, path, content).status_code == 200
            turn = {"role": "assistant", "content": "a"}, {"role": "user", "content": "b"}
            content["messages"] = [*content["messages"], *turn]
        found = listeners(simulator)
        assert len(set(found)) == 1, found
        asked[found[0]] += 1
        simulator.control.reset()
    assert len(asked) > 1


def test_a_header_that_the_policy_names_keeps_its_upstream(
    strategic: Gateway, simulator: Simulator
) -> None:
    for i in range(6):
        for text in ("a", "b", "c"):
            ask(strategic, "/v1/messages", body("session", text), x_session=f"s{i}")
        assert len(set(listeners(simulator))) == 1
        simulator.control.reset()


@both_clients
def test_residency_is_kept_also_when_those_who_comply_fail(
    strategic: Gateway, simulator: Simulator, path: str
) -> None:
    simulator.control.script({"status": 503}, {"listener": "anthropic"})
    answer = ask(strategic, path, body("near"), CLINIC_KEY)
    assert said(path, answer) == "You said: one two three"
    assert listeners(simulator) == ["anthropic", "openai-b"]
    assert answer.headers["x-dragoman-decision"].endswith("left_out=openai/sim/echo(residency)")
    simulator.control.reset()
    for listener in ("anthropic", "openai-b"):
        simulator.control.script({"status": 503}, {"listener": listener})
    assert ask(strategic, path, body("near"), CLINIC_KEY).status_code == 503
    assert listeners(simulator) == ["anthropic", "openai-b"]


@both_clients
@pytest.mark.parametrize("model", ["far", "routed"])
def test_what_would_leave_its_region_reaches_nobody(
    strategic: Gateway, simulator: Simulator, path: str, model: str
) -> None:
    by_caller = ask(strategic, path, body(model), CLINIC_KEY)
    by_header = ask(strategic, path, body(model), dragoman_residency="eu")
    for answer in (by_caller, by_header):
        assert answer.status_code == 403
        assert_shape(path, 403, answer.content)
        assert f"No upstream of {model} is in eu" in answer.text
        assert "x-dragoman-decision" not in answer.headers
    files = {"x-api-key": CLINIC_KEY}
    assert httpx.get(f"{strategic.url}/v1/files", headers=files).status_code == 403
    assert listeners(simulator) == []


@both_clients
def test_a_rule_says_which_model_serves(
    strategic: Gateway, simulator: Simulator, path: str
) -> None:
    plain, gold = (
        ask(strategic, path, body("auto")),
        ask(strategic, path, body("auto"), x_tier="gold"),
    )
    coded = ask(strategic, path, body("auto", "```one two three```"))
    for answer in (plain, gold, coded):
        assert answer.status_code == 200
    assert listeners(simulator) == ["openai", "anthropic", "anthropic"]
    assert "rule" not in plain.headers["x-dragoman-decision"]
    assert gold.headers["x-dragoman-decision"].startswith("strategy=weighted; rule=0(claude); ")
    assert coded.headers["x-dragoman-decision"].startswith("strategy=weighted; rule=1(claude); ")


@both_clients
def test_a_model_that_is_to_end_says_so_and_one_that_ended_is_replaced(
    strategic: Gateway, simulator: Simulator, path: str
) -> None:
    fading = ask(strategic, path, body("fading"))
    assert said(path, fading) == "You said: one two three"
    assert fading.headers["deprecation"] == "@1772323200"
    assert fading.headers["sunset"] == "Thu, 01 Jan 2099 00:00:00 GMT"
    replaced = ask(strategic, path, body("older"))
    assert said(path, replaced) == "You said: one two three"
    assert listeners(simulator) == ["openai", "anthropic"]
    assert "in_place_of=older" in replaced.headers["x-dragoman-decision"]
    refused = ask(strategic, path, body("old"))
    assert_shape(path, 404, refused.content)
    assert refused.status_code == 404
    assert "deprecation" not in ask(strategic, path, body("far")).headers


TOO_LONG_ERROR = {"message": "x", "type": "t", "param": None, "code": "context_length_exceeded"}
TOO_LONG = {"status": 400, "body": {"error": TOO_LONG_ERROR}}
TOO_LONG_CLAUDE = {
    "status": 400,
    "body": {
        "type": "error",
        "error": {"type": "invalid_request_error", "message": "prompt is too long: 9 > 8 maximum"},
    },
}


@both_clients
@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
def test_for_what_an_answer_says_the_next_target_is_asked(
    strategic: Gateway, simulator: Simulator, path: str, *, stream: bool
) -> None:
    simulator.control.script(TOO_LONG, {"listener": "openai"})
    simulator.control.script(TOO_LONG_CLAUDE, {"listener": "anthropic"})
    answer = ask(strategic, path, body("wary", stream=stream))
    assert said(path, answer) == "You said: one two three"
    assert listeners(simulator) == ["openai", "anthropic", "openai-b"]

    def logged() -> list[dict[str, Any]]:
        entries = [e for e in strategic.ledger() if e.get("gen_ai.request.model") == "wary"]
        return [e for e in entries if e["dragoman.stream"] is stream and "dragoman.fallbacks" in e]

    entry = wait_until(logged)[-1]
    reasons = {"openai/sim/echo": "context_length", "anthropic/sim/echo": "context_length"}
    assert entry["dragoman.fallbacks"] == reasons
    assert entry["dragoman.attempts"] == 3


@both_clients
def test_the_last_targets_answer_is_the_clients(
    strategic: Gateway, simulator: Simulator, path: str
) -> None:
    for listener, fault in (("openai", TOO_LONG), ("anthropic", TOO_LONG_CLAUDE)):
        simulator.control.script(fault, {"listener": listener})
    simulator.control.script(TOO_LONG, {"listener": "openai-b"})
    answer = ask(strategic, path, body("wary"))
    assert answer.status_code == 400
    assert_shape(path, 400, answer.content)
    assert listeners(simulator) == ["openai", "anthropic", "openai-b"]


@both_clients
def test_what_no_reason_is_given_for_goes_to_the_client_as_it_is(
    strategic: Gateway, simulator: Simulator, path: str
) -> None:
    fault = {"status": 400, "body": {"error": {"message": "no such parameter", "code": "bad"}}}
    simulator.control.script(fault, {"listener": "openai"})
    answer = ask(strategic, path, body("wary"))
    assert answer.status_code == 400
    assert listeners(simulator) == ["openai"]
    simulator.control.reset()
    whole = ask(strategic, path, body("wary"))
    streamed = ask(strategic, path, body("wary", stream=True))
    assert said(path, whole) == said(path, streamed) == "You said: one two three"
    assert listeners(simulator) == ["openai", "openai"]


def completion(**message: str | None) -> dict[str, Any]:
    said = {"role": "assistant", "content": None} | message
    choice = {"index": 0, "finish_reason": "stop", "message": said}
    head = {"id": "c", "object": "chat.completion", "created": 1, "model": "m"}
    usage = {"prompt_tokens": 7000, "completion_tokens": 900, "total_tokens": 7900}
    return {"body": {**head, "choices": [choice], "usage": usage}}


def test_an_answer_that_says_nothing_is_asked_for_again(
    strategic: Gateway, simulator: Simulator
) -> None:
    simulator.control.script(completion(content=""), {"listener": "openai"})
    answer = ask(strategic, "/v1/chat/completions", body("wary"))
    assert said("/v1/chat/completions", answer) == "You said: one two three"
    assert listeners(simulator) == ["openai", "anthropic"]


@both_clients
def test_an_answer_that_is_not_good_enough_is_asked_for_again_and_not_counted(
    strategic: Gateway, simulator: Simulator, path: str
) -> None:
    simulator.control.script(completion(refusal="I cannot."), {"listener": "openai"})
    short = {"type": "text", "text": "Yes."}
    claude = {"id": "c", "type": "message", "role": "assistant", "model": "m", "content": [short]}
    ended = {"stop_reason": "end_turn", "usage": {"input_tokens": 7000, "output_tokens": 900}}
    simulator.control.script({"body": claude | ended}, {"listener": "anthropic"})
    answer = ask(strategic, path, body("frugal"))
    assert said(path, answer) == "You said: one two three"
    assert listeners(simulator) == ["openai", "anthropic", "openai-b"]

    def logged() -> list[dict[str, Any]]:
        request_id = answer.headers["x-dragoman-request-id"]
        return [e for e in strategic.ledger() if e.get("dragoman.request_id") == request_id]

    entry = wait_until(logged)[-1]
    reasons = {"openai/sim/echo": "refusal", "anthropic/sim/echo": "shorter_than"}
    assert entry["dragoman.fallbacks"] == reasons
    usage = answer.json()["usage"]
    count = usage.get("input_tokens", usage.get("prompt_tokens"))
    assert entry["gen_ai.usage.input_tokens"] == count < 7000


@both_clients
def test_a_stream_that_breaks_before_its_first_byte_is_asked_for_again(
    strategic: Gateway, simulator: Simulator, path: str
) -> None:
    simulator.control.script({"cut_after_bytes": 0}, {"listener": "openai"})
    answer = ask(strategic, path, body("wary", stream=True))
    assert said(path, answer) == "You said: one two three"
    assert listeners(simulator) == ["openai", "anthropic"]
