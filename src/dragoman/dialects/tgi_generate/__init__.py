"""Hugging Face Text Generation Inference, `POST /generate` and `/generate_stream`.

Its route `/` takes the same and whether to stream, and answers in one piece with an array of one.
No body names a model: a client's path may, as `/models/MODEL/generate`, or its body after all.

Source: https://huggingface.github.io/text-generation-inference/, November 2026.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote

from dragoman.actions import Respond
from dragoman.dialects import CHAT, LISTED, Call, StreamOptions
from dragoman.dialects.models import ModelCard
from dragoman.dialects.openai_chat import OpenAIChat
from dragoman.dialects.tgi_generate import errors
from dragoman.dialects.tgi_generate import request as requests
from dragoman.dialects.tgi_generate import response as responses
from dragoman.dialects.tgi_generate.names import NAME, json_object
from dragoman.dialects.tgi_generate.stream import GenerateDecoder, GenerateEncoder
from dragoman.errors import DragomanError, UpstreamError
from dragoman.ir import Json, Request, Response
from dragoman.ir.losses import Losses

_CALL = re.compile(r"(?:/models/(.+))?/(generate|generate_stream)")
_OPENAI = OpenAIChat()
"""In whose shape TGI lists its model."""
_DEFAULT_MODEL = "tgi"
"""What a client asks for that cannot name one."""


class TgiGenerate:
    """The dialect. No provider of it is known to differ."""

    name = NAME
    operation = CHAT
    stream_types = ("text/event-stream",)

    def match(self, path: str, query: str, headers: Mapping[str, str]) -> Call | None:
        del query, headers
        if path == "/":
            return Call(operation=CHAT, default_model=_DEFAULT_MODEL, framing=LISTED)
        found = _CALL.fullmatch(path)
        if found is None:
            return None
        return Call(
            operation=CHAT,
            model=unquote(found[1]) if found[1] else None,
            default_model=_DEFAULT_MODEL,
            stream=found[2] == "generate_stream",
        )

    def check_request(self, body: Json) -> None:
        requests.check(body)

    def decode_request(self, body: Json) -> Request:
        return requests.decode_request(body)

    def encode_request(self, request: Request, losses: Losses) -> Json:
        return requests.encode_request(request, losses)

    def decode_response(self, body: Json) -> Response:
        return responses.decode_response(body)

    def encode_response(self, response: Response, losses: Losses) -> Json:
        return responses.encode_response(response, losses)

    def stream_decoder(self) -> GenerateDecoder:
        return GenerateDecoder()

    def stream_encoder(self, options: StreamOptions) -> GenerateEncoder:
        del options  # usage stands at the end of every stream of this dialect
        return GenerateEncoder()

    def stream_type(self, options: StreamOptions) -> str:
        del options
        return "text/event-stream"

    def decode_error(self, status: int, body: bytes) -> UpstreamError:
        return errors.decode_error(status, body)

    def encode_error(self, error: DragomanError) -> Respond:
        return errors.encode_error(error)

    def encode_models(self, cards: Sequence[ModelCard], query: str) -> Json:
        return _OPENAI.encode_models(cards, query)

    def encode_model(self, card: ModelCard) -> Json:
        return _OPENAI.encode_model(card)

    def edits(self, body: Json) -> dict[str, Any]:
        """See `Dialect.edits`. Without the details nothing of an answer is counted."""
        given = json_object(body.get("parameters"))
        return {"model": None, "stream": None, "parameters": {**given, "details": True}}

    def frames(self, framing: str) -> bool:
        return framing != LISTED

    def wants_usage(self, body: Json) -> bool | None:
        del body
        return None

    def is_usage_frame(self, data: str) -> bool:
        del data
        return False
