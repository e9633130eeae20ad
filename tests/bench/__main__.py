"""Run every case against every system in interleaved rounds; print one JSON object a line."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import envoy
from tests.bench.client import Result, Target, load
from tests.bench.processes import command, cpu_seconds, descendants, rss_mb

GATEWAY, ADMIN, SIMULATOR, BARE = 18100, 18101, 18102, 18103
KEY = {"authorization": "Bearer dragoman-demo"}
_POLICY = f"""
listener: {{port: {GATEWAY}}}
admin: {{port: {ADMIN}}}
simulator: {{port: {SIMULATOR}}}
ledger: {{path: /dev/null}}
callers:
  bench: {{keys: [f6f53a67068fc28321efe05e4c062947ad3d72121c670e11a0bde6a52d363974]}}
providers:
  simulator-openai: {{url: "http://127.0.0.1:{SIMULATOR}"}}
  simulator-anthropic: {{url: "http://127.0.0.1:{SIMULATOR}"}}
models:
  json: {{targets: [{{provider: simulator-openai, model: sim/bytes-2000}}]}}
  stream: {{targets: [{{provider: simulator-openai, model: sim/chunks-100}}]}}
  json-translated: {{targets: [{{provider: simulator-anthropic, model: sim/bytes-2000}}]}}
  stream-translated: {{targets: [{{provider: simulator-anthropic, model: sim/chunks-100}}]}}
"""
_BARE = f"""
static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {BARE}}}}}
    filter_chains:
    - filters:
      - name: hcm
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: bare
          route_config:
            virtual_hosts:
            - {{name: all, domains: ["*"], routes: [{{match: {{prefix: /}}, route: {{cluster: up, timeout: 0s}}}}]}}
          http_filters:
          - name: router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
  clusters:
  - name: up
    type: STATIC
    load_assignment:
      cluster_name: up
      endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {SIMULATOR}}}}}}}}}]}}]
"""


@dataclass(frozen=True)
class System:
    """What is measured, and the processes whose cost it is."""

    name: str
    port: int
    envoys: list[int]
    workers: list[int]


def _body(model: str, *, stream: bool) -> bytes:
    words = "The quick brown fox jumps over the lazy dog. " * 40
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": words}]
    body: dict[str, object] = {"model": model, "messages": turns, "max_tokens": 256}
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return json.dumps(body).encode()


def _target(system: System, *, stream: bool) -> Target:
    model = "stream" if stream else "json"
    if system.name == "envoy":
        model = "sim/chunks-100" if stream else "sim/bytes-2000"
    elif system.name == "translated":
        model += "-translated"
    return Target(system.port, "/v1/chat/completions", _body(model, stream=stream), KEY)


@contextlib.contextmanager
def _process(arguments: list[str], **options: object) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(arguments, text=True, **options)  # type: ignore[call-overload]
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


@contextlib.contextmanager
def _systems(workers: int) -> Iterator[list[System]]:
    """The gateway with its simulator, and beside it an Envoy with nothing but a router."""
    with tempfile.TemporaryDirectory() as folder:
        policy = Path(folder, "dragoman.yaml")
        policy.write_text(_POLICY + f"workers: {workers}\n")
        up = [sys.executable, "-m", "dragoman", "up", "-c", str(policy)]
        with _process(up, stdout=subprocess.PIPE) as gateway:
            if gateway.stdout is None or not gateway.stdout.readline().startswith("ready "):
                raise SystemExit("the gateway did not start")
            binary = Path(envoy.__file__).parent / "_bin" / "envoy"
            flags = ["--use-dynamic-base-id", "--concurrency", "1", "-l", "error"]
            with _process([str(binary), *flags, "--config-yaml", _BARE]) as bare:
                _await_port(BARE)
                yield _found(gateway.pid, bare.pid)


def _await_port(port: int) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
    raise SystemExit(f"nothing listens on port {port}")


def _found(gateway: int, bare: int) -> list[System]:
    below = descendants(gateway)
    envoys = [pid for pid in below if command(pid)[0].endswith("/envoy")]
    workers = [pid for pid in below if "serve" in command(pid)]
    return [
        System("envoy", BARE, [bare], []),
        System("pass-through", GATEWAY, envoys, workers),
        System("translated", GATEWAY, envoys, workers),
    ]


def _cpu(pids: list[int]) -> float:
    return sum(map(cpu_seconds, pids))


def _measure(system: System, *, stream: bool, connections: int, seconds: float) -> dict[str, float]:
    before = _cpu(system.workers), _cpu(system.envoys)
    result = load(_target(system, stream=stream), connections, seconds)
    spent = _cpu(system.workers) - before[0], _cpu(system.envoys) - before[1]
    return _row(system, result, *spent)


def _row(system: System, result: Result, worker: float, proxy: float) -> dict[str, float]:
    if result.errors or not result.latencies:
        answers = f"{result.errors} answers were not 200, {len(result.latencies)} were"
        raise SystemExit(f"{system.name}: {answers}")
    count = len(result.latencies)
    return {
        "rps": result.rps,
        "p50_ms": result.percentile_ms(0.5),
        "p99_ms": result.percentile_ms(0.99),
        "sidecar_cpu_us": worker / count * 1e6,
        "envoy_cpu_us": proxy / count * 1e6,
        "rss_mb": sum(map(rss_mb, system.workers)),
    }


def _median(rounds: list[dict[str, float]]) -> dict[str, float]:
    return {name: round(statistics.median(r[name] for r in rounds), 3) for name in rounds[0]}


def _spread(rounds: list[dict[str, float]]) -> list[float]:
    rates = [r["rps"] for r in rounds]
    return [round(min(rates), 1), round(max(rates), 1)]


def _case(systems: list[System], name: str, connections: int, args: argparse.Namespace) -> None:
    stream = name == "stream-100"
    rounds: dict[str, list[dict[str, float]]] = {s.name: [] for s in systems}
    for number in range(args.rounds + 1):
        for system in systems:
            row = _measure(system, stream=stream, connections=connections, seconds=args.seconds)
            if number:  # the first round warms up
                rounds[system.name].append(row)
    base = _median(rounds["envoy"])["rps"]
    for system in systems:
        row = _median(rounds[system.name])
        line = {"case": name, "system": system.name, "connections": connections, **row}
        line["ratio_to_envoy"] = round(row["rps"] / base, 3)
        print(json.dumps(line | {"rps_spread": _spread(rounds[system.name])}), flush=True)


def main() -> None:
    """Parse the options and run every case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measured stretch")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--connections", default="1,16")
    args = parser.parse_args()
    print(json.dumps({"machine": {"cores": os.cpu_count()}, "workers": args.workers}), flush=True)
    with _systems(args.workers) as systems:
        for name in ("json-2k", "stream-100"):
            for connections in map(int, args.connections.split(",")):
                _case(systems, name, connections, args)


if __name__ == "__main__":
    main()
