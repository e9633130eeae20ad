"""`dragoman canary`: how far canaries are, and the hand that moves them."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

import click

from dragoman.cli.exits import fail
from dragoman.cli.stored import CONFIG, REASON, RUN_DIR, ask, enter, read_policy, write_time
from dragoman.config.policy import Policy

if TYPE_CHECKING:
    from dragoman.stores.canaries import Progress
    from dragoman.stores.canary_store import CanaryStore

T = TypeVar("T")
_MODEL = click.argument("model")


@click.group()
def canary() -> None:
    """Show canaries, and promote, roll back or restart them by hand."""


@canary.command("list")
@CONFIG
@RUN_DIR
def list_canaries(config: str, run_dir: str | None) -> None:
    """Show of each its model, state, share, since when it has that, and why."""
    policy = read_policy(config, run_dir)
    for row in _ask(policy, lambda store: store.progress()).values():
        model = policy.models.get(row.model)
        if model is not None and model.canary is not None and model.canary.digest == row.digest:
            told = [row.model, row.state, f"{row.percent:g}%", write_time(row.since), row.why]
            click.echo("  ".join(filter(None, told)))


@canary.command()
@_MODEL
@CONFIG
@RUN_DIR
@REASON
def promote(model: str, config: str, run_dir: str | None, why: str) -> None:
    """Have the candidate of MODEL serve all."""
    _change(model, config, run_dir, "promoted", why)


@canary.command()
@_MODEL
@CONFIG
@RUN_DIR
@REASON
def rollback(model: str, config: str, run_dir: str | None, why: str) -> None:
    """Have the candidate of MODEL serve nobody."""
    _change(model, config, run_dir, "rolled_back", why)


@canary.command()
@_MODEL
@CONFIG
@RUN_DIR
@REASON
def restart(model: str, config: str, run_dir: str | None, why: str) -> None:
    """Begin again with the first step of MODEL's canary."""
    _change(model, config, run_dir, "running", why)


def _change(model: str, config: str, run_dir: str | None, state: str, why: str) -> None:
    policy = read_policy(config, run_dir)
    found = policy.models.get(model)
    definition = found.canary if found else None
    if definition is None:
        fail(f"{policy.source}: no model {model} that has a canary")

    async def call(store: CanaryStore) -> Progress:
        former = await store.change(model, state, definition, time.time())
        what = {"model": model, "before": former.state, "after": state}
        await enter(policy, "canary.by_hand", what, why)
        return former

    former = _ask(policy, call)
    click.echo(f"{model}: {state}; it was {former.state} at {former.percent:g}%")


def _ask(policy: Policy, call: Callable[[CanaryStore], Awaitable[T]]) -> T:
    from dragoman.stores.canary_store import CanaryStore  # noqa: PLC0415 - the Redis client is heavy
    from dragoman.stores.embedded import store_url  # noqa: PLC0415 - the same

    return ask(lambda: CanaryStore(store_url(policy), cluster=policy.store.cluster), call)
