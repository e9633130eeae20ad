"""The export for chargeback: every line is in a row, or counted and named."""

from __future__ import annotations

import csv
import gzip
import io
import json
import tracemalloc
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from dragoman.cli import main
from dragoman.telemetry import chargeback, ledger_lines
from dragoman.telemetry.chargeback import Chargeback, TooManyRows
from dragoman.telemetry.ledger import AccessRecord, encode_lines, make_entry
from dragoman.telemetry.names import SUBJECTS

FOCUS = [
    "BilledCost", "EffectiveCost", "BillingCurrency", "BillingPeriodStart", "BillingPeriodEnd",
    "ChargeCategory", "ChargePeriodStart", "ChargePeriodEnd", "ConsumedQuantity", "ConsumedUnit",
    "ServiceCategory", "ServiceName", "ServiceProviderName", "SkuId", "ResourceId", "Tags",
]  # fmt: skip


def line(at: str = "2026-11-30T23:59:59.5Z", **fields: Any) -> bytes:
    known = {
        "event": "request",
        "timestamp": at,
        "dragoman.caller": "checkout",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "fast",
        "dragoman.upstream.model": "gpt",
        "gen_ai.operation.name": "chat",
        "gen_ai.usage.input_tokens": 10,
        "gen_ai.usage.output_tokens": 5,
        "dragoman.cost_usd": 0.000051,
        "dragoman.metering": "exact",
    }
    return json.dumps(known | {SUBJECTS.get(k, k): v for k, v in fields.items()}).encode() + b"\n"


def summed(lines: list[bytes], **options: Any) -> Chargeback:
    found = Chargeback(**options)
    found.read(io.BytesIO(b"".join(lines)), "ledger")
    return found


def run(*arguments: str, lines: bytes = b"") -> Result:
    return CliRunner().invoke(main, ["usage", *arguments], input=lines)


def test_a_row_has_focus_columns_and_all_that_was_used() -> None:
    two = [line(team="web"), line("2026-11-30T00:00:00+00:00", team="web")]
    answer = run("-", lines=b"".join(two))
    assert answer.exit_code == 0
    (row,) = csv.DictReader(io.StringIO(answer.stdout))
    assert list(row)[: len(FOCUS)] == FOCUS
    assert all(name.startswith("x_") for name in list(row)[len(FOCUS) :])
    assert Decimal(row["BilledCost"]) == Decimal("0.000102")
    assert (row["ChargePeriodStart"], row["ChargePeriodEnd"]) == (
        "2026-11-30T00:00:00Z",
        "2026-12-01T00:00:00Z",
    )
    assert (row["BillingPeriodStart"], row["BillingPeriodEnd"]) == (
        "2026-11-01T00:00:00Z",
        "2026-12-01T00:00:00Z",
    )
    assert (row["ConsumedQuantity"], row["ConsumedUnit"], row["x_Requests"]) == (
        "30",
        "Tokens",
        "2",
    )
    assert (row["ServiceProviderName"], row["SkuId"], row["ResourceId"]) == (
        "openai",
        "gpt",
        "fast",
    )
    assert json.loads(row["Tags"]) == {"team": "web", "caller": "checkout"}


def test_what_the_ledger_writes_is_read() -> None:
    record = AccessRecord(
        metadata={
            "dragoman": {"caller": "c", "model": "m", "operation": "chat"},
            "dragoman.usage": {"input_tokens": 7.0, "output_tokens": 2.0, "exact": "1"},
        },
        cluster="p",
        upstream_reached=True,
        status=200,
    )
    belongs = {"team": "web", "user": "alice"}
    entry = make_entry(record, lambda *_: None, lambda *_: None, lambda _: belongs)
    found = summed([encode_lines([entry], datetime.now(UTC))])
    (row,) = found.rows()
    told = ("ConsumedQuantity", "ServiceProviderName", "ResourceId", "ServiceName", "x_Requests")
    assert [row[name] for name in told] == [9, "p", "m", "chat", 1]
    assert row["Tags"] == {**belongs, "caller": "c"}
    assert row["x_UnpricedRequests"] == 1 - (entry.cost_nanodollars is not None)


@pytest.mark.parametrize(
    ("period", "starts"),
    [
        ("hour", ["2026-11-30T22", "2026-11-30T23", "2026-12-01T00"]),
        ("day", ["2026-11-30T00", "2026-12-01T00"]),
        ("month", ["2026-11-01T00", "2026-12-01T00"]),
    ],
)
def test_periods_are_utcs(period: Any, starts: list[str]) -> None:
    times = ("2026-12-01T00:00:00Z", "2026-11-30T23:30:00Z", "2026-12-01T00:30:00+02:00")
    found = summed([line(at) for at in times], period=period)
    assert [str(row["ChargePeriodStart"])[:13] for row in found.rows()] == starts


def test_only_what_was_asked_for_is_told_apart() -> None:
    lines = [line(team=team, user=user) for team in "ab" for user in "xyz"]
    rows = list(summed(lines, per=("team",)).rows())
    assert [(row["Tags"], row["x_Requests"]) for row in rows] == [
        ({"team": "a"}, 3),
        ({"team": "b"}, 3),
    ]
    assert rows[0]["ServiceProviderName"] is None


def test_a_copy_is_charged_to_who_pays_for_it_or_to_nobody() -> None:
    lines = [line(event="shadow", caller=""), line(event="shadow", caller="tests"), line()]
    rows = list(summed(lines, per=("caller",)).rows())
    assert [(row["Tags"], row["x_Requests"]) for row in rows] == [
        ({}, 1),
        ({"caller": "checkout"}, 1),
        ({"caller": "tests"}, 1),
    ]


def test_what_is_in_no_row_is_counted_and_what_is_broken_is_named(tmp_path: Path) -> None:
    cut = line()[:50] + b"\n"
    wrong = line(**{"gen_ai.usage.input_tokens": "many"})
    naive, long = line("2026-11-30T00:00:00"), b'"' + b"x" * (2 << 20) + b'"\n'
    others = [b'{"event": "ready", "timestamp": "2026-11-30T00:00:00Z"}\n']
    never, less = line("9999-12-31T23:59:59Z"), line(**{"dragoman.cost_usd": -1.0})
    lines = [line(), cut, wrong, naive, long, b"\xff\n", b"\n", never, less, *others]
    lines += [line(provider=None), line(provider=""), line("2026-12-01T00:00:00Z")]
    path = tmp_path / "ledger.jsonl.gz"
    path.write_bytes(gzip.compress(b"".join(lines)))
    answer = run(str(path), "--to", "2026-12-01", "--format", "jsonl")
    assert answer.exit_code == 1
    (row,) = map(json.loads, answer.stdout.splitlines())
    assert (row["x_Requests"], row["BilledCost"]) == (1, 0.000051)
    assert "1 requests charged; 1 reached no provider, 1 of another time, 1 lines" in answer.stderr
    named = ", ".join(f"{path}:{number}" for number in (*range(2, 10), 11))
    assert f"9 broken lines left out: {named}\n" in answer.stderr


def test_more_broken_lines_than_are_named_are_still_counted() -> None:
    found = summed([b"x\n"] * 1000)
    assert found.counted.broken.count == 1000
    assert len(found.counted.broken.at) == ledger_lines.MOST_NAMED


def test_an_unpriced_call_and_an_estimated_one_are_told() -> None:
    lines = [
        line(**{"dragoman.cost_usd": None}),
        line(**{"dragoman.metering": "estimated"}),
        line(**{"dragoman.metering": "none", "dragoman.cost_usd": None}),
    ]
    (row,) = summed(lines).rows()
    assert (row["x_UnpricedRequests"], row["x_EstimatedRequests"]) == (1, 1)


def test_a_spreadsheet_sees_no_formula() -> None:
    answer = run("-", lines=line(model="=cmd()"))
    (row,) = csv.DictReader(io.StringIO(answer.stdout))
    assert row["ResourceId"] == "'=cmd()"


def test_a_file_that_is_not_there_is_said() -> None:
    answer = run("/nowhere/ledger")
    assert (answer.exit_code, "/nowhere/ledger" in answer.stderr) == (2, True)


def test_more_rows_than_may_be_end_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chargeback, "MOST_ROWS", 2)
    with pytest.raises(TooManyRows):
        summed([line(user=str(i)) for i in range(3)])


def test_memory_does_not_grow_with_the_lines(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    path.write_bytes(line() * 50_000)
    tracemalloc.start()
    found = Chargeback()
    with path.open("rb") as lines:
        found.read(lines, "ledger")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.counted.charged == 50_000
    assert peak < 1 << 20


calls = st.lists(
    st.tuples(
        st.sampled_from(["a", "b"]),
        st.integers(0, 3),
        st.integers(0, 10**6),
        st.integers(0, 10**12),
    )
)


@given(calls)
def test_sums_are_exact(calls: list[tuple[str, int, int, int]]) -> None:
    first, lines = datetime(2026, 11, 30, tzinfo=UTC), list[bytes]()
    cost: Counter[tuple[str, int]] = Counter()
    for team, day, tokens, nanodollars in calls:
        fields = {"gen_ai.usage.input_tokens": tokens, "dragoman.cost_usd": nanodollars / 1e9}
        lines.append(line((first + timedelta(days=day)).isoformat(), team=team, **fields))
        cost[team, day] += nanodollars
    rows = list(summed(lines, per=("team",)).rows())
    assert sum(row["BilledCost"] for row in rows) == Decimal(sum(cost.values())).scaleb(-9)  # type: ignore[misc]
    assert sum(int(str(row["x_InputTokens"])) for row in rows) == sum(call[2] for call in calls)
    assert len(rows) == len(cost)
