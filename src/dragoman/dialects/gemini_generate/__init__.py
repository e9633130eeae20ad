"""Google Gemini, `generateContent` and `streamGenerateContent`, as client and as provider.

Sources: https://ai.google.dev/api/generate-content and
https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference, November 2026.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from dragoman.dialects import CHAT, Call, StreamOptions
from dragoman.dialects.base import EVENT_STREAM, Chat, models_call
from dragoman.dialects.carrying import PREFIX_BASE64
from dragoman.dialects.gemini_generate import errors, models
from dragoman.dialects.gemini_generate import request as requests
from dragoman.dialects.gemini_generate import response as responses
from dragoman.dialects.gemini_generate.names import NAME, SIGNATURE, Quirks, snake
from dragoman.dialects.gemini_generate.parts import sign_calls
from dragoman.dialects.gemini_generate.request import UNSIGNED
from dragoman.dialects.gemini_generate.stream import GeminiDecoder, GeminiEncoder
from dragoman.errors import InvalidRequest
from dragoman.ir import Blob, Json, Request, Uri
from dragoman.ir.losses import Losses
from dragoman.wire.fields import as_list

__all__ = ["GeminiGenerate", "Quirks"]

_JSON = "application/json"
_CALL = re.compile(
    r"/v1(?:beta1?|alpha)?(?:/projects/[^/]+/locations/[^/]+)?(?:/publishers/google)?"
    r"/(?:models|tunedModels|endpoints)/(.+):(generateContent|streamGenerateContent)"
)
_MODELS = "/v1beta/models"
_MODELS_V1 = "/v1/models"
"""Also OpenAI's: Google's for who shows a key of Google's."""
_REFERENCE = Quirks()


class GeminiGenerate(Chat):
    """The dialect; `quirks` say how a provider differs from Google's AI Studio."""

    name = NAME
    stream_types = (EVENT_STREAM, _JSON)
    _requests, _responses, _errors, _models = requests, responses, errors, models
    _turns = ("contents", "parts")

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
        return models_call(path, listing)

    def check_request(self, body: Json) -> None:
        if not body.get("contents"):
            raise InvalidRequest("$.contents", "an array of at least one content")

    def encode_request(self, request: Request, losses: Losses) -> Json:
        return requests.encode_request(request, losses, self._quirks)

    def _is_borrowed(self, block: Json) -> bool:
        signature = block.get(SIGNATURE) or block.get(snake(SIGNATURE))
        return isinstance(signature, str) and signature.startswith(PREFIX_BASE64)

    def own_history(self, body: Json, losses: Losses) -> dict[str, Any]:
        edits = super().own_history(body, losses)
        for content in edits.get("contents", ()):
            if content.get("role") == "model" and not UNSIGNED.search(str(body.get("model"))):
                sign_calls(as_list(content.get("parts")))
        return edits

    def stream_decoder(self) -> GeminiDecoder:
        return GeminiDecoder()

    def stream_encoder(self, options: StreamOptions) -> GeminiEncoder:
        return GeminiEncoder(options.framing)

    def has_place_for(self, media: Uri | Blob) -> bool:
        del media
        return True

    def stream_type(self, options: StreamOptions) -> str:
        return _JSON if options.framing == "json" else EVENT_STREAM
