"""Other gateways, each in an environment of its own under `build/`, on the same provider.

`make bench-peers` installs them by name: LiteLLM's proxy from PyPI, Portkey's gateway from npm.
LiteLLM checks a key, as the gateway does; Portkey's has no key of its own to check.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.bench.cases import CASES
from tests.bench.processes import tree
from tests.bench.systems import System, await_port, free_port, running

BUILD = Path("build/peers")
NAMES = ("litellm", "portkey")
_LITELLM = BUILD / "litellm"
_PORTKEY = BUILD / "portkey" / "node_modules" / "@portkey-ai" / "gateway"
_KEY = "sk-dragoman-demo"
_KINDS = {"pass-through": "openai", "translated": "anthropic"}


def versions() -> dict[str, str]:
    """What is installed."""
    python = str(_LITELLM / "bin" / "python")
    ask = "from importlib.metadata import version; print(version('litellm'))"
    litellm = subprocess.run([python, "-c", ask], capture_output=True, text=True, check=True)
    portkey = json.loads((_PORTKEY / "package.json").read_text())["version"]
    return {"litellm": litellm.stdout.strip(), "portkey": portkey}


@contextlib.contextmanager
def peers(provider: int) -> Iterator[list[System]]:
    """All of them, ready."""
    with _litellm(provider) as litellm, _portkey(provider) as portkey:
        yield [*litellm, *portkey]


def _systems(
    name: str, port: int, model: str, pid: int, headers: dict[str, dict[str, str]]
) -> list[System]:
    """One a kind; `model` may hold the upstream's name as `{upstream}`."""
    processes = {"sidecar": tuple(tree(pid))}
    return [
        System(
            name=name if kind == "pass-through" else f"{name}-{kind}",
            kind=kind,
            port=port,
            model=model.replace("{upstream}", upstream),
            headers=headers[upstream],
            processes=processes,
        )
        for kind, upstream in _KINDS.items()
    ]


@contextlib.contextmanager
def _litellm(provider: int) -> Iterator[list[System]]:
    port = free_port()
    bases = {
        "openai": f"http://127.0.0.1:{provider}/v1",
        "anthropic": f"http://127.0.0.1:{provider}",
    }
    models = [
        {
            "model_name": f"{upstream}/{case.directive}",
            "litellm_params": {
                "model": f"{upstream}/sim/{case.directive}",
                "api_base": base,
                "api_key": "simulator",
            },
        }
        for case in CASES
        for upstream, base in bases.items()
    ]
    config = {"model_list": models, "general_settings": {"master_key": _KEY}}
    offline = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "config.yaml")
        file.write_text(json.dumps(config))
        arguments = [str(_LITELLM / "bin" / "litellm"), "--config", str(file), "--port", str(port)]
        arguments += ["--host", "127.0.0.1", "--num_workers", "1", "--telemetry", "False"]
        path = f"{_LITELLM.resolve()}/bin:{os.environ['PATH']}"
        environment = {**os.environ, **offline, "PATH": path}
        with _quiet(arguments, port, env=environment) as pid:
            key = {"authorization": f"Bearer {_KEY}"}
            headers = dict.fromkeys(bases, key)
            yield _systems("litellm", port, "{upstream}/{}", pid, headers)


@contextlib.contextmanager
def _portkey(provider: int) -> Iterator[list[System]]:
    port = free_port()
    script = str(_PORTKEY / "build" / "start-server.js")
    headers = {
        upstream: {
            "authorization": f"Bearer {_KEY}",
            "x-portkey-provider": upstream,
            "x-portkey-custom-host": f"http://127.0.0.1:{provider}/v1",
        }
        for upstream in _KINDS.values()
    }
    environment = {**os.environ, "NODE_ENV": "production"}
    arguments = ["node", script, f"--port={port}", "--headless"]
    with _quiet(arguments, port, env=environment) as pid:
        yield _systems("portkey", port, "sim/{}", pid, headers)


@contextlib.contextmanager
def _quiet(arguments: list[str], port: int, *, env: dict[str, str]) -> Iterator[int]:
    """A process whose output nobody wants, and its id once it listens."""
    nowhere = subprocess.DEVNULL
    with running(arguments, stdout=nowhere, stderr=nowhere, env=env) as process:
        await_port(port, process)
        yield process.pid
