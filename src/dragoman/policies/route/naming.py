"""Names as they may stand in a header: printable, and of a bounded length."""

from __future__ import annotations

from urllib.parse import quote

from dragoman.config.policy import Target

_MAX_NAME = 80
"""Letters of a name: some are what the client made them."""


def name_target(target: Target) -> str:
    """`PROVIDER/MODEL`."""
    return f"{target.provider}/{quote_name(target.model)}"


def quote_name(name: str) -> str:
    """A model's name, cut where it is long."""
    return quote(name[:_MAX_NAME], safe="/:@._-~", errors="replace")
