"""A gateway under test: `dragoman up` as a process of its own, on free ports, real Envoy and all."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.request import urlopen

import yaml

from dragoman.simulator import Simulator
from dragoman.supervisor.planning import WORKER

KEY = "client-key-of-demo-7f3a"
LIMITED_KEY = "client-key-of-limited-91bc"
KINDS = {
    "openai": "openai",
    "anthropic": "anthropic",
    "openai-b": "openai",
    "anthropic-b": "anthropic",
    "openrouter": "openrouter",
    "mistral": "mistral",
    "azure": "azure-openai",
    "azure-classic": "azure-openai-deployments",
    "gemini": "gemini",
    "responses": "simulator-responses",
    "completions": "simulator-completions",
    "tgi": "simulator-tgi",
    "bedrock": "bedrock-key",
    "vertex": "vertex",
    "cohere": "cohere",
    "ollama": "simulator-ollama",
    "voyage": "voyage",
    "tei": "tei",
    "jina": "jina",
    "agent": "bedrock-key",
}
"""Providers of the policy: their names, also those of the simulator's ports, and their rows."""
PARAMS = {"vertex": {"project": "p1", "location": "eu"}}
SERVES = {"agent": {"bedrock_rerank": {"path": "/rerank"}}}
"""The agent runtime's rerank, which AWS takes signed alone: `test_signing` has the real row."""
START_SECONDS = 20.0

T = TypeVar("T")
Labels = tuple[tuple[str, str], ...]


def provider_key(provider: str) -> str:
    """The key Envoy reads from this provider's file."""
    return f"provider-key-of-{provider}-5d1e"


METER_KEYS = {f"meter-{i}": f"client-key-of-meter-{i:03}-e2" for i in range(400)}
"""Callers that `fresh_caller` hands out, one each, so that no test counts another's requests."""
SECRETS = (KEY, LIMITED_KEY, *METER_KEYS.values(), *map(provider_key, KINDS))
_unused = iter(METER_KEYS.items())


def fresh_caller() -> tuple[str, str]:
    """Name and key of a caller nobody else uses."""
    return next(_unused)


def wait_until(probe: Callable[[], T], seconds: float = 10.0, what: str = "condition") -> T:
    """The first truthy answer of `probe`, asked every 20 ms."""
    deadline = time.monotonic() + seconds
    while True:
        found = probe()
        if found:
            return found
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: still {found!r} after {seconds} s")
        time.sleep(0.02)


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def policy(simulator: Simulator, folder: Path, **changes: Any) -> dict[str, Any]:
    """A policy with every provider on the simulator, its key in a file of its own.

    Models `o/X`, `a/X`, … ask one provider for `sim/X`; `fall/X` asks OpenAI first, then
    Anthropic; `back/X` the other way round. `changes` replaces top-level fields.
    """
    document: dict[str, Any] = {
        "callers": {
            "demo": {"keys": [digest(KEY)], "providers": ["openai-b", "openai", "anthropic"]},
            "limited": {"keys": [digest(LIMITED_KEY)], "models": ["o/*"]},
            **{name: {"keys": [digest(key)]} for name, key in METER_KEYS.items()},
        },
        "providers": {name: provider_entry(name, simulator, folder) for name in KINDS},
        "models": _models(),
        "pass_through": [{"prefix": "/v1/realtime", "provider": "openai"}],
        "ledger": {"path": str(folder / "ledger.jsonl")},
    }
    document["providers"]["dead"] = {"kind": "openai", "url": "http://127.0.0.1:9"} | {
        "key": {"file": str(key_file("openai", folder))}
    }
    return document | changes


def digest(key: str) -> str:
    """The digest by which a policy knows a key."""
    return hashlib.sha256(key.encode()).hexdigest()


def key_file(name: str, folder: Path) -> Path:
    """The file that Envoy reads this provider's key from."""
    path = folder / f"{name}.key"
    path.write_text(provider_key(name))
    return path


def provider_entry(name: str, simulator: Simulator, folder: Path) -> dict[str, Any]:
    """One of `KINDS` as a policy has it."""
    key = {"file": str(key_file(name, folder))}
    entry = {"kind": KINDS[name], "url": simulator.url(name), "key": key}
    more = {"params": PARAMS.get(name), "serves": SERVES.get(name)}
    return {**entry, **{field: value for field, value in more.items() if value}}


def _models() -> dict[str, Any]:
    def on(*providers: str) -> dict[str, Any]:
        return {"targets": [{"provider": name, "model": "sim/*"} for name in providers]}

    return {
        "o/*": on("openai"),
        "a/*": on("anthropic"),
        "r/*": on("openrouter"),
        "m/*": on("mistral"),
        "z/*": on("azure"),
        "y/*": on("azure-classic"),
        "fast": {"targets": [{"provider": "azure-classic", "model": "gpt-4o"}]},
        "g/*": on("gemini"),
        "p/*": on("responses"),
        "c/*": on("completions"),
        "tgi/*": on("tgi"),
        "tgi": {"targets": [{"provider": "tgi", "model": "any"}]},
        "b/*": on("bedrock"),
        "i/*": {"targets": [{"provider": "bedrock", "model": "anthropic.sim/*"}]},
        "v/*": {"targets": [{"provider": "vertex", "model": "claude-sim/*"}]},
        "fall-i/*": {
            "targets": [
                {"provider": "bedrock", "model": "anthropic.sim/*"},
                {"provider": "openai", "model": "sim/*"},
                {"provider": "anthropic", "model": "sim/*"},
            ]
        },
        "k/*": on("cohere"),
        "l/*": on("ollama"),
        "w/*": on("voyage"),
        "t/*": on("tei"),
        "tei": {"targets": [{"provider": "cohere", "model": "sim/echo"}]},
        "n/*": {"targets": [{"provider": "bedrock", "model": "cohere.embed-sim/*"}]},
        "q/*": {"targets": [{"provider": "bedrock", "model": "amazon.nova-sim/*"}]},
        "e/*": {"targets": [{"provider": "vertex", "model": "sim/*"}]},
        "x/*": {"targets": [{"provider": "vertex", "model": "gemini-embedding-2-sim/*"}]},
        "j/*": on("jina"),
        "u/*": on("agent"),
        "fall-g/*": on("gemini", "anthropic"),
        "fall/*": on("openai", "anthropic"),
        "back/*": on("anthropic", "openai"),
        "same/*": on("openai", "openai-b"),
        "long/*": on("openai", "openai-b", "anthropic", "anthropic-b"),
        "dead/*": on("dead", "anthropic"),
        "renamed": {
            "targets": [
                {"provider": "openai", "model": "gpt-first"},
                {"provider": "anthropic", "model": "claude-second"},
            ]
        },
        "shared": {
            "targets": [
                {"provider": "openai", "model": "gpt-4o", "weight": 3, "priority": 0},
                {"provider": "anthropic", "model": "claude-x", "weight": 1, "priority": 0},
            ]
        },
        "sighted": {
            "targets": [
                {"provider": "openai", "model": "gpt-4"},
                {"provider": "openai-b", "model": "gpt-4o"},
            ]
        },
        "known": {"targets": [{"provider": "anthropic", "model": "claude-haiku-4-5"}]},
        "clamped": {
            "clamp": True,
            "targets": [{"provider": "anthropic", "model": "claude-x"}],
        },
    }


@dataclass
class Gateway:
    """One running gateway. Everything it writes lies in `folder`."""

    process: subprocess.Popen[bytes]
    port: int
    admin_port: int
    folder: Path
    simulator: Simulator
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def admin(self) -> str:
        return f"http://127.0.0.1:{self.admin_port}"

    def admin_get(self, path: str) -> str:
        with urlopen(self.admin + path, timeout=10) as answer:  # noqa: S310 - the loopback
            return str(answer.read().decode())

    def stats(self, pattern: str) -> dict[str, int]:
        """Envoy's plain counters and gauges whose name matches."""
        text = self.admin_get("/stats?format=json")
        found = json.loads(text)["stats"]
        plain = {s["name"]: s["value"] for s in found if isinstance(s.get("value"), int)}
        return {name: value for name, value in plain.items() if re.search(pattern, name)}

    def series(self, metric: str) -> dict[Labels, float]:
        """Prometheus samples of one of the gateway's own metrics, by sorted labels."""
        found: dict[Labels, float] = {}
        for line in self.admin_get("/stats/prometheus").splitlines():
            name, _, rest = line.partition("{")
            labels, _, value = rest.rpartition("} ")
            if name == f"envoy_dragoman_{metric}":
                pairs = re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', labels)
                found[tuple(sorted(pairs))] = float(value)
        return found

    def ledger(self) -> list[dict[str, Any]]:
        """The entries written so far."""
        path = self.folder / "ledger.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return [json.loads(line) for line in lines]

    def workers(self) -> list[int]:
        """Process ids of the Python workers."""
        return [pid for pid in descendants(self.process.pid) if WORKER in command(pid)]

    def written(self) -> str:
        """All text the gateway wrote: its output, its ledger, what lies in its run folder."""
        paths = [p for p in self.folder.rglob("*") if p.is_file() and p.suffix != ".key"]
        texts = [p.read_text(errors="replace") for p in paths if p.name != "dragoman.yaml"]
        return "\n".join(texts)

    def output(self) -> str:
        names = ("stdout.log", "stderr.log")
        return "\n".join((self.folder / n).read_text(errors="replace") for n in names)

    def stop(self) -> int:
        """SIGTERM, then wait. The exit status; kills what does not end in time."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(15)
        except subprocess.TimeoutExpired:
            for pid in [*descendants(self.process.pid), self.process.pid]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.process.wait(5)
            raise


@contextlib.contextmanager
def run_gateway(
    simulator: Simulator, *, workers: int = 1, extra: str = "", **changes: Any
) -> Iterator[Gateway]:
    """A gateway from its `ready` line to its end; afterwards nothing secret may be in its logs."""
    folder = Path(tempfile.mkdtemp(prefix="dg"))
    port, admin_port = free_port(), free_port()
    document = policy(simulator, folder, **changes)
    file = folder / "dragoman.yaml"
    file.write_text(yaml.safe_dump(document, sort_keys=False) + extra)
    arguments = [sys.executable, "-m", "dragoman", "up", "-c", str(file)]
    arguments += ["--port", str(port), "--admin-port", str(admin_port)]
    arguments += ["--workers", str(workers), "--run-dir", str(folder / "run")]
    with (folder / "stdout.log").open("wb") as out, (folder / "stderr.log").open("wb") as err:
        process = subprocess.Popen(arguments, stdout=out, stderr=err)  # noqa: S603 - our own
    gateway = Gateway(process, port, admin_port, folder, simulator)
    try:
        _await_ready(gateway)
        yield gateway
    finally:
        if process.poll() is None:
            gateway.stop()
        written = gateway.written()
        shutil.rmtree(folder, ignore_errors=True)
    leaked = [secret for secret in SECRETS if secret in written]
    assert not leaked, f"written by the gateway: {leaked}"


def _await_ready(gateway: Gateway) -> None:
    def ready() -> bool:
        if gateway.process.poll() is not None:
            raise RuntimeError(f"dragoman up ended: {gateway.output()}")
        return "ready listener=" in (gateway.folder / "stdout.log").read_text()

    try:
        wait_until(ready, START_SECONDS, "ready line")
    except TimeoutError as error:
        raise RuntimeError(f"not ready: {gateway.output()}") from error


def command(pid: int) -> list[str]:
    """The command line, empty for a process that is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except OSError:
        return []


def descendants(pid: int) -> list[int]:
    """All processes below `pid`, those already dead left out."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if fields[0] != "Z":
                parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found: list[int] = []
    queue = [pid]
    while queue:
        children = parents.get(queue.pop(), [])
        found += children
        queue += children
    return found
