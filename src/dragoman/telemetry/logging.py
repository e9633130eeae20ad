"""Structured logs: one JSON object a line, every key from one list.

Bodies, prompts, keys and secret headers are never logged at any level. The list makes that a
property of the code: what has no name here cannot be written.
"""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from typing import Any, TextIO, cast

import structlog

from dragoman.telemetry import names

Logger = structlog.typing.FilteringBoundLogger

ALLOWED_KEYS = frozenset(
    {value for name, value in vars(names).items() if name.isupper() and isinstance(value, str)}
    | {"event", "level", "timestamp", "logger", "worker", "process", "pid", "status", "signal"}
    | {"error_type", "stack", "method", "path", "problem", "seconds", "open_requests", "version"}
    | {"dropped_keys"}
)
"""Every key that may be written."""


def make_logger(path: str = "-", **bound: object) -> Logger:
    """A logger to the file `path`, appended to; `-` is standard error.

    Raises `OSError` if the file cannot be opened.
    """
    stream = sys.stderr if path == "-" else _append_to(path)
    logger: Logger = structlog.wrap_logger(
        structlog.WriteLogger(stream),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _keep_allowed,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger("info"),
        cache_logger_on_first_use=True,
    )
    return logger.bind(**bound)


def _append_to(path: str) -> TextIO:
    opened = Path(path).open("a", encoding="utf-8")  # noqa: SIM115 - open as long as the logger is
    return cast("TextIO", opened)


def stack(error: BaseException) -> dict[str, list[str]]:
    """Where `error` was raised, as `file:line function`; its text may quote a prompt, so not it."""
    frames = traceback.extract_tb(error.__traceback__)
    return {"stack": [f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in frames]}


def _keep_allowed(_: Any, __: str, event: structlog.typing.EventDict) -> dict[str, Any]:
    """`event` without the keys that are not in the list; how many there were is said."""
    kept = {key: value for key, value in event.items() if key in ALLOWED_KEYS}
    if len(kept) < len(event):
        kept["dropped_keys"] = len(event) - len(kept)
    return kept
