"""Cohere's chat, API v2, `POST /v2/chat`, as client and as provider.

Source: https://docs.cohere.com/reference/chat, November 2026.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote

from dragoman.actions import Respond
from dragoman.dialects import CHAT, MODELS, Call, StreamOptions
from dragoman.dialects.cohere_chat import errors, models
from dragoman.dialects.cohere_chat import request as requests
from dragoman.dialects.cohere_chat import response as responses
from dragoman.dialects.cohere_chat.names import NAME
from dragoman.dialects.cohere_chat.stream import CohereDecoder, CohereEncoder
from dragoman.dialects.models import ModelCard
from dragoman.errors import DragomanError, InvalidRequest, UpstreamError
from dragoman.ir import Json, Request, Response
from dragoman.ir.losses import Losses

__all__ = ["CohereChat"]

_EVENT_STREAM = "text/event-stream"
_MODELS = "/v1/models"
"""Also OpenAI's: Cohere's for who calls with an SDK of Cohere's."""
_SDK_HEADER = "x-fern-sdk-name"


class CohereChat:
    """The dialect."""

    name = NAME
    operation = CHAT
    stream_types = (_EVENT_STREAM,)

    def match(self, path: str, query: str, headers: Mapping[str, str]) -> Call | None:
        del query
        if path == "/v2/chat":
            return Call(operation=CHAT)
        if "cohere" not in headers.get(_SDK_HEADER, ""):
            return None
        if path == _MODELS or path.startswith(_MODELS + "/"):
            asked = unquote(path[len(_MODELS) + 1 :])
            return Call(operation=MODELS, method="GET", model=asked)
        return None

    def check_request(self, body: Json) -> None:
        if not isinstance(body.get("messages"), list) or not body["messages"]:
            raise InvalidRequest("$.messages", "an array of at least one message")
        if not isinstance(body.get("stream"), bool | None):
            raise InvalidRequest("$.stream", "a boolean")

    def decode_request(self, body: Json) -> Request:
        return requests.decode_request(body)

    def encode_request(self, request: Request, losses: Losses) -> Json:
        return requests.encode_request(request, losses)

    def decode_response(self, body: Json) -> Response:
        return responses.decode_response(body)

    def encode_response(self, response: Response, losses: Losses) -> Json:
        return responses.encode_response(response, losses)

    def stream_decoder(self) -> CohereDecoder:
        return CohereDecoder()

    def stream_encoder(self, options: StreamOptions) -> CohereEncoder:
        del options  # usage stands in every stream of this dialect
        return CohereEncoder()

    def stream_type(self, options: StreamOptions) -> str:
        del options
        return _EVENT_STREAM

    def decode_error(self, status: int, body: bytes) -> UpstreamError:
        return errors.decode_error(status, body)

    def encode_error(self, error: DragomanError) -> Respond:
        return errors.encode_error(error)

    def encode_models(self, cards: Sequence[ModelCard], query: str) -> Json:
        return models.encode_models(cards, query)

    def encode_model(self, card: ModelCard) -> Json:
        return models.encode_model(card)

    def edits(self, body: Json) -> dict[str, Any]:
        del body
        return {}

    def frames(self, framing: str) -> bool:
        del framing
        return True

    def wants_usage(self, body: Json) -> bool | None:
        del body
        return None

    def is_usage_frame(self, data: str) -> bool:
        del data
        return False
