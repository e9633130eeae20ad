"""Anthropic Messages, `POST /v1/messages`, as client and as provider.

Source: https://docs.anthropic.com/en/api/messages, read November 2026.
"""

from __future__ import annotations

from typing import Any

import msgspec

from dragoman.actions import Respond
from dragoman.dialects import StreamOptions
from dragoman.dialects.anthropic_messages import errors, reading, stream, writing
from dragoman.dialects.anthropic_messages.names import NAME, Quirks
from dragoman.errors import DragomanError, UpstreamError
from dragoman.ir import Json, Request, Response
from dragoman.ir.losses import Losses

__all__ = ["AnthropicMessages", "Quirks"]


_REFERENCE = Quirks()


class AnthropicMessages:
    """The dialect; `quirks` say how a provider differs from Anthropic itself."""

    name = NAME

    def __init__(self, quirks: Quirks = _REFERENCE) -> None:
        self._quirks = quirks

    def decode_request(self, body: Json) -> Request:
        return reading.decode_request(body)

    def encode_request(self, request: Request, losses: Losses) -> Json:
        return writing.encode_request(request, losses, self._quirks)

    def decode_response(self, body: Json) -> Response:
        return reading.decode_response(body)

    def encode_response(self, response: Response, losses: Losses) -> Json:
        return writing.encode_response(response, losses)

    def stream_decoder(self) -> stream.MessagesDecoder:
        return stream.MessagesDecoder()

    def stream_encoder(self, options: StreamOptions) -> stream.MessagesEncoder:
        del options  # usage stands in every stream of this dialect
        return stream.MessagesEncoder()

    def decode_error(self, status: int, body: bytes) -> UpstreamError:
        return errors.decode_error(status, body)

    def encode_error(self, error: DragomanError) -> Respond:
        headers = {"content-type": "application/json"}
        if allow := getattr(error, "allow", None):
            headers["allow"] = allow
        body = msgspec.json.encode(errors.error_body(error))
        return Respond(status=error.status, headers=headers, body=body)

    def encode_models(self, models: list[str]) -> Json:
        data = [
            {
                "type": "model",
                "id": name,
                "display_name": name,
                "created_at": "1970-01-01T00:00:00Z",
            }
            for name in models
        ]
        ends = {"first_id": models[0], "last_id": models[-1]} if models else {}
        return {"data": data, "has_more": False, **({"first_id": None, "last_id": None} | ends)}

    def edits(self, body: Json) -> dict[str, Any]:
        del body
        return {}

    def wants_usage(self, body: Json) -> bool | None:
        del body
        return None

    def is_usage_frame(self, data: str) -> bool:
        del data
        return False
