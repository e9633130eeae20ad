"""How well the detectors find what is labelled, and how often they cry wolf."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from dragoman.policies.redact.scanner import Scanner

FOLDER = Path(__file__).parents[1] / "fixtures" / "redaction"
SECRETS = frozenset({"api_key", "private_key", "jwt", "connection_string", "password"})
"""Counted together as `secret`: which of them something is, is often a matter of taste."""

Span = tuple[int, int, str]


@dataclass
class Score:
    """Counts by entity; a hit has the very span and the entity of its label."""

    found: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)
    false: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    """What was missed or false, in words."""

    def recall(self, entity: str) -> float:
        return self.found[entity] / max(1, self.found[entity] + self.missed[entity])

    def precision(self, entity: str) -> float:
        return self.found[entity] / max(1, self.found[entity] + self.false[entity])

    def entities(self) -> list[str]:
        return sorted({*self.found, *self.missed, *self.false})


def labelled() -> list[tuple[str, list[Span]]]:
    """Every text the project ships, with its labelled spans by characters."""
    rows = [
        json.loads(line)
        for file in sorted(FOLDER.glob("*.jsonl"))
        for line in file.read_text(encoding="utf-8").splitlines()
    ]
    return [(row["text"], [(s, e, _family(name)) for s, e, name in row["spans"]]) for row in rows]


def _family(entity: str) -> str:
    return "secret" if entity in SECRETS else entity


def find(scanner: Scanner, text: str) -> list[Span]:
    """The findings by characters."""
    raw = text.encode()
    return [
        (len(raw[: f.start].decode()), len(raw[: f.end].decode()), _family(f.entity))
        for f in scanner.scan(raw)
    ]


def measure(scanner: Scanner) -> Score:
    score = Score()
    for text, wanted in labelled():
        found = find(scanner, text)
        for span in wanted:
            (score.found if span in found else score.missed)[span[2]] += 1
            if span not in found:
                score.examples.append(f"missed {span[2]} {text[span[0] : span[1]]!r} in {text!r}")
        for span in found:
            if span not in wanted:
                score.false[span[2]] += 1
                score.examples.append(f"false {span[2]} {text[span[0] : span[1]]!r} in {text!r}")
    return score
