"""`dragoman shadows`: how models and their shadows compare, out of the ledger."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click
import msgspec

from dragoman.cli.exits import fail
from dragoman.cli.ledger_files import find_ledger, open_lines, printable, report_broken
from dragoman.errors import DragomanError

if TYPE_CHECKING:
    from dragoman.telemetry.estimates import Estimate
    from dragoman.telemetry.pairs import Comparison, Side

_FIGURES = (
    ("duration_ms", "ms"),
    ("first_byte_ms", "ms to the first byte"),
    ("input_tokens", "tokens in"),
    ("output_tokens", "tokens out"),
    ("characters", "characters"),
    ("cost_usd", "USD"),
)
_AGREEMENTS = (
    ("same_finish", "ended for the same reason"),
    ("same_tools", "called the same tools"),
    ("likeness", "of their words shared"),
)


@click.command()
@click.argument("files", nargs=-1, metavar="[FILE]...")
@click.option("-c", "--config", metavar="FILE", help="policy file whose ledger is read")
@click.option("--json", "as_json", is_flag=True, help="a JSON object a model")
def shadows(files: tuple[str, ...], config: str | None, *, as_json: bool) -> None:
    """Compare models with their shadows out of ledger FILEs (gzip too; `-` is standard input).

    Shares, means and differences with the interval that holds the true one 19 times of 20; of times
    the median and the 95th percentile. Ends with 1 where a line cannot be read.
    """
    from dragoman.telemetry.pairs import Pairs  # noqa: PLC0415 - only this command

    pairs = Pairs()
    try:
        for name in files or (find_ledger(config),):
            with open_lines(name) as lines:
                pairs.read(lines, name)
    except (DragomanError, OSError, EOFError) as error:
        fail(str(error))
    for found in pairs.comparisons():
        told = [msgspec.json.encode(found).decode()] if as_json else _table(found)
        click.echo("\n".join(map(printable, told)))
    if pairs.alone:
        click.echo(f"copies of no request here: {pairs.alone}", err=True)
    report_broken(pairs.broken)


def _table(found: Comparison) -> Iterator[str]:
    words = [f"pairs {found.pairs}, whole {found.answered}"]
    words += [f"without a copy {found.missing}"] if found.missing else []
    words += [f"refused {found.refused}"] if found.refused else []
    yield f"{found.request.model} and its shadow {found.shadow.model}: {', '.join(words)}"
    rows = [("", found.request.model, found.shadow.model, "difference"), *_rows(found)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows if found.pairs else ():
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        yield f"  {'  '.join(cells)}".rstrip()
    for name, what in _AGREEMENTS:
        share: Estimate | None = getattr(found, name)
        if share is not None:
            yield f"  {_interval(share, 100, '.3g')} % {what}"


def _rows(found: Comparison) -> Iterator[tuple[str, ...]]:
    sides = found.request, found.shadow
    failed = (_interval(side.failed, 100, ".3g") for side in sides)
    yield "% failed", *failed, ""
    for name, unit in _FIGURES:
        difference = found.difference.get(name)
        between = _interval(difference, 1, "+.4g") if difference else ""
        one, other = (_figure(side, name) for side in sides)
        if one or other:
            yield unit, one, other, between
    if found.request.valid or found.shadow.valid:
        valid = (_interval(side.valid, 100, ".3g") if side.valid else "" for side in sides)
        yield "% the JSON asked for", *valid, ""


def _figure(side: Side, name: str) -> str:
    figure = getattr(side, name)
    if figure is None:
        return ""
    if name.endswith("_ms"):
        return f"p50 {figure.p50:.4g}, p95 {figure.p95:.4g}"
    return _interval(figure, 1, ".4g")


def _interval(found: Estimate, times: float, form: str) -> str:
    value, low, high = (format(n * times, form) for n in (found.value, found.low, found.high))
    return f"{value} ({low} to {high})"
