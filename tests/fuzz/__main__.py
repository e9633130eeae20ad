"""Fuzzes every target for `FUZZ_SECONDS` in all: `FUZZ_SECONDS=60 make fuzz`.

What was found lies, cut down, in `tests/fuzz/corpus/`, and fails the tests until it is mended.
What covered new code lies in `build/fuzz/` and is where the next run begins.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.fuzz.targets import TARGETS

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "build" / "fuzz"
WEIGHTS = {"exchange": 3, "stream": 3, "request": 3, "answer": 2}
"""Shares of the time; one for the others."""


def main() -> int:
    seconds = int(os.environ.get("FUZZ_SECONDS", "60"))
    asked = sys.argv[1:] or list(TARGETS)
    workers = min(os.cpu_count() or 1, len(asked))
    shares = sum(WEIGHTS.get(target, 1) for target in asked)
    jobs = [
        (target, max(2, seconds * workers * WEIGHTS.get(target, 1) // shares)) for target in asked
    ]
    jobs.sort(key=lambda job: -job[1])
    with ThreadPoolExecutor(workers) as pool:
        results = list(pool.map(lambda job: _fuzz(*job), jobs))
    print(f"{'target':<12}{'seconds':>8}{'runs':>10}{'coverage':>10}{'found':>7}")
    for (target, given), (runs, coverage, found) in zip(jobs, results, strict=True):
        print(f"{target:<12}{given:>8}{runs:>10}{coverage:>10}{len(found):>7}")
    for line in (line for _, _, found in results for line in found):
        print(line)
    return 1 if any(found for _, _, found in results) else 0


def _fuzz(target: str, seconds: int) -> tuple[str, str, list[str]]:
    """Runs, covered edges, and a line for each finding."""
    folder = FOLDER / target
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "tests.fuzz.engine", target, str(seconds), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    found = [line for line in done.stdout.splitlines() if line.startswith("FOUND")]
    if done.returncode:
        found.append(f"FOUND {target} stopped: {done.stderr[-600:]}")
    runs = re.findall(r"number_of_executed_units: (\d+)", done.stderr)
    covered = re.findall(r"cov: (\d+)", done.stderr)
    return (runs or ["?"])[-1], (covered or ["-"])[-1], found


if __name__ == "__main__":
    sys.exit(main())
