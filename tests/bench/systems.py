"""Who is asked: Envoy alone, the gateway, and their provider; processes under one roof."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import envoy
from dragoman.supervisor.planning import WORKER
from tests.bench.cases import CASES, Case
from tests.bench.generator import Target
from tests.bench.processes import command, tree

ENVOY = str(Path(envoy.__file__).parent / "_bin" / "envoy")
KEY = "dragoman-demo"
_DIGEST = "f6f53a67068fc28321efe05e4c062947ad3d72121c670e11a0bde6a52d363974"
START_SECONDS = 90.0


@dataclass(frozen=True)
class System:
    """One way to the provider."""

    name: str
    kind: str
    """Of those that a case has."""
    port: int
    model: str
    """Its name for a model; `{}` stands for the case's directive."""
    headers: Mapping[str, str]
    processes: Mapping[str, tuple[int, ...]]
    """What is running, by role: `sidecar`, `envoy`, `supervisor`, `simulator`."""

    def target(self, case: Case) -> Target:
        body = case.body(self.model.replace("{}", case.directive), self.kind)
        path = "/v1/chat/completions"
        return Target(self.port, path, body, dict(self.headers), stream=case.stream)


def policy(port: int, admin_port: int, simulator: int, workers: int) -> dict[str, object]:
    """The gateway's policy file: what is switched on while it is measured stands here."""
    models = {
        f"{provider}/{case.directive}": {
            "targets": [{"provider": provider, "model": f"sim/{case.directive}"}]
        }
        for case in CASES
        for provider in ("openai", "anthropic")
    }
    url = f"http://127.0.0.1:{simulator}"
    return {
        "listener": {"port": port},
        "admin": {"port": admin_port},
        "workers": workers,
        "ledger": {"path": "/dev/null"},
        "callers": {"bench": {"keys": [_DIGEST]}},
        "providers": {
            name: {"kind": f"simulator-{name}", "url": url} for name in ("openai", "anthropic")
        },
        "models": models,
    }


def _governed() -> dict[str, object]:
    """Changes of the policy for `policies`: quotas that nobody reaches, and the redaction scan."""
    price = {"model": "sim/*", "prices": {"input": 1, "output": 4}}
    entities = {"personal": "replace", "secret": "block"}
    return {
        "quotas": [
            {"name": "tokens", "unit": "tokens", "limit": 10**12, "window": "day"},
            {"name": "budget", "unit": "usd", "limit": 10**9, "window": "month"},
        ],
        "profiles": [{"provider": name, **price} for name in ("openai", "anthropic")],
        "redaction": {"default": "strict", "profiles": {"strict": {"entities": entities}}},
    }


def _three(simulator: int) -> dict[str, object]:
    """Changes of the policy for `fastest`: each model at any of three providers."""
    provider = {"kind": "simulator-openai", "url": f"http://127.0.0.1:{simulator}"}
    names = ("first", "second", "third")
    return {
        "providers": dict.fromkeys(names, provider),
        "models": {
            f"openai/{case.directive}": {
                "strategy": "fastest",
                "targets": [
                    {"provider": name, "model": f"sim/{case.directive}", "priority": 0}
                    for name in names
                ],
            }
            for case in CASES
        },
    }


def bare_config(port: int, simulator: int) -> dict[str, object]:
    """An Envoy with a router and nothing else."""
    prefix = "type.googleapis.com/envoy.extensions.filters"
    route = {"match": {"prefix": "/"}, "route": {"cluster": "up", "timeout": "0s"}}
    manager = {
        "@type": f"{prefix}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bare",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [
            {"name": "router", "typed_config": {"@type": f"{prefix}.http.router.v3.Router"}}
        ],
    }
    chain = {"filters": [{"name": "hcm", "typed_config": manager}]}
    cluster = {
        "name": "up",
        "type": "STATIC",
        "load_assignment": {
            "cluster_name": "up",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(simulator)}}]}],
        },
    }
    listener = {"address": _address(port), "filter_chains": [chain]}
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


def _address(port: int) -> dict[str, object]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def await_port(port: int, process: subprocess.Popen[str]) -> None:
    """Return once `port` accepts. Raises `SystemExit` if the process ends or takes too long."""
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise SystemExit(f"nothing listens on port {port}: {process.args}")


@contextlib.contextmanager
def running(arguments: list[str], **options: object) -> Iterator[subprocess.Popen[str]]:
    """A process in a session of its own, ended with all that it started."""
    process: subprocess.Popen[str] = subprocess.Popen(
        arguments, text=True, start_new_session=True, **options
    )  # type: ignore[call-overload]
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextlib.contextmanager
def simulator() -> Iterator[tuple[int, int]]:
    """The provider that every system asks: its port and process id."""
    port = free_port()
    arguments = [sys.executable, "-m", "dragoman.simulator", "--port", str(port)]
    arguments += ["--max-logged-requests", "0"]
    with running(arguments, stdout=subprocess.DEVNULL) as process:
        await_port(port, process)
        yield port, process.pid


@contextlib.contextmanager
def bare_envoy(provider: int, concurrency: int) -> Iterator[tuple[int, int]]:
    """Envoy alone: its port and process id."""
    port = free_port()
    flags = ["--disable-hot-restart", "--concurrency", str(concurrency), "-l", "error"]
    config = json.dumps(bare_config(port, provider))
    with running([ENVOY, *flags, "--config-yaml", config]) as process:
        await_port(port, process)
        yield port, process.pid


@dataclass
class Gateway:
    """`dragoman up` with its processes by role."""

    port: int
    admin_port: int
    pid: int
    supervisor: tuple[int, ...] = ()
    sidecar: tuple[int, ...] = ()
    envoy: tuple[int, ...] = ()
    store: tuple[int, ...] = ()
    others: tuple[int, ...] = field(default=())

    def __post_init__(self) -> None:
        self.supervisor = (self.pid,)
        roles = {pid: _role(command(pid)) for pid in tree(self.pid)[1:]}
        for role in ("sidecar", "envoy", "store", "others"):
            setattr(self, role, tuple(pid for pid, name in roles.items() if name == role))


def _role(words: list[str]) -> str:
    if words[0].endswith("/envoy"):
        return "envoy"
    if "-server" in words[0]:
        return "store"
    return "sidecar" if WORKER in words else "others"


@contextlib.contextmanager
def gateway(provider: int, workers: int, **changes: object) -> Iterator[Gateway]:
    """The gateway; `changes` replaces top-level fields of its policy."""
    port, admin_port = free_port(), free_port()
    with tempfile.TemporaryDirectory(prefix="dg") as folder:
        file = Path(folder, "dragoman.yaml")
        file.write_text(json.dumps(policy(port, admin_port, provider, workers) | changes))
        arguments = [sys.executable, "-m", "dragoman", "up", "-c", str(file)]
        with running(arguments, stdout=subprocess.PIPE) as process:
            if process.stdout is None or not process.stdout.readline().startswith("ready "):
                raise SystemExit("the gateway did not start")
            yield Gateway(port, admin_port, process.pid)


@contextlib.contextmanager
def ours(provider: int, simulator_pid: int, workers: int) -> Iterator[list[System]]:
    """Envoy alone and the gateway, by kind of request.

    No policy has more in it than its kind says, for what it has costs whoever goes by it.
    """
    both = {"simulator": (simulator_pid,)}
    key = {"authorization": f"Bearer {KEY}"}

    def system(kind: str, up: Gateway, upstream: str) -> System:
        roles = {"sidecar": up.sidecar, "envoy": up.envoy, "supervisor": up.supervisor, **both}
        return System(kind, kind, up.port, f"{upstream}/{{}}", key, roles)

    with (
        bare_envoy(provider, workers) as (bare, bare_pid),
        gateway(provider, workers) as plain,
        gateway(provider, workers, **_governed()) as governed,
        gateway(provider, workers, **_three(provider)) as three,
    ):
        alone = {"envoy": (bare_pid,), **both}
        yield [
            System("envoy", "pass-through", bare, "sim/{}", key, alone),
            system("pass-through", plain, "openai"),
            system("policies", governed, "openai"),
            system("fastest", three, "openai"),
            system("usage-stripped", plain, "openai"),
            system("translated", plain, "anthropic"),
        ]
