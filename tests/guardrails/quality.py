"""How many labelled attacks reach a threshold, and how many ordinary texts do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from dragoman.dialects.speakers import Speaker
from dragoman.policies.guard.injection import Scorer, score
from dragoman.policies.guard.plain import read

FOLDER = Path(__file__).parents[1] / "fixtures" / "guardrails"
THRESHOLD = 0.6
"""The policy's own, where it names none."""


class Quality(NamedTuple):
    """Texts that were told right and wrong."""

    found: list[str]
    missed: list[str]
    false: list[str]
    passed: list[str]

    @property
    def recall(self) -> float:
        return len(self.found) / (len(self.found) + len(self.missed))

    @property
    def precision(self) -> float:
        return len(self.found) / (len(self.found) + len(self.false))


def labelled(name: str) -> Iterator[tuple[Speaker, str]]:
    """`attacks` or `ordinary` texts, and whose they are."""
    for line in (FOLDER / f"{name}.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        yield row["speaker"], row["text"]


def signs_in(scorer: Scorer, text: str) -> dict[str, float]:
    """The signs in a text as it came."""
    plain, hides = read(text)
    return scorer.signs(plain, hides=hides)


def measure(scorer: Scorer, texts: str = "") -> Quality:
    """Every labelled text, judged: those the weights were set on, or `unseen_` ones, by which
    nothing was."""
    quality = Quality([], [], [], [])
    for name, over, under in (
        ("attacks", quality.found, quality.missed),
        ("ordinary", quality.false, quality.passed),
    ):
        for speaker, text in labelled(texts + name):
            signs = signs_in(scorer, text)
            reached = score(signs, speaker)
            said = f"{reached:.2f} {speaker} {sorted(signs)} {text!r}"
            (over if reached >= THRESHOLD else under).append(said)
    return quality
