"""Google Gemini, `generateContent` and `streamGenerateContent`, as client and as provider.

Sources: https://ai.google.dev/api/generate-content and
https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference, November 2026.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote

from dragoman.actions import Respond
from dragoman.dialects import CHAT, MODELS, Call, StreamOptions
from dragoman.dialects.gemini_generate import errors, models
from dragoman.dialects.gemini_generate import request as requests
from dragoman.dialects.gemini_generate import response as responses
from dragoman.dialects.gemini_generate.names import NAME, Quirks
from dragoman.dialects.gemini_generate.stream import GeminiDecoder, GeminiEncoder
from dragoman.dialects.models import ModelCard
from dragoman.errors import DragomanError, InvalidRequest, UpstreamError
from dragoman.ir import Json, Request, Response
from dragoman.ir.losses import Losses

__all__ = ["GeminiGenerate", "Quirks"]

_EVENT_STREAM = "text/event-stream"
_JSON = "application/json"
_CALL = re.compile(
    r"/v1(?:beta1?|alpha)?(?:/projects/[^/]+/locations/[^/]+)?(?:/publishers/google)?"
    r"/(?:models|tunedModels|endpoints)/(.+):(generateContent|streamGenerateContent)"
)
_MODELS = "/v1beta/models"
_MODELS_V1 = "/v1/models"
"""Also OpenAI's: Google's for who shows a key of Google's."""
_REFERENCE = Quirks()


class GeminiGenerate:
    """The dialect; `quirks` say how a provider differs from Google's AI Studio."""

    name = NAME
    operation = CHAT
    stream_types = (_EVENT_STREAM, _JSON)

    def __init__(self, quirks: Quirks = _REFERENCE) -> None:
        self._quirks = quirks

    def match(self, path: str, query: str, headers: Mapping[str, str]) -> Call | None:
        if found := _CALL.fullmatch(path):
            stream = found[2] == "streamGenerateContent"
            framing = "json" if stream and "alt=sse" not in query.split("&") else ""
            return Call(operation=CHAT, model=unquote(found[1]), stream=stream, framing=framing)
        listing = _MODELS_V1 if "x-goog-api-key" in headers else _MODELS
        if path.startswith(_MODELS):
            listing = _MODELS
        if path == listing or path.startswith(listing + "/"):
            asked = unquote(path[len(listing) + 1 :])
            return Call(operation=MODELS, method="GET", model=asked)
        return None

    def check_request(self, body: Json) -> None:
        if not body.get("contents"):
            raise InvalidRequest("$.contents", "an array of at least one content")

    def decode_request(self, body: Json) -> Request:
        return requests.decode_request(body)

    def encode_request(self, request: Request, losses: Losses) -> Json:
        return requests.encode_request(request, losses, self._quirks)

    def decode_response(self, body: Json) -> Response:
        return responses.decode_response(body)

    def encode_response(self, response: Response, losses: Losses) -> Json:
        return responses.encode_response(response, losses)

    def stream_decoder(self) -> GeminiDecoder:
        return GeminiDecoder()

    def stream_encoder(self, options: StreamOptions) -> GeminiEncoder:
        return GeminiEncoder(options.framing)

    def stream_type(self, options: StreamOptions) -> str:
        return _JSON if options.framing == "json" else _EVENT_STREAM

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
