"""Run the simulator: as a process, in an event loop, or on a thread of a test."""

import argparse
import asyncio
import signal
import socket
import ssl
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec
import uvloop

from dragoman.simulator.application import Application
from dragoman.simulator.connection import Connection, Listener
from dragoman.simulator.control_client import SimulatorControl
from dragoman.simulator.request_log import RequestLog

MIB = 1024 * 1024


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of a simulator."""

    host: str = "127.0.0.1"
    keyless: frozenset[str] = frozenset()
    """Listeners that ask for no key."""
    max_logged_requests: int = 5000
    max_logged_body_bytes: int = 128 * MIB
    max_body_bytes: int = 64 * MIB
    """Larger requests get 413."""
    tls_certificate: Path | None = None
    """PEM of certificate and key; with it the listeners in `tls` speak TLS."""
    tls: frozenset[str] = frozenset()


async def serve(
    ports: Mapping[str, int],
    options: Options | None = None,
    *,
    on_ready: Callable[[dict[str, int]], None],
    stop: asyncio.Event,
) -> None:
    """Listen, one port a pretended provider, until `stop` is set.

    `ports` maps each listener's name to its port, 0 for any free one; `on_ready` gets the ports
    in use once all accept connections.
    """
    options = options or Options()
    log = RequestLog(options.max_logged_requests, options.max_logged_body_bytes)
    application = Application(log, options.keyless)
    connections: set[Connection] = set()
    servers: list[asyncio.Server] = []
    bound: dict[str, int] = {}
    try:
        for name, port in ports.items():
            sock = _bind(options.host, port)
            bound[name] = sock.getsockname()[1]
            listener = Listener(name, bound[name], options.max_body_bytes, connections)
            servers.append(await _listen(application, listener, sock, options))
        on_ready(bound)
        await stop.wait()
    finally:
        for server in servers:
            server.close()
        for connection in list(connections):
            connection.reset()


def _bind(host: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((host, port))
    return sock


async def _listen(
    application: Application, listener: Listener, sock: socket.socket, options: Options
) -> asyncio.Server:
    context = None
    if options.tls_certificate is not None and listener.name in options.tls:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(options.tls_certificate)
    loop = asyncio.get_running_loop()
    return await loop.create_server(
        lambda: Connection(application, listener), sock=sock, ssl=context, backlog=1024
    )


class Simulator:
    """A simulator on a thread of this process, for tests; use it as a context.

    >>> with Simulator(["openai", "anthropic"]) as simulator:
    ...     simulator.ports["openai"], simulator.url("anthropic")
    ...     simulator.control.script({"status": 429}, {"listener": "openai"}, times=1)
    """

    ports: dict[str, int]
    """In use, by listener name."""
    control: SimulatorControl

    def __init__(self, names: Sequence[str] = ("openai",), options: Options | None = None) -> None:
        """Ports are taken when the context is entered."""
        self._names = names
        self._options = options or Options()
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="simulator", daemon=True)

    def url(self, name: str | None = None) -> str:
        """Origin of a listener, of the first one by default."""
        scheme = "https" if name in self._options.tls else "http"
        return f"{scheme}://{self._options.host}:{self.ports[name or self._names[0]]}"

    def __enter__(self) -> Self:
        """Start; returns when all ports accept."""
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            raise self._failure
        plain = next(name for name in self._names if name not in self._options.tls)
        self.control = SimulatorControl(self.ports[plain], self._options.host)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop; open connections are reset."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._serve())
        except OSError as error:
            self._failure = error
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        ports = dict.fromkeys(self._names, 0)
        await serve(ports, self._options, on_ready=self._announce, stop=self._stop)

    def _announce(self, ports: dict[str, int]) -> None:
        self.ports = ports
        self._ready.set()


async def serve_until_signalled(ports: Mapping[str, int], options: Options | None = None) -> None:
    """`serve` until SIGTERM or SIGINT; prints one line `ready NAME=URL …`."""
    options = options or Options()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)

    def announce(bound: dict[str, int]) -> None:
        urls = (f"{name}=http://{options.host}:{port}" for name, port in bound.items())
        print("ready", *urls, flush=True)

    await serve(ports, options, on_ready=announce, stop=stop)


def main(argv: Sequence[str]) -> int:
    """The command line; returns the exit status."""
    arguments = _make_parser().parse_args(argv)
    ports = dict(arguments.listen or [])
    if arguments.port is not None or not ports:
        ports = {"default": arguments.port or 0, **ports}
    options = Options(
        host=arguments.host,
        keyless=frozenset(arguments.keyless or ()),
        max_logged_requests=arguments.max_logged_requests,
        max_body_bytes=arguments.max_body_bytes,
        tls_certificate=arguments.tls_certificate,
        tls=frozenset(arguments.tls or ()),
    )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve_until_signalled(ports, options))
    return 0


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="dragoman simulate", description=__doc__)
    add = parser.add_argument
    add("--host", default="127.0.0.1")
    add("--port", type=int, help="one listener named 'default'; 0 for any free port")
    add("--listen", type=_named_port, action="append", metavar="NAME=PORT", help="repeatable")
    add("--keyless", action="append", metavar="NAME", help="this listener asks for no key")
    add("--tls", action="append", metavar="NAME", help="this listener speaks TLS")
    add("--tls-certificate", type=Path, help="PEM file of certificate and key")
    add("--max-logged-requests", type=int, default=5000, help="0 logs nothing (benchmarks)")
    add("--max-body-bytes", type=int, default=64 * MIB)
    return parser


def _named_port(text: str) -> tuple[str, int]:
    name, _, port = text.partition("=")
    return name, int(port)
