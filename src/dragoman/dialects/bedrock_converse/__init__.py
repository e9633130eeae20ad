"""Amazon Bedrock Converse, as client and as provider.

Source: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html,
November 2026.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote

from dragoman.actions import Respond
from dragoman.dialects import CHAT, MODELS, Call, StreamOptions
from dragoman.dialects.bedrock_converse import errors, models
from dragoman.dialects.bedrock_converse import request as requests
from dragoman.dialects.bedrock_converse import response as responses
from dragoman.dialects.bedrock_converse.names import NAME, Quirks
from dragoman.dialects.bedrock_converse.stream import ConverseDecoder, ConverseEncoder
from dragoman.dialects.models import ModelCard
from dragoman.errors import DragomanError, InvalidRequest, UpstreamError
from dragoman.ir import Json, Request, Response
from dragoman.ir.losses import Losses

__all__ = ["BedrockConverse", "Quirks"]

_EVENT_STREAM = "application/vnd.amazon.eventstream"
_CALL = re.compile(r"/model/(.+)/(converse|converse-stream)")
_MODELS = "/foundation-models"
"""At AWS on a host of its own, which a client of ours replaces as it does the other."""
_REFERENCE = Quirks()


class BedrockConverse:
    """The dialect; `quirks` say how a provider differs from Bedrock itself."""

    name = NAME
    operation = CHAT
    stream_types = (_EVENT_STREAM,)

    def __init__(self, quirks: Quirks = _REFERENCE) -> None:
        self._quirks = quirks

    def match(self, path: str, query: str, headers: Mapping[str, str]) -> Call | None:
        del query, headers
        if found := _CALL.fullmatch(path):
            stream = found[2] == "converse-stream"
            return Call(operation=CHAT, model=unquote(found[1]), stream=stream)
        if path == _MODELS or path.startswith(_MODELS + "/"):
            asked = unquote(path[len(_MODELS) + 1 :])
            return Call(operation=MODELS, method="GET", model=asked)
        return None

    def check_request(self, body: Json) -> None:
        if not body.get("messages"):
            raise InvalidRequest("$.messages", "an array of at least one message")

    def decode_request(self, body: Json) -> Request:
        return requests.decode_request(body)

    def encode_request(self, request: Request, losses: Losses) -> Json:
        return requests.encode_request(request, losses, self._quirks)

    def decode_response(self, body: Json) -> Response:
        return responses.decode_response(body)

    def encode_response(self, response: Response, losses: Losses) -> Json:
        return responses.encode_response(response, losses)

    def stream_decoder(self) -> ConverseDecoder:
        return ConverseDecoder()

    def stream_encoder(self, options: StreamOptions) -> ConverseEncoder:
        del options  # usage stands in every stream of this dialect
        return ConverseEncoder()

    def stream_type(self, options: StreamOptions) -> str:
        del options
        return _EVENT_STREAM

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
