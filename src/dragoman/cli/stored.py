"""What commands on a gateway's store have in common."""

from __future__ import annotations

import asyncio
import os
import pwd
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Protocol, TypeVar

import click
import msgspec

from dragoman.cli.exits import fail
from dragoman.config.load import load
from dragoman.config.policy import Policy
from dragoman.errors import ConfigError, DragomanError

CONFIG = click.option("-c", "--config", metavar="FILE", required=True, help="policy file")
RUN_DIR = click.option("--run-dir", metavar="DIR", help="of the gateway whose store it is")
REASON = click.option("--reason", "why", default="", help="for the audit trail")

T = TypeVar("T")


class Closable(Protocol):
    """A connection to the store."""

    async def close(self) -> None: ...


S = TypeVar("S", bound=Closable)


def read_policy(config: str, run_dir: str | None) -> Policy:
    """The policy, whose store is found in `run_dir`. Ends the program where it cannot be used."""
    try:
        policy = load(config)
    except ConfigError as error:
        fail(str(error))
    return msgspec.structs.replace(policy, run_dir=run_dir or policy.run_dir)


def ask(connect: Callable[[], S], call: Callable[[S], Awaitable[T]]) -> T:
    """What `call` answers of the store; ends the program where it cannot."""

    async def run() -> T:
        store = connect()
        try:
            return await call(store)
        finally:
            await store.close()

    try:
        return asyncio.run(run())
    except DragomanError as error:
        fail(error.message)


def operator() -> str:
    """Who runs this, as the system knows them."""
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


async def enter(policy: Policy, event: str, what: Mapping[str, str], why: str) -> None:
    """Enter what the operator did in the audit trail, where the policy has one."""
    if policy.audit is None:
        return
    from dragoman.stores.audit import open_audit  # noqa: PLC0415 - the Redis client is heavy
    from dragoman.stores.chain import Event  # noqa: PLC0415 - the same
    from dragoman.stores.trail import time_of  # noqa: PLC0415 - the same

    audit = open_audit(policy)
    at = time_of(time.time())
    try:
        await audit.append([Event(event=event, time=at, who=operator(), what=what, why=why)])
    finally:
        await audit.close()


def write_time(seconds: float | None) -> str:
    """Unix seconds for reading; `-` where there are none."""
    if seconds is None:
        return "-"
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
