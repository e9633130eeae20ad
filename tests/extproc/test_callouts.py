"""Carrying callouts: a real server on a Unix socket, that answers in all ways a peer can."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop

from dragoman.config.callouts import Webhook
from dragoman.extproc.callouts import Callouts
from dragoman.policies.questions import Question

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nwell"
BOTH_LOOPS = pytest.mark.parametrize("run", [asyncio.run, uvloop.run])


def question(timeout_ms: int = 5000, body: bytes | None = b"{}") -> Question:
    callout = Webhook(name="house", url="unix:/s", timeout_ms=timeout_ms)
    return Question(callout, "/p/house", ("$",), body)


class Peer:
    """Answers each request with the next of `answers`; None: not at all."""

    def __init__(self, *answers: bytes | None) -> None:
        self.answers = list(answers)
        self.heads: list[bytes] = []
        self.connections = 0
        self.asked = asyncio.Event()
        self.left = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                self.heads.append(await reader.readuntil(b"\r\n\r\n"))
                await reader.readexactly(2)
                self.asked.set()
                answer = self.answers.pop(0)
                if answer is None:
                    continue
                writer.write(answer)
                if b"close" in answer or b"200" not in answer:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            self.left.set()
        finally:
            writer.close()


@asynccontextmanager
async def talking(peer: Peer) -> AsyncIterator[Callouts]:
    with tempfile.TemporaryDirectory(prefix="dg") as folder:
        path = str(Path(folder, "s"))
        server = await asyncio.start_unix_server(peer.serve, path)
        try:
            yield Callouts(path)
        finally:
            server.close()


@BOTH_LOOPS
def test_one_connection_serves_one_after_the_other(run: Any) -> None:
    async def main() -> None:
        peer = Peer(OK, OK, OK + b"junk")
        async with talking(peer) as callouts:
            for _ in range(3):
                assert await callouts.ask([question()]) == [b"well"]
        assert peer.connections == 1
        assert peer.heads[0].startswith(b"POST /p/house HTTP/1.1\r\n")
        assert b"content-length: 2\r\n" in peer.heads[0]

    run(main())


@BOTH_LOOPS
@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n", "status"),
        (b"HTTP/1.1 504 No\r\ncontent-length: 0\r\n\r\n", "timeout"),
        (b"HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n", "rejected"),
        (b"HTTP/1.1 429 No\r\ncontent-length: 0\r\n\r\n", "status"),
        (b"HTTP/1.1 302 No\r\nlocation: /\r\ncontent-length: 0\r\n\r\n", "status"),
        (OK.replace(b"\r\n\r\n", b"\r\ngrpc-status: 0\r\n\r\n"), b"well"),
        (OK.replace(b"\r\n\r\n", b"\r\ngrpc-status: 13\r\n\r\n"), "status"),
        (OK.replace(b"\r\n\r\n", b"\r\ngrpc-status: 4\r\n\r\n"), "timeout"),
        (b"SSH-2.0-OpenSSH\r\n", "bad_answer"),
        (b"HTTP/1.1 101 Up\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n", "bad_answer"),
        (b"", "unreachable"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\nx: close\r\n\r\ncut", "unreachable"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n" + b"x" * (5 << 20), b"x" * 9),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9999999\r\n\r\n" + b"x" * (5 << 20), "too_long"),
        (b"HTTP/1.1 200 OK\r\nx: " + b"x" * (5 << 20), "too_long"),
        (b"HTTP/1.1 100 Go\r\n\r\n" + OK, b"well"),
        (OK.replace(b"200 OK\r\n", b"200 OK\r\nconnection: close\r\n"), b"well"),
    ],
)
def test_whatever_a_peer_answers_the_next_callout_is_well(
    run: Any, answer: bytes, found: Any
) -> None:
    async def main() -> None:
        peer = Peer(answer, OK)
        async with talking(peer) as callouts:
            assert await callouts.ask([question()]) == [found]
            assert await callouts.ask([question()]) == [b"well"]

    run(main())


@BOTH_LOOPS
def test_who_does_not_answer_is_left(run: Any) -> None:
    async def main() -> None:
        peer = Peer(None)
        async with talking(peer) as callouts:
            assert await callouts.ask([question(timeout_ms=1)]) == ["timeout"]
            await peer.left.wait()

    run(main())


@BOTH_LOOPS
def test_giving_up_gives_the_callouts_up(run: Any) -> None:
    async def main() -> None:
        peer = Peer(None, None)
        async with talking(peer) as callouts:
            asking = asyncio.create_task(callouts.ask([question(), question()]))
            await peer.asked.wait()
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            await peer.left.wait()

    run(main())


def test_nobody_is_there_and_there_is_too_much_to_ask() -> None:
    async def main() -> None:
        callouts = Callouts("/nonexistent/socket")
        assert await callouts.ask([question(), question(body=None)]) == ["unreachable", "too_long"]

    asyncio.run(main())


def test_no_more_at_once_than_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dragoman.extproc.callouts._MAX_AT_ONCE", 1)

    async def main() -> None:
        peer = Peer(OK, OK, OK)
        async with talking(peer) as callouts:
            assert await callouts.ask([question()] * 3) == [b"well"] * 3
        assert peer.connections == 1

    asyncio.run(main())
