"""Play an answer to a client, with whatever faults are scripted."""

import asyncio
import gzip
import zlib
from collections.abc import Iterator
from http import HTTPStatus
from typing import Protocol

import msgspec

from dragoman.simulator.messages import EVENT_STREAM, Reply
from dragoman.simulator.script import Then

STREAM_END = b"0\r\n\r\n"


class Link(Protocol):
    """The way to one client."""

    async def send(self, data: bytes) -> None:
        """Write, and wait while the client reads too slowly."""
        ...

    def close(self) -> None:
        """Close after what was written."""
        ...

    def reset(self) -> None:
        """Drop the connection at once."""
        ...


def needs_playing(then: Then | None) -> bool:
    """Whether an answer takes time or faults, or can be written at once."""
    return then is not None and bool(
        then.first_byte_delay_ms
        or then.body_delay_ms
        or then.chunk_bytes
        or then.chunk_pause_ms is not None
        or then.cut_after_bytes is not None
        or then.reset_before_headers
        or then.stall
    )


def render(reply: Reply) -> bytes:
    """The whole answer as it goes over the wire."""
    body = map(_http_chunk, reply.pieces) if reply.streamed else reply.pieces
    return b"".join((render_head(reply), *body, STREAM_END if reply.streamed else b""))


def render_head(reply: Reply) -> bytes:
    """Status line and headers."""
    length = sum(map(len, reply.pieces))
    framing = "transfer-encoding: chunked" if reply.streamed else f"content-length: {length}"
    lines = [f"{name}: {value}" for name, value in reply.headers]
    start = f"HTTP/1.1 {reply.status} {_reason(reply.status)}"
    head = (start, f"content-type: {reply.content_type}", framing, *lines, "", "")
    return "\r\n".join(head).encode("latin-1", "replace")


def _reason(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


def _http_chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


async def play(link: Link, reply: Reply, then: Then) -> str:
    """Send an answer as scripted; the outcome is `answered`, `cut` or `reset`.

    A stall never returns: it ends with the client's connection, by cancellation.
    """
    await asyncio.sleep(then.first_byte_delay_ms / 1000)
    if then.reset_before_headers:
        link.reset()
        return "reset"
    if then.stall and then.cut_after_bytes is None:
        await asyncio.Event().wait()
    await link.send(render_head(reply))
    await asyncio.sleep(then.body_delay_ms / 1000)
    await _play_body(link, reply, then)
    if then.cut_after_bytes is None:
        if reply.streamed:
            await link.send(STREAM_END)
        return "answered"
    if then.stall:
        await asyncio.Event().wait()
    if then.cut_by_reset:
        link.reset()
    else:
        link.close()
    return "cut"


async def _play_body(link: Link, reply: Reply, then: Then) -> None:
    for number, piece in enumerate(_cut(_resize(reply.pieces, then.chunk_bytes), then)):
        if number and then.chunk_pause_ms is not None:
            await asyncio.sleep(then.chunk_pause_ms / 1000)
        await link.send(_http_chunk(piece) if reply.streamed else piece)


def _resize(pieces: tuple[bytes, ...], size: int | None) -> Iterator[bytes]:
    if not size:
        yield from pieces
        return
    body = memoryview(b"".join(pieces))
    for start in range(0, len(body), size):
        yield bytes(body[start : start + size])


def _cut(pieces: Iterator[bytes], then: Then) -> Iterator[bytes]:
    left = then.cut_after_bytes
    if left is None:
        yield from pieces
        return
    for piece in pieces:
        if left <= 0:
            return
        yield piece[:left]
        left -= len(piece)


def dress(reply: Reply, then: Then) -> Reply:
    """The answer with its body, headers and encoding replaced as scripted."""
    reply = _with_body(reply, then)
    changes = {name.lower(): value for name, value in then.headers.items()}
    if then.retry_after is not None:
        changes.setdefault("retry-after", f"{then.retry_after}")
    content_type = changes.pop("content-type", then.content_type) or reply.content_type
    kept = tuple(pair for pair in reply.headers if pair[0] not in changes)
    reply = msgspec.structs.replace(
        reply,
        status=then.status or reply.status,
        content_type=content_type,
        headers=(*kept, *changes.items()),
    )
    return _compress(reply) if then.gzip else reply


def _with_body(reply: Reply, then: Then) -> Reply:
    replace = msgspec.structs.replace
    if then.sse_raw is not None:
        texts = [then.sse_raw] if isinstance(then.sse_raw, str) else then.sse_raw
        pieces = tuple(text.encode() for text in texts)
        return replace(reply, pieces=pieces, streamed=True, content_type=EVENT_STREAM)
    if then.chunks is not None:
        return replace(reply, pieces=tuple(t.encode() for t in then.chunks), streamed=True)
    if then.raw_body is not None:
        return replace(reply, pieces=(then.raw_body.encode(),), streamed=False)
    if then.body is not msgspec.UNSET:
        return replace(reply, pieces=(bytes(then.body),), streamed=False)
    return reply


def _compress(reply: Reply) -> Reply:
    """Gzip, flushed after each piece so that a client can read each as it comes."""
    headers = (*reply.headers, ("content-encoding", "gzip"))
    if not reply.streamed:
        pieces: tuple[bytes, ...] = (gzip.compress(b"".join(reply.pieces), mtime=0),)
    else:
        deflate = zlib.compressobj(wbits=31)
        flushed = [deflate.compress(p) + deflate.flush(zlib.Z_SYNC_FLUSH) for p in reply.pieces]
        pieces = (*flushed, deflate.flush())
    return msgspec.structs.replace(reply, headers=headers, pieces=pieces)
