"""A worker: one socket a stage, all on one event loop."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import uvloop

from dragoman.config import refusal
from dragoman.config.allocator import keep_buffers, release_unused
from dragoman.config.policy import Policy
from dragoman.config.refusal import Refusal
from dragoman.errors import DragomanError
from dragoman.extproc import health, ledger
from dragoman.extproc.background import Background, failing
from dragoman.extproc.in_force import InForce
from dragoman.extproc.stages import DecideStream, RespondStream, TranslateStream
from dragoman.extproc.transports import Server, StreamMachine, Streams, Transport
from dragoman.extproc.transports.lean.limits import Limits
from dragoman.extproc.transports.lean.server import LeanTransport
from dragoman.stores.embedded import store_url
from dragoman.stores.keys import KeyWatch
from dragoman.stores.trail import AuditTrail
from dragoman.telemetry.ledger import Entry, encode_lines
from dragoman.telemetry.logging import Logger, make_logger, open_lines

PROCESS = "/envoy.service.ext_proc.v3.ExternalProcessor/Process"
_MESSAGE_OVERHEAD_BYTES = 1 << 20
"""Room for attributes and framing around the largest body."""


def stage_streams(
    now: InForce, sink: ledger.Sink, trail: AuditTrail | None = None
) -> Mapping[str, Streams]:
    """What each socket of a worker serves, by stage. `trail` takes in what is denied."""
    factories: dict[str, tuple[str, Callable[[], StreamMachine]]] = {
        "decide": (PROCESS, lambda: _decide_stream(now)),
        "translate": (PROCESS, lambda: TranslateStream(now.policy, now.secret, now.callouts)),
        "respond": (PROCESS, lambda: _respond_stream(now)),
        "ledger": (ledger.METHOD, lambda: ledger.LedgerStream(now, sink, trail=trail)),
    }
    return {
        stage: {method: factory, health.METHOD: health.HealthStream}
        for stage, (method, factory) in factories.items()
    }


def _decide_stream(now: InForce) -> DecideStream:
    beside = now.beside
    return DecideStream(now.decide, beside.keeper, now.callouts, beside.lag)


def _respond_stream(now: InForce) -> RespondStream:
    return RespondStream(now.policy, now.redactors, now.guards, now.callouts)


async def listen(
    transport: Transport,
    policy: Policy,
    worker: int,
    streams: Mapping[str, Streams],
) -> list[Server]:
    """Serve the stages of worker number `worker` (from 0) in the policy's `run_dir`."""
    servers: list[Server] = []
    for stage, served in streams.items():
        path = socket_path(policy, stage, worker)
        path.unlink(missing_ok=True)
        servers.append(await transport.serve(str(path), served))
    return servers


def socket_path(policy: Policy, stage: str, worker: int) -> Path:
    """Where worker number `worker` serves `stage`; Envoy's clusters name the same paths."""
    return Path(policy.run_dir) / f"{stage}-{worker}.sock"


def run_worker(
    policy: Policy, worker: int, ready: Callable[[], None], reread: Callable[[], Policy]
) -> None:
    """Serve until SIGTERM or SIGINT. `ready` is called once all sockets accept, `reread` to find
    the policy anew on SIGHUP."""
    keep_buffers()
    uvloop.run(_serve(policy, worker, ready, reread))


async def _serve(
    policy: Policy, worker: int, ready: Callable[[], None], reread: Callable[[], Policy]
) -> None:
    loop, stop, changed = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
    for number, event in ((signal.SIGTERM, stop), (signal.SIGINT, stop), (signal.SIGHUP, changed)):
        loop.add_signal_handler(number, event.set)
    log = make_logger(worker=worker)
    transport = _transport(policy, log)
    watch = _watch(policy, log)
    trail = _trail(policy, worker)
    if watch:
        await watch.refresh()
        watch.start(failing(log, "keys"))
    beside = Background(worker, log, trail, watch)
    now = InForce(policy, beside, watch)
    if trail:
        trail.start(beside.audit_fails)
    beside.tell_loaded(policy)
    loop.add_signal_handler(
        signal.SIGUSR1, lambda: beside.tell_refused(refusal.find(policy.run_dir))
    )
    servers = await listen(transport, policy, worker, stage_streams(now, _sink(policy), trail))
    release_unused()
    gc.freeze()  # what is here now stays: no collection need look at it again
    follower = asyncio.create_task(_follow(now, changed, reread, log, beside))
    ready()
    await stop.wait()
    follower.cancel()
    grace = policy.timeouts.drain_seconds
    *stages, ledger_server = servers
    await asyncio.gather(*(server.close(grace) for server in stages))
    await ledger_server.close(0)
    await beside.close()
    if watch:
        await watch.close()
    if trail:
        await trail.close()


async def _follow(
    now: InForce,
    changed: asyncio.Event,
    reread: Callable[[], Policy],
    log: Logger,
    beside: Background,
) -> None:
    """Serve by the new policy each time there is one; by the old one where it cannot be used."""
    while True:
        await changed.wait()
        changed.clear()
        try:
            now.replace(await asyncio.to_thread(reread))
        except (DragomanError, OSError, ValueError) as error:
            log.warning("policy_not_taken", problem=str(error))
            beside.tell_refused(Refusal(now.policy.source, str(error)))
        else:
            log.info("policy_taken")
            beside.tell_loaded(now.policy)


def _trail(policy: Policy, worker: int) -> AuditTrail | None:
    """Who enters what this worker denies, and which policy it has."""
    if policy.audit is None:
        return None
    from dragoman.stores.audit import open_audit  # noqa: PLC0415 - the Redis client is heavy

    name = f"worker-{worker}@{socket.gethostname()}"
    return AuditTrail(open_audit(policy), name, time.time)


def _transport(policy: Policy, log: Logger) -> Transport:
    largest = max(policy.limits.request_body_bytes, policy.limits.response_body_bytes)
    max_message_bytes = largest + _MESSAGE_OVERHEAD_BYTES
    if policy.transport == "lean":
        return LeanTransport(log, Limits(message_bytes=max_message_bytes))
    from dragoman.extproc.transports.grpc_aio import GrpcAioTransport  # noqa: PLC0415 - 8 MB of code

    return GrpcAioTransport(log, max_message_bytes)


def _watch(policy: Policy, log: Logger) -> KeyWatch | None:
    """Who knows the keys that the store holds."""
    if not policy.issued_keys:
        return None
    from dragoman.stores.key_store import KeyStore  # noqa: PLC0415 - as above

    def tell(row: str) -> None:
        log.warning("row_unreadable", path=row)

    store = KeyStore(store_url(policy), cluster=policy.store.cluster, tell=tell)
    return KeyWatch(store, time.time)


def _sink(policy: Policy) -> ledger.Sink:
    """Writes the entries that came together at once, all with the time of their writing."""
    lines = open_lines(policy.ledger.path)

    def write(entries: list[Entry]) -> None:
        lines.write(encode_lines(entries, datetime.now(UTC)))
        lines.flush()

    return write


def announce_ready() -> None:
    """Tell whoever started this process, if it listens, that the sockets accept."""
    with suppress(BrokenPipeError):
        sys.stdout.write("ready\n")
        sys.stdout.flush()
