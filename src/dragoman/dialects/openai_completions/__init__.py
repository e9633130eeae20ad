"""OpenAI Completions, `POST /v1/completions`: a text in, texts that go on from it out.

Source: https://platform.openai.com/docs/api-reference/completions, November 2026.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dragoman.dialects import CHAT, Call, StreamOptions
from dragoman.dialects.base import Chat, check_stream
from dragoman.dialects.openai_chat import OpenAIChat, errors, models
from dragoman.dialects.openai_chat import Quirks as ChatQuirks
from dragoman.dialects.openai_completions import request as requests
from dragoman.dialects.openai_completions import response as responses
from dragoman.dialects.openai_completions.names import NAME, Quirks
from dragoman.dialects.openai_completions.stream import CompletionDecoder, CompletionEncoder
from dragoman.errors import InvalidRequest
from dragoman.ir import Json, Request
from dragoman.ir.losses import Losses

__all__ = ["OpenAICompletions", "Quirks"]

_REFERENCE = Quirks()


class OpenAICompletions(Chat):
    """The dialect, as a provider with `quirks` speaks it."""

    name = NAME
    _id_prefix = "cmpl-"
    _requests, _responses, _errors, _models = requests, responses, errors, models

    def __init__(self, quirks: Quirks = _REFERENCE) -> None:
        self._quirks = quirks
        self._chat = OpenAIChat(ChatQuirks(include_usage=quirks.include_usage))
        """Whose usage chunks these are."""

    def match(self, path: str, query: str, headers: Mapping[str, str]) -> Call | None:
        del query, headers
        return Call(operation=CHAT) if path == "/v1/completions" else None

    def check_request(self, body: Json) -> None:
        if not isinstance(body.get("prompt"), str | list):
            raise InvalidRequest("$.prompt", "a string or an array")
        check_stream(body)

    def encode_request(self, request: Request, losses: Losses) -> Json:
        return requests.encode_request(request, losses, self._quirks)

    def stream_decoder(self) -> CompletionDecoder:
        return CompletionDecoder()

    def stream_encoder(self, options: StreamOptions) -> CompletionEncoder:
        return CompletionEncoder(options)

    def edits(self, body: Json) -> dict[str, Any]:
        """See `Dialect.edits`."""
        return self._chat.edits(body)

    def wants_usage(self, body: Json) -> bool | None:
        return self._chat.wants_usage(body)

    def is_usage_frame(self, data: str) -> bool:
        return self._chat.is_usage_frame(data)
