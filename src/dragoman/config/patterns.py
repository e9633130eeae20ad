"""Patterns and word lists that an operator gives, in RE2 syntax: linear on whatever they meet."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

Refuse = Callable[[str, str], Exception]
"""Makes the error about a path in the file."""


def check_pattern(pattern: str, path: str, refuse: Refuse) -> str:
    """`pattern`. Raises where it is no RE2 pattern, or would find nothing everywhere."""
    engine: Any = importlib.import_module("re2")
    options = engine.Options()
    options.log_errors = False
    try:
        compiled = engine.compile(pattern, options)
    except engine.error as error:
        raise refuse(path, f"is no RE2 pattern: {_words_of(error)}") from error
    if compiled.search("") is not None:
        raise refuse(path, "matches the empty text")
    return pattern


def any_of(words: list[str]) -> str:
    """A pattern of the words, whole and in any case; RE2 knows where a word ends in ASCII only."""
    longest_first = sorted(set(words), key=lambda word: (-len(word), word))
    return "(?i)(?:" + "|".join(map(_whole, longest_first)) + ")"


def read_words(given: Iterable[str], file: str | None, path: str, refuse: Refuse) -> list[str]:
    """Those that are `given`, and those in `file`, one a line. Raises where there are none."""
    words = list(given)
    if file is not None:
        try:
            lines = Path(file).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise refuse(f"{path}.file", f"cannot be read: {error}") from error
        words += [line.strip() for line in lines if line.strip()]
    if not words:
        raise refuse(path, "lists no words")
    return words


def _words_of(error: Exception) -> str:
    said = error.args[0] if error.args else ""
    return said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)


def _whole(word: str) -> str:
    start = r"\b" if re.match(r"[A-Za-z0-9_]", word) else ""
    end = r"\b" if re.search(r"[A-Za-z0-9_]\Z", word) else ""
    quoted = "".join(c if c.isalnum() else rf"\x{{{ord(c):x}}}" for c in word)
    return start + quoted + end
