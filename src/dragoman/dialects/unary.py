"""What dialects of operations that answer in one piece have in common."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager

from dragoman.dialects import StreamDecoder, StreamEncoder, StreamOptions
from dragoman.dialects.base import EVENT_STREAM, Base, ErrorShape
from dragoman.dialects.models import ModelCard
from dragoman.errors import InvalidRequest, Unrepresentable, UpstreamProtocolError
from dragoman.ir import Json


@contextmanager
def reading_answer() -> Generator[None]:
    """What breaks the dialect within is the provider's fault, not the client's."""
    try:
        yield
    except InvalidRequest as error:
        raise UpstreamProtocolError(f"the upstream's answer: {error.message}") from error


class Unary(Base):
    """A dialect without streams: there is nothing to frame, to strip or to list."""

    stream_types: tuple[str, ...] = ()

    def __init__(self, name: str, errors: ErrorShape) -> None:
        self.name = name
        self._errors = errors

    def check_request(self, body: Json) -> None:
        """Nothing is worth a look before the whole is decoded."""
        del body

    def stream_decoder(self) -> StreamDecoder:
        raise self._absent()

    def stream_encoder(self, options: StreamOptions) -> StreamEncoder:
        del options
        raise self._absent()

    def stream_type(self, options: StreamOptions) -> str:
        del options
        return EVENT_STREAM

    def encode_models(self, cards: Sequence[ModelCard], query: str) -> Json:
        del cards, query
        raise self._absent()

    def encode_model(self, card: ModelCard) -> Json:
        del card
        raise self._absent()

    def _absent(self) -> Unrepresentable:
        return Unrepresentable("$", self.name, "it answers in one piece")
