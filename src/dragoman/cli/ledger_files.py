"""Ledger files, as commands are given them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

import click

from dragoman.config.load import load
from dragoman.errors import ConfigError

if TYPE_CHECKING:
    from dragoman.telemetry.ledger_lines import Broken


def find_ledger(config: str | None) -> str:
    """The file that the policy's ledger is written to."""
    policy = load(config)
    if policy.ledger.path == "-":
        raise ConfigError(policy.source, "$.ledger.path", "no file: name one, or - for its lines")
    return policy.ledger.path


def open_lines(name: str) -> BinaryIO:
    """A file, gzip too; `-` is standard input."""
    if name == "-":
        return sys.stdin.buffer
    if name.endswith(".gz"):
        import gzip  # noqa: PLC0415 - seldom wanted

        return cast("BinaryIO", gzip.open(name))
    return Path(name).open("rb")


def printable(line: str) -> str:
    """What a terminal takes for no command: some names in a ledger are what clients made them."""
    return "".join(
        [letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in line]
    )


def report_broken(broken: Broken) -> None:
    """Name the lines that could not be read, and end with 1 where there are any."""
    if not broken.count:
        return
    more = ", ..." if broken.count > len(broken.at) else ""
    named = ", ".join(broken.at)
    click.echo(f"dragoman: {broken.count} broken lines left out: {named}{more}", err=True)
    sys.exit(1)
