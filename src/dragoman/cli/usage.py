"""`dragoman usage`: what was used and what it cost, out of the ledger."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

import click

from dragoman.cli.exits import fail
from dragoman.cli.ledger_files import find_ledger, open_lines, report_broken
from dragoman.errors import DragomanError
from dragoman.telemetry.names import SUBJECTS

if TYPE_CHECKING:
    from dragoman.telemetry.chargeback import Counted

_DAY = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%SZ"])


@click.command()
@click.argument("files", nargs=-1, metavar="[FILE]...")
@click.option("-c", "--config", metavar="FILE", help="policy file whose ledger is read")
@click.option(
    "--period", type=click.Choice(["hour", "day", "month"]), default="day", show_default=True
)
@click.option(
    "--per",
    multiple=True,
    type=click.Choice(list(SUBJECTS)),
    help="a row for each; none: for each of all",
)
@click.option("--from", "since", type=_DAY, help="first moment, in UTC, such as 2026-11-01")
@click.option("--to", "until", type=_DAY, help="first moment after it")
@click.option("--format", "form", type=click.Choice(["csv", "jsonl"]), default="csv")
def usage(  # noqa: PLR0917 - one an option
    files: tuple[str, ...],
    config: str | None,
    period: str,
    per: tuple[str, ...],
    since: datetime | None,
    until: datetime | None,
    form: str,
) -> None:
    """Sum up ledger FILEs (gzip too; `-` is standard input) with FOCUS's columns.

    Ends with 1 where a line cannot be read.
    """
    from dragoman.telemetry import chargeback  # noqa: PLC0415 - only this command

    times = {"since": since, "until": until}
    span = {name: at.replace(tzinfo=UTC) for name, at in times.items() if at is not None}
    found = chargeback.Chargeback(cast("Any", period), per or tuple(SUBJECTS), **span)
    try:
        for name in files or (find_ledger(config),):
            with open_lines(name) as lines:
                found.read(lines, name)
    except (DragomanError, OSError, EOFError) as error:
        fail(str(error))
    write = chargeback.to_csv if form == "csv" else chargeback.to_json_lines
    for line in write(found.rows()):
        click.echo(line, nl=False)
    _report(found.counted)


def _report(counted: Counted) -> None:
    """What became of the lines, on standard error."""
    click.echo(
        f"{counted.charged} requests charged; {counted.unanswered} reached no provider, "
        f"{counted.outside} of another time, {counted.others} lines of other events",
        err=True,
    )
    report_broken(counted.broken)
