"""`make bench-streams`: what many open translated streams cost a worker, in memory and a chunk.

A worker alone, spoken to as Envoy does over its translate socket: N attempts whose answers have
begun and not ended, then one more chunk on each, then their ends. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from dragoman.supervisor.planning import WORKER
from tests.bench.processes import cpu_seconds, rss_mb
from tests.extproc.test_streams import CHAT, attempt, message
from tests.extproc.wire import PREFACE, data, frame, headers, settings

PROCESS = "/envoy.service.ext_proc.v3.ExternalProcessor/Process"
BATCH = 100
POLICY = """
callers: {bench: {keys: [f6f53a67068fc28321efe05e4c062947ad3d72121c670e11a0bde6a52d363974]}}
providers: {right: {kind: anthropic, url: "http://127.0.0.1:2", key: {env: KEY}}}
models: {fast: {targets: [{provider: right, model: claude}]}}
"""
_HEAD = {":status": "200", "content-type": "text/event-stream"}
_START = {
    "type": "message_start",
    "message": {"id": "m", "model": "c", "usage": {"input_tokens": 9}},
}
_PART = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
_DELTA = {
    "type": "content_block_delta",
    "index": 0,
    "delta": {"type": "text_delta", "text": "word "},
}
_ENDS = (
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}},
    {"type": "message_stop"},
)


def _sse(*events: dict) -> bytes:
    return b"".join(f"event: {e['type']}\ndata: {json.dumps(e)}\n\n".encode() for e in events)


class _Envoy:
    """One connection to the worker's translate socket."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        window = (1 << 31) - 1
        grown = frame(8, 0, 0, (window - 65_535).to_bytes(4, "big"))
        self._socket.sendall(PREFACE + settings(window=window) + grown)
        self._left = b""

    def say(self, pieces: bytes, replies: int) -> None:
        """Send `pieces`, which ask for `replies` frames of data in all, and read these."""
        self._socket.sendall(pieces)
        while replies > 0:
            self._left += self._socket.recv(1 << 20)
            replies -= self._count()

    def _count(self) -> int:
        at = found = 0
        while len(self._left) - at >= 9:
            end = at + 9 + int.from_bytes(self._left[at : at + 3], "big")
            if end > len(self._left):
                break
            kind = self._left[at + 3]
            found += kind == 0
            if kind == 7:
                raise SystemExit(f"the worker hung up: {self._left[at + 17 : end]!r}")
            at = end
        self._left = self._left[at:]
        return found


@contextlib.contextmanager
def _worker() -> Iterator[tuple[int, Path]]:
    """A worker's process id, and its translate socket."""
    with tempfile.TemporaryDirectory() as folder:
        policy = Path(folder, "dragoman.yaml")
        policy.write_text(POLICY)
        arguments = [sys.executable, "-m", WORKER, "0", "1", folder, str(policy)]
        environment = {**os.environ, "KEY": "x"}
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, env=environment) as process:
            assert process.stdout is not None
            if b"ready" not in process.stdout.readline():
                raise SystemExit("the worker did not start")
            try:
                yield process.pid, Path(folder, "translate-0.sock")
            finally:
                process.terminate()


def _rounds(envoy: _Envoy, streams: list[int], pieces: list[bytes], replies: int) -> None:
    """The same messages on every stream, some streams at a time; `replies` from each."""
    for at in range(0, len(streams), BATCH):
        some = streams[at : at + BATCH]
        wire = b"".join(data(stream, piece) for piece in pieces for stream in some)
        envoy.say(wire, replies * len(some))


def measure(count: int) -> dict[str, float]:
    """Open `count` streams, send one chunk on each, end them."""
    streams = list(range(1, 2 * count, 2))
    request = message(
        attempt("right", stream="1"), request_body={"body": CHAT, "end_of_stream": True}
    )
    begin = message(response_headers={"headers": _HEAD})
    first = message(response_body={"body": _sse(_START, _PART, _DELTA)})
    chunk = message(response_body={"body": _sse(_DELTA)})
    last = message(response_body={"body": _sse(*_ENDS), "end_of_stream": True})
    with _worker() as (pid, path):
        envoy = _Envoy(path)
        idle = rss_mb([pid])
        began = time.perf_counter()
        for at in range(0, count, BATCH):
            some = streams[at : at + BATCH]
            opened = b"".join(headers(n, (":path", PROCESS)) + data(n, request) for n in some)
            envoy.say(opened, len(some))
        _rounds(envoy, streams, [begin], 0)
        _rounds(envoy, streams, [first], 2)
        opened_in, full = time.perf_counter() - began, rss_mb([pid])
        before = cpu_seconds([pid])
        for _ in range(3):
            _rounds(envoy, streams, [chunk], 1)
        spent = (cpu_seconds([pid]) - before) / (3 * count)
        steady = rss_mb([pid])
        _rounds(envoy, streams, [last], 1)
        return {
            "streams": count,
            "opened_in_seconds": round(opened_in, 2),
            "rss_mb_idle": round(idle, 1),
            "rss_mb_open": round(full, 1),
            "rss_mb_after_chunks": round(steady, 1),
            "rss_kb_a_stream": round((steady - idle) * 1000 / count, 2),
            "cpu_us_a_chunk": round(spent * 1e6, 1),
        }


def main() -> None:
    """Parse the options and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=10_000)
    print(json.dumps(measure(parser.parse_args().streams)))


if __name__ == "__main__":
    main()
