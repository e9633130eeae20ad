"""OpenAI Completions, `POST /v1/completions`: a text in, texts that go on from it out.

Source: https://platform.openai.com/docs/api-reference/completions, November 2026.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dragoman.actions import Respond
from dragoman.dialects import CHAT, Call, StreamOptions
from dragoman.dialects.models import ModelCard
from dragoman.dialects.openai_chat import OpenAIChat
from dragoman.dialects.openai_chat import Quirks as ChatQuirks
from dragoman.dialects.openai_completions import request as requests
from dragoman.dialects.openai_completions import response as responses
from dragoman.dialects.openai_completions.names import NAME, Quirks
from dragoman.dialects.openai_completions.stream import CompletionDecoder, CompletionEncoder
from dragoman.errors import DragomanError, InvalidRequest, UpstreamError
from dragoman.ir import Json, Request, Response
from dragoman.ir.losses import Losses

__all__ = ["OpenAICompletions", "Quirks"]

_REFERENCE = Quirks()


class OpenAICompletions:
    """The dialect, as a provider with `quirks` speaks it."""

    name = NAME
    operation = CHAT
    stream_types = ("text/event-stream",)

    def __init__(self, quirks: Quirks = _REFERENCE) -> None:
        self._quirks = quirks
        self._chat = OpenAIChat(ChatQuirks(include_usage=quirks.include_usage))
        """Whose errors, models and usage chunks these are."""

    def match(self, path: str, query: str, headers: Mapping[str, str]) -> Call | None:
        del query, headers
        return Call(operation=CHAT) if path == "/v1/completions" else None

    def check_request(self, body: Json) -> None:
        if not isinstance(body.get("prompt"), str | list):
            raise InvalidRequest("$.prompt", "a string or an array")
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

    def stream_decoder(self) -> CompletionDecoder:
        return CompletionDecoder()

    def stream_encoder(self, options: StreamOptions) -> CompletionEncoder:
        return CompletionEncoder(options)

    def stream_type(self, options: StreamOptions) -> str:
        del options
        return "text/event-stream"

    def decode_error(self, status: int, body: bytes) -> UpstreamError:
        return self._chat.decode_error(status, body)

    def encode_error(self, error: DragomanError) -> Respond:
        return self._chat.encode_error(error)

    def encode_models(self, cards: Sequence[ModelCard], query: str) -> Json:
        return self._chat.encode_models(cards, query)

    def encode_model(self, card: ModelCard) -> Json:
        return self._chat.encode_model(card)

    def edits(self, body: Json) -> dict[str, Any]:
        """See `Dialect.edits`."""
        return self._chat.edits(body)

    def frames(self, framing: str) -> bool:
        del framing
        return True

    def wants_usage(self, body: Json) -> bool | None:
        return self._chat.wants_usage(body)

    def is_usage_frame(self, data: str) -> bool:
        return self._chat.is_usage_frame(data)
