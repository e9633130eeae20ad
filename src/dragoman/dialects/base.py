"""What dialects have in common; each says only what it does otherwise."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Protocol
from urllib.parse import unquote

from dragoman.actions import Respond
from dragoman.dialects import CHAT, MODELS, Call, StreamOptions
from dragoman.dialects.carrying import is_carried, without_states
from dragoman.dialects.models import ModelCard
from dragoman.dialects.residues import json_object
from dragoman.errors import DragomanError, InvalidRequest, UpstreamError
from dragoman.ir import Blob, Json, Request, Response, Uri
from dragoman.ir.losses import Losses
from dragoman.wire.fields import as_list

EVENT_STREAM = "text/event-stream"
_MODEL = ("assistant", "model")


class ErrorShape(Protocol):
    """How a dialect's clients read errors, and its providers write them; a module may be one."""

    def decode_error(self, status: int, body: bytes) -> UpstreamError: ...
    def encode_error(self, error: DragomanError) -> Respond: ...


class ModelsShape(Protocol):
    """How a dialect lists models; a module."""

    def encode_models(self, cards: Sequence[ModelCard], query: str) -> Json: ...
    def encode_model(self, card: ModelCard) -> Json: ...


class RequestReader(Protocol):
    """How a dialect's requests are read; a module."""

    def decode_request(self, body: Json) -> Request: ...


class AnswerShape(Protocol):
    """How a dialect's whole answers are read and written; a module."""

    def decode_response(self, body: Json) -> Response: ...
    def encode_response(self, response: Response, losses: Losses) -> Json: ...


class Base:
    """Every provider takes and answers what a client writes and reads."""

    name: str
    _errors: ErrorShape
    _id_prefix: str = ""
    """What its answers' ids begin with; empty: they are UUIDs, or of any kind."""

    def model_of(self, body: Json) -> Any:
        """See `Dialect.model_of`."""
        return body.get("model")

    def decode_error(self, status: int, body: bytes) -> UpstreamError:
        return self._errors.decode_error(status, body)

    def encode_error(self, error: DragomanError) -> Respond:
        return self._errors.encode_error(error)

    def answer_id(self, request_id: str) -> str:
        """See `Dialect.answer_id`."""
        if not self._id_prefix:
            return request_id
        return self._id_prefix + request_id.replace("-", "")

    def edits(self, body: Json) -> dict[str, Any]:
        """See `Dialect.edits`."""
        del body
        return {}

    def frames(self, framing: str) -> bool:
        del framing
        return True

    def borrows(self, body: Json) -> bool:
        """See `Dialect.borrows`."""
        del body
        return False

    def own_history(self, body: Json, losses: Losses) -> dict[str, Any]:
        """See `Dialect.own_history`."""
        del body, losses
        return {}

    def wants_usage(self, body: Json) -> bool | None:
        del body
        return None

    def has_place_for(self, media: Uri | Blob) -> bool:
        """See `Dialect.has_place_for`."""
        del media
        return False

    def is_usage_frame(self, data: str) -> bool:
        del data
        return False


class Chat(Base, ABC):
    """A dialect of chat, put together from its modules; messages and `stream` as most have them."""

    operation = CHAT
    stream_types: tuple[str, ...] = (EVENT_STREAM,)
    """The first is what is written to a client."""
    _requests: RequestReader
    _responses: AnswerShape
    _models: ModelsShape
    _turns = ("messages", "content")
    """Where a request's turns are, and the blocks of each."""
    _reads: tuple[str, ...] = ()
    """Dialects whose state it reads beside its own."""

    def check_request(self, body: Json) -> None:
        """See `Dialect.check_request`."""
        if not isinstance(body.get("messages"), list) or not body["messages"]:
            raise InvalidRequest("$.messages", "an array of at least one message")
        check_stream(body)

    def decode_request(self, body: Json) -> Request:
        return self._requests.decode_request(body)

    @abstractmethod
    def encode_request(self, request: Request, losses: Losses) -> Json:
        """See `Dialect.encode_request`."""

    def borrows(self, body: Json) -> bool:
        turns, blocks = self._turns
        return any(
            self._is_borrowed(json_object(block))
            for turn in map(json_object, as_list(body.get(turns)))
            if turn.get("role") in _MODEL
            for block in as_list(turn.get(blocks))
        )

    def _is_borrowed(self, block: Json) -> bool:
        """Whether a block of a turn of the model's holds another dialect's state."""
        return is_carried(block.get("signature"))

    def own_history(self, body: Json, losses: Losses) -> dict[str, Any]:
        """See `Dialect.own_history`."""
        if not self.borrows(body):
            return {}
        request = without_states(self.decode_request(body), (self.name, *self._reads), losses)
        told = self.encode_request(request, losses)
        return {name: told.get(name) for name in (*body, *told) if told.get(name) != body.get(name)}

    def decode_response(self, body: Json) -> Response:
        return self._responses.decode_response(body)

    def encode_response(self, response: Response, losses: Losses) -> Json:
        return self._responses.encode_response(response, losses)

    def stream_type(self, options: StreamOptions) -> str:
        del options
        return self.stream_types[0]

    def encode_models(self, cards: Sequence[ModelCard], query: str) -> Json:
        return self._models.encode_models(cards, query)

    def encode_model(self, card: ModelCard) -> Json:
        return self._models.encode_model(card)


def check_stream(body: Json) -> None:
    """Raises `InvalidRequest` where `stream` is something else than a boolean, if anything."""
    if not isinstance(body.get("stream"), bool | None):
        raise InvalidRequest("$.stream", "a boolean")


def models_call(path: str, listing: str) -> Call | None:
    """The call that lists models at `listing`, or asks about the one named behind it."""
    if path != listing and not path.startswith(listing + "/"):
        return None
    return Call(operation=MODELS, method="GET", model=unquote(path[len(listing) + 1 :]))
