"""Whether what a policy file says of its listener holds together."""

from __future__ import annotations

from pathlib import Path

from dragoman.config.callers import read_networks
from dragoman.config.issuers import Refuse
from dragoman.config.schema import Listener, Tls


def check_listener(listener: Listener, refuse: Refuse) -> None:
    """Raises what `refuse` makes."""
    for name in ("allow", "deny"):
        read_networks(getattr(listener, name), f"$.listener.{name}", refuse)
    if listener.tls is not None:
        _check_tls(listener.tls, "$.listener.tls", refuse)


def _check_tls(tls: Tls, path: str, refuse: Refuse) -> None:
    if tls.require and tls.client_ca is None:
        raise refuse(f"{path}.require", "needs client_ca")
    for name in ("certificate", "key", "client_ca"):
        file: str | None = getattr(tls, name)
        if file is not None and not Path(file).is_file():
            raise refuse(f"{path}.{name}", f"no file {file}")
