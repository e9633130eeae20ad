"""Anthropic Messages, `POST /v1/messages`, as client and as provider.

Source: https://docs.anthropic.com/en/api/messages, read November 2026.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from dragoman.actions import Respond
from dragoman.dialects import CHAT, MODELS, Call, StreamOptions
from dragoman.dialects.anthropic_messages import errors, reading, stream, writing
from dragoman.dialects.anthropic_messages.names import NAME, Quirks
from dragoman.errors import DragomanError, InvalidRequest, UpstreamError
from dragoman.ir import Json, Request, Response
from dragoman.ir.losses import Losses

__all__ = ["AnthropicMessages", "Quirks"]


_MODELS = "/v1/models"
_REFERENCE = Quirks()


class AnthropicMessages:
    """The dialect; `quirks` say how a provider differs from Anthropic itself."""

    name = NAME
    operation = CHAT
    stream_types = ("text/event-stream",)

    def __init__(self, quirks: Quirks = _REFERENCE) -> None:
        self._quirks = quirks

    def match(self, path: str, query: str, headers: Mapping[str, str]) -> Call | None:
        del query
        if path == "/v1/messages":
            return Call(operation=CHAT)
        if "anthropic-version" in headers and (path == _MODELS or path.startswith(_MODELS + "/")):
            return Call(operation=MODELS, method="GET", model=path[len(_MODELS) + 1 :])
        return None

    def check_request(self, body: Json) -> None:
        if not isinstance(body.get("messages"), list) or not body["messages"]:
            raise InvalidRequest("$.messages", "an array of at least one message")
        if not isinstance(body.get("stream"), bool | None):
            raise InvalidRequest("$.stream", "a boolean")

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

    def stream_type(self, options: StreamOptions) -> str:
        del options
        return "text/event-stream"

    def decode_error(self, status: int, body: bytes) -> UpstreamError:
        return errors.decode_error(status, body)

    def encode_error(self, error: DragomanError) -> Respond:
        headers = {"content-type": "application/json"}
        if allow := getattr(error, "allow", None):
            headers["allow"] = allow
        body = msgspec.json.encode(errors.error_body(error))
        return Respond(status=error.status, headers=headers, body=body)

    def encode_models(self, models: list[str]) -> Json:
        data = [self.encode_model(model) for model in models]
        ends = {"first_id": models[0], "last_id": models[-1]} if models else {}
        return {"data": data, "has_more": False, **({"first_id": None, "last_id": None} | ends)}

    def encode_model(self, model: str) -> Json:
        created = "1970-01-01T00:00:00Z"
        return {"type": "model", "id": model, "display_name": model, "created_at": created}

    def edits(self, body: Json) -> dict[str, Any]:
        del body
        return {}

    def wants_usage(self, body: Json) -> bool | None:
        del body
        return None

    def is_usage_frame(self, data: str) -> bool:
        del data
        return False
