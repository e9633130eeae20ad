"""Anthropic Messages, `POST /v1/messages`, as client and as provider.

The same dialect at Bedrock's InvokeModel and Vertex AI's rawPredict, where the path says the model,
and on Bedrock whether to stream.

Sources: https://docs.anthropic.com/en/api/messages,
https://docs.anthropic.com/en/api/claude-on-amazon-bedrock and
https://docs.anthropic.com/en/api/claude-on-vertex-ai, read November 2026.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote

import msgspec

from dragoman.actions import Respond
from dragoman.dialects import CHAT, MODELS, Call, StreamOptions
from dragoman.dialects.anthropic_messages import errors, models, reading, stream, writing
from dragoman.dialects.anthropic_messages.names import (
    BETAS,
    INVOKE,
    NAME,
    VERSION,
    Quirks,
)
from dragoman.dialects.bedrock_converse import errors as bedrock_errors
from dragoman.dialects.models import ModelCard
from dragoman.errors import DragomanError, InvalidRequest, UpstreamError
from dragoman.ir import Json, Request, Response
from dragoman.ir.losses import Losses

__all__ = ["INVOKE", "AnthropicMessages", "InvokedMessages", "Quirks"]


_MODELS = "/v1/models"
_INVOKE = re.compile(r"/model/(.+)/(invoke|invoke-with-response-stream)")
_OF_ANTHROPIC = re.compile(r"(?:.*[./])?anthropic\..*")
"""Bedrock's names of Anthropic's models: InvokeModel's body is the model's own."""
_SDK_HEADER = "x-stainless-lang"
"""Anthropic's SDK sends it, AWS's do not: who calls InvokeModel with it means Messages. Otherwise
the body tells, by the version that Bedrock demands in Anthropic's and no other model knows."""
_RAW_PREDICT = re.compile(
    r"/v1(?:beta1)?/projects/[^/]+/locations/[^/]+/publishers/anthropic"
    r"/models/(?!count-tokens:)(.+):(rawPredict|streamRawPredict)"
)
_HEADER_FIELDS = {BETAS: "anthropic-beta"}
_EVENT_STREAM = "text/event-stream"
_AWS_EVENT_STREAM = "application/vnd.amazon.eventstream"
_REFERENCE = Quirks()


class AnthropicMessages:
    """The dialect; `quirks` say how a provider differs from Anthropic itself."""

    name = NAME
    operation = CHAT
    stream_types = (_EVENT_STREAM, _AWS_EVENT_STREAM)

    def __init__(self, quirks: Quirks = _REFERENCE) -> None:
        self._quirks = quirks

    def match(self, path: str, query: str, headers: Mapping[str, str]) -> Call | None:
        del query
        if path == "/v1/messages":
            return Call(operation=CHAT, header_fields=_HEADER_FIELDS)
        if found := _RAW_PREDICT.fullmatch(path):
            return _call(unquote(found[1]), stream=found[2] == "streamRawPredict")
        if found := _INVOKE.fullmatch(path):
            model, stream = unquote(found[1]), found[2] != "invoke"
            call = _call(model, stream=stream, framing=INVOKE)
            if _SDK_HEADER in headers or _OF_ANTHROPIC.fullmatch(model):
                return call
            return msgspec.structs.replace(call, claims=_has_version)
        if "anthropic-version" in headers and (path == _MODELS or path.startswith(_MODELS + "/")):
            return Call(operation=MODELS, method="GET", model=unquote(path[len(_MODELS) + 1 :]))
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
        return stream.MessagesEncoder(options.framing)

    def stream_type(self, options: StreamOptions) -> str:
        return _AWS_EVENT_STREAM if options.framing == INVOKE else _EVENT_STREAM

    def decode_error(self, status: int, body: bytes) -> UpstreamError:
        return errors.decode_error(status, body)

    def encode_error(self, error: DragomanError) -> Respond:
        headers = {"content-type": "application/json"}
        if allow := getattr(error, "allow", None):
            headers["allow"] = allow
        body = msgspec.json.encode(errors.error_body(error))
        return Respond(status=error.status, headers=headers, body=body)

    def encode_models(self, cards: Sequence[ModelCard], query: str) -> Json:
        return models.encode_models(cards, query)

    def encode_model(self, card: ModelCard) -> Json:
        return models.encode_model(card)

    def edits(self, body: Json) -> dict[str, Any]:
        """See `Dialect.edits`."""
        quirks = self._quirks
        if quirks.version is None:
            return {name: None for name in (VERSION, BETAS) if name in body}
        wanted: Json = {VERSION: writing.version(body.get(VERSION), quirks.version), "model": None}
        if quirks.invoke_model:
            wanted["stream"] = None
        elif BETAS in body:
            wanted[BETAS] = None
        return wanted

    def frames(self, framing: str) -> bool:
        return (framing == INVOKE) is self._quirks.invoke_model

    def wants_usage(self, body: Json) -> bool | None:
        del body
        return None

    def is_usage_frame(self, data: str) -> bool:
        del data
        return False


class InvokedMessages(AnthropicMessages):
    """The same for clients of InvokeModel, who read errors as Bedrock writes them."""

    def encode_error(self, error: DragomanError) -> Respond:
        return bedrock_errors.encode_error(error)


def _has_version(body: Json) -> bool:
    return VERSION in body


def _call(model: str, *, stream: bool, framing: str = "") -> Call:
    return Call(
        operation=CHAT,
        model=model,
        stream=stream,
        framing=framing,
        fields={"stream": stream or None},
        header_fields=_HEADER_FIELDS,
    )
