"""OpenAI Responses, `POST /v1/responses`, as client and as provider.

Source: https://platform.openai.com/docs/api-reference/responses, November 2026.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dragoman.actions import Respond
from dragoman.dialects import CHAT, Call, StreamOptions
from dragoman.dialects.models import ModelCard
from dragoman.dialects.openai_chat.models import encode_model, encode_models
from dragoman.dialects.openai_responses import errors
from dragoman.dialects.openai_responses import request as requests
from dragoman.dialects.openai_responses import response as responses
from dragoman.dialects.openai_responses.names import NAME, STATE_FIELDS, Quirks
from dragoman.dialects.openai_responses.stream_decoder import ResponsesDecoder
from dragoman.dialects.openai_responses.stream_encoder import ResponsesEncoder
from dragoman.errors import DragomanError, InvalidRequest, UpstreamError
from dragoman.ir import Json, Request, Response
from dragoman.ir.losses import Losses

__all__ = ["OpenAIResponses", "Quirks"]

_EVENT_STREAM = "text/event-stream"
_REFERENCE = Quirks()


class OpenAIResponses:
    """The dialect; `quirks` say how a provider differs from OpenAI itself."""

    name = NAME
    operation = CHAT
    stream_types = (_EVENT_STREAM,)

    def __init__(self, quirks: Quirks = _REFERENCE) -> None:
        self._quirks = quirks

    def match(self, path: str, query: str, headers: Mapping[str, str]) -> Call | None:
        del query, headers
        return Call(operation=CHAT) if path == "/v1/responses" else None

    def check_request(self, body: Json) -> None:
        if not body.get("input") and not any(body.get(name) for name in STATE_FIELDS):
            raise InvalidRequest("$.input", "a string or an array of at least one item")
        if not isinstance(body.get("input"), str | list | None):
            raise InvalidRequest("$.input", "a string or an array of items")
        if not isinstance(body.get("stream"), bool | None):
            raise InvalidRequest("$.stream", "a boolean")

    def decode_request(self, body: Json) -> Request:
        return requests.decode_request(body)

    def encode_request(self, request: Request, losses: Losses) -> Json:
        return requests.encode_request(request, losses, self._quirks)

    def decode_response(self, body: Json) -> Response:
        return responses.decode_response(body)

    def encode_response(self, response: Response, losses: Losses) -> Json:
        return responses.encode_response(response, losses)

    def stream_decoder(self) -> ResponsesDecoder:
        return ResponsesDecoder()

    def stream_encoder(self, options: StreamOptions) -> ResponsesEncoder:
        del options  # usage stands in every stream of this dialect
        return ResponsesEncoder()

    def stream_type(self, options: StreamOptions) -> str:
        del options
        return _EVENT_STREAM

    def decode_error(self, status: int, body: bytes) -> UpstreamError:
        return errors.decode_error(status, body)

    def encode_error(self, error: DragomanError) -> Respond:
        return errors.encode_error(error)

    def encode_models(self, cards: Sequence[ModelCard], query: str) -> Json:
        del query  # OpenAI gives one page
        return encode_models(cards)

    def encode_model(self, card: ModelCard) -> Json:
        return encode_model(card)

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
