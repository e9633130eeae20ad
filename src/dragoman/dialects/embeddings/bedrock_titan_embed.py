"""Amazon Titan embeddings, text and multimodal, by Amazon Bedrock's InvokeModel: one a call.

Sources: https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-titan-embed-text.html,
https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-titan-embed-mm.html,
November 2026.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dragoman.dialects import EMBEDDINGS, Call
from dragoman.dialects.bedrock_converse import errors
from dragoman.dialects.embeddings.inputs import omit_all, one_text, only_input
from dragoman.dialects.embeddings.invoke import match_invoke
from dragoman.dialects.embeddings.vectors import (
    as_vector,
    only_embedding,
    take_vector,
    write_vector,
)
from dragoman.dialects.residues import is_own, rest, said, says
from dragoman.dialects.unary import Unary, reading_answer
from dragoman.errors import InvalidRequest
from dragoman.ir import Blob, Json, Text, Usage
from dragoman.ir.embeddings import (
    FLOATS,
    Dtype,
    Embedding,
    EmbeddingRequest,
    EmbeddingResponse,
    Format,
    Input,
    Vector,
)
from dragoman.ir.losses import Losses
from dragoman.wire.fields import Fields

NAME = "bedrock_titan_embed"
_MARKS = ("inputText", "inputImage")
_TYPES: dict[str, Dtype] = {"float": "float", "binary": "binary"}
_CONFIG = "embeddingConfig"
_ANY_IMAGE = "image/*"
"""The type of an image, which this dialect leaves for the model to find out."""


class BedrockTitanEmbed(Unary):
    """The dialect."""

    operation = EMBEDDINGS

    def __init__(self) -> None:
        super().__init__(NAME, errors)

    def match(self, path: str, query: str, headers: Mapping[str, str]) -> Call | None:
        del query, headers
        return match_invoke(path, EMBEDDINGS, _MARKS)

    def decode_request(self, body: Json) -> EmbeddingRequest:
        top = Fields(body, "$")
        config = top.object_optional(_CONFIG)
        if config is None:
            place, size = "$.dimensions", top.take_optional("dimensions", int)
        else:
            place = f"$.{_CONFIG}.outputEmbeddingLength"
            size = config.take_optional("outputEmbeddingLength", int)
            top.put(_CONFIG, rest(config, NAME).fields)
        parts = tuple(_take_parts(top))
        if not parts:
            raise InvalidRequest("$.inputText", "a string")
        return EmbeddingRequest(
            model="",
            inputs=(Input(parts=parts, at=parts[-1].at),),
            dimensions=size,
            normalize=top.take_optional("normalize", bool),
            formats=tuple(_format(value, path) for path, value in top.items("embeddingTypes")),
            paths={"inputs": "$.inputText", "dimensions": place},
            residue=rest(top, NAME, *(() if config is None else (_CONFIG,))),
        )

    def encode_request(self, request: EmbeddingRequest, losses: Losses) -> Json:
        one = only_input(request, losses)
        body = _write_parts(one, losses)
        pictures = "inputImage" in body or says(request.residue, NAME, _CONFIG)
        if request.dimensions is not None:
            length = {"outputEmbeddingLength": request.dimensions}
            body |= {_CONFIG: length} if pictures else {"dimensions": request.dimensions}
        if request.normalize is not None:
            body["normalize"] = request.normalize
        types = [_type_word(wanted, losses) for wanted in request.formats]
        if types and (is_own(request.residue, NAME) or set(types) != {"float"}):
            body["embeddingTypes"] = list(dict.fromkeys(types))
        omit_all(request, losses, "purpose", "truncate", "user")
        extra = dict(losses.residue(request.residue, "$"))
        if says(request.residue, NAME, _CONFIG):
            body[_CONFIG] = {**body.get(_CONFIG, {}), **(extra.pop(_CONFIG, None) or {})}
        return {**body, **extra}

    def decode_response(self, body: Any) -> EmbeddingResponse:
        with reading_answer():
            top = Fields(body, "$")
            by_type = top.object_optional("embeddingsByType")
            vectors = [] if by_type is None else list(_take_types(by_type))
            form = ["by type=" + ",".join(str(vector.dtype) for vector in vectors)]
            if "embedding" in top:
                plain = take_vector(top, "embedding", "float")
                form.append("plain")
                if "float" not in {vector.dtype for vector in vectors}:
                    vectors.append(plain)
            if not vectors:
                raise InvalidRequest("$.embedding", "an array of numbers")
            count = top.take_optional("inputTextTokenCount", int)
            return EmbeddingResponse(
                embeddings=(Embedding(vectors=tuple(vectors)),),
                usage=None if count is None else Usage(input_tokens=count),
                residue=rest(top, NAME, *(form if by_type is not None else form[1:])),
            )

    def encode_response(self, response: EmbeddingResponse, losses: Losses) -> Json:
        """A vector of floats stands in both places, as version 2 has it."""
        one = only_embedding(response, losses)
        own = is_own(response.residue, NAME)
        extra = losses.residue(response.residue, "$")
        body: Json = {}
        by_type = said(response.residue, NAME, "by type=")
        types: list[Dtype] = [wanted.dtype for wanted in response.formats or (FLOATS,)]
        if own and not response.formats:
            types = [dtype for word, dtype in _TYPES.items() if word in (by_type or "").split(",")]
        if "float" in types or says(response.residue, NAME, "plain"):
            body["embedding"] = write_vector(one, FLOATS)
        if not own or by_type is not None:
            body["embeddingsByType"] = {
                dtype: write_vector(one, Format(dtype=dtype)) for dtype in types
            }
        if response.usage is not None or not own:
            count = response.usage.input_tokens if response.usage else 0
            body["inputTextTokenCount"] = count
        return {**body, **extra}


def _take_parts(top: Fields) -> list[Text | Blob]:
    parts: list[Text | Blob] = []
    text = top.take_optional("inputText", str)
    if text is not None:
        parts.append(Text(content=text, at="$.inputText"))
    image = top.take_optional("inputImage", str)
    if image is not None:
        at = "$.inputImage"
        parts.append(Blob(modality="image", mime_type=_ANY_IMAGE, content=image, at=at))
    return parts


def _write_parts(one: Input, losses: Losses) -> Json:
    """One text, one image, or both, which become one vector."""
    images = [part for part in one.parts if isinstance(part, Blob) and part.modality == "image"]
    texts = [part for part in one.parts if isinstance(part, Text)]
    if not images:
        return {"inputText": one_text(one, losses)}
    if len(images) > 1 or len(texts) > 1 or len(images) + len(texts) < len(one.parts):
        losses.omit("inputs", one.at, "it takes one text and one image inline")
    for part in one.parts:
        losses.residue(part.residue, part.at)
    if one.title is not None:
        losses.omit("title", f"{one.at}.title")
    losses.residue(one.residue, one.at)
    text = {"inputText": texts[0].content} if texts else {}
    return {**text, "inputImage": images[0].content}


def _format(value: Any, path: str) -> Format:
    if not isinstance(value, str) or value not in _TYPES:
        raise InvalidRequest(path, "float or binary")
    return Format(dtype=_TYPES[value], at=path)


def _type_word(wanted: Format, losses: Losses) -> str:
    if wanted.dtype not in _TYPES:
        losses.omit("formats", wanted.at, f"it has no {wanted.dtype} vectors")
    return wanted.dtype


def _take_types(found: Fields) -> list[Vector]:
    return [
        as_vector(found.take(word, object), found.at(word), dtype)
        for word, dtype in _TYPES.items()
        if word in found
    ]
