"""What to run, as plain data in a file: all that the supervisor knows."""

from __future__ import annotations

import json
import os.path
from typing import NamedTuple


class Probe(NamedTuple):
    """A connection, what is said on it, and what must be in the answer."""

    address: str
    """`/path` of a Unix socket, or `host:port`."""
    request: str = ""
    """Nothing: to be let in is enough."""
    expected: str = ""


class Process(NamedTuple):
    """One process to keep running."""

    name: str
    arguments: list[str]
    ready: Probe
    has_keys: bool = False
    """The providers' keys stay in its environment."""
    follows: bool = False
    """Told by SIGHUP, it reads its policy anew, and by SIGUSR1 why that was refused."""


class Plan(NamedTuple):
    """A sidecar, or the workers alone."""

    run_dir: str
    removes_run_dir: bool
    steps: list[list[Process]]
    """Those of a step start together, once all of the step before are ready. They stop in the
    reverse order."""
    announcement: str
    """Written to standard output when all are ready."""
    key_names: list[str]
    """Environment variables that hold the providers' keys."""
    drain_seconds: float
    admin: str | None = None
    """`host:port` of Envoy's admin, through which it drains; None: no Envoy."""
    watched: str | None = None
    """The policy file; None: the embedded one, which does not change."""
    reload: list[str] = []  # noqa: RUF012 - a named tuple's, and never changed
    """What makes a new policy file the one in force, as far as Envoy goes; 0 says that it did."""


def write(plan: Plan) -> str:
    """The path of the file of `plan`, in its own folder, which exists."""
    path = os.path.join(plan.run_dir, "plan.json")  # noqa: PTH118 - pathlib weighs a megabyte
    with open(path, "w", encoding="utf-8") as file:  # noqa: PTH123 - as above
        json.dump(plan, file)
    return path


def read(path: str) -> Plan:
    """The plan that `write` wrote."""
    with open(path, encoding="utf-8") as file:  # noqa: PTH123 - as above
        run_dir, removes, steps, *rest = json.load(file)
    return Plan(run_dir, removes, [[_process(*p) for p in step] for step in steps], *rest)


def _process(name: str, arguments: list[str], ready: list[str], *flags: bool) -> Process:
    return Process(name, arguments, Probe(*ready), *flags)
