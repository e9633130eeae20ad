"""Hugging Face Text Generation Inference, `POST /generate` and `/generate_stream`.

Its route `/` takes the same and whether to stream, and answers in one piece with an array of one.
No body names a model: a client's path may, as `/models/MODEL/generate`, or its body after all.

Source: https://huggingface.github.io/text-generation-inference/, November 2026.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from dragoman.dialects import CHAT, LISTED, Call, StreamOptions
from dragoman.dialects.base import Chat
from dragoman.dialects.openai_chat import models
from dragoman.dialects.tgi_generate import errors
from dragoman.dialects.tgi_generate import request as requests
from dragoman.dialects.tgi_generate import response as responses
from dragoman.dialects.tgi_generate.names import NAME, json_object
from dragoman.dialects.tgi_generate.stream import GenerateDecoder, GenerateEncoder
from dragoman.ir import Json, Request
from dragoman.ir.losses import Losses

_CALL = re.compile(r"(?:/models/(.+))?/(generate|generate_stream)")
_DEFAULT_MODEL = "tgi"
"""What a client asks for that cannot name one."""


class TgiGenerate(Chat):
    """The dialect. No provider of it is known to differ."""

    name = NAME
    _requests, _responses, _errors, _models = requests, responses, errors, models

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

    def encode_request(self, request: Request, losses: Losses) -> Json:
        return requests.encode_request(request, losses)

    def stream_decoder(self) -> GenerateDecoder:
        return GenerateDecoder()

    def stream_encoder(self, options: StreamOptions) -> GenerateEncoder:
        del options  # usage stands at the end of every stream of this dialect
        return GenerateEncoder()

    def edits(self, body: Json) -> dict[str, Any]:
        """See `Dialect.edits`. Without the details nothing of an answer is counted."""
        given = json_object(body.get("parameters"))
        return {"model": None, "stream": None, "parameters": {**given, "details": True}}

    def frames(self, framing: str) -> bool:
        return framing != LISTED
