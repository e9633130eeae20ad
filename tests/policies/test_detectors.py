"""The detectors: quality on the labelled texts, and promises that hold on any text."""

from __future__ import annotations

import re
from typing import get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from dragoman.config.schema import Entity
from dragoman.policies.redact import scanner
from dragoman.policies.redact.gates import GATES
from dragoman.policies.redact.rules import Rule
from dragoman.policies.redact.scanner import RULES, Finding, Scanner, resolve
from tests.redaction.quality import Score, labelled, measure
from tests.redaction.texts import CLEAN, HOSTILE

SCANNER = Scanner()
GOALS = {
    "email": (0.99, 0.99),
    "url": (0.99, 0.99),
    "card": (0.99, 0.99),
    "iban": (0.99, 0.99),
    "ssn": (0.99, 0.99),
    "ip": (0.99, 0.95),
    "phone": (0.85, 0.97),
    "secret": (0.95, 0.99),
}
"""Recall and precision."""


@pytest.fixture(scope="module")
def score() -> Score:
    return measure(SCANNER)


@pytest.mark.parametrize("entity", GOALS)
def test_quality(score: Score, entity: str) -> None:
    recall, precision = GOALS[entity]
    assert score.recall(entity) >= recall, score.examples
    assert score.precision(entity) >= precision, score.examples


def test_there_is_enough_to_measure_by() -> None:
    texts = labelled()
    assert len(texts) > 500
    assert sum(1 for _, spans in texts if not spans) > 150
    assert {e for _, spans in texts for _, _, e in spans} >= set(GOALS)


def test_every_entity_has_rules_and_every_rule_an_entity() -> None:
    assert {rule.entity for rule in RULES} == set(get_args(Entity))
    assert len({rule.name for rule in RULES}) == len(RULES)


def test_clean_text_is_told_by_the_gate_alone() -> None:
    assert SCANNER.is_clean(CLEAN.encode())
    assert not SCANNER.is_clean(b"write to a@example.com")


UNGATED = Scanner([replace(rule, gate="") for rule in RULES])


@pytest.mark.parametrize("cut", [0, 1, 7])
def test_no_gate_hides_what_a_rule_finds(cut: int) -> None:
    for text, _ in labelled():
        raw = text[cut:].encode()
        assert SCANNER.scan(raw) == UNGATED.scan(raw)


@given(st.text("aA1 9.-:/@+()=xX\n\u00e9#", max_size=60))
def test_gates_hide_nothing_in_any_text(text: str) -> None:
    raw = text.encode()
    assert SCANNER.scan(raw) == UNGATED.scan(raw)


def _python_of(pattern: str) -> str:
    """What RE2 reads, as `re` does; of letters of all alphabets one, and words end anywhere."""
    pattern = re.sub(
        r"\\x\{([0-9A-F]+)\}", lambda found: re.escape(chr(int(found[1], 16))), pattern
    )
    return pattern.replace(r"\p{L}", "n").replace(r"\z", r"\Z").replace(r"\b", "")


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_gate_is_open_for_what_a_pattern_is(rule: Rule) -> None:
    @settings(max_examples=8, suppress_health_check=list(HealthCheck))
    @given(st.from_regex(_python_of(rule.pattern), fullmatch=True))
    def whatever(text: str) -> None:
        raw = text.encode()
        assert SCANNER.scan(raw) == UNGATED.scan(raw)

    whatever()


def test_every_gate_has_rules() -> None:
    assert {rule.gate for rule in RULES} - {""} == set(GATES)


@given(st.text())
def test_findings_are_in_order_and_on_characters(text: str) -> None:
    raw = text.encode("utf-8", "replace")
    at = 0
    for finding in SCANNER.scan(raw):
        assert at <= finding.start < finding.end <= len(raw)
        assert raw[finding.start : finding.end].decode()
        at = finding.end


def test_a_local_part_is_no_longer_than_one_may_be() -> None:
    raw = b"a." * 100 + b"b" * 40 + b"@example.com"
    [finding] = SCANNER.scan(raw)
    assert raw[finding.start : finding.end] == b"a." * 12 + b"b" * 40 + b"@example.com"


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_text_ends(name: str) -> None:
    SCANNER.scan(HOSTILE[name].encode())


spans = st.tuples(st.integers(0, 60), st.integers(1, 20), st.integers(0, 3))


@given(st.lists(spans))
def test_overlaps_are_resolved_and_nothing_is_uncovered(drawn: list[tuple[int, int, int]]) -> None:
    found = [Finding(s, s + n, f"e{p}", "rule", p) for s, n, p in drawn]
    kept = resolve(found)
    assert all(a.end <= b.start for a, b in zip(kept, kept[1:], strict=False))
    covered = {i for f in kept for i in range(f.start, f.end)}
    assert covered == {i for f in found for i in range(f.start, f.end)}


def test_a_pattern_that_is_none_is_named() -> None:
    with pytest.raises(ValueError, match="mine"):
        Scanner([Rule(name="mine", entity="email", pattern="(")])


def test_rules_that_are_too_large_together_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """By what a worker takes for a policy that it cannot use: it goes on with the one before."""
    monkeypatch.setattr(scanner, "_MAX_SET_BYTES", 2**12)
    with pytest.raises(ValueError, match="too large"):
        Scanner([Rule(name=f"r{i}", entity="e", pattern=f"[a-z]{{500}}x{i}") for i in range(8)])


@pytest.mark.parametrize("pattern", [r"(?:foo)?\b", r"\b", r"x*\b"])
def test_a_pattern_that_may_match_nothing_comes_to_an_end(pattern: str) -> None:
    text = b"a foo, \xc3\xa9 foo"
    found = Scanner([Rule(name="mine", entity="mine", pattern=pattern)]).scan(text)
    assert [text[f.start : f.end] for f in found] == [b"foo"] * (2 * ("foo" in pattern))
