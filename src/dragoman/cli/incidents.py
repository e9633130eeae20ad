"""`dragoman incidents`: targets that are not as usual, and an end to that by hand."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

import click

from dragoman.cli.exits import fail
from dragoman.cli.stored import CONFIG, REASON, RUN_DIR, ask, enter, read_policy, write_time
from dragoman.config.policy import Policy

if TYPE_CHECKING:
    from dragoman.stores.healing import HealingStore
    from dragoman.stores.incidents import Incident

T = TypeVar("T")


@click.group()
def incidents() -> None:
    """Show targets that are not as usual, and have them asked again as before."""


@incidents.command("list")
@CONFIG
@RUN_DIR
def list_incidents(config: str, run_dir: str | None) -> None:
    """Show which targets are lowered: since when, and why."""
    found = _ask(_policy(config, run_dir), lambda store: store.incidents())
    for row in sorted(found.values(), key=lambda row: row.target):
        click.echo("  ".join([row.target, write_time(row.since), *row.reasons]))


@incidents.command()
@click.argument("target")
@CONFIG
@RUN_DIR
@REASON
def lift(target: str, config: str, run_dir: str | None, why: str) -> None:
    """End the incident of TARGET (PROVIDER/MODEL). What is usual for it is learned anew."""
    policy = _policy(config, run_dir)

    async def call(store: HealingStore) -> Incident:
        former = await store.lift(target)
        what = {"target": target, "reasons": ", ".join(former.reasons)}
        await enter(policy, "incident.lift", what, why)
        return former

    former = _ask(policy, call)
    click.echo(f"{target}: incident of {write_time(former.since)} ended")


def _policy(config: str, run_dir: str | None) -> Policy:
    policy = read_policy(config, run_dir)
    if policy.healing is None:
        fail(f"{policy.source}: healing is not set, so that no target is lowered")
    return policy


def _ask(policy: Policy, call: Callable[[HealingStore], Awaitable[T]]) -> T:
    from dragoman.stores.embedded import store_url  # noqa: PLC0415 - the Redis client is heavy
    from dragoman.stores.healing import HealingStore  # noqa: PLC0415 - the same

    return ask(lambda: HealingStore(store_url(policy), cluster=policy.store.cluster), call)
