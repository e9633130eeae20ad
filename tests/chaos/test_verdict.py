"""What does not add up is told, and what does is not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dragoman.ir import Usage
from tests.chaos.apis import APIS, name_answer
from tests.chaos.clients import Asked
from tests.chaos.ledgers import Count, Entry, Received
from tests.chaos.troubles import schedule
from tests.chaos.verdict import Matched, Spans, Times, answers, costs, ledger, quotas, received

OPENAI, ANTHROPIC = APIS[0], APIS[1]
NEVER = Times([])


def asked(**fields: Any) -> Asked:
    usual = Asked(
        id="r000001q",
        api=OPENAI,
        stream=False,
        kind="ordered",
        slot="ordered/c1",
        caller="one",
        text="r000001q w0",
        began=100.0,
        ended=101.0,
        status=200,
        outcome="whole",
        told="You said: r000001q w0",
        told_id="a-1",
        usage=Usage(input_tokens=2, output_tokens=4),
    )
    for name, value in fields.items():
        setattr(usual, name, value)
    return usual


ENTRY = Entry(
    at=101.2,
    id="a-1",
    slot="ordered/c1",
    caller="one",
    provider="openai",
    dialect="openai_chat",
    stream=False,
    status=200,
    tokens=(2, 4),
    metering="exact",
    cost=10e-6,
)
SERVED = Received("openai", "/v1/chat/completions", "answered", 200, "r000001q w0", own_key=True)


def test_what_adds_up_is_nothing_to_tell() -> None:
    one = [asked()]
    matched = Matched(one, [ENTRY])
    counts = {("calls", "one"): Count(1, 0), ("words", "one"): Count(6, 0)}
    counts |= {("purse", "one"): Count(10_000, 0)}
    served = {"r000001q": [SERVED]}
    assert [*answers(one, served, NEVER), *received(served, one), *costs(matched)] == []
    assert [*ledger(matched, [ENTRY], NEVER), *quotas(counts, matched, Spans([], []))] == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"told": "You said: r000002q w0"},
        {"outcome": "no answer"},
        {"outcome": "malformed", "raw": b"{"},
        {"outcome": "error", "status": 401},
        {"outcome": "cut"},
        {"told_id": ""},
    ],
    ids=str,
)
def test_a_wrong_answer_is_told(wrong: dict[str, Any]) -> None:
    assert len([*answers([asked(**wrong)], {"r000001q": [SERVED]}, NEVER)]) == 1


def test_an_answer_may_be_cut_where_a_worker_was_killed() -> None:
    assert not [*answers([asked(outcome="cut")], {"r000001q": [SERVED]}, Times([100.5]))]


@pytest.mark.parametrize(
    "wrong", [{"path": "/v1/messages"}, {"own_key": False}, {"status": 400}], ids=str
)
def test_a_request_that_is_wrong_at_its_provider_is_told(wrong: dict[str, Any]) -> None:
    served = {"r000001q": [SERVED._replace(**wrong)]}
    assert len([*received(served, [asked()])]) == 1


def test_who_was_asked_twice_or_by_nobody_is_told() -> None:
    served = {"r000001q": [SERVED, SERVED], "": [SERVED]}
    assert len([*received(served, [asked()])]) == 2


def test_the_ledger_has_each_request_once_with_its_tokens() -> None:
    def told(entries: list[Entry], kills: Times = NEVER) -> int:
        return len([*ledger(Matched([asked()], entries), entries, kills)])

    assert told([ENTRY]) == 0
    assert told([ENTRY, ENTRY]) == 1
    assert told([]) == 1
    assert told([], Times([99.0])) == 0
    assert told([ENTRY, ENTRY._replace(id="a-2")]) == 1
    for wrong in ({"tokens": (9, 9)}, {"status": 503}, {"caller": "two"}, {"at": 200.0}):
        assert told([ENTRY._replace(**wrong)]) == 1
    assert told([ENTRY._replace(slot="", caller="", metering="none")]) == 0
    assert len([*costs(Matched([asked()], [ENTRY._replace(cost=1.0)]))]) == 1


@pytest.mark.parametrize("used", [0, 7])
def test_a_quota_that_counts_less_or_more_is_told(used: int) -> None:
    counts = {("calls", "one"): Count(1, 0), ("words", "one"): Count(used, 0)}
    counts |= {("purse", "one"): Count(10_000, 0)}
    matched = Matched([asked()], [ENTRY])
    assert len([*quotas(counts, matched, Spans([], []))]) == 1
    assert len([*quotas(counts, matched, Spans([101.5], []))]) == int(used > 6)


def test_errors_are_told_by_dialect() -> None:
    own = json.dumps({"type": "error", "error": {"type": "api_error", "message": "no"}}).encode()
    assert name_answer(ANTHROPIC, 503, own, stream=False)[0] == "error"
    assert name_answer(OPENAI, 503, own, stream=False)[0] == "malformed"


def test_a_seed_repeats_its_troubles() -> None:
    assert schedule(7, 60) == schedule(7, 60) != schedule(8, 60)
    assert {trouble.kind for trouble in schedule(7, 60)} == {"fault", "worker", "store", "policy"}
