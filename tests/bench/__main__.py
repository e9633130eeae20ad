"""Run the cases and print one JSON object a line."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys

from tests.bench import footprint
from tests.bench.cases import CASES
from tests.bench.rounds import Failed, run_case
from tests.bench.systems import ours


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    names = [*footprint.CASES, *(case.name for case in CASES)]
    parser.add_argument("--cases", default=",".join(names), help="of " + ",".join(names))
    parser.add_argument("--connections", help="such as 1,16: instead of each case's own")
    parser.add_argument("--seconds", type=float, default=1.5, help="of a measured stretch")
    parser.add_argument("--rounds", type=int, default=3, help="measured; one more warms up")
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    options.cases = options.cases.split(",")
    if unknown := set(options.cases) - set(names):
        parser.error(f"no such case: {', '.join(sorted(unknown))}")
    return options


def _machine(options: argparse.Namespace) -> dict[str, object]:
    return {
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "workers": options.workers,
        "seconds": options.seconds,
        "rounds": options.rounds,
        "load_before": round(os.getloadavg()[0], 2),
    }


def main() -> None:
    """Every case that was asked for, against Envoy alone and the gateway."""
    options = _options()
    print(json.dumps({"machine": _machine(options)}), flush=True)
    for name in footprint.CASES:
        if name in options.cases:
            for line in footprint.footprint(name, options.rounds, options.workers):
                print(json.dumps(line), flush=True)
    cases = [case for case in CASES if case.name in options.cases]
    if not cases:
        return
    with ours(options.workers) as systems:
        for case in cases:
            counts = (
                map(int, options.connections.split(","))
                if options.connections
                else case.connections
            )
            for connections in counts:
                for line in run_case(case, systems, connections, options.seconds, options.rounds):
                    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    try:
        main()
    except Failed as error:
        sys.exit(str(error))
