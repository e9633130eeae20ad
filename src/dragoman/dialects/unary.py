"""What dialects of operations that answer in one piece have in common."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from dragoman.actions import Respond
from dragoman.dialects import StreamDecoder, StreamEncoder, StreamOptions
from dragoman.dialects.models import ModelCard
from dragoman.errors import (
    DragomanError,
    InvalidRequest,
    Unrepresentable,
    UpstreamError,
    UpstreamProtocolError,
)
from dragoman.ir import Json


class ErrorShape(Protocol):
    """How a dialect's clients read errors, and its providers write them; a module may be one."""

    def decode_error(self, status: int, body: bytes) -> UpstreamError: ...
    def encode_error(self, error: DragomanError) -> Respond: ...


@contextmanager
def reading_answer() -> Generator[None]:
    """What breaks the dialect within is the provider's fault, not the client's."""
    try:
        yield
    except InvalidRequest as error:
        raise UpstreamProtocolError(f"the upstream's answer: {error.message}") from error


class Unary:
    """A dialect without streams: there is nothing to frame, to strip or to list."""

    stream_types: tuple[str, ...] = ()

    def __init__(self, name: str, errors: ErrorShape) -> None:
        self.name = name
        self._errors = errors

    def check_request(self, body: Json) -> None:
        """Nothing is worth a look before the whole is decoded."""
        del body

    def model_of(self, body: Json) -> Any:
        """The model that a body names, where the path does not."""
        return body.get("model")

    def stream_decoder(self) -> StreamDecoder:
        raise self._absent()

    def stream_encoder(self, options: StreamOptions) -> StreamEncoder:
        del options
        raise self._absent()

    def stream_type(self, options: StreamOptions) -> str:
        del options
        return "text/event-stream"

    def decode_error(self, status: int, body: bytes) -> UpstreamError:
        return self._errors.decode_error(status, body)

    def encode_error(self, error: DragomanError) -> Respond:
        return self._errors.encode_error(error)

    def encode_models(self, cards: Sequence[ModelCard], query: str) -> Json:
        del cards, query
        raise self._absent()

    def encode_model(self, card: ModelCard) -> Json:
        del card
        raise self._absent()

    def frames(self, framing: str) -> bool:
        del framing
        return True

    def edits(self, body: Json) -> dict[str, Any]:
        del body
        return {}

    def wants_usage(self, body: Json) -> bool | None:
        del body
        return None

    def is_usage_frame(self, data: str) -> bool:
        del data
        return False

    def _absent(self) -> Unrepresentable:
        return Unrepresentable("$", self.name, "it answers in one piece")
