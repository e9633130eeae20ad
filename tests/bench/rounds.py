"""Measured stretches of every system in interleaved rounds, and their medians as JSON lines."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from typing import Any

from tests.bench.cases import Case
from tests.bench.generator import Stretch, load
from tests.bench.processes import cpu_seconds, rss_mb
from tests.bench.systems import System

_SETTLE_SECONDS = 0.3
"""After a stretch, for what a system still does of it: the ledger comes a fifth of a second late."""
_BUSY = 0.9
"""Share of one core above which the load generator, not the system, sets the pace."""
_FIRST = ("rps", "p50_ms", "p99_ms", "sidecar_cpu_us", "envoy_cpu_us", "rss_mb")

Row = dict[str, float]


class Failed(Exception):
    """Answers were not what they should be."""


def run_case(
    case: Case, systems: Sequence[System], connections: int, seconds: float, rounds: int
) -> Iterator[dict[str, Any]]:
    """One line a system, the first for Envoy alone, which the others are compared with.

    A first, shorter round warms up and is not counted. A system whose answers are not what they
    should be is measured no further: its line says what came instead, as `failed`.
    """
    taken = [system for system in systems if system.kind in case.kinds]
    rows: dict[str, list[Row]] = {system.name: [] for system in taken}
    failed: dict[str, str] = {}
    for number in range(rounds + 1):
        shift = number % len(taken)
        for system in taken[shift:] + taken[:shift]:
            if system.name in failed:
                continue
            length = case.seconds * seconds * (1 if number else 0.4)
            try:
                row = _measure(case, system, connections, length)
            except Failed as error:
                failed[system.name] = str(error)
                continue
            if number:
                rows[system.name].append(row)
    alone = _medians(rows[taken[0].name])
    for name, found in rows.items():
        head = {"case": case.name, "system": name, "connections": connections}
        if name in failed:
            yield {**head, "failed": failed[name]}
        else:
            yield {**head, **_values(case, found, alone)}


def _measure(case: Case, system: System, connections: int, seconds: float) -> Row:
    before = {role: cpu_seconds(pids) for role, pids in system.processes.items()}
    stretch = load(system.target(case), connections, seconds, case.rate)
    time.sleep(_SETTLE_SECONDS)
    spent = {role: cpu_seconds(pids) - before[role] for role, pids in system.processes.items()}
    if stretch.failures or stretch.unanswered or not stretch.latencies:
        counts = f"{stretch.failures} failed, {stretch.unanswered} not answered in time, "
        said = stretch.answer.decode(errors="replace")
        raise Failed(f"{counts}{len(stretch.latencies)} answered; {said}".removesuffix("; "))
    return {**_load_row(stretch), **_cpu_row(stretch, spent), **_memory_row(system)}


def _load_row(stretch: Stretch) -> Row:
    count = len(stretch.latencies)
    row = {
        "rps": count / stretch.seconds,
        "p50_ms": _percentile(stretch.latencies, 0.5),
        "p99_ms": _percentile(stretch.latencies, 0.99),
        "generator_cpu": stretch.generator_seconds / stretch.seconds,
    }
    if stretch.events:
        row["first_event_p50_ms"] = _percentile(stretch.first_events, 0.5)
        row["first_event_p99_ms"] = _percentile(stretch.first_events, 0.99)
        row["events"] = stretch.events / count
        row["events_per_chunk"] = stretch.events / max(1, stretch.chunks)
    return row


def _percentile(seconds: list[float], fraction: float) -> float:
    ordered = sorted(seconds)
    return ordered[min(len(ordered) - 1, int(len(ordered) * fraction))] * 1000


def _cpu_row(stretch: Stretch, spent: Row) -> Row:
    count = len(stretch.latencies)
    row = {f"{role}_cpu_us": seconds / count * 1e6 for role, seconds in spent.items()}
    row.setdefault("sidecar_cpu_us", 0.0)
    row.setdefault("envoy_cpu_us", 0.0)
    if stretch.events:
        each = count / stretch.events
        row["sidecar_cpu_us_per_event"] = row["sidecar_cpu_us"] * each
        row["envoy_cpu_us_per_event"] = row["envoy_cpu_us"] * each
    return row


def _memory_row(system: System) -> Row:
    sizes = {f"{role}_rss_mb": rss_mb(pids) for role, pids in system.processes.items()}
    return {"rss_mb": sizes.pop("sidecar_rss_mb", 0.0), **sizes}


def _medians(rows: list[Row]) -> Row:
    return {name: statistics.median(row[name] for row in rows) for name in rows[0]}


def _values(case: Case, rows: list[Row], alone: Row) -> dict[str, Any]:
    row = _medians(rows)
    compared = {"ratio_to_envoy": row["rps"] / alone["rps"]}
    compared["cpu_ratio_to_envoy"] = _proxy_cpu(alone) / _proxy_cpu(row)
    for key in ("p50_ms", "p99_ms", "first_event_p50_ms"):
        if key in row:
            compared[f"added_{key}"] = row[key] - alone[key]
    values = {**{key: row[key] for key in _FIRST}, **compared, **row}
    line: dict[str, Any] = {"rate": case.rate} if case.rate else {}
    line |= {key: _rounded(value) for key, value in values.items()}
    line["rps_spread"] = [_rounded(f(r["rps"] for r in rows)) for f in (min, max)]
    if row["generator_cpu"] > _BUSY:
        line["limited_by"] = "load generator"
    return line


def _proxy_cpu(row: Row) -> float:
    """What stands between client and provider costs a request: comparable below saturation too."""
    return row["envoy_cpu_us"] + row["sidecar_cpu_us"]


def _rounded(value: float) -> float:
    """Four significant digits: more would be noise."""
    return float(f"{value:.4g}")
