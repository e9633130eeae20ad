"""`make soak`: mixed requests by the hundred thousand, and what they leave in memory.

Streams and JSON, passed through and translated, refused ones, failing providers, and clients that
hang up half-way. Ends with 1 where an answer was not what it should be, or where a process has
grown by more than a tenth since the first tenth of the requests.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import uvloop

from tests.bench.generator import Answer
from tests.bench.processes import rss_mb
from tests.bench.systems import KEY, Gateway, gateway, simulator

GROWTH = 0.10
_CONNECTIONS = 16
_ANSWER_SECONDS = 60.0


@dataclass(frozen=True)
class Kind:
    """One sort of request and the answer that is right."""

    name: str
    weight: int
    model: str
    status: int = 200
    path: str = "/v1/chat/completions"
    stream: bool = False
    aborts: bool = False
    """The client leaves after the first bytes."""
    key: str = KEY
    words: int = 200

    def wire(self, port: int) -> bytes:
        turn = {"role": "user", "content": "word " * self.words}
        body: dict[str, object] = {"model": self.model, "messages": [turn], "max_tokens": 64}
        if self.stream:
            body["stream"] = True
        data = json.dumps(body).encode()
        head = f"POST {self.path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nx-api-key: {self.key}\r\n"
        head += f"content-type: application/json\r\ncontent-length: {len(data)}\r\n\r\n"
        return head.encode() + data


_MESSAGES = "/v1/messages"
KINDS = (
    Kind("json", 30, "o/bytes-2000"),
    Kind("json translated", 15, "a/bytes-2000"),
    Kind("json from Anthropic's API", 8, "o/bytes-500", path=_MESSAGES),
    Kind("stream", 8, "o/chunks-20+pause-0", stream=True),
    Kind("stream translated", 8, "a/chunks-20+pause-0", stream=True),
    Kind("stream from Anthropic's API", 4, "o/chunks-20+pause-0", path=_MESSAGES, stream=True),
    Kind("large", 1, "o/bytes-2000", words=80_000),
    Kind("large translated", 1, "a/bytes-2000", words=80_000),
    Kind("no such model", 5, "nobody", status=404),
    Kind("no such key", 5, "o/bytes-500", status=401, key="nobody"),
    Kind("refused by the provider", 4, "o/fail-400", status=400),
    Kind("refused by a translated provider", 3, "a/fail-400", status=400),
    Kind("client leaves a stream", 4, "o/chunks-50+pause-1", stream=True, aborts=True),
    Kind("client leaves a translated one", 3, "a/chunks-50+pause-1", stream=True, aborts=True),
    Kind("provider fails", 1, "o/fail-503", status=503),
)
MODELS = {
    f"{prefix}/*": {"targets": [{"provider": provider, "model": "sim/*"}]}
    for prefix, provider in (("o", "openai"), ("a", "anthropic"))
}


class Soak:
    """Sends so many requests over a few connections; what went wrong is counted by kind."""

    def __init__(self, port: int, seed: int) -> None:
        self._port = port
        self._wires = [(kind, kind.wire(port)) for kind in KINDS]
        self._weights = list(itertools.accumulate(kind.weight for kind in KINDS))
        self._chance = random.Random(seed)
        self.wrong: Counter[str] = Counter()
        self.sent: Counter[str] = Counter()

    async def send(self, count: int) -> None:
        left = iter(range(count))
        await asyncio.gather(*(self._client(left) for _ in range(_CONNECTIONS)))

    async def _client(self, left: Iterator[int]) -> None:
        streams = None
        for _ in left:
            kind, wire = self._chance.choices(self._wires, cum_weights=self._weights)[0]
            self.sent[kind.name] += 1
            try:
                streams = streams or await asyncio.open_connection("127.0.0.1", self._port)
                is_kept = await asyncio.wait_for(self._ask(kind, wire, *streams), _ANSWER_SECONDS)
            except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
                self.wrong[f"{kind.name}: {error!r}"] += 1
                is_kept = False
            if not is_kept and streams:
                streams[1].close()
                streams = None
        if streams:
            streams[1].close()

    async def _ask(
        self, kind: Kind, wire: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Whether the connection may be used again."""
        writer.write(wire)
        answer = Answer()
        while True:
            data = await reader.read(65536)
            if not data:
                raise asyncio.IncompleteReadError(b"", None)
            whole = answer.feed(data)
            if kind.aborts and answer.events:
                return False
            if whole:
                break
        if answer.status != kind.status:
            self.wrong[f"{kind.name}: {answer.status} instead of {kind.status}"] += 1
        elif kind.status == 200 and kind.stream and not answer.ends_with(_END[kind.path]):
            self.wrong[f"{kind.name}: cut"] += 1
        return not answer.closes


_END = {"/v1/chat/completions": b"[DONE]", _MESSAGES: b"message_stop"}


def _memory(up: Gateway, simulator_pid: int) -> dict[str, float]:
    parts = {
        "worker": up.sidecar,
        "envoy": up.envoy,
        "supervisor": up.supervisor,
        "store": up.store,
    }
    parts["simulator"] = (simulator_pid,)
    return {name: round(rss_mb(pids), 1) for name, pids in parts.items()}


def _run(count: int, seed: int) -> Iterator[dict[str, object]]:
    with contextlib.ExitStack() as stack:
        provider, pid = stack.enter_context(simulator())
        up = stack.enter_context(gateway(provider, 1, models=MODELS))
        soak = Soak(up.port, seed)
        early = count // 10
        started = time.monotonic()
        sizes = []
        for number in (early, count - early):
            uvloop.run(soak.send(number))
            time.sleep(1)
            sizes.append(_memory(up, pid))
            taken = round(time.monotonic() - started, 1)
            yield {"requests": sum(soak.sent.values()), "seconds": taken, "rss_mb": sizes[-1]}
        growth = {name: round(sizes[1][name] / size - 1, 3) for name, size in sizes[0].items()}
        leaks = [name for name, ratio in growth.items() if ratio > GROWTH]
        yield {"sent": soak.sent, "wrong": soak.wrong, "growth": growth, "leaks": leaks}


def main() -> int:
    """Run, print, and judge."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.soak", description=__doc__)
    parser.add_argument("--count", type=int, default=500_000, help="requests in all")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    last: dict[str, object] = {}
    for last in _run(options.count, options.seed):
        print(json.dumps(last), flush=True)
    return int(bool(last["wrong"] or last["leaks"]))


if __name__ == "__main__":
    sys.exit(main())
