"""Fuzzes one target in this process: `python -m tests.fuzz.engine TARGET SECONDS FOLDER`.

With atheris, coverage of `dragoman` guides it; without, it mutates what it began with.
"""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

MAX_BYTES = 30_000
RSS_MEGABYTES = 2048


def main() -> None:
    target, seconds, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    try:
        import atheris
    except ImportError:
        hunt = _Hunt(target, folder)
        hunt.blindly(seconds)
        return
    with atheris.instrument_imports(include=["dragoman"], enable_loader_override=False):
        importlib.import_module("tests.fuzz.targets")
    hunt = _Hunt(target, folder)
    arguments = [
        sys.argv[0],
        f"-max_total_time={seconds}",
        f"-max_len={MAX_BYTES}",
        f"-rss_limit_mb={RSS_MEGABYTES}",
        "-timeout=20",
        f"-artifact_prefix={folder}/stopped-",
        "-print_final_stats=1",
        str(folder),
    ]
    atheris.Setup(arguments, hunt.try_one, custom_mutator=_custom_mutator(hunt))
    atheris.Fuzz()


class _Hunt:
    """One target, what it is mutated from, and what was found so far."""

    def __init__(self, target: str, folder: Path) -> None:
        from tests.fuzz import findings, seeds
        from tests.fuzz.mutation import Vocabulary

        self.target = target
        self.folder = folder
        self._findings = findings
        self._seen: set[str] = set()
        self.beginnings = seeds.seeds(target, recorded=True)
        for i, seed in enumerate(self.beginnings):
            (folder / f"seed-{i:04}").write_bytes(seed)
        self.known = Vocabulary(self.beginnings)

    def try_one(self, data: bytes) -> None:
        error = self._findings.run(self.target, data)
        if error is None:
            return
        sign = self._findings.signature(error)
        if sign in self._seen:
            return
        self._seen.add(sign)
        small = self._findings.minimise(self.target, data, sign)
        kept = self._findings.keep(self.target, small)
        print(f"FOUND {sign} in {kept}", flush=True)

    def mutate(self, data: bytes, random: Random) -> bytes:
        from tests.fuzz.mutation import mutate

        head, newline, rest = data.partition(b"\n")
        if self.target in ("exchange", "reader", "call", "connection") or not newline:
            return mutate(data, random, self.known)
        if random.random() < 0.05:
            head = random.choice(self.beginnings).partition(b"\n")[0]
        return head + newline + mutate(rest, random, self.known)

    def blindly(self, seconds: float) -> None:
        random, until, runs = Random(0), time.monotonic() + seconds, 0
        while time.monotonic() < until:
            self.try_one(self.mutate(random.choice(self.beginnings), random)[:MAX_BYTES])
            runs += 1
        print(f"stat::number_of_executed_units: {runs}", file=sys.stderr)


def _custom_mutator(hunt: _Hunt) -> Callable[[bytes, int, int], bytes]:
    def mutate(data: bytes, max_size: int, seed: int) -> bytes:
        return hunt.mutate(data, Random(seed))[:max_size]

    return mutate


if __name__ == "__main__":
    main()
