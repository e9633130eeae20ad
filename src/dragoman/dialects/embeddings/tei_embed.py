"""Text Embeddings Inference's own `/embed`, as client and as provider.

Source: https://huggingface.github.io/text-embeddings-inference/, November 2026.
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
from dragoman.dialects.residues import is_own, rest, said
from dragoman.dialects.unary import Unary, reading_answer
from dragoman.errors import InvalidRequest, UpstreamProtocolError
from dragoman.ir import Json
from dragoman.ir.embeddings import FLOATS, Embedding, EmbeddingRequest, EmbeddingResponse, Truncate
from dragoman.ir.losses import Losses
from dragoman.wire.fields import Fields, as_list

NAME = "tei_embed"
MODEL = "tei"
"""The name by which the gateway knows the one model that such a server has."""
_SIDES: dict[str, Truncate] = {
    "Left": "start",
    "left": "start",
    "Right": "end",
    "right": "end",
}


class TeiEmbed(Unary):
    """The dialect. Its answer is a bare list, and tells no usage."""

    operation = EMBEDDINGS

    def __init__(self) -> None:
        super().__init__(NAME, errors)

    def match(self, path: str, query: str, headers: Mapping[str, str]) -> Call | None:
        del query, headers
        return Call(operation=EMBEDDINGS, default_model=MODEL) if path == "/embed" else None

    def edits(self, body: Json) -> dict[str, Any]:
        """Its bodies name no model."""
        del body
        return {"model": None}

    def decode_request(self, body: Json) -> EmbeddingRequest:
        top = Fields(body, "$")
        model = top.take_optional("model", str)
        inputs, form = take_texts(top, "inputs")
        if not inputs:
            raise InvalidRequest("$.inputs", "a string, or an array of at least one")
        cut = top.take_optional("truncate", bool)
        side = top.word("truncation_direction", tuple(_SIDES)) if cut else None
        form += () if side is None else (f"side={side}",)
        form += () if cut is None else (f"cut={cut}",)
        form += () if model is None else ("model",)
        return EmbeddingRequest(
            model=model or "",
            inputs=inputs,
            dimensions=top.take_optional("dimensions", int),
            truncate=None if cut is None else "none" if not cut else _SIDES.get(side or "", "end"),
            normalize=top.take_optional("normalize", bool),
            paths={"purpose": "$.input_type"}
            | ({} if side is None else {"truncate": "$.truncation_direction"}),
            residue=rest(top, NAME, *form),
        )

    def encode_request(self, request: EmbeddingRequest, losses: Losses) -> Json:
        refuse_mixed(request, losses)
        only_floats(request, losses)
        omit_all(request, losses, "purpose", "user")
        body: Json = {"inputs": write_texts(request, losses, NAME)}
        if request.normalize is not None:
            body["normalize"] = request.normalize
        if request.dimensions is not None:
            body["dimensions"] = request.dimensions
        if request.truncate is not None and not is_own(request.residue, NAME):
            body["truncate"] = request.truncate != "none"
        if request.truncate == "start" and not is_own(request.residue, NAME):
            body["truncation_direction"] = "Left"
        if (cut := said(request.residue, NAME, "cut=")) is not None:
            body["truncate"] = cut == "True"
        if (side := said(request.residue, NAME, "side=")) is not None:
            body["truncation_direction"] = side
        if is_own(request.residue, NAME) and request.model:
            body["model"] = request.model
        return {**body, **losses.residue(request.residue, "$")}

    def decode_response(self, body: Any) -> EmbeddingResponse:
        if not isinstance(body, list):
            raise UpstreamProtocolError("the upstream's answer is no list of embeddings")
        with reading_answer():
            return EmbeddingResponse(
                embeddings=tuple(
                    Embedding(vectors=(as_vector(value, f"$[{i}]"),))
                    for i, value in enumerate(as_list(body))
                )
            )

    def encode_response(self, response: EmbeddingResponse, losses: Losses) -> list[Any]:
        losses.residue(response.residue, "$")
        wanted = FLOATS if response.formats else None
        return [write_vector(one, wanted) for one in response.embeddings]
