"""`dragoman keys`: callers' keys in the store, effective on every worker within a second."""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any, TypeVar

import click

from dragoman.cli.exits import fail
from dragoman.cli.stored import CONFIG, REASON, RUN_DIR, ask, operator, read_policy, write_time
from dragoman.config.policy import Policy

if TYPE_CHECKING:
    from dragoman.stores.key_store import KeyStore
    from dragoman.stores.keys import IssuedKey

T = TypeVar("T")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def _duration(context: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """Seconds, from a text such as `90d`."""
    del context
    if value is None:
        return None
    if not re.fullmatch(r"\d+[smhd]", value):
        raise click.BadParameter("a number and s, m, h or d, such as 90d", param=param)
    return int(value[:-1]) * _SECONDS[value[-1]]


def _networks(
    context: click.Context, param: click.Parameter, value: tuple[str, ...]
) -> tuple[str, ...]:
    """Networks such as `10.0.0.0/8`."""
    del context
    try:
        return tuple(str(ip_network(text)) for text in value)
    except ValueError as error:
        raise click.BadParameter(str(error), param=param) from error


_ID = click.argument("key_id", metavar="ID")


@click.group()
def keys() -> None:
    """Issue, list, rotate, disable and revoke callers' keys."""


@keys.command()
@click.argument("caller")
@CONFIG
@RUN_DIR
@click.option("--label", default="", help="what it is for")
@click.option("--expires", metavar="90d", callback=_duration, help="none: it does not")
@click.option("--user", help="whose it is, where the caller names no user")
@click.option("--application", help="what it is for, where the caller names no application")
@click.option("--address", "addresses", multiple=True, callback=_networks, help="only from there")
@REASON
def issue(  # noqa: PLR0917 - one an option
    caller: str,
    config: str,
    run_dir: str | None,
    label: str,
    expires: int | None,
    user: str | None,
    application: str | None,
    addresses: tuple[str, ...],
    why: str,
) -> None:
    """Make a key for CALLER and print it: it is shown this once."""
    policy = _policy(config, run_dir)
    known = policy.callers.by_name.get(caller)
    if known is None:
        fail(f"no caller {caller} in {policy.source}")
    given: dict[str, Any] = {"user": user, "application": application}
    for subject, name in given.items():
        if name and subject in known.belongs:
            fail(f"{caller} is of the {subject} {known.belongs[subject]} by {policy.source}")
    now = int(time.time())
    given |= {"label": label, "expires_at": now + expires if expires else None}
    given["addresses"] = addresses
    key, row = _ask(policy, lambda store: store.issue(caller, now, why=why, **given))
    click.echo(key)
    click.echo(f"id {row.id} of {caller}", err=True)


@keys.command("list")
@click.argument("caller", required=False)
@CONFIG
@RUN_DIR
def list_keys(caller: str | None, config: str, run_dir: str | None) -> None:
    """Show the keys, of CALLER or of all, without what is secret of them."""
    found = _ask(_policy(config, run_dir), lambda store: store.all())
    for row in sorted(found.values(), key=lambda row: (row.caller, row.created_at)):
        if caller in (None, row.caller):
            times = f"{write_time(row.created_at)}  {write_time(row.expires_at)}"
            about = [row.label, row.user, row.application, *row.addresses]
            words = [row.id, row.caller, _state(row), times, *filter(None, about)]
            click.echo("  ".join(words))


@keys.command()
@_ID
@CONFIG
@RUN_DIR
@click.option(
    "--overlap", metavar="24h", default="24h", callback=_duration, help="how long ID goes on"
)
@REASON
def rotate(key_id: str, config: str, run_dir: str | None, overlap: int, why: str) -> None:
    """Make a key like ID and print it; ID itself ends after an overlap."""

    async def exchange(store: KeyStore) -> str:
        old, now = await store.find(key_id), int(time.time())
        left = None if old.expires_at is None else max(old.expires_at - old.created_at, 0)
        until = None if left is None else now + left
        same = {name: getattr(old, name) for name in ("label", "user", "application", "addresses")}
        key, _ = await store.issue(old.caller, now, expires_at=until, why=why, **same)
        ends = min(filter(None, (now + overlap, old.expires_at)))
        await store.change(old, "key.rotate", why, expires_at=ends)
        return key

    click.echo(_ask(_policy(config, run_dir), exchange))


@keys.command()
@_ID
@CONFIG
@RUN_DIR
@REASON
def disable(key_id: str, config: str, run_dir: str | None, why: str) -> None:
    """Refuse requests with ID until it is enabled."""
    _change(config, run_dir, key_id, "key.disable", why, disabled=True)


@keys.command()
@_ID
@CONFIG
@RUN_DIR
@REASON
def enable(key_id: str, config: str, run_dir: str | None, why: str) -> None:
    """Take requests with ID again."""
    _change(config, run_dir, key_id, "key.enable", why, disabled=False)


@keys.command()
@_ID
@CONFIG
@RUN_DIR
@REASON
def revoke(key_id: str, config: str, run_dir: str | None, why: str) -> None:
    """Refuse requests with ID from now on, for good."""
    _change(config, run_dir, key_id, "key.revoke", why, revoked=True)


def _change(
    config: str, run_dir: str | None, key_id: str, event: str, why: str, **changes: bool
) -> None:
    async def change(store: KeyStore) -> None:
        await store.change(await store.find(key_id), event, why, **changes)

    _ask(_policy(config, run_dir), change)


def _policy(config: str, run_dir: str | None) -> Policy:
    policy = read_policy(config, run_dir)
    if not policy.issued_keys:
        fail(f"{policy.source}: issued_keys is not set, so that no worker would know the key")
    return policy


def _ask(policy: Policy, call: Callable[[KeyStore], Awaitable[T]]) -> T:
    from dragoman.stores.audit import open_audit  # noqa: PLC0415 - the Redis client is heavy
    from dragoman.stores.embedded import store_url  # noqa: PLC0415 - as above
    from dragoman.stores.key_store import KeyStore  # noqa: PLC0415 - as above

    def connect() -> KeyStore:
        audit = open_audit(policy) if policy.audit else None
        cluster = policy.store.cluster
        return KeyStore(
            store_url(policy),
            cluster=cluster,
            audit=audit,
            who=operator(),
            notifies=policy.events is not None,
        )

    return ask(connect, call)


def _state(row: IssuedKey) -> str:
    if row.revoked:
        return "revoked"
    if row.disabled:
        return "disabled"
    return "valid" if row.is_valid(time.time()) else "expired"
