"""What came of experiments: every request of one is counted, and each figure says how sure it is."""

from __future__ import annotations

import io
import json
import math
import random
import statistics
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from dragoman.cli import main
from dragoman.telemetry.chargeback import Chargeback
from dragoman.telemetry.estimates import share
from dragoman.telemetry.ledger import AccessRecord, encode_lines, make_entry
from dragoman.telemetry.trials import Trials


def line(variant: str = "a", experiment: str = "sizes", **fields: Any) -> bytes:
    known = {
        "event": "request",
        "timestamp": "2026-11-25T10:00:00Z",
        "dragoman.decision": f"strategy=weighted; rule=0(x); experiment={experiment}({variant}); order=o/m",
        "http.response.status_code": 200,
        "dragoman.duration_ms": 10.0,
        "gen_ai.usage.output_tokens": 7,
    }
    named = {name.replace("__", "."): value for name, value in fields.items()}
    return json.dumps(known | named).encode() + b"\n"


def read(*lines: bytes) -> Trials:
    trials = Trials()
    trials.read(io.BytesIO(b"".join(lines)), "l")
    return trials


def test_each_variant_has_its_own_figures() -> None:
    lines = [line("a", dragoman__duration_ms=ms) for ms in (10, 20, 30)]
    lines += [line("b", http__response__status_code=status) for status in (200, 429, 500, 0)]
    a, b = read(*lines).outcomes()
    assert (a.experiment, a.variant, a.requests, a.failed.value) == ("sizes", "a", 3, 0)
    assert (b.variant, b.requests, b.failed.value) == ("b", 4, 0.75)
    assert a.duration_ms is not None
    assert a.duration_ms.value == pytest.approx(20)
    around = 1.959964 * statistics.stdev([10, 20, 30]) / math.sqrt(3)
    assert a.duration_ms.high == pytest.approx(20 + around)
    assert a.cost_usd is None
    assert b.duration_ms is None  # of one request there is no spread


@pytest.mark.parametrize(
    "other",
    [
        line(event="policy_taken"),
        b'{"event": "request", "dragoman.decision": "strategy=weighted; order=experiment/m"}\n',
        b'{"event": "request"}\n',
    ],
)
def test_what_is_no_request_of_an_experiment_is_counted_apart(other: bytes) -> None:
    trials = read(line(), other)
    assert [outcome.requests for outcome in trials.outcomes()] == [1]
    assert trials.others == 1
    assert trials.broken.count == 0


@given(st.lists(st.floats(0, 1e6), min_size=2, max_size=50))
def test_a_mean_is_that_of_all_its_numbers(numbers: list[float]) -> None:
    [outcome] = read(*(line(dragoman__duration_ms=ms) for ms in numbers)).outcomes()
    assert outcome.duration_ms is not None
    assert outcome.duration_ms.value == pytest.approx(statistics.fmean(numbers), abs=1e-6)
    spread = outcome.duration_ms.high - outcome.duration_ms.low
    expected = 2 * 1.959964 * statistics.stdev(numbers) / math.sqrt(len(numbers))
    assert spread == pytest.approx(expected, rel=1e-6, abs=1e-3)


def test_the_interval_of_a_share_holds_the_true_one_19_times_of_20() -> None:
    draw = random.Random(3).random
    held = 0
    for _ in range(1000):
        found = share(sum(draw() < 0.1 for _ in range(100)), 100)
        held += found.low <= 0.1 <= found.high
    assert 930 <= held <= 975
    assert (share(0, 5).low, share(5, 5).high) == (0.0, 1.0)


def test_the_command_says_it_in_lines_or_json(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.jsonl"
    lines = [line("a", dragoman__cost_usd=0.5), line("a", dragoman__cost_usd=0.5), line("b")]
    ledger.write_bytes(b"".join(lines))
    told = CliRunner().invoke(main, ["experiments", str(ledger)])
    assert told.exit_code == 0
    first, second = told.stdout.splitlines()
    assert first.startswith("sizes a: 2 requests; failed 0.0 (0.0 to 65.8) %; 10 (10 to 10) ms; ")
    assert first.endswith("7 (7 to 7) tokens out; 0.5 (0.5 to 0.5) USD")
    assert second == "sizes b: 1 requests; failed 0.0 (0.0 to 79.3) %"
    as_json = CliRunner().invoke(main, ["experiments", "--json", str(ledger)]).stdout
    assert json.loads(as_json.splitlines()[0])["cost_usd"] == {
        "value": 0.5,
        "low": 0.5,
        "high": 0.5,
    }


def scored(of: str, score: float, caller: str = "shop") -> bytes:
    """A score's line, as the ledger writes it."""
    facts = {"operation": "feedback", "caller": caller}
    said = {"feedback_of": of, "feedback_score": score}
    record = AccessRecord(metadata={"dragoman": facts | said}, status=200)
    entry = make_entry(record, lambda *_: None, lambda *_: None, lambda _: {"team": "web"})
    return encode_lines([entry], datetime(2026, 11, 25, tzinfo=UTC))


def asked(request_id: str, variant: str, caller: str = "shop") -> bytes:
    return line(variant, dragoman__request_id=request_id, dragoman__caller=caller)


def test_scores_are_their_variants_and_the_last_of_a_request_counts() -> None:
    lines = [scored("1", 0.5), asked("1", "a"), asked("2", "a"), asked("3", "b"), asked("4", "b")]
    lines += [scored("2", 0.0), scored("2", 0.6), scored("3", 0.25)]
    trials = read(*lines)
    a, b = trials.outcomes()
    assert (a.requests, a.scores, b.requests, b.scores) == (2, 2, 2, 1)
    assert a.score is not None
    assert a.score.value == pytest.approx(0.55)
    assert a.score.high - a.score.value == pytest.approx(1.959964 * 0.05)
    assert b.score is None  # of one score there is no spread
    assert (trials.unmatched, trials.others) == (0, 0)


def test_nobody_scores_what_another_caller_got() -> None:
    trials = read(asked("1", "a"), scored("1", 1.0, "other"), scored("9", 1.0))
    assert [outcome.scores for outcome in trials.outcomes()] == [0]
    assert trials.unmatched == 2


def test_a_score_is_no_request() -> None:
    kept = json.loads(scored("1", 0.0))
    assert (kept["event"], kept["dragoman.feedback.request_id"]) == ("feedback", "1")
    assert (kept["dragoman.feedback.score"], kept["dragoman.caller"]) == (0.0, "shop")
    charged = Chargeback()
    charged.read(io.BytesIO(scored("1", 1.0)), "l")
    assert (charged.counted.others, list(charged.rows())) == (1, [])


def test_the_command_tells_scores(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.jsonl"
    lines = [asked("1", "a"), asked("2", "a"), scored("1", 1.0), scored("2", 0.5), scored("9", 1.0)]
    ledger.write_bytes(b"".join(lines))
    told = CliRunner().invoke(main, ["experiments", str(ledger)])
    assert told.exit_code == 0
    assert told.stdout.splitlines()[0].endswith("; score 0.75 (0.26 to 1) of 2")
    assert told.stderr == "1 scores are of no request of an experiment here\n"


def test_broken_lines_are_named(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.jsonl"
    ledger.write_bytes(line() + b"{\n" + b"[]\n")
    told = CliRunner().invoke(main, ["experiments", str(ledger)])
    assert told.exit_code == 1
    assert f"2 broken lines left out: {ledger}:2, {ledger}:3" in told.stderr
