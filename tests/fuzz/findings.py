"""What a target did wrong: told apart by where it was raised, cut down, and kept as a file."""

from __future__ import annotations

import hashlib
import json
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.fuzz.targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"
"""`target/name`: each found input once, replayed by the tests ever after."""
SECONDS_PER_BYTE = 4e-5
SECONDS_AT_LEAST = 1.0
"""A run may take this long plus its bytes' share; ten times and more what the slowest needs."""


class TooSlow(AssertionError):
    """A run took longer than its length allows."""


def run(target: str, data: bytes) -> BaseException | None:
    """What `data` makes the target raise, time counted."""
    before = time.process_time()
    try:
        TARGETS[target](data)
    except (Exception, RecursionError) as error:  # the finding
        return error
    taken = time.process_time() - before
    if taken > SECONDS_AT_LEAST + len(data) * SECONDS_PER_BYTE:
        return TooSlow(f"{taken:.2f} s for {len(data)} bytes")
    return None


def signature(error: BaseException) -> str:
    """The same for errors of one kind from one place."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "dragoman" in frame.filename] or list(frames)
    place = f"{Path(ours[-1].filename).name}:{ours[-1].name}" if ours else "nowhere"
    words = str(error).split("{")[0].split("(")[0][:40] if isinstance(error, AssertionError) else ""
    return f"{type(error).__name__} {place} {words}".strip()


def minimise(target: str, data: bytes, sign: str, seconds: float = 5) -> bytes:
    """The smallest input found in time that still fails in the same way."""
    until = time.monotonic() + seconds
    found = True
    while found and time.monotonic() < until:
        found = False
        for smaller in _smaller(data):
            if time.monotonic() > until:
                break
            error = run(target, smaller)
            if error is not None and signature(error) == sign and len(smaller) < len(data):
                data, found = smaller, True
                break
    return data


def keep(target: str, data: bytes) -> Path:
    """Writes the input among the kept ones."""
    path = CORPUS / target / hashlib.sha256(data).hexdigest()[:12]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def _smaller(data: bytes) -> Iterator[bytes]:
    """Simpler inputs, those that take most away first."""
    head, newline, rest = data.partition(b"\n")
    for prefix, raw in ((b"", data), (head + newline, rest)):
        try:
            value = json.loads(raw)
        except (ValueError, RecursionError):
            continue
        for simpler in _simpler(value):
            yield prefix + json.dumps(simpler, ensure_ascii=False).encode("utf-8", "surrogatepass")
    lines = data.split(b"\n")
    for i in range(1, len(lines)):
        yield b"\n".join(lines[:i] + lines[i + 1 :])
    size = len(rest) // 2
    while size:
        for at in range(len(head) + len(newline), len(data), size):
            yield data[:at] + data[at + size :]
        size //= 2


def _simpler(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for name in value:
            yield {other: inner for other, inner in value.items() if other != name}
        for name, inner in value.items():
            yield from ({**value, name: simpler} for simpler in _simpler(inner))
    elif isinstance(value, list):
        for i in range(len(value)):
            yield value[:i] + value[i + 1 :]
        for i, inner in enumerate(value):
            yield from ([*value[:i], simpler, *value[i + 1 :]] for simpler in _simpler(inner))
    elif isinstance(value, str) and len(value) > 1:
        yield from ("x", value[: len(value) // 2], value[len(value) // 2 :], value[:-1], value[1:])
