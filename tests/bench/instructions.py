"""`make bench-instructions`: how many instructions Envoy takes for a request, under callgrind.

A time hangs on the machine and on what else runs there; a count of instructions hardly does. Envoy
alone and the gateway's Envoy, one thread each, are asked on one connection; of the gateway also
without each of the parts that can be left out. What Envoy does by the clock (health checks, giving
memory back, going through its statistics) is left out; what it does a request, its log's sending
included, is not. Counts vary by about one percent from run to run: of two configurations run each
more than once. Prints one JSON object a line. Needs valgrind.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from dragoman.config.load import parse
from dragoman.envoyconf.render import render
from tests.bench.cases import CASES
from tests.bench.generator import Target
from tests.bench.systems import (
    ENVOY,
    KEY,
    await_port,
    bare_config,
    free_port,
    policy,
    running,
    simulator,
)

_Document = dict[str, Any]
_UPSTREAMS = {"pass-through": "openai", "usage-stripped": "openai", "translated": "anthropic"}
"""Who is asked by kind, which is also the first half of the model's name."""
_WARM_UP = 60
"""Requests, after which Envoy's Lua is compiled and all its caches are filled."""
_STRETCHES = 5
_FLUSH_SECONDS = 1.0
"""Until the log of the last request is sent."""


def _manager(document: _Document) -> _Document:
    chain = document["static_resources"]["listeners"][0]["filter_chains"][0]
    manager: _Document = chain["filters"][0]["typed_config"]
    return manager


def _without_script(document: _Document) -> None:
    filters = _manager(document)["http_filters"]
    filters[:] = [each for each in filters if each["name"] != "dragoman.usage"]


def _without_logs(name: str) -> Callable[[_Document], None]:
    def remove(document: _Document) -> None:
        logs = _manager(document)["access_log"]
        logs[:] = [log for log in logs if log["name"] != f"envoy.access_loggers.{name}"]

    return remove


PARTS: dict[str, Callable[[_Document], None]] = {
    "nothing": lambda _: None,
    "script": _without_script,
    "statistics": _without_logs("stats"),
    "ledger": _without_logs("http_grpc"),
}


def _still(document: _Document) -> _Document:
    """`document` without what Envoy does by the clock."""
    document.pop("memory_allocator_manager", None)
    document["stats_flush_interval"] = "299s"
    for cluster in document["static_resources"]["clusters"]:
        cluster.pop("health_checks", None)
    return document


def _send(connection: socket.socket, target: Target, count: int) -> None:
    for _ in range(count):
        connection.sendall(target.wire())
        with http.client.HTTPResponse(connection, method="POST") as answer:
            answer.begin()
            text = answer.read()
        if answer.status != http.client.OK:
            raise SystemExit(f"{answer.status} {text[:200]!r}")


def _dump(pid: int, out: Path, number: int) -> int:
    """Instructions since the dump before."""
    time.sleep(_FLUSH_SECONDS)
    subprocess.run(["callgrind_control", "-d", str(pid)], check=True, capture_output=True)
    found = re.search(r"^totals: (\d+)", Path(f"{out}.{number}").read_text(), re.MULTILINE)
    if found is None:
        raise SystemExit(f"callgrind wrote no totals into {out}.{number}")
    return int(found[1])


def count(document: _Document, target: Target, requests: int) -> int:
    """Instructions a request: the median of some stretches of so many."""
    with tempfile.TemporaryDirectory(prefix="dg") as folder:
        out, config = Path(folder, "callgrind"), Path(folder, "envoy.json")
        config.write_text(json.dumps(_still(document)))
        flags = ["--disable-hot-restart", "--concurrency", "1", "-l", "error"]
        tool = ["valgrind", "--quiet", "--tool=callgrind", f"--callgrind-out-file={out}"]
        with running([*tool, ENVOY, *flags, "-c", str(config)]) as process:
            await_port(target.port, process)
            taken = []
            with socket.create_connection(("127.0.0.1", target.port)) as connection:
                for number, sent in enumerate((_WARM_UP, *[requests] * _STRETCHES), 1):
                    _send(connection, target, sent)
                    taken.append(_dump(process.pid, out, number))
    return round(statistics.median(taken[1:]) / requests)


@contextlib.contextmanager
def _worker(run_dir: Path, file: Path) -> Iterator[None]:
    arguments = [sys.executable, "-m", "dragoman", "serve", "-c", str(file)]
    arguments += ["--run-dir", str(run_dir), "--workers", "1"]
    with running(arguments, stdout=subprocess.PIPE) as process:
        if process.stdout is None or not process.stdout.readline().startswith("ready "):
            raise SystemExit("the worker did not start")
        yield


def _counts(given: argparse.Namespace, provider: int) -> Iterator[_Document]:
    case = next(case for case in CASES if case.name == given.case)
    headers = {"authorization": f"Bearer {KEY}"}
    port = free_port()

    def target(model: str, kind: str) -> Target:
        body = case.body(f"{model}/{case.directive}", kind)
        return Target(port, "/v1/chat/completions", body, headers, stream=case.stream)

    alone = count(bare_config(port, provider), target("sim", given.kind), given.requests)
    yield {"system": "envoy", "instructions": alone}
    with tempfile.TemporaryDirectory(prefix="dg") as folder:
        file = Path(folder, "dragoman.yaml")
        run_dir = {"run_dir": folder}
        file.write_text(json.dumps(policy(port, free_port(), provider, 1) | run_dir))
        asked = target(_UPSTREAMS[given.kind], given.kind)
        with _worker(Path(folder), file):
            for part in given.without:
                document = render(parse(file.read_text(), str(file)))
                PARTS[part](document)
                taken = count(document, asked, given.requests)
                yield {"system": given.kind, "without": part, "instructions": taken}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench-instructions", description=__doc__)
    parser.add_argument("--case", choices=[case.name for case in CASES], default="json-2k")
    parser.add_argument("--kind", choices=list(_UPSTREAMS), default="pass-through")
    parser.add_argument("--requests", type=int, default=60)
    parser.add_argument("--without", nargs="*", choices=list(PARTS), default=list(PARTS))
    return parser.parse_args()


def main() -> None:
    given = _options()
    if shutil.which("callgrind_control") is None:
        raise SystemExit("valgrind is not installed: it counts the instructions")
    with simulator() as (provider, _):
        for line in _counts(given, provider):
            print(json.dumps({"case": given.case, **line}), flush=True)


if __name__ == "__main__":
    main()
