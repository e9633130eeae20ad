"""Quality and speed of the detectors, one JSON object a line; `-v` shows what went wrong."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from functools import partial

from dragoman.policies.redact.recognised import Entity, find_recognised
from dragoman.policies.redact.scanner import Finding, Scanner, resolve
from tests.redaction.quality import measure
from tests.redaction.texts import CLEAN, DENSE, HOSTILE


def main() -> int:
    scanner = Scanner()
    score = measure(scanner)
    for entity in score.entities():
        line = {
            "case": "redaction_quality",
            "entity": entity,
            "labelled": score.found[entity] + score.missed[entity],
            "recall": round(score.recall(entity), 4),
            "precision": round(score.precision(entity), 4),
        }
        print(json.dumps(line))
    for name, text in {"clean_2kb": CLEAN, "dense_2kb": DENSE, **HOSTILE}.items():
        first = _microseconds(partial(scanner.scan, text.encode()))
        best = _best_microseconds(partial(scanner.scan, text.encode()), len(text))
        line = {"case": "redaction_scan", "text": name, "microseconds": round(best, 1)}
        print(json.dumps({**line, "first_microseconds": round(first, 1)}))
    for count in (1_000, 10_000):
        entities = nested(count)
        best = _best_microseconds(partial(place, entities), count)
        line = {"case": "redaction_recognised", "nested": count, "microseconds": round(best, 1)}
        print(json.dumps(line))
    if "-v" in sys.argv:
        print("\n".join(score.examples))
    return 0


def place(entities: list[Entity]) -> list[Finding]:
    """What becomes of a recogniser's findings in a text of twice as many characters."""
    text = "\u00e9" * (2 * len(entities))
    return resolve(find_recognised(text, 0, entities, {"person": "mask"}, 0))


def nested(count: int) -> list[Entity]:
    """Each in the one before it: what of all overlaps is the most text to look at."""
    return [Entity("person", at, 2 * count - at, 1.0) for at in range(count)]


def _microseconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return (time.perf_counter() - start) * 1e6


def _best_microseconds(run: Callable[[], object], size: int) -> float:
    """The least of many: what it costs when nothing else wants the core, and the engine has seen
    such text before."""
    return min(_microseconds(run) for _ in range(max(3, 400_000 // (size + 1))))


if __name__ == "__main__":
    sys.exit(main())
