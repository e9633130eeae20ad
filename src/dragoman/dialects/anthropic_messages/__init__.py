"""Anthropic Messages, `POST /v1/messages`, as client and as provider.

The same dialect at Bedrock's InvokeModel and Vertex AI's rawPredict, where the path says the model,
and on Bedrock whether to stream.

Sources: https://docs.anthropic.com/en/api/messages,
https://docs.anthropic.com/en/api/claude-on-amazon-bedrock and
https://docs.anthropic.com/en/api/claude-on-vertex-ai, read November 2026.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

import msgspec

from dragoman.dialects import CHAT, Call, StreamOptions
from dragoman.dialects.anthropic_messages import errors, models, reading, stream, writing
from dragoman.dialects.anthropic_messages.names import (
    BETAS,
    INVOKE,
    NAME,
    VERSION,
    Quirks,
)
from dragoman.dialects.base import EVENT_STREAM, Chat, models_call
from dragoman.dialects.bedrock_converse import errors as bedrock_errors
from dragoman.dialects.carrying import is_carried
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
_AWS_EVENT_STREAM = "application/vnd.amazon.eventstream"
_REFERENCE = Quirks()


class AnthropicMessages(Chat):
    """The dialect; `quirks` say how a provider differs from Anthropic itself."""

    name = NAME
    _id_prefix = "msg_"
    stream_types = (EVENT_STREAM, _AWS_EVENT_STREAM)
    _requests, _errors, _models = reading, errors, models

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
        return models_call(path, _MODELS) if "anthropic-version" in headers else None

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
        return _AWS_EVENT_STREAM if options.framing == INVOKE else EVENT_STREAM

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

    def _is_borrowed(self, block: Json) -> bool:
        """An empty signature is that of a thought which nobody signed."""
        signature = block.get("signature")
        return block.get("type") == "thinking" and (signature == "" or is_carried(signature))

    def frames(self, framing: str) -> bool:
        return (framing == INVOKE) is self._quirks.invoke_model


class InvokedMessages(AnthropicMessages):
    """The same for clients of InvokeModel, who read errors as Bedrock writes them."""

    _errors = bedrock_errors


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
