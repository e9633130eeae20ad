"""How a model and its shadow compare: every pair is counted once, and each figure says of what."""

from __future__ import annotations

import io
import json
import random
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from dragoman.cli import main
from dragoman.telemetry.answers import Answer, draw_sketch, encode_answer
from dragoman.telemetry.ledger import AccessRecord, encode_lines, make_entry
from dragoman.telemetry.pairs import Comparison, Pairs

KNOWN = {
    "timestamp": "2026-11-25T10:00:00Z",
    "http.response.status_code": 200,
    "dragoman.duration_ms": 10.0,
    "dragoman.time_to_first_byte_ms": 5.0,
    "gen_ai.usage.input_tokens": 3,
    "gen_ai.usage.output_tokens": 7,
    "dragoman.cost_usd": 0.002,
}


def line(**fields: Any) -> bytes:
    named = {name.replace("__", "."): value for name, value in fields.items()}
    return json.dumps(KNOWN | named).encode() + b"\n"


def asked(named: str, **fields: Any) -> bytes:
    whose = {"event": "request", "gen_ai__request__model": "fast", "dragoman__shadow": "next"}
    return line(dragoman__request_id=named, **(whose | fields))


def copied(named: str, **fields: Any) -> bytes:
    of = {
        "event": "shadow",
        "dragoman__shadow__request_id": named,
        "gen_ai__request__model": "next",
    }
    return line(dragoman__request_id=f"{named}-copy", **(of | fields))


def read(*lines: bytes) -> Pairs:
    pairs = Pairs()
    pairs.read(io.BytesIO(b"".join(lines)), "l")
    return pairs


def only(*lines: bytes) -> Comparison:
    (found,) = read(*lines).comparisons()
    return found


def test_both_sides_have_their_figures_and_their_difference() -> None:
    lines = [asked(str(i), dragoman__duration_ms=100.0 + i) for i in range(101)]
    lines += [
        copied(str(i), dragoman__duration_ms=60.0 + i, dragoman__cost_usd=None) for i in range(101)
    ]
    found = only(*lines)
    assert (found.pairs, found.answered, found.missing, found.refused) == (101, 101, 0, 0)
    assert (found.request.model, found.shadow.model) == ("fast", "next")
    assert found.request.duration_ms is not None
    assert (found.request.duration_ms.p50, found.request.duration_ms.p95) == (150, 195)
    assert found.difference["duration_ms"].value == pytest.approx(-40)
    assert found.request.cost_usd is not None
    assert found.request.cost_usd.value == pytest.approx(0.002)
    assert found.shadow.cost_usd is None
    assert "cost_usd" not in found.difference
    assert found.same_finish is None


def test_what_failed_is_a_share_of_all_and_in_no_other_figure() -> None:
    slow = {"dragoman__duration_ms": 9000.0}
    lines = [asked(str(i)) for i in range(10)] + [copied(str(i)) for i in range(5)]
    lines += [copied("5", http__response__status_code=503, **slow)]
    lines += [copied("6", http__response__status_code=400, **slow)]
    lines += [copied("7", http__response__status_code=0, **slow)]
    lines += [copied("8", dragoman__response__flags="DC,UC", **slow)]
    lines += [copied("9", http__response__status_code=429, dragoman__denied="quota", **slow)]
    found = only(*lines)
    assert (found.pairs, found.answered, found.refused) == (9, 5, 1)
    assert (found.request.failed.value, found.shadow.failed.value) == (0, pytest.approx(3 / 9))
    assert found.shadow.duration_ms is not None
    assert found.shadow.duration_ms.p95 == 10


def answer(text: str = "", **fields: Any) -> dict[str, Any]:
    sketched = Answer(**({"finish": "stop", "characters": len(text)} | fields))
    told = json.loads(encode_answer(sketched))
    return {"dragoman__answer": told | {"sketch": draw_sketch(text, b"k")}}


def test_answers_agree_as_far_as_they_do() -> None:
    cases = [
        (answer("one two three"), answer("one two three")),
        (answer("one two three"), answer("four five six", finish="length")),
        (answer(called="x", calls=1), answer(called="x", calls=1)),
        (answer(called="x", calls=1), answer("no")),
        (answer("{}", valid=True), answer("{", valid=False)),
        ({}, answer("no")),
    ]
    lines = [asked(str(i), **one) for i, (one, _) in enumerate(cases)]
    found = only(*lines, *(copied(str(i), **other) for i, (_, other) in enumerate(cases)))
    assert found.same_finish is not None
    assert found.same_finish.value == pytest.approx(4 / 5)
    assert found.same_tools is not None
    assert found.same_tools.value == pytest.approx(1 / 2)
    assert found.likeness is not None
    assert found.likeness.value == pytest.approx(1 / 3)
    valid = [side.valid and side.valid.value for side in (found.request, found.shadow)]
    assert valid == [1, 0]


@given(st.randoms(use_true_random=False), st.integers(2, 12))
def test_halves_come_in_any_order_and_each_pair_counts_once(luck: random.Random, many: int) -> None:
    lines = [make(str(i)) for i in range(many) for make in (asked, copied)]
    lines += [asked("left"), copied("right"), line(event="request"), line(event="policy_taken")]
    luck.shuffle(lines)
    pairs = read(*lines)
    assert (pairs.alone, pairs.others, pairs.broken.count) == (1, 2, 0)
    (found,) = pairs.comparisons()
    assert (found.pairs, found.answered, found.missing) == (many, many, 1)


def test_models_are_compared_apart() -> None:
    other = {"gen_ai__request__model": "smart", "dragoman__shadow": "next"}
    lines = [asked("1"), copied("1"), asked("2", **other), copied("2")]
    found = [(c.request.model, c.pairs) for c in read(*lines).comparisons()]
    assert found == [("fast", 1), ("smart", 1)]


def test_what_the_ledger_writes_is_read() -> None:
    told = encode_answer(Answer("stop", 3, sketch=draw_sketch("a b", b"k")))
    identifiers = count(1)

    def entry(facts: dict[str, Any], **ids: str) -> Any:
        spaces = {"dragoman": {"answer": told, **facts}, "dragoman.request": ids}
        record = AccessRecord(metadata=spaces, cluster="p", upstream_reached=True, status=200)
        return make_entry(record, lambda *_: None, lambda *_: None, lambda _: {})

    made = []
    for _ in range(2):
        named = f"id-{next(identifiers)}"
        made.append(entry({"model": "fast", "shadow_model": "next"}, id=named))
        made.append(entry({"model": "next"}, id=f"{named}-2", shadow_of=named))
    found = only(encode_lines(made, datetime.now(UTC)))
    assert (found.pairs, found.request.model, found.shadow.model) == (2, "fast", "next")
    assert found.likeness is not None
    assert found.likeness.value == 1


def run(tmp_path: Path, lines: list[bytes], *options: str) -> tuple[int, str, str]:
    file = tmp_path / "ledger.jsonl"
    file.write_bytes(b"".join(lines))
    result = CliRunner().invoke(main, ["shadows", str(file), *options])
    return result.exit_code, result.stdout, result.stderr


def test_the_command_prints_a_table(tmp_path: Path) -> None:
    lines = [make(str(i), **answer("one two")) for i in range(4) for make in (asked, copied)]
    status, out, err = run(tmp_path, [*lines, asked("x"), copied("y")])
    assert (status, err) == (0, "copies of no request here: 1\n")
    head, names, *rows, ended, shared = out.splitlines()
    assert head == "fast and its shadow next: pairs 4, whole 4, without a copy 1"
    assert names.split() == ["fast", "next", "difference"]
    assert [row.strip().split("  ", 1)[0] for row in rows] == [
        "% failed",
        "ms",
        "ms to the first byte",
        "tokens in",
        "tokens out",
        "characters",
        "USD",
    ]
    assert rows[0].count("0 (0 to 49)") == 2
    assert rows[2].count("p50 5, p95 5") == 2
    assert rows[-1].endswith("0.002 (0.002 to 0.002)  +0 (+0 to +0)")
    assert ended == "  100 (51 to 100) % ended for the same reason"
    assert shared == "  100 (100 to 100) % of their words shared"


def test_the_command_gives_objects_and_names_broken_lines(tmp_path: Path) -> None:
    status, out, err = run(tmp_path, [asked("1"), b"{\n", copied("1")], "--json")
    assert (status, json.loads(out)["pairs"]) == (1, 1)
    assert "1 broken lines" in err
    assert run(tmp_path, [asked("1", gen_ai__request__model="\x1b[2J")])[1].startswith("\ufffd[2J")
