"""Why a changed policy file was not taken: who read it leaves that for the workers to tell."""

from __future__ import annotations

from pathlib import Path

import msgspec

_FILE = "refused.json"


class Refusal(msgspec.Struct, frozen=True):
    """What became of a policy file that changed."""

    file: str
    problem: str


def leave(refusal: Refusal, run_dir: str) -> None:
    """For whoever may read the policy file's copy, and nobody else."""
    path = Path(run_dir, _FILE)
    path.touch(mode=0o600)
    path.write_bytes(msgspec.json.encode(refusal))


def find(run_dir: str) -> Refusal | None:
    """The last one; None where there is none, or it is being written."""
    try:
        return msgspec.json.decode(Path(run_dir, _FILE).read_bytes(), type=Refusal)
    except (OSError, msgspec.DecodeError):
        return None


def forget(run_dir: str) -> None:
    """What was refused before is of no more interest."""
    Path(run_dir, _FILE).unlink(missing_ok=True)
