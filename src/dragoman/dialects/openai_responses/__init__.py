"""OpenAI Responses, `POST /v1/responses`, as client and as provider.

Source: https://platform.openai.com/docs/api-reference/responses, November 2026.
"""

from __future__ import annotations

from collections.abc import Mapping

from dragoman.dialects import CHAT, Call, StreamOptions
from dragoman.dialects.base import Chat, check_stream
from dragoman.dialects.carrying import is_carried
from dragoman.dialects.openai_chat import models
from dragoman.dialects.openai_responses import errors
from dragoman.dialects.openai_responses import request as requests
from dragoman.dialects.openai_responses import response as responses
from dragoman.dialects.openai_responses.names import NAME, STATE_FIELDS, Quirks
from dragoman.dialects.openai_responses.stream_decoder import ResponsesDecoder
from dragoman.dialects.openai_responses.stream_encoder import ResponsesEncoder
from dragoman.dialects.residues import json_object
from dragoman.errors import InvalidRequest
from dragoman.ir import Json, Request
from dragoman.ir.losses import Losses
from dragoman.wire.fields import as_list

__all__ = ["OpenAIResponses", "Quirks"]

_REFERENCE = Quirks()


class OpenAIResponses(Chat):
    """The dialect; `quirks` say how a provider differs from OpenAI itself."""

    name = NAME
    _id_prefix = "resp_"
    _requests, _responses, _errors, _models = requests, responses, errors, models

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
        check_stream(body)

    def borrows(self, body: Json) -> bool:
        items = map(json_object, as_list(body.get("input")))
        return any(is_carried(item.get("encrypted_content")) for item in items)

    def encode_request(self, request: Request, losses: Losses) -> Json:
        return requests.encode_request(request, losses, self._quirks)

    def stream_decoder(self) -> ResponsesDecoder:
        return ResponsesDecoder()

    def stream_encoder(self, options: StreamOptions) -> ResponsesEncoder:
        del options  # usage stands in every stream of this dialect
        return ResponsesEncoder()
