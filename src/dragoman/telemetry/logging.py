"""Structured logs: one JSON object a line, every key from one list.

Bodies, prompts, keys and secret headers are never logged at any level. The list makes that a
property of the code: what has no name here cannot be written.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, TextIO

import msgspec

from dragoman.telemetry import names

ALLOWED_KEYS = frozenset(
    {value for name, value in vars(names).items() if name.isupper() and isinstance(value, str)}
    | {"event", "level", "timestamp", "logger", "worker", "process", "pid", "status", "signal"}
    | {"error_type", "stack", "method", "path", "problem", "seconds", "open_requests", "version"}
    | {"dropped_keys", "events", "quota", "subject", "unit", "percent", "used", "limit"}
    | {
        "target",
        "caller",
        "model",
        "action",
        "happened",
        "task",
        "id",
        "score",
        "why",
        "since",
        "until",
    }
)
"""Every key that may be written."""


class Logger:
    """Writes an event a line, with what is bound to it in each."""

    def __init__(self, stream: TextIO, bound: Mapping[str, object]) -> None:
        self._stream = stream
        self._bound = bound

    def info(self, event: str, **fields: object) -> None:
        self._write(event, "info", fields)

    def warning(self, event: str, **fields: object) -> None:
        self._write(event, "warning", fields)

    def error(self, event: str, **fields: object) -> None:
        self._write(event, "error", fields)

    def _write(self, event: str, level: str, fields: dict[str, object]) -> None:
        line = {**self._bound, **fields}
        if not line.keys() <= ALLOWED_KEYS:
            line = _keep_allowed(line)
        line |= {"event": event, "level": level, "timestamp": datetime.now(UTC)}
        self._stream.write(msgspec.json.encode(line, enc_hook=repr).decode() + "\n")
        self._stream.flush()


def make_logger(path: str = "-", **bound: object) -> Logger:
    """A logger to the file `path`, appended to; `-` is standard error.

    Raises `OSError` if the file cannot be opened.
    """
    if path == "-":
        return Logger(sys.stderr, bound)
    return Logger(Path(path).open("a", encoding="utf-8"), bound)


def open_lines(path: str) -> BinaryIO:
    """The file `path`, to append whole lines to; `-` is standard error.

    Raises `OSError` if the file cannot be opened.
    """
    return sys.stderr.buffer if path == "-" else Path(path).open("ab")


def stack(error: BaseException) -> dict[str, list[str]]:
    """Where `error` was raised, as `file:line function`; its text may quote a prompt, so not it."""
    frames = traceback.extract_tb(error.__traceback__)
    return {"stack": [f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in frames]}


def _keep_allowed(line: dict[str, object]) -> dict[str, object]:
    """`line` without the keys that are not in the list; how many there were is said."""
    kept = {key: value for key, value in line.items() if key in ALLOWED_KEYS}
    return {**kept, "dropped_keys": len(line) - len(kept)}
