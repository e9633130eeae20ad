"""Wire formats. `Dialect` is all that the rest of the program sees of one."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from dragoman.actions import Respond
from dragoman.errors import DragomanError, UpstreamError
from dragoman.ir import Json, Request, Response, Usage
from dragoman.ir.events import Event, UsageUpdate
from dragoman.ir.losses import Losses


class StreamOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the client's request said that shapes the stream it gets back."""

    include_usage: bool = False


class StreamDecoder(Protocol):
    """A provider's bytes in, events out, however the bytes are cut."""

    def feed(self, data: bytes) -> list[Event]:
        """Events that are now complete. Raises `UpstreamProtocolError` on a broken frame and
        `UpstreamError` when the provider reports an error inside the stream."""
        ...

    def close(self) -> list[Event]:
        """The last events. Raises `UpstreamProtocolError` if the stream was truncated."""
        ...


class StreamEncoder(Protocol):
    """Events in, the client's bytes out."""

    def feed(self, event: Event) -> bytes: ...
    def close(self) -> bytes: ...
    def fail(self, error: DragomanError) -> bytes:
        """End the stream with an error as this dialect reports one after the first byte."""
        ...


class Dialect(Protocol):
    """One wire format, as a client speaks it and as a provider speaks it."""

    @property
    def name(self) -> str: ...
    def decode_request(self, body: Json) -> Request: ...
    def encode_request(self, request: Request, losses: Losses) -> Json: ...
    def decode_response(self, body: Json) -> Response: ...
    def encode_response(self, response: Response, losses: Losses) -> Json: ...
    def stream_decoder(self) -> StreamDecoder: ...
    def stream_encoder(self, options: StreamOptions) -> StreamEncoder: ...
    def decode_error(self, status: int, body: bytes) -> UpstreamError: ...
    def encode_error(self, error: DragomanError) -> Respond: ...
    def encode_models(self, models: list[str]) -> Json:
        """The answer to `GET /v1/models`; the items of its `data` are what one model alone is."""
        ...

    def edits(self, body: Json) -> dict[str, Any]:
        """Top-level fields to set (None: remove) so that this provider takes `body`, a request in
        its own dialect, and reports usage when it streams. Empty where it takes it as it is."""
        ...

    def wants_usage(self, body: Json) -> bool | None:
        """Whether the client asked for a usage frame at the end of a stream; None where the
        dialect always reports usage within its own frames."""
        ...

    def is_usage_frame(self, data: str) -> bool:
        """Whether a stream frame holds nothing but usage, and must not reach a client that did
        not ask for it."""
        ...


class StreamTranslator:
    """The one place where two dialects meet in a stream."""

    def __init__(self, upstream: Dialect, client: Dialect, options: StreamOptions) -> None:
        self._decoder = upstream.stream_decoder()
        self._encoder = client.stream_encoder(options)
        self.usage: Usage | None = None
        """The last totals the provider reported; None while it has not."""

    def feed(self, data: bytes) -> bytes:
        return self._encode(self._decoder.feed(data))

    def close(self) -> bytes:
        return self._encode(self._decoder.close()) + self._encoder.close()

    def fail(self, error: DragomanError) -> bytes:
        return self._encoder.fail(error)

    def _encode(self, events: list[Event]) -> bytes:
        for event in events:
            if isinstance(event, UsageUpdate):
                self.usage = event.usage
        return b"".join(map(self._encoder.feed, events))
