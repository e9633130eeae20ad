"""Amazon Bedrock Converse, as client and as provider.

Source: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html,
November 2026.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import unquote

from dragoman.dialects import CHAT, Call, StreamOptions
from dragoman.dialects.base import Chat, models_call
from dragoman.dialects.bedrock_converse import errors, models
from dragoman.dialects.bedrock_converse import request as requests
from dragoman.dialects.bedrock_converse import response as responses
from dragoman.dialects.bedrock_converse.names import ANTHROPIC, NAME, Quirks
from dragoman.dialects.bedrock_converse.stream import ConverseDecoder, ConverseEncoder
from dragoman.dialects.carrying import is_carried
from dragoman.dialects.residues import json_object
from dragoman.errors import InvalidRequest
from dragoman.ir import Json, Request
from dragoman.ir.losses import Losses

__all__ = ["BedrockConverse", "Quirks"]

_EVENT_STREAM = "application/vnd.amazon.eventstream"
_CALL = re.compile(r"/model/(.+)/(converse|converse-stream)")
_MODELS = "/foundation-models"
"""At AWS on a host of its own, which a client of ours replaces as it does the other."""
_REFERENCE = Quirks()


class BedrockConverse(Chat):
    """The dialect; `quirks` say how a provider differs from Bedrock itself."""

    name = NAME
    stream_types = (_EVENT_STREAM,)
    _requests, _responses, _errors, _models = requests, responses, errors, models

    _reads = (ANTHROPIC,)

    def __init__(self, quirks: Quirks = _REFERENCE) -> None:
        self._quirks = quirks

    def match(self, path: str, query: str, headers: Mapping[str, str]) -> Call | None:
        del query, headers
        if found := _CALL.fullmatch(path):
            stream = found[2] == "converse-stream"
            return Call(operation=CHAT, model=unquote(found[1]), stream=stream)
        return models_call(path, _MODELS)

    def check_request(self, body: Json) -> None:
        if not body.get("messages"):
            raise InvalidRequest("$.messages", "an array of at least one message")

    def encode_request(self, request: Request, losses: Losses) -> Json:
        return requests.encode_request(request, losses, self._quirks)

    def _is_borrowed(self, block: Json) -> bool:
        thought = json_object(block.get("reasoningContent"))
        return is_carried(json_object(thought.get("reasoningText")).get("signature"))

    def stream_decoder(self) -> ConverseDecoder:
        return ConverseDecoder()

    def stream_encoder(self, options: StreamOptions) -> ConverseEncoder:
        del options  # usage stands in every stream of this dialect
        return ConverseEncoder()
