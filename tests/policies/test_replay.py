"""Another policy is judged by what the ledger has, and by nothing else."""

from __future__ import annotations

import io
import json
import random
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from dragoman.cli import main
from dragoman.config.load import parse
from dragoman.policies.replay import ASSUMED, UNJUDGED, Replay, Report
from dragoman.policies.route.choose import Chooser
from dragoman.policies.route.content import Asking, Content
from dragoman.policies.route.decision import describe_choice
from dragoman.policies.route.learned import latency_key, target_key
from dragoman.stores.incidents import Incident
from dragoman.stores.latencies import Latencies, Sums
from dragoman.telemetry.ledger import AccessRecord, Entry, encode_lines, make_entry

AT = datetime(2026, 11, 25, 9, 30, tzinfo=UTC)
KEYS = {"OPENAI_API_KEY": "1", "ANTHROPIC_API_KEY": "2", "MISTRAL_API_KEY": "3"}
POLICY = """
callers:
  shop: {keys: [f6f53a67068fc28321efe05e4c062947ad3d72121c670e11a0bde6a52d363974], team: web}
  bound: {keys: [d726a3075e19d0509d09a77e771c88ae1a12e6007ba6d5f6467bdb44ba74fcbb], residency: [eu]}
  plain: {keys: [d726a3075e19d0509d09a77e771c88ae1a12e6007ba6d5f6467bdb44ba74fcbc], roles: [texts]}
roles: {texts: {allow: {}, deny: {features: [tools], operations: [embeddings]}}}
providers: {openai: {}, anthropic: {}, mistral: {region: eu}}
profiles:
  - {provider: openai, model: big, prices: {input: 4, output: 8}, max_input_tokens: 50000}
  - {provider: openai, model: even, prices: {input: 1, output: 2}}
  - {provider: anthropic, model: small, prices: {input: 1, output: 2}}
  - {provider: mistral, model: wide, prices: {input: 2, output: 1}, max_output_tokens: 100}
models:
  fast: FAST
  small: {targets: [{provider: anthropic, model: small}]}
  big: {targets: [{provider: openai, model: big}]}
  routed: {route: envoy}
"""
BIG, SMALL, WIDE = "openai/big", "anthropic/small", "mistral/wide"
T_BIG, T_SMALL, T_WIDE = (
    "{provider: openai, model: big%s}",
    "{provider: anthropic, model: small%s}",
    "{provider: mistral, model: wide%s}",
)


def targets(*written: str, **more: str) -> str:
    said = "".join(f", {name}: {value}" for name, value in more.items())
    return f"{{targets: [{', '.join(written)}]{said}}}"


def entry(  # noqa: PLR0917
    asked: str = BIG,
    order: str = f"{BIG},{SMALL}",
    tokens: tuple[int, int] = (1000, 500),
    cost: float | None = 0.008,
    left_out: str = "",
    duration: float | None = 100.0,
    **changes: Any,
) -> Entry:
    """A request for `fast`, asked of `asked`; through the maker of entries but for its cost."""
    provider, _, model = asked.partition("/")
    decision = f"strategy=weighted; order={order}" + (f"; left_out={left_out}" if left_out else "")
    facts = {
        "caller": "shop",
        "operation": "chat",
        "model": "fast",
        "client_dialect": "openai_chat",
    }
    facts = facts | {"decision": decision} | changes.pop("facts", {})
    usage = {"usage.prompt_tokens": float(tokens[0]), "usage.completion_tokens": float(tokens[1])}
    record = AccessRecord(
        metadata={
            "dragoman": {name: value for name, value in facts.items() if value},
            "dragoman.models": {provider: model},
            "dragoman.usage": usage if any(tokens) else {},
        },
        **{"cluster": provider, "upstream_reached": True, "attempts": 1, "status": 200}
        | {"details": "via_upstream", "duration_ms": duration}
        | changes,
    )
    made = make_entry(record, lambda *_: "x", lambda *_: None, lambda _: {})
    nanodollars = None if cost is None else round(cost * 1e9)
    return msgspec.structs.replace(made, cost_nanodollars=nanodollars)


def replay(fast: str, *entries: Entry, text: str = POLICY) -> Report:
    replayed = Replay(parse(text.replace("FAST", fast), "p.yaml", KEYS))
    replayed.read(io.BytesIO(encode_lines(entries, AT)), "l")
    assert replayed.broken.count == 0
    return replayed.report()


def after(report: Report) -> dict[str, float]:
    return {share.target: pytest.approx(share.after) for share in report.shares if share.after}


def test_the_same_order_changes_nothing() -> None:
    report = replay(targets(T_BIG % "", T_SMALL % ""), entry(), entry())
    assert (report.requests, report.judged, report.changed) == (2, 2, 0)
    assert (report.cost.before_usd, report.cost.after_usd) == (0.016, 0.016)
    assert (report.duration.before_ms, report.duration.after_ms) == (100, 100)
    assert report.assumed == report.unjudged == report.refused == {}


def test_weights_give_shares_and_nothing_is_drawn() -> None:
    drawn = targets(T_BIG % ", weight: 1, priority: 0", T_SMALL % ", weight: 3, priority: 0")
    report = replay(drawn, *[entry()] * 3, entry(SMALL, f"{SMALL},{BIG}", cost=0.002, duration=20))
    assert after(report) == {BIG: 1, SMALL: 3}
    assert report.changed == pytest.approx(3 * 0.75 + 0.25)
    assert report.cost.before_usd == pytest.approx(0.026)
    assert report.cost.after_usd == pytest.approx(0.008 + 3 * 0.002)
    assert report.duration.before_ms == pytest.approx(80)
    assert report.duration.after_ms == pytest.approx(40)
    assert report == replay(
        drawn, *[entry()] * 3, entry(SMALL, f"{SMALL},{BIG}", cost=0.002, duration=20)
    )


def test_shares_are_those_that_the_chooser_draws() -> None:
    fast = targets(
        T_BIG % ", weight: 5, priority: 0",
        T_SMALL % ", weight: 2, priority: 0",
        T_WIDE % ", weight: 3, priority: 0",
    )
    expected = {share.target: share.after for share in replay(fast, entry()).shares}
    policy = parse(POLICY.replace("FAST", fast), "p.yaml", KEYS)
    chooser = Chooser(policy, random.Random(5).random, lambda: 0.0, Latencies(lambda: 0.0))
    asking = Asking(
        policy.callers.by_name["shop"], "openai_chat", "chat", False, 0, Content({}, {}, 9, None)
    )
    drawn = Counter(
        chooser.choose(policy.models["fast"], "fast", (), lambda: asking).order[0].provider
        for _ in range(3000)
    )
    for name, share in expected.items():
        assert drawn[name.partition("/")[0]] / 3000 == pytest.approx(share, abs=0.03)


def test_the_cheapest_is_found_by_the_tokens_that_were_counted() -> None:
    group = [written % ", priority: 0" for written in (T_BIG, T_SMALL, T_WIDE)]
    cheapest = targets(*group, strategy="cheapest")
    assert after(replay(cheapest, entry(tokens=(1000, 10)))) == {SMALL: 1}
    assert after(replay(cheapest, entry(tokens=(10, 1000)))) == {WIDE: 1}
    even = "{provider: openai, model: even, priority: 0, weight: 3}"
    report = replay(targets(even, T_SMALL % ", priority: 0", strategy="cheapest"), entry())
    assert after(report) == {"openai/even": 0.75, SMALL: 0.25}
    report = replay(cheapest, entry(tokens=(0, 0), status=503))
    assert report.unjudged == {"tokens": 1}


def test_models_too_small_for_the_request_are_left_out() -> None:
    fitting = targets(T_BIG % "", T_WIDE % "", fit_context="true")
    assert after(replay(fitting, entry(tokens=(60_000, 9)))) == {WIDE: 1}
    report = replay(targets(T_WIDE % "", T_BIG % "", fit_context="true"), entry(tokens=(9, 101)))
    assert (after(report), report.assumed) == ({BIG: 1}, {"output_limit": 1})


@pytest.mark.parametrize(
    ("when", "came"),
    [
        ("{callers: [shop]}", {SMALL: 1}),
        ("{callers: [other]}", {BIG: 1}),
        ("{input_tokens_from: 1000}", {SMALL: 1}),
        ("{input_tokens_below: 1000}", {BIG: 1}),
        ('{hours: {between: "09:00-10:00"}}', {SMALL: 1}),
        ("{dialects: [anthropic_messages]}", {BIG: 1}),
        ("{words: [bug]}", "content"),
        (
            "{similar_to: {examples: [bug], at_least: 0.5, by: {provider: openai, model: e}}}",
            "content",
        ),
        ("{features: [tools]}", "content"),
        ("{headers: {x-tier: gold}}", "headers"),
        ("{metadata: {tier: gold}}", "metadata"),
        ("{callers: [other], words: [bug]}", {BIG: 1}),
    ],
)
def test_rules_are_judged_by_what_is_known(when: str, came: dict[str, float] | str) -> None:
    fast = targets(T_BIG % "", rules=f"[{{when: {when}, use: small}}]")
    report = replay(fast, entry())
    assert came in (after(report), *report.unjudged)
    assert report.judged + sum(report.unjudged.values()) == 1


def test_variants_have_their_weights_share() -> None:
    written = (
        "{experiment: {name: e, by: %s, variants: {a: {use: big, weight: 3}, b: {use: small}}}}"
    )
    report = replay(written % "conversation", entry())
    assert (after(report), report.assumed) == ({BIG: 0.75, SMALL: 0.25}, {"by_weight": 1})
    report = replay(written % "caller", entry(), entry())
    assert ([share.after for share in report.shares if share.after], report.assumed) == ([2], {})


def test_conversations_fall_to_targets_by_weight_and_callers_to_their_own() -> None:
    pair = (T_BIG % ", priority: 0, weight: 3", T_SMALL % ", priority: 0")
    report = replay(targets(*pair, sticky="conversation"), entry())
    assert (after(report), report.assumed) == ({BIG: 0.75, SMALL: 0.25}, {"by_weight": 1})
    report = replay(targets(*pair, sticky="caller"), entry(), entry())
    assert ([share.after for share in report.shares if share.after], report.assumed) == ([2], {})


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (entry(facts={"decision": ""}, upstream_reached=False, status=404), "undecided"),
        (entry(facts={"decision": "strategy=envoy"}), "undecided"),
        (entry(facts={"caller": "gone"}), "caller"),
        (entry(facts={"operation": "count_tokens"}), "count"),
        (entry(facts={"caller": "plain"}), "features"),
        (entry(facts={"model": ""}), "model"),
        (entry(facts={"model": "routed"}), "routes"),
        (entry(SMALL, order=SMALL, left_out=f"{BIG}(residency)"), "residency"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_judged_is_counted_by_its_reason(made: Entry, reason: str) -> None:
    report = replay(targets(T_BIG % ""), made)
    assert (report.judged, report.unjudged) == (0, {reason: 1})
    assert reason in UNJUDGED


def test_what_was_known_at_the_time_is_not_in_the_ledger() -> None:
    fast = targets(T_BIG % ", priority: 0", T_SMALL % ", priority: 0", strategy="fastest")
    assert replay(fast, entry()).unjudged == {"speeds": 1}
    busy = targets(T_BIG % ", priority: 0", T_SMALL % ", priority: 0", strategy="least_loaded")
    assert replay(busy, entry()).unjudged == {"loads": 1}
    reward = {"error": 1}
    worth = targets(
        T_BIG % ", priority: 0", T_SMALL % ", priority: 0", strategy="bandit", reward=reward
    )
    assert replay(worth, entry()).unjudged == {"rewards": 1}


PAIR = (T_BIG % ", priority: 0, weight: 3", T_SMALL % ", priority: 0")


def noted(*notes: str, order: str = f"{BIG},{SMALL}", **changes: Any) -> Entry:
    """A request whose decision had these notes."""
    line = "; ".join(["strategy=fastest", *notes, f"order={order}"])
    return entry(order.partition(",")[0], order, facts={"decision": line}, **changes)


def test_the_fastest_is_judged_by_what_was_expected_when_it_was_decided() -> None:
    fast = targets(*PAIR, strategy="fastest", learning="{explore: 0.1}")
    report = replay(fast, noted(f"expected_ms={BIG}(200),{SMALL}(100)", f"propensity={BIG}(0.2)"))
    by_speed = 3 / 16 / (1 + 3 / 16)
    assert after(report)[BIG] == pytest.approx(0.1 * 0.75 + 0.9 * by_speed)
    assert (report.assumed, report.unjudged) == ({"speeds": 1}, {})
    failing = replay(fast, noted(f"expected_ms={BIG}(failing),{SMALL}(100)"))
    assert after(failing) == {BIG: 0.1 * 0.75, SMALL: 1 - 0.1 * 0.75}
    cold = replay(fast, noted(f"expected_ms={BIG}(unknown),{SMALL}(unknown)"))
    assert after(cold) == {BIG: 0.75, SMALL: 0.25}
    others = replay(fast, noted(f"expected_ms={BIG}(5),{WIDE}(5)"), noted("expected_ms=x(,(7)"))
    assert others.unjudged == {"speeds": 2}


HEALING = POLICY + "healing: {to: 0.2}\n"


def test_who_was_not_as_usual_is_lowered_where_the_policy_heals() -> None:
    lowered = noted(f"lowered={BIG}(errors+usd)", order=f"{SMALL},{BIG}")
    alone = replay(targets(T_BIG % ""), lowered, text=HEALING)
    assert after(alone) == {BIG: 1}
    listed = replay(targets(T_BIG % "", T_SMALL % ""), lowered, noted(), text=HEALING)
    assert after(listed) == {BIG: 0.2 + 1, SMALL: 0.8}
    assert (listed.troubled, listed.assumed) == (1, {})
    drawn = replay(targets(*PAIR), noted(f"probe={BIG}(errors)"), text=HEALING)
    assert after(drawn) == {BIG: 0.2 * 0.75, SMALL: 0.8 + 0.2 * 0.25}
    deaf = replay(targets(T_BIG % "", T_SMALL % ""), lowered)
    assert (after(deaf), deaf.troubled, deaf.assumed) == ({BIG: 1}, 1, {"incidents": 1})


def test_a_time_of_trouble_says_nothing_of_how_long_a_target_takes() -> None:
    slow = noted(f"probe={BIG}(answer_ms)", duration=9000)
    report = replay(targets(T_BIG % "", T_SMALL % ""), slow, noted(), noted(order=SMALL))
    assert (report.duration.requests, report.duration.unknown) == (2, 1)
    assert report.duration.after_ms == 100


def test_what_is_told_of_trouble_does_not_make_it_long_to_judge() -> None:
    many = [f"{{provider: openai, model: m{i}}}" for i in range(40)]
    names = [f"lowered=openai/m{i}(errors)" for i in range(39)]
    assert replay(targets(*many), noted(*names), text=HEALING).unjudged == {"incidents": 1}


class _Incidents:
    def __init__(self, *names: str) -> None:
        facts = {"signals": ["errors"], "reasons": [], "since": 0.0}
        self.incidents = {name: Incident(target=name, **facts) for name in names}


@pytest.mark.parametrize("troubled", [(), (BIG,), (SMALL,), (BIG, WIDE), (BIG, SMALL, WIDE)])
@pytest.mark.parametrize("settings", [{}, {"strategy": "cheapest"}, {"strategy": "fastest"}])
def test_shares_are_those_of_the_chooser_that_wrote_the_decision(
    settings: dict[str, str], troubled: tuple[str, ...]
) -> None:
    """Whatever it knew: its own decisions, judged under its own policy, come to what it drew."""
    fast = targets(
        T_BIG % ", weight: 5, priority: 0",
        T_SMALL % ", weight: 2, priority: 0",
        T_WIDE % ", weight: 3, priority: 0",
        **settings,
    )
    policy = parse(HEALING.replace("FAST", fast), "p.yaml", KEYS)
    latencies = Latencies(lambda: 0.0)
    chooser = Chooser(
        policy, random.Random(5).random, lambda: 0.0, latencies, incidents=_Incidents(*troubled)
    )
    content = Content({}, {}, 9, None)
    caller = policy.callers.by_name["shop"]
    asking = Asking(caller, "openai_chat", "chat", False, 0, content)
    model = policy.models["fast"]
    for name, ms in ((BIG, 150.0), (SMALL, 100.0), (WIDE, 120.0)):
        key = latency_key(model, asking)
        latencies.observe(target_key(key, *name.split("/")), Sums(answers=9.0, ms=9 * ms))
    choices = [chooser.choose(model, "fast", (), lambda: asking) for _ in range(2000)]
    drawn = Counter(choice.order[0].provider for choice in choices)
    facts = {"decision": describe_choice(choices[-1])}
    report = replay(fast, entry(tokens=(2, 1024), facts=facts), text=HEALING)
    assert report.judged == 1
    for name, share in after(report).items():
        assert drawn[name.partition("/")[0]] / 2000 == pytest.approx(share.expected, abs=0.04)


def test_a_canary_serves_whom_the_one_of_its_name_served() -> None:
    watched = targets(T_BIG % "", canary="{name: next, use: small}")
    assert replay(watched, entry()).unjudged == {"canary": 1}
    sides = [noted(f"canary=next({side},25%)") for side in ("candidate", "stable", "stable")]
    report = replay(watched, *sides, noted("canary=other(candidate,25%)"))
    assert (after(report), report.assumed) == ({BIG: 2, SMALL: 1}, {"canary": 3})
    assert report.unjudged == {"canary": 1}


def test_what_would_be_refused_is_counted_by_its_code() -> None:
    gone = entry(facts={"model": "gone"})
    bound, vectors = (
        entry(facts={"caller": "bound"}),
        entry(facts={"caller": "plain", "operation": "embeddings"}),
    )
    report = replay(targets(T_BIG % ""), gone, bound, vectors, entry())
    codes = {"not_found": 1, "permission_denied": 1, "residency_not_served": 1}
    assert (report.judged, report.changed, report.refused) == (4, 3, codes)
    assert report.cost.requests == 1
    assert after(replay(targets(T_BIG % "", T_WIDE % ""), bound)) == {WIDE: 1}


def test_a_target_that_could_not_say_it_still_cannot() -> None:
    unsaid = f"{SMALL}(unsupported_by_upstream)"
    fast = targets(T_SMALL % "", T_BIG % "")
    report = replay(fast, entry(left_out=unsaid), entry(order=BIG))
    assert (after(report), report.assumed) == ({BIG: 1, SMALL: 1}, {"translation": 1})
    assert replay(fast, entry(left_out=f"{SMALL}(quota)")).assumed == {"quota": 1}
    assert set(report.assumed) <= set(ASSUMED)


def test_what_has_no_price_or_no_time_is_counted_apart() -> None:
    free = "{provider: openai, model: nobody-knows}"
    report = replay(targets(free), entry(), entry(cost=None), entry(tokens=(0, 0), status=503))
    assert (report.cost.requests, report.cost.unpriced, report.cost.unmetered) == (0, 2, 1)
    assert (report.duration.before_ms, report.duration.unknown) == (None, 3)


def test_a_fallback_is_no_time_of_its_target() -> None:
    slow = entry(SMALL, attempts=2, duration=900, cost=0.002)
    report = replay(targets(T_SMALL % ""), slow, entry(), entry(SMALL, order=SMALL, duration=40))
    assert (report.fell_back, report.duration.requests) == (1, 3)
    assert report.duration.after_ms == 40


def test_the_command_tells_and_says_what_is_wrong(tmp_path: Path, monkeypatch: Any) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    ledger, policy = tmp_path / "ledger.jsonl", tmp_path / "next.yaml"
    policy.write_text(POLICY.replace("FAST", targets(T_SMALL % "")))
    ledger.write_bytes(
        encode_lines([entry(), entry(SMALL, duration=50, cost=0.002)], AT)
        + b'{"event": "policy_taken", "dragoman.attempts": "x"}\n'
    )
    words = ["replay", str(ledger), "--policy", str(policy)]
    told = CliRunner().invoke(main, words)
    assert told.exit_code == 0
    assert told.stdout.splitlines() == [
        "2 requests, 2 judged",
        "2.0 of them would go elsewhere or be refused; 1 were answered by a fallback",
        f"  {SMALL}: 0.0% before, 100.0% after",
        f"  {BIG}: 100.0% before, 0.0% after",
        "cost of 2: 0.010000 USD before, 0.004000 after; 0 without a known price, 0 that used nothing",
        "duration of 2, by the targets' medians: 100.0 ms before, 50.0 after",
    ]
    found = json.loads(CliRunner().invoke(main, [*words, "--json"]).stdout)
    assert found["cost"]["after_usd"] == 0.004
    with ledger.open("ab") as lines:
        lines.write(b"{\n" + encode_lines([entry()], AT).replace(b"2026-11", b"0001-01"))
    told = CliRunner().invoke(main, words)
    assert (told.exit_code, "2 broken lines left out" in told.stderr) == (1, True)
    policy.write_text("models: 5")
    assert CliRunner().invoke(main, words).exit_code == 2
