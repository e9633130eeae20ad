"""`dragoman abuse`: callers found to abuse the service, and the way back."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

import click

from dragoman.cli.exits import fail
from dragoman.cli.stored import CONFIG, REASON, RUN_DIR, ask, enter, read_policy, write_time
from dragoman.config.policy import Policy

if TYPE_CHECKING:
    from dragoman.stores.abuse import AbuseStore
    from dragoman.stores.standings import Standing

T = TypeVar("T")


@click.group()
def abuse() -> None:
    """Show callers that were found to abuse the service, and serve them again."""


@abuse.command("list")
@CONFIG
@RUN_DIR
def list_standings(config: str, run_dir: str | None) -> None:
    """Show what stands against whom: action, score, since when, until when, and why."""
    found = _ask(read_policy(config, run_dir), lambda store: store.standings())
    now = time.time()
    for row in sorted(found.values(), key=lambda row: row.caller):
        if row.until > now:
            times = f"{write_time(row.since)}  {write_time(row.until)}"
            click.echo("  ".join([row.caller, row.action, str(row.score), times, *row.reasons]))


@abuse.command()
@click.argument("caller")
@CONFIG
@RUN_DIR
@REASON
def lift(caller: str, config: str, run_dir: str | None, why: str) -> None:
    """End what stands against CALLER. While an action would last, only alerts follow."""
    policy = read_policy(config, run_dir)
    rule = policy.abuse
    if rule is None:
        fail(f"{policy.source}: abuse is not set, so that nothing is found")
    now = time.time()

    async def call(store: AbuseStore) -> Standing:
        former = await store.lift(caller, now + rule.lasts_seconds)
        facts = {"caller": caller, "action": former.action, "score": str(former.score)}
        await enter(policy, "abuse.lift", facts, why)
        return former

    former = _ask(policy, call)
    click.echo(f"{caller}: {former.action} ended")


def _ask(policy: Policy, call: Callable[[AbuseStore], Awaitable[T]]) -> T:
    from dragoman.stores.abuse import AbuseStore  # noqa: PLC0415 - the Redis client is heavy
    from dragoman.stores.embedded import store_url  # noqa: PLC0415 - the same

    return ask(lambda: AbuseStore(store_url(policy), cluster=policy.store.cluster), call)
