"""Ollama's own chat, `POST /api/chat`, as client and as provider.

Source: https://docs.ollama.com/api/chat, November 2026.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dragoman.actions import Respond
from dragoman.dialects import CHAT, MODELS, Call, StreamOptions
from dragoman.dialects.models import ModelCard
from dragoman.dialects.ollama_chat import errors, models
from dragoman.dialects.ollama_chat import request as requests
from dragoman.dialects.ollama_chat import response as responses
from dragoman.dialects.ollama_chat.names import NAME
from dragoman.dialects.ollama_chat.stream import OllamaDecoder, OllamaEncoder
from dragoman.errors import DragomanError, InvalidRequest, UpstreamError
from dragoman.ir import Json, Request, Response
from dragoman.ir.losses import Losses

__all__ = ["OllamaChat"]

_NDJSON = "application/x-ndjson"
_ABOUT = {
    "/api/tags": Call(operation=MODELS, method="GET", model=""),
    "/api/show": Call(operation=MODELS),
    "/api/ps": Call(operation=MODELS, method="GET", answer=models.RUNNING),
    "/api/version": Call(operation=MODELS, method="GET", answer=models.VERSION),
}
"""What clients ask of a server before they ask a model."""


class OllamaChat:
    """The dialect."""

    name = NAME
    operation = CHAT
    stream_types = (_NDJSON,)

    def match(self, path: str, query: str, headers: Mapping[str, str]) -> Call | None:
        del query, headers
        if path == "/api/chat":
            return Call(operation=CHAT, streams_unless_told=True)
        return _ABOUT.get(path)

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

    def stream_decoder(self) -> OllamaDecoder:
        return OllamaDecoder()

    def stream_encoder(self, options: StreamOptions) -> OllamaEncoder:
        del options  # usage stands in every stream of this dialect
        return OllamaEncoder()

    def stream_type(self, options: StreamOptions) -> str:
        del options
        return _NDJSON

    def decode_error(self, status: int, body: bytes) -> UpstreamError:
        return errors.decode_error(status, body)

    def encode_error(self, error: DragomanError) -> Respond:
        return errors.encode_error(error)

    def encode_models(self, cards: Sequence[ModelCard], query: str) -> Json:
        del query
        return models.encode_models(cards)

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
