"""Vertex AI's `predict` for text embedding models, as client and as provider.

Source: https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/text-embeddings-api,
November 2026.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast
from urllib.parse import unquote

import msgspec

from dragoman.dialects import EMBEDDINGS, Call
from dragoman.dialects.embeddings.gemini_embed import PURPOSES, WORDS
from dragoman.dialects.embeddings.inputs import (
    omit_all,
    one_text,
    only_floats,
    refuse_mixed,
    write_purpose,
)
from dragoman.dialects.embeddings.vectors import take_vector, write_vector
from dragoman.dialects.gemini_generate import errors
from dragoman.dialects.residues import is_own, rest, said
from dragoman.dialects.unary import Unary, reading_answer
from dragoman.errors import InvalidRequest
from dragoman.ir import Json, Text, Usage
from dragoman.ir.embeddings import (
    FLOATS,
    Embedding,
    EmbeddingRequest,
    EmbeddingResponse,
    Format,
    Input,
)
from dragoman.ir.losses import Losses
from dragoman.wire.fields import Fields

NAME = "vertex_predict"
_PATH = re.compile(
    r"/v1(?:beta1)?/projects/[^/]+/locations/[^/]+/publishers/[^/]+/models/(.+):predict"
)
_TOKENS = "token_count"


class VertexPredict(Unary):
    """The dialect; images and whatever else `predict` serves are not its."""

    operation = EMBEDDINGS

    def __init__(self) -> None:
        super().__init__(NAME, errors)

    def match(self, path: str, query: str, headers: Mapping[str, str]) -> Call | None:
        del query, headers
        found = _PATH.fullmatch(path)
        if found is None:
            return None
        return Call(operation=EMBEDDINGS, model=unquote(found[1]), claims=_has_content)

    def decode_request(self, body: Json) -> EmbeddingRequest:
        top = Fields(body, "$")
        read = [_read_instance(Fields(value, path)) for path, value in top.items("instances")]
        if not read:
            raise InvalidRequest("$.instances", "at least one instance")
        first = read[0][1]
        odd = next((one.at for one, word in read if word != first), "")
        parameters = top.object_optional("parameters")
        size = cut = None
        if parameters is not None:
            size = parameters.take_optional("outputDimensionality", int)
            cut = parameters.take_optional("autoTruncate", bool)
            top.put("parameters", rest(parameters, NAME).fields)
        return EmbeddingRequest(
            model="",
            inputs=tuple(one for one, _ in read),
            purpose=None if first is None else WORDS[first],
            dimensions=size,
            truncate=None if cut is None else "end" if cut else "none",
            mixed_at=odd,
            paths={
                "inputs": "$.instances",
                "purpose": f"$.instances[{'*' if len(read) > 1 else 0}].task_type",
                "dimensions": "$.parameters.outputDimensionality",
                "truncate": "$.parameters.autoTruncate",
            },
            residue=rest(top, NAME, *(() if parameters is None else ("parameters",))),
        )

    def encode_request(self, request: EmbeddingRequest, losses: Losses) -> Json:
        only_floats(request, losses)
        own = is_own(request.residue, NAME)
        if not own:
            refuse_mixed(request, losses)
        word = write_purpose(request, losses, PURPOSES)
        body: Json = {"instances": [_instance(one, word, losses) for one in request.inputs]}
        parameters: Json = {}
        if request.dimensions is not None:
            parameters["outputDimensionality"] = request.dimensions
        if request.truncate == "start":
            losses.omit("truncate", request.path("truncate"))
        elif request.truncate is not None:
            parameters["autoTruncate"] = request.truncate == "end"
        omit_all(request, losses, "normalize", "user")
        extra = dict(losses.residue(request.residue, "$"))
        parameters |= extra.pop("parameters", None) or {}
        if parameters or (request.residue is not None and "parameters" in request.residue.form):
            body["parameters"] = parameters
        return {**body, **extra}

    def decode_response(self, body: Any) -> EmbeddingResponse:
        with reading_answer():
            top = Fields(body, "$")
            read = [
                _read_prediction(Fields(value, path)) for path, value in top.items("predictions")
            ]
            counts = [count for _, count in read if count is not None]
            return EmbeddingResponse(
                embeddings=tuple(one for one, _ in read),
                usage=Usage(input_tokens=sum(counts)) if counts else None,
                residue=rest(top, NAME),
            )

    def encode_response(self, response: EmbeddingResponse, losses: Losses) -> Json:
        """Tokens are counted for each input here: those of all stand with the first."""
        wanted = FLOATS if response.formats else None
        usage = response.usage
        found = [_prediction(one, wanted, losses) for one in response.embeddings]
        if found and usage is not None and not is_own(response.residue, NAME):
            statistics = {"truncated": False, _TOKENS: usage.input_tokens}
            found[0]["embeddings"]["statistics"] = statistics
        return {"predictions": found, **losses.residue(response.residue, "$")}


def _has_content(body: Json) -> bool:
    match body.get("instances"):
        case [{"content": _}, *_]:
            return True
        case _:
            return False


def _read_instance(fields: Fields) -> tuple[Input, str | None]:
    text = Text(content=fields.take("content", str), at=fields.at("content"))
    known = fields.peek("task_type")
    word = fields.take("task_type", str) if isinstance(known, str) and known in WORDS else None
    title = fields.take_optional("title", str)
    residue = rest(fields, NAME, *(() if word is None else (f"task={word}",)))
    return Input(parts=(text,), title=title, at=fields.path, residue=residue), word


def _instance(one: Input, word: str | None, losses: Losses) -> Json:
    if is_own(one.residue, NAME):
        word = said(one.residue, NAME, "task=")
    extra = losses.residue(one.residue, one.at)
    body: Json = {
        "content": one_text(msgspec.structs.replace(one, title=None, residue=None), losses)
    }
    body |= {} if word is None else {"task_type": word}
    body |= {} if one.title is None else {"title": one.title}
    return {**body, **extra}


def _read_prediction(fields: Fields) -> tuple[Embedding, int | None]:
    inner = fields.object("embeddings")
    vector = take_vector(inner, "values")
    match inner.peek("statistics"):
        case {"token_count": int() | float() as found}:
            count: int | None = int(found)
        case _:
            count = None
    fields.put("embeddings", rest(inner, NAME).fields)
    return Embedding(vectors=(vector,), residue=rest(fields, NAME)), count


def _prediction(one: Embedding, wanted: Format | None, losses: Losses) -> Json:
    """The statistics of an answer of its own are among the residue."""
    own = is_own(one.residue, NAME)
    extra = dict(losses.residue(one.residue, "$.predictions") if own else {})
    inner = cast("Json", extra.pop("embeddings", {}))
    return {"embeddings": {"values": write_vector(one, wanted), **inner}, **extra}
