"""A secret that only the workers of one sidecar share, made by whichever of them comes first."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

KEY_BYTES = 32
_FILE = "redaction.key"


def shared_key(run_dir: str) -> bytes:
    """The key in `run_dir`, made if it is not there; readable by its owner alone.

    Written whole before it gets its name, so that no worker ever reads a part of it.
    """
    path = Path(run_dir, _FILE)
    if not path.exists():
        _make(path)
    return path.read_bytes()


def _make(path: Path) -> None:
    draft = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    with os.fdopen(os.open(draft, flags, 0o600), "wb") as file:
        file.write(secrets.token_bytes(KEY_BYTES))
    try:
        os.link(draft, path)
    except FileExistsError:
        return
    finally:
        draft.unlink()
