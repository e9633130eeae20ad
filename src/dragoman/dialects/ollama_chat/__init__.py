"""Ollama's own chat, `POST /api/chat`, as client and as provider.

Source: https://docs.ollama.com/api/chat, November 2026.
"""

from __future__ import annotations

from collections.abc import Mapping

from dragoman.dialects import CHAT, MODELS, Call, StreamOptions
from dragoman.dialects.base import Chat
from dragoman.dialects.ollama_chat import errors, models
from dragoman.dialects.ollama_chat import request as requests
from dragoman.dialects.ollama_chat import response as responses
from dragoman.dialects.ollama_chat.names import NAME
from dragoman.dialects.ollama_chat.stream import OllamaDecoder, OllamaEncoder
from dragoman.ir import Json, Request
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


class OllamaChat(Chat):
    """The dialect."""

    name = NAME
    stream_types = (_NDJSON,)
    _requests, _responses, _errors, _models = requests, responses, errors, models

    def match(self, path: str, query: str, headers: Mapping[str, str]) -> Call | None:
        del query, headers
        if path == "/api/chat":
            return Call(operation=CHAT, streams_unless_told=True)
        return _ABOUT.get(path)

    def encode_request(self, request: Request, losses: Losses) -> Json:
        return requests.encode_request(request, losses)

    def stream_decoder(self) -> OllamaDecoder:
        return OllamaDecoder()

    def stream_encoder(self, options: StreamOptions) -> OllamaEncoder:
        del options  # usage stands in every stream of this dialect
        return OllamaEncoder()
