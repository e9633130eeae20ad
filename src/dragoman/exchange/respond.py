"""The respond stage: edits an answer in the client's own dialect.

It runs only where the decide stage asked for it: with Envoy's native filters switched off, it reads
an answer's usage and takes out the usage frame of a stream whose client did not ask for one.
"""

from __future__ import annotations

from collections.abc import Mapping

from dragoman import metadata as names
from dragoman.actions import Action, Chunk, Mutate
from dragoman.config.policy import Policy
from dragoman.dialects import StreamDecoder, read_answer
from dragoman.dialects.registry import client_dialect
from dragoman.errors import DragomanError
from dragoman.exchange.usage import usage_metadata
from dragoman.ir import Usage
from dragoman.ir.events import UsageUpdate
from dragoman.wire.sse import SseDecoder, SseEvent, encode_sse


class RespondStage:
    """One answer. Bytes that need no edit go on as they came, at once."""

    def __init__(self, policy: Policy, metadata: Mapping[str, str], cluster: str = "") -> None:
        """`cluster` is the one that answered; where it was translated, its usage is known."""
        self._client = client_dialect(metadata.get(names.CLIENT_DIALECT, ""))
        provider = policy.providers.get(cluster)
        self._counts = provider is None or self._client.name in provider.endpoints
        self._streams = metadata.get(names.STREAM) == names.FLAG
        self._strips = self._streams and metadata.get(names.INCLUDE_USAGE) != names.FLAG
        self._max_bytes = policy.limits.response_body_bytes
        self._decoder: StreamDecoder | None = None
        self._frames = SseDecoder(self._max_bytes)
        self._body = bytearray()
        self._usage: Usage | None = None

    def on_headers(self, headers: Mapping[str, str], *, end_of_stream: bool) -> list[Action]:
        del end_of_stream
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if self._streams and kind in self._client.stream_types:
            self._decoder = self._client.stream_decoder()
            return [Mutate(remove_headers=("content-length",))]
        return [Mutate()]

    def on_body(self, data: bytes, *, end_of_stream: bool) -> list[Action]:
        out = self._edit(data)
        if not end_of_stream:
            return [Chunk(body=out)] if out else []
        return [Chunk(body=out + self._close(), end_of_stream=True, metadata=self._metadata())]

    def on_trailers(self) -> list[Action]:
        return [Chunk(body=self._close(), metadata=self._metadata())]

    def _edit(self, data: bytes) -> bytes:
        if self._decoder is None:
            return self._keep(data)
        self._observe(self._decoder, data)
        if not self._strips:
            return data
        return self._write(self._frames.feed(data))

    def _write(self, frames: list[SseEvent]) -> bytes:
        """`frames` but for those with nothing but usage."""
        kept = [frame for frame in frames if not self._client.is_usage_frame(frame.data)]
        return b"".join(encode_sse(frame.data.encode(), frame.event) for frame in kept)

    def _keep(self, data: bytes) -> bytes:
        """Hold a body in one piece for its usage, unless it is too large to be worth it.

        It goes on only with its end: a client that has every byte may hang up, and what is said
        of a request after that is lost.
        """
        self._body += data
        if len(self._body) <= self._max_bytes:
            return b""
        out = bytes(self._body)
        self._body.clear()
        return out

    def _observe(self, decoder: StreamDecoder, data: bytes) -> None:
        """Read usage on the way past. An answer we cannot read still reaches the client."""
        try:
            events = decoder.feed(data)
        except DragomanError:
            return
        for event in events:
            if isinstance(event, UsageUpdate):
                self._usage = event.usage

    def _close(self) -> bytes:
        """What is still held back at the end of the answer."""
        if self._decoder is not None:
            return self._write(self._frames.close()) if self._strips else b""
        body = bytes(self._body)
        try:
            self._usage = getattr(
                self._client.decode_response(read_answer(self._client, body)), "usage", None
            )
        except DragomanError:
            self._usage = None
        return body

    def _metadata(self) -> Mapping[str, Mapping[str, object]]:
        return usage_metadata(self._usage, exact=True) if self._counts else {}
