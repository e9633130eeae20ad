"""Strategies lose no more than they may, on workloads that are short; and the picture says so."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from dragoman.telemetry import names
from dragoman.telemetry.ledger import REQUEST
from tests.bench.regret import find_broken, measure, recorded_ledger, recorded_lengths, synthetic
from tests.bench.regret_plot import draw

REQUESTS = 400
PATHS = "{http://www.w3.org/2000/svg}path"


def ledger(folder: Path, *rows: tuple[str, float, int]) -> Path:
    """Requests that were each answered at once, by provider, milliseconds and status."""
    about = {"event": REQUEST, "timestamp": "2026-11-25T09:30:00Z", names.ATTEMPTS: 1}
    path = folder / "ledger.jsonl"
    lines = [
        about
        | {names.PROVIDER_NAME: name, names.UPSTREAM_MODEL: "m"}
        | {names.DURATION_MS: ms, names.RESPONSE_STATUS_CODE: status}
        for name, ms, status in rows
    ]
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines) + "{broken\n")
    return path


def test_no_strategy_loses_more_than_it_may() -> None:
    found = measure(synthetic(REQUESTS), REQUESTS, 1)
    assert list(find_broken(found)) == []
    assert found["ms"]["lost"]["fastest"] < found["ms"]["lost"]["weights"]
    regret = found["ms"]["regret"]["weights"]
    assert regret[-1] == pytest.approx(
        found["ms"]["lost"]["weights"] - found["ms"]["lost"][f"only {found['ms']['best']}"], abs=1
    )
    found["ms"]["bound"]["fastest"] = 1.0
    assert [line.partition(" lost")[0] for line in find_broken(found)] == [
        "synthetic, speeds swap midway: fastest"
    ]


def test_recorded_requests_are_served_by_whoever_was_better(tmp_path: Path) -> None:
    slow = [("slow", 900.0, 200), ("slow", 5.0, 503), ("slow", 1100.0, 200)]
    path = ledger(tmp_path, *slow * 20, *[("quick", 100.0, 200)] * 30, ("seldom", 1.0, 200))
    found = measure(recorded_ledger(path, REQUESTS), REQUESTS, 1)
    assert list(find_broken(found)) == []
    lost = found["ms"]["lost"]
    assert (found["ms"]["best"], found["reward"]["best"]) == ("quick/m", "quick/m")
    assert lost["only quick/m"] <= lost["fastest"] < 0.5 * lost["weights"]
    with pytest.raises(SystemExit, match="fewer than two targets"):
        recorded_ledger(ledger(tmp_path, *slow * 20), REQUESTS)


def test_the_picture_has_a_curve_for_each_strategy() -> None:
    found = measure(recorded_lengths([50, 300]), 120, 1)
    curves = [path.get("class") for path in ET.fromstring(draw([found])).iter(PATHS)]
    assert curves == ["weights", "fastest", "least_loaded", "weights", "bandit"]
