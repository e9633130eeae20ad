"""How a command ends that could not do what it was asked."""

from __future__ import annotations

import sys
from typing import NoReturn

import click

USAGE_EXIT = 2


def fail(problem: str) -> NoReturn:
    """End the program with a word why."""
    click.echo(f"dragoman: {problem}", err=True)
    sys.exit(USAGE_EXIT)
