"""Run the cases and print one JSON object a line."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.bench import footprint, peers
from tests.bench.cases import CASES
from tests.bench.restarts import restarts
from tests.bench.rounds import run_case
from tests.bench.systems import ours, simulator

RESTART = "restart"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    names = [*footprint.CASES, RESTART, *(case.name for case in CASES)]
    parser.add_argument("--cases", default=",".join(names), help="of " + ",".join(names))
    parser.add_argument("--connections", help="such as 1,16: instead of each case's own")
    parser.add_argument("--seconds", type=float, default=1.5, help="of a measured stretch")
    parser.add_argument("--rounds", type=int, default=3, help="measured; one more warms up")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--peers", action="store_true", help="other gateways too")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the lines there as well")
    options = parser.parse_args()
    options.cases = options.cases.split(",")
    if unknown := set(options.cases) - set(names):
        parser.error(f"no such case: {', '.join(sorted(unknown))}")
    return options


def _machine(options: argparse.Namespace) -> dict[str, object]:
    machine: dict[str, object] = {
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "workers": options.workers,
        "seconds": options.seconds,
        "rounds": options.rounds,
        "load_before": round(os.getloadavg()[0], 2),
    }
    return machine | ({"peers": peers.versions()} if options.peers else {})


def _lines(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """What this runs on, then every case that was asked for."""
    yield {"machine": _machine(options)}
    for name in footprint.CASES:
        if name in options.cases:
            yield from footprint.footprint(name, options.rounds, options.workers)
    if RESTART in options.cases:
        yield from restarts(options.rounds)
    cases = [case for case in CASES if case.name in options.cases]
    if not cases:
        return
    with contextlib.ExitStack() as stack:
        provider, pid = stack.enter_context(simulator())
        systems = stack.enter_context(ours(provider, pid, options.workers))
        if options.peers:
            systems += stack.enter_context(peers.peers(provider))
        for case in cases:
            given = options.connections
            for connections in map(int, given.split(",")) if given else case.connections:
                yield from run_case(case, systems, connections, options.seconds, options.rounds)


def main() -> int:
    """Print the lines; 1 if the gateway's own answers were not all good."""
    options = _options()
    failed = False
    with contextlib.ExitStack() as stack:
        if options.output:
            options.output.parent.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(options.output.open("w"))
        for line in _lines(options):
            text = json.dumps(line)
            print(text, flush=True)
            if options.output:
                print(text, file=file, flush=True)
            ours_failed = not line.get("system", "").startswith(peers.NAMES)
            failed = failed or ("failed" in line and ours_failed)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
