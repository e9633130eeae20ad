"""What the ledger says of a request is told, and what it does not say is not made up."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from dragoman.catalog.profiles import Prices
from dragoman.cli import main
from dragoman.config.policy import Target
from dragoman.config.schema import FallbackReason
from dragoman.policies.account import give_account
from dragoman.policies.account_lines import describe_account
from dragoman.policies.route.choose import Choice, LeftOut
from dragoman.policies.route.decision import Decision, Skipped, describe_choice, read_decision
from dragoman.policies.route.naming import name_target
from dragoman.telemetry import names
from dragoman.telemetry.attempts import Attempt
from dragoman.telemetry.ledger import (
    AccessRecord,
    Entry,
    UpstreamTimes,
    encode_lines,
    log_fields,
    make_entry,
)
from dragoman.telemetry.recorded import Recorded, decode

AT = datetime(2026, 11, 25, 9, 30, tzinfo=UTC)
DECISION = (
    "strategy=cheapest; rule=1(coder); experiment=sizes(small); sticky=none; unpriced=a/m; "
    "lowered=c/m(errors); probe=a/m(usd); "
    "injection=0.98(fake_turn); order=o/m,a/m,c/m; left_out=z/m(quota),y/m(residency)"
)
USAGE = {"usage.prompt_tokens": 9.0, "usage.completion_tokens": 3.0}


FAILED = Attempt(
    cluster="o", started=1000.0025, duration_ms=10.0, status=503, flags=("UT",), failure="late"
)


def entry(**changes: Any) -> Entry:
    """Through the maker of entries: answered by `a`'s `m`, the second of the order."""
    facts = {
        "caller": "shop",
        "operation": "chat",
        "model": "fast",
        "client_dialect": "openai_chat",
    }
    facts |= {"decision": DECISION, **changes.pop("facts", {})}
    spaces = {"dragoman": {k: v for k, v in facts.items() if v}, "dragoman.usage": USAGE}
    spaces |= {"dragoman.request": {"id": "id-1"}, "dragoman.models": {"a": "m", "o": "m"}}
    record = AccessRecord(
        metadata=spaces | changes.pop("spaces", {}),
        **{"cluster": "a", "upstream_reached": True, "attempts": 2, "status": 200}
        | {"details": "via_upstream", "duration_ms": 812.5, "time_to_first_byte_ms": 300.0}
        | changes,
    )
    prices = Prices(input=1, output=5)
    return make_entry(
        record, lambda *_: "anthropic_messages", lambda *_: prices, lambda _: {"team": "web"}
    )


def told(made: Entry) -> list[str]:
    return list(describe_account(give_account(decode(encode_lines([made], AT)))))


def test_all_that_an_entry_has_is_read_back() -> None:
    fields = {field.encode_name for field in msgspec.structs.fields(Recorded)}
    named = (value for name, value in vars(names).items() if name.isupper())
    assert fields - {"event", "timestamp"} == {name for name in named if isinstance(name, str)}
    back = decode(encode_lines([made := entry()], AT))
    assert (back.tokens, back.belongs, back.timestamp) == (made.tokens, made.belongs, AT)
    assert log_fields(made).keys() <= fields


def test_a_stream_that_broke_off_is_told() -> None:
    lines = told(entry(spaces={"dragoman.usage": USAGE | {"broken": "upstream_error"}}))
    words = "the stream had begun, and ended in the provider's error"
    assert f"broken: upstream_error ({words})" in lines
    assert not any(line.startswith("broken") for line in told(entry()))


@pytest.mark.parametrize("reason", [*get_args(FallbackReason), "shorter_than"])
def test_why_an_answer_was_not_used_is_told_in_words(reason: str) -> None:
    lines = told(entry(spaces={"dragoman.fallback": {"o/m": reason}}))
    assert any(f"o/m: its answer was not used: {reason} (" in line for line in lines)


def test_a_request_is_told_in_words() -> None:
    empty = {"dragoman.fallback": {"o/m": "empty"}}
    first = msgspec.structs.replace(FAILED, flags=(), failure="")
    upstream = UpstreamTimes(20.0, 300.0, 812.5)
    lines = told(entry(spaces=empty, began=1000.0, failed=(first,), upstream=upstream))
    assert lines == [
        "request id-1, entered 2026-11-25 09:30:00+00:00",
        "caller: shop of team web",
        "asked for: chat, the model fast, in openai_chat",
        "decision: cheapest (by priority, within one the cheapest first)",
        "  rule=1(coder) (the rule 1 led to the model coder)",
        "  experiment=sizes(small) (the experiment sizes gave it the variant small)",
        "  sticky=none (it has nothing of what the model is sticky by, and so was drawn by weight)",
        "  unpriced=a/m (a/m has no known price, and so is taken for the dearest)",
        "  lowered=c/m(errors) (c/m was not as usual (errors), and so came after the others)",
        "  probe=a/m(usd) (a/m was not as usual (usd), and kept its place to be looked at again)",
        "  injection=0.98(fake_turn) (looks like prompt injection, score 0.98: fake_turn)",
        "  1. o/m: its answer was not used: empty (its answer said nothing)",
        "  2. a/m: was asked last",
        "  3. c/m",
        "  left out: z/m: quota (its quota was spent)",
        "  left out: y/m: residency (it is not where the request has to stay)",
        "asked: a with m in anthropic_messages, attempts: 2",
        "status: 200 OK; via_upstream (the upstream's answer)",
        "  attempt  target  status  at      took",
        "  1        o/m     503     2.5 ms  10 ms     not used: empty (its answer said nothing)",
        "  2        a/m     200     20 ms   792.5 ms",
        "time: 812.5 ms, first byte after 300 ms",
        "tokens: input 9, output 3",
        "metering: exact (the provider's own count)",
        "cost: 0.000024000 USD",
    ]


def test_attempts_that_left_no_trace_are_named_as_unknown() -> None:
    lines = told(entry(attempts=3))
    assert "  1. o/m" in lines
    assert "  2        not known  -       -   -" in lines
    lost = "whom 2 of 3 attempts asked, and what came of it: no worker got word of them"
    assert lines[-1] == f"not in the ledger: {lost}"


def test_attempts_that_failed_are_told_one_by_one() -> None:
    late = msgspec.structs.replace(FAILED, status=0)
    lines = told(entry(began=1000.0, failed=(late, FAILED)))
    what = "UT (the upstream did not answer in time); late"
    assert f"  1        o/m     -       2.5 ms  10 ms  {what}" in lines
    assert not [line for line in lines if line.startswith(("  3  ", "not in"))]


def test_what_was_learned_is_told() -> None:
    decision = "strategy=fastest; expected_ms=o/m(20),a/m(unknown); propensity=o/m(0.5); order=o/m"
    lines = told(entry(facts={"decision": decision}))
    assert lines[3:6] == [
        "decision: fastest (by priority, within one whoever was fastest of late)",
        "  expected_ms=o/m(20),a/m(unknown) (the milliseconds that were expected of each)",
        "  propensity=o/m(0.5) (how likely o/m was to come first)",
    ]
    decision = "strategy=least_loaded; in_flight=unknown; order=o/m,a/m"
    assert told(entry(facts={"decision": decision}))[3:5] == [
        "decision: least_loaded (by priority, within one whoever had the least to do)",
        "  in_flight=unknown (Envoy did not say what was in flight, and so it was drawn by weight)",
    ]
    decision = "strategy=bandit; expected_reward=o/m(0.52),a/m(unknown); explore=a/m; order=a/m"
    assert told(entry(facts={"decision": decision}))[3:6] == [
        "decision: bandit (by priority, within one drawn by the rewards that each got of late)",
        "  expected_reward=o/m(0.52),a/m(unknown) (the reward from 0 to 1 that was expected of each)",
        "  explore=a/m (drawn by weight, so that all targets are looked at again: a/m came first)",
    ]


def test_what_failed_says_how() -> None:
    lines = told(
        entry(status=0, flags=("DC", "XX"), details="downstream_remote_disconnect", attempts=1)
    )
    assert "status: none was sent; downstream_remote_disconnect (Envoy's own answer)" in lines
    assert "flag: DC (the client hung up)" in lines
    assert "flag: XX" in lines


def test_a_denial_says_why_and_that_nobody_was_asked() -> None:
    facts = {"denied": "You may not do this.", "decision": "", "model": "", "client_dialect": ""}
    lines = told(
        entry(
            facts=facts,
            spaces={"dragoman.redaction": {"email": 2.0}},
            upstream_reached=False,
            attempts=0,
            status=403,
            details="dragoman_permission_denied",
        )
    )
    assert "denied: You may not do this." in lines
    assert "asked: no upstream was reached, attempts: 0" in lines
    assert "status: 403 Forbidden; dragoman_permission_denied (this service's own answer)" in lines
    assert "redacted in the request: email 2" in lines
    assert not [line for line in lines if line.startswith(("decision", "not in", "cost"))]


def test_a_denial_of_the_answer_says_why() -> None:
    lines = told(entry(facts={"denied_answer": "rival was found, which no answer may say"}))
    assert "denied of the answer: rival was found, which no answer may say" in lines


NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,9}", fullmatch=True)
TARGETS = st.builds(
    Target, provider=NAMES, model=st.text(max_size=90), weight=st.just(1), priority=st.just(0)
)


@given(
    st.lists(TARGETS, min_size=1),
    st.lists(st.tuples(TARGETS, st.sampled_from(["quota", "residency"]))),
    st.lists(st.sampled_from(["rule=0(x)", "fits=none", "injection=0.7(a+b)"])),
)
def test_a_decision_is_read_as_it_was_written(
    order: list[Target], gone: list[tuple[Target, str]], notes: list[str]
) -> None:
    left_out = tuple(LeftOut(target, reason) for target, reason in gone)
    line = describe_choice(Choice(order, left_out, tuple(notes), "cheapest"))
    assert read_decision(line) == Decision(
        strategy="cheapest",
        notes=tuple(notes),
        order=tuple(map(name_target, order)),
        left_out=tuple(Skipped(name_target(target), reason) for target, reason in gone),
    )


@given(st.text())
def test_any_line_is_a_decision_or_none(line: str) -> None:
    found = read_decision(line)
    assert (found is None) is not line.startswith("strategy=")


def ledger(folder: Path, *entries: Entry) -> str:
    file = folder / "ledger.jsonl"
    file.write_bytes(encode_lines(entries, AT) + b'{"event": "policy_taken"}\n')
    return str(file)


def explain(*words: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(main, ["explain", *words])
    return done.exit_code, done.stdout, done.stderr


def test_the_command_finds_the_entry(tmp_path: Path) -> None:
    other = {"dragoman.request": {"id": "id-10"}}
    file = ledger(tmp_path, entry(spaces=other), entry(), entry(facts={"model": "\x1b[2J"}))
    status, said, _ = explain("id-1", file)
    assert (status, said.count("request id-1,")) == (0, 2)
    assert "\x1b" not in said
    status, said, _ = explain("id-10", file, "--json")
    found = json.loads(said)
    assert (status, found["request_id"], found["attempts"]) == (0, "id-10", 2)
    assert found["decision"]["order"][1] == {"target": "a/m", "became": "asked_last"}
    assert found["decision"]["left_out"][0]["reason"]["word"] == "quota"


def test_the_command_tells_what_was_said_of_the_answer(tmp_path: Path) -> None:
    said = entry(
        facts={"decision": "", "model": "", "feedback_of": "id-1", "feedback_score": 0.75},
        spaces={"dragoman.request": {"id": "id-2"}},
        upstream_reached=False,
    )
    file = ledger(tmp_path, said, entry())
    status, told_lines, _ = explain("id-1", file)
    assert (status, "feedback: 0.75 by shop" in told_lines.splitlines()) == (0, True)
    assert explain("id-2", file)[0] == 1


def test_the_command_tells_of_the_copy_too(tmp_path: Path) -> None:
    copied = {"dragoman.request": {"id": "id-2", "shadow_of": "id-1"}}
    of_copy = entry(facts={"model": "next", "caller": ""}, spaces=copied)
    file = ledger(tmp_path, of_copy, entry(facts={"shadow_model": "next"}))
    status, said, _ = explain("id-1", file)
    first, second = said.split("\n\n")
    assert (status, "shadow: the model next was asked too" in first.splitlines()) == (0, True)
    assert second.startswith("request id-2, ")
    assert "caller: nobody" in second.splitlines()
    assert "shadow of id-1: nobody got its answer" in second.splitlines()
    assert explain("id-2", file)[1] == second


def test_the_command_says_where_it_looked_in_vain(tmp_path: Path) -> None:
    file = ledger(tmp_path, entry())
    status, said, why = explain("id-2", file)
    assert (status, said, why) == (1, "", f"dragoman: no entry of id-2 in {file}\n")
    status, _, why = explain("id-1", str(tmp_path / "none"))
    assert (status, "No such file" in why) == (2, True)
    Path(file).write_bytes(b'{"event": 5, "dragoman.request_id": "id-1"}\n')
    status, _, why = explain("id-1", file)
    assert (status, "1 broken lines left out" in why) == (1, True)


@pytest.mark.parametrize(
    "words", [(), ("--json", "--as", "a", "--model", "m"), ("id", "--model", "m"), ("--as", "a")]
)
def test_a_request_of_the_past_and_one_of_the_future_are_not_mixed(words: tuple[str, ...]) -> None:
    status, _, why = explain(*words)
    assert (status, "Usage:" in why) == (2, True)


def test_an_answer_that_was_kept_for_a_limit_says_so() -> None:
    lines = told(entry(spaces={"dragoman.fallback": {"kept": "refusal(time)"}}))
    assert [line for line in lines if line.startswith("kept")] == [
        "kept: refusal(time) (it declined to answer; another was not asked for the limit of time)"
    ]
