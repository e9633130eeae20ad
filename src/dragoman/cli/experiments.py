"""`dragoman experiments`: what came of each variant, out of the ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import msgspec

from dragoman.cli.exits import fail
from dragoman.cli.ledger_files import find_ledger, open_lines, report_broken
from dragoman.errors import DragomanError

if TYPE_CHECKING:
    from dragoman.telemetry.estimates import Estimate
    from dragoman.telemetry.trials import Outcome


@click.command()
@click.argument("files", nargs=-1, metavar="[FILE]...")
@click.option("-c", "--config", metavar="FILE", help="policy file whose ledger is read")
@click.option("--json", "as_json", is_flag=True, help="a JSON object a variant")
def experiments(files: tuple[str, ...], config: str | None, *, as_json: bool) -> None:
    """Compare variants out of ledger FILEs (gzip too; `-` is standard input).

    Each figure with the interval that holds the true one 19 times of 20. Ends with 1 where a line
    cannot be read.
    """
    from dragoman.telemetry.trials import Trials  # noqa: PLC0415 - only this command

    trials = Trials()
    try:
        for name in files or (find_ledger(config),):
            with open_lines(name) as lines:
                trials.read(lines, name)
    except (DragomanError, OSError, EOFError) as error:
        fail(str(error))
    for outcome in trials.outcomes():
        click.echo(msgspec.json.encode(outcome).decode() if as_json else _line(outcome))
    if trials.unmatched:
        click.echo(f"{trials.unmatched} scores are of no request of an experiment here", err=True)
    report_broken(trials.broken)


def _line(outcome: Outcome) -> str:
    words = [
        f"{outcome.experiment} {outcome.variant}: {outcome.requests} requests",
        f"failed {_interval(outcome.failed, 100, '.1f')} %",
    ]
    for name, unit in (
        ("duration_ms", "ms"),
        ("first_byte_ms", "ms to the first byte"),
        ("output_tokens", "tokens out"),
        ("cost_usd", "USD"),
    ):
        found: Estimate | None = getattr(outcome, name)
        if found is not None:
            words.append(f"{_interval(found, 1, '.4g')} {unit}")
    if outcome.score is not None:
        words.append(f"score {_interval(outcome.score, 1, '.3g')} of {outcome.scores}")
    return "; ".join(words)


def _interval(found: Estimate, times: float, form: str) -> str:
    value, low, high = (format(n * times, form) for n in (found.value, found.low, found.high))
    return f"{value} ({low} to {high})"
