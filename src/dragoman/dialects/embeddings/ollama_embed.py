"""Ollama's own `/api/embed`, as client and as provider.

Source: https://github.com/ollama/ollama/blob/main/docs/api.md, November 2026.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dragoman.dialects import EMBEDDINGS, Call
from dragoman.dialects.embeddings.inputs import (
    omit_all,
    only_floats,
    refuse_mixed,
    take_texts,
    write_texts,
)
from dragoman.dialects.embeddings.vectors import as_vector, write_vector
from dragoman.dialects.ollama_chat import errors
from dragoman.dialects.residues import held, hold, is_own, rest
from dragoman.dialects.unary import Unary, reading_answer
from dragoman.errors import InvalidRequest
from dragoman.ir import Json, Usage
from dragoman.ir.embeddings import FLOATS, Embedding, EmbeddingRequest, EmbeddingResponse
from dragoman.ir.losses import Losses
from dragoman.wire.fields import Fields

NAME = "ollama_embed"
_TIMES = ("total_duration", "load_duration")


class OllamaEmbed(Unary):
    """The dialect."""

    operation = EMBEDDINGS

    def __init__(self) -> None:
        super().__init__(NAME, errors)

    def match(self, path: str, query: str, headers: Mapping[str, str]) -> Call | None:
        del query, headers
        return Call(operation=EMBEDDINGS) if path == "/api/embed" else None

    def decode_request(self, body: Json) -> EmbeddingRequest:
        top = Fields(body, "$")
        model = top.take_optional("model", str) or ""
        inputs, form = take_texts(top, "input")
        if not inputs:
            raise InvalidRequest("$.input", "a string, or an array of at least one")
        cut = top.take_optional("truncate", bool)
        return EmbeddingRequest(
            model=model,
            inputs=inputs,
            dimensions=top.take_optional("dimensions", int),
            truncate=None if cut is None else "end" if cut else "none",
            paths={"inputs": "$.input", "purpose": "$.input_type"},
            residue=rest(top, NAME, *form),
        )

    def encode_request(self, request: EmbeddingRequest, losses: Losses) -> Json:
        refuse_mixed(request, losses)
        only_floats(request, losses)
        omit_all(request, losses, "purpose", "user", "normalize")
        body: Json = {"model": request.model} if request.model else {}
        body["input"] = write_texts(request, losses, NAME)
        if request.dimensions is not None:
            body["dimensions"] = request.dimensions
        if request.truncate == "start":
            losses.omit("truncate", request.path("truncate"))
        elif request.truncate is not None:
            body["truncate"] = request.truncate == "end"
        return {**body, **losses.residue(request.residue, "$")}

    def decode_response(self, body: Any) -> EmbeddingResponse:
        with reading_answer():
            top = Fields(body, "$")
            found = top.items("embeddings")
            count = top.take_optional("prompt_eval_count", int)
            times = {name: body[name] for name in _TIMES if name in top}
            for name in times:
                top.take(name, object)
            return EmbeddingResponse(
                model=top.take_optional("model", str) or "",
                embeddings=tuple(
                    Embedding(vectors=(as_vector(value, path),)) for path, value in found
                ),
                usage=None if count is None else Usage(input_tokens=count),
                residue=rest(top, NAME, *hold(times)),
            )

    def encode_response(self, response: EmbeddingResponse, losses: Losses) -> Json:
        wanted = FLOATS if response.formats else None
        extra = losses.residue(response.residue, "$")
        body: Json = {} if is_own(response.residue, NAME) else dict.fromkeys(_TIMES, 0)
        body["model"] = response.model
        body["embeddings"] = [write_vector(one, wanted) for one in response.embeddings]
        if response.usage is not None:
            body["prompt_eval_count"] = response.usage.input_tokens
        return {**body, **held(response.residue, NAME), **extra}
