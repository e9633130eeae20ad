"""Cohere's chat, API v2, `POST /v2/chat`, as client and as provider.

Source: https://docs.cohere.com/reference/chat, November 2026.
"""

from __future__ import annotations

from collections.abc import Mapping

from dragoman.dialects import CHAT, Call, StreamOptions
from dragoman.dialects.base import Chat, models_call
from dragoman.dialects.cohere_chat import errors, models
from dragoman.dialects.cohere_chat import request as requests
from dragoman.dialects.cohere_chat import response as responses
from dragoman.dialects.cohere_chat.names import NAME
from dragoman.dialects.cohere_chat.stream import CohereDecoder, CohereEncoder
from dragoman.ir import Json, Request
from dragoman.ir.losses import Losses

__all__ = ["CohereChat"]

_MODELS = "/v1/models"
"""Also OpenAI's: Cohere's for who calls with an SDK of Cohere's."""
_SDK_HEADER = "x-fern-sdk-name"


class CohereChat(Chat):
    """The dialect."""

    name = NAME
    _requests, _responses, _errors, _models = requests, responses, errors, models

    def match(self, path: str, query: str, headers: Mapping[str, str]) -> Call | None:
        del query
        if path == "/v2/chat":
            return Call(operation=CHAT)
        if "cohere" not in headers.get(_SDK_HEADER, ""):
            return None
        return models_call(path, _MODELS)

    def encode_request(self, request: Request, losses: Losses) -> Json:
        return requests.encode_request(request, losses)

    def stream_decoder(self) -> CohereDecoder:
        return CohereDecoder()

    def stream_encoder(self, options: StreamOptions) -> CohereEncoder:
        del options  # usage stands in every stream of this dialect
        return CohereEncoder()
