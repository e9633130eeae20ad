"""One worker, for a supervisor:
`python -m dragoman.extproc NUMBER WORKERS RUN_DIR [FILE [ADMIN_PORT]]`.

No command of `dragoman`: what reads its options would stay in memory, 2 MB a worker.
"""

from __future__ import annotations

import sys

import msgspec

from dragoman.config.load import load
from dragoman.config.policy import Policy
from dragoman.errors import ConfigError
from dragoman.extproc.server import announce_ready, run_worker


def main(number: str, workers: str, run_dir: str, config: str = "", admin_port: str = "") -> int:
    """Serve until told to end; the exit status."""

    def read() -> Policy:
        found = load(config or None)
        admin = msgspec.structs.replace(found.admin, port=int(admin_port or found.admin.port))
        return msgspec.structs.replace(found, run_dir=run_dir, workers=int(workers), admin=admin)

    try:
        policy = read()
    except ConfigError as error:
        sys.stderr.write(f"dragoman: {error}\n")
        return 2
    run_worker(policy, int(number), announce_ready, read)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
