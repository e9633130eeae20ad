"""The command line. Each command imports what it needs, so that it starts fast."""

from __future__ import annotations

import hashlib
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from dragoman import __version__
from dragoman.cli.abuse import abuse
from dragoman.cli.audit import audit
from dragoman.cli.canary import canary
from dragoman.cli.exits import fail
from dragoman.cli.experiments import experiments
from dragoman.cli.explain import explain
from dragoman.cli.incidents import incidents
from dragoman.cli.keys import keys
from dragoman.cli.replay import replay
from dragoman.cli.shadows import shadows
from dragoman.cli.usage import usage
from dragoman.config.cores import available_cores
from dragoman.config.load import DEFAULT_RUN_DIR, load
from dragoman.config.policy import Policy
from dragoman.errors import ConfigError, DragomanError

if TYPE_CHECKING:
    from dragoman.envoyconf.inspection import Finding

_CONFIG = click.option("-c", "--config", metavar="FILE", help="policy file; none: the defaults")


def _count(context: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """A number of workers, or as many as there are cores."""
    if value is None:
        return None
    if value == "auto":
        return available_cores()
    return int(click.IntRange(1, 256)(value, param, context))


_WORKERS = click.option("--workers", metavar="N|auto", callback=_count, help="auto: one a core")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Dragoman: an LLM gateway beside Envoy."""


main.add_command(abuse)
main.add_command(audit)
main.add_command(canary)
main.add_command(incidents)
main.add_command(keys)
main.add_command(experiments)
main.add_command(explain)
main.add_command(replay)
main.add_command(shadows)
main.add_command(usage)


def _load(config: str | None) -> Policy:
    """The policy, or the end of the program with what is wrong."""
    try:
        return load(config)
    except ConfigError as error:
        fail(str(error))


def _own_run_dir(policy: Policy) -> str | None:
    """The folder the policy file names; None where it names none and a fresh one will do."""
    return None if policy.run_dir == DEFAULT_RUN_DIR else policy.run_dir


@main.command()
@_CONFIG
@click.option("--port", type=click.IntRange(1, 65535), help="of the listener")
@click.option("--admin-port", type=click.IntRange(1, 65535), help="of Envoy's admin")
@_WORKERS
@click.option("--run-dir", metavar="DIR", help="folder of the sockets; none: a fresh one")
def up(
    config: str | None,
    port: int | None,
    admin_port: int | None,
    workers: int | None,
    run_dir: str | None,
) -> None:
    """Start store, workers, Envoy and, where the policy has one, the simulator."""
    from dragoman.supervisor.planning import run_sidecar  # noqa: PLC0415 - only this command

    policy = _load(config)
    changes: dict[str, object] = {}
    if port:
        changes["listener"] = msgspec.structs.replace(policy.listener, port=port)
    if admin_port:
        changes["admin"] = msgspec.structs.replace(policy.admin, port=admin_port)
    if workers:
        changes["workers"] = workers
    policy = msgspec.structs.replace(policy, **changes)
    try:
        run_sidecar(policy, config, run_dir or _own_run_dir(policy))
    except DragomanError as error:
        click.echo(f"dragoman: {error.message}", err=True)
        sys.exit(1)


@main.command()
@_CONFIG
@click.option("--run-dir", metavar="DIR", help="folder of the sockets")
@_WORKERS
def serve(config: str | None, run_dir: str | None, workers: int | None) -> None:
    """Run the workers without Envoy, for one that somebody else runs."""
    from dragoman.supervisor.planning import run_workers  # noqa: PLC0415 - only this command

    policy = _load(config)
    run_dir, workers = run_dir or policy.run_dir, workers or policy.workers
    run_workers(msgspec.structs.replace(policy, run_dir=run_dir, workers=workers), config)


@main.command()
@_CONFIG
@click.option("--envoy", "envoy_file", metavar="FILE", help="an Envoy configuration to check")
def check(config: str | None, envoy_file: str | None) -> None:
    """Say what is wrong with a policy file, and where an Envoy file does not agree with it."""
    from dragoman.envoyconf import check as checks  # noqa: PLC0415 - only this command needs it
    from dragoman.envoyconf.check_policy import check_policy  # noqa: PLC0415 - the same

    policy = _load(config)
    try:
        findings = checks.check(policy, envoy_file) if envoy_file else []
    except ConfigError as error:
        fail(str(error))
    for finding in [*_retirements(policy), *check_policy(policy), *findings]:
        click.echo(str(finding))
    if any(finding.severity == "error" for finding in findings):
        sys.exit(1)
    click.echo(f"{policy.source}: ok")


def _retirements(policy: Policy) -> list[Finding]:
    """A warning for each target whose model has ended or soon will."""
    from dragoman.envoyconf.inspection import Finding  # noqa: PLC0415 - only `check` needs it
    from dragoman.policies.describe import find_retirements  # noqa: PLC0415 - the same

    return [
        Finding(
            file=policy.source,
            path=found.path,
            problem=f"{found.target.provider} {'retired' if found.past else 'retires'} "
            f"{found.target.model} on {found.retires}",
            remedy="Name another model",
            severity="warning",
        )
        for found in find_retirements(policy, datetime.now(tz=UTC).date())
    ]


@main.command()
@_CONFIG
@click.option("--json", "as_json", is_flag=True, help="all facts, as JSON")
def models(config: str | None, *, as_json: bool) -> None:
    """List the public models, their targets, and what is known of each."""
    from dragoman.policies.describe import (  # noqa: PLC0415 - only this command
        describe,
        describe_line,
        describe_model_line,
    )

    found = describe(_load(config), datetime.now(tz=UTC).date())
    if as_json:
        document = {"models": found}
        click.echo(msgspec.json.format(msgspec.json.encode(document), indent=2).decode())
        return
    today = datetime.now(tz=UTC).date()
    for model in found:
        click.echo(describe_model_line(model))
        for target in model.targets:
            click.echo(f"  {describe_line(target, today)}")


@main.command()
@_CONFIG
def envoy(config: str | None) -> None:
    """Print Envoy's configuration for a policy file."""
    from dragoman.envoyconf.render import render, to_yaml  # noqa: PLC0415 - only this command

    policy = _load(config)
    source = Path(policy.source).name
    click.echo(f"# Rendered from {source} by `dragoman envoy`; do not edit.")
    click.echo(to_yaml(render(policy)), nl=False)


@main.command()
def digest() -> None:
    """Read a key from standard input and print its SHA-256, as `callers` wants it."""
    key = sys.stdin.readline().strip()
    if not key:
        fail("no key on standard input")
    click.echo(hashlib.sha256(key.encode()).hexdigest())


@main.command()
def version() -> None:
    """Print the version."""
    click.echo(__version__)
