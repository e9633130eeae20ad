"""`dragoman replay`: what another policy would have done with the requests of a ledger."""

from __future__ import annotations

import click
import msgspec

from dragoman.cli.exits import fail
from dragoman.cli.ledger_files import open_lines, printable, report_broken
from dragoman.config.load import load
from dragoman.errors import DragomanError


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="LEDGER...")
@click.option("--policy", required=True, metavar="FILE", help="the policy to try")
@click.option("--json", "as_json", is_flag=True, help="one JSON object")
def replay(files: tuple[str, ...], policy: str, *, as_json: bool) -> None:
    """Say whom another policy would have asked for the requests of LEDGERs (gzip too; `-` is
    standard input), at what price and how fast, by what the ledger tells.

    Nothing is drawn: shares are those that weights give. Ends with 1 where a line cannot be read.
    """
    from dragoman.policies.replay import Replay, describe_report  # noqa: PLC0415 - only this command

    try:
        replayed = Replay(load(policy))
        for name in files:
            with open_lines(name) as lines:
                replayed.read(lines, name)
    except (DragomanError, OSError, EOFError) as error:
        fail(str(error))
    report = replayed.report()
    if as_json:
        click.echo(msgspec.json.encode(report))
    else:
        click.echo("\n".join(map(printable, describe_report(report))))
    report_broken(replayed.broken)
