"""`dragoman audit`: the record of what was done, denied and changed, and whether it is whole."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from dragoman.cli.exits import fail
from dragoman.cli.stored import CONFIG, RUN_DIR, ask, read_policy
from dragoman.config.policy import Policy

if TYPE_CHECKING:
    from dragoman.stores.audit import AuditStore

T = TypeVar("T")
_FOLLOW_SECONDS = 0.5
_MOST_LINE_BYTES = 1 << 20


@click.group()
def audit() -> None:
    """Read and verify the record of keys, policies and denials."""


@audit.command("list")
@CONFIG
@RUN_DIR
@click.option(
    "--after", metavar="N", type=click.IntRange(0), default=0, help="a number to begin at"
)
def list_entries(config: str, run_dir: str | None, after: int) -> None:
    """Write the entries as JSON Lines, the oldest first."""

    async def write(store: AuditStore) -> None:
        async for _, entry in store.entries(after):
            click.echo(entry)

    _ask(_policy(config, run_dir), write)


@audit.command()
@CONFIG
@RUN_DIR
@click.option("-n", "count", metavar="N", type=click.IntRange(0), default=10, show_default=True)
@click.option("-f", "--follow", is_flag=True, help="go on with what is entered from now on")
def tail(config: str, run_dir: str | None, count: int, *, follow: bool) -> None:
    """Write the last entries."""

    async def write(store: AuditStore) -> None:
        after = max((await store.head()).sequence - count, 0)
        while True:
            async for sequence, entry in store.entries(after):
                click.echo(entry)
                after = sequence
            if not follow:
                return
            await asyncio.sleep(_FOLLOW_SECONDS)

    _ask(_policy(config, run_dir), write)


@audit.command()
@click.argument("files", nargs=-1, metavar="[FILE]...")
@CONFIG
@RUN_DIR
@click.option("--anchor", metavar="HASH", help="of an entry noted earlier, which must be there")
def verify(files: tuple[str, ...], config: str, run_dir: str | None, anchor: str | None) -> None:
    """Prove the chain: of FILEs, as `list` wrote them, in their order; else of the store.

    Ends with 1 where something is wrong, after all of it was named.
    """
    from dragoman.stores.chain import Verifier  # noqa: PLC0415 - only this command

    policy = _policy(config, run_dir)
    verifier = Verifier(policy.audit.key if policy.audit else None, anchor)

    async def prove(store: AuditStore) -> int:
        faults = 0
        async for _, entry in store.entries():
            faults += _tell(verifier.feed(entry))
        return faults + _tell(verifier.close(await store.head()))

    if files:
        faults = sum(_tell(verifier.feed(line)) for line in _lines(files))
        faults += _tell(verifier.close())
    else:
        faults = _ask(policy, prove)
    if faults:
        sys.exit(1)
    head = verifier.head
    span = f"{verifier.first or 0} to {head.sequence}"
    click.echo(f"{verifier.count} entries, {span}, hold together; the last is {head.hash}")


def _tell(fault: str | None) -> int:
    """Say it, if there is one; how many there were."""
    if fault is not None:
        click.echo(fault)
    return int(fault is not None)


def _lines(files: tuple[str, ...]) -> Iterator[bytes]:
    for name in files:
        try:
            with Path(name).open("rb") as lines:
                while line := lines.readline(_MOST_LINE_BYTES):
                    yield line
        except OSError as error:
            fail(str(error))


def _policy(config: str, run_dir: str | None) -> Policy:
    policy = read_policy(config, run_dir)
    if policy.audit is None:
        fail(f"{policy.source}: audit is not set, so that nothing is recorded")
    return policy


def _ask(policy: Policy, call: Callable[[AuditStore], Awaitable[T]]) -> T:
    from dragoman.stores.audit import open_audit  # noqa: PLC0415 - the Redis client is heavy

    return ask(lambda: open_audit(policy), call)
