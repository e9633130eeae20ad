"""Amazon Nova multimodal embeddings by Amazon Bedrock's InvokeModel: one a call.

Source: https://docs.aws.amazon.com/nova/latest/userguide/embeddings-schema.html, November 2026.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, cast

import msgspec

from dragoman.dialects import EMBEDDINGS, Call
from dragoman.dialects.bedrock_converse import errors
from dragoman.dialects.embeddings.inputs import (
    omit_all,
    one_text,
    only_floats,
    only_input,
    write_purpose,
)
from dragoman.dialects.embeddings.invoke import match_invoke
from dragoman.dialects.embeddings.vectors import take_vector, write_vector
from dragoman.dialects.residues import is_own, rest, said, says
from dragoman.dialects.unary import Unary, reading_answer
from dragoman.errors import InvalidRequest
from dragoman.ir import Blob, Json, Modality, Opaque, Residue, Text
from dragoman.ir.embeddings import (
    FLOATS,
    Embedding,
    EmbeddingRequest,
    EmbeddingResponse,
    Format,
    Input,
    Purpose,
    Truncate,
)
from dragoman.ir.losses import Losses
from dragoman.wire.fields import Fields

NAME = "bedrock_nova_embed"
_MARKS = ("singleEmbeddingParams",)
_TASK = "SINGLE_EMBEDDING"
_SCHEMA = "nova-multimodal-embed-v1"
_PURPOSES: dict[Purpose, str] = {
    "query": "GENERIC_RETRIEVAL",
    "document": "GENERIC_INDEX",
    "classification": "CLASSIFICATION",
    "clustering": "CLUSTERING",
}
_KINDS = ("TEXT", "IMAGE", "VIDEO", "DOCUMENT", "AUDIO")
_QUERIES: dict[str, Purpose] = dict.fromkeys((f"{kind}_RETRIEVAL" for kind in _KINDS), "query")
"""Queries for stores of one kind of thing."""
_WORDS: dict[str, Purpose] = {word: purpose for purpose, word in _PURPOSES.items()}
_WORDS.update(_QUERIES)
_CUTS: dict[str, Truncate] = {"NONE": "none", "START": "start", "END": "end"}
_CUTS_OUT: dict[Truncate, str] = {cut: word for word, cut in _CUTS.items()}
_MEDIA = ("image", "audio", "video")
_FORMATS = {"mpeg": "mp3", "x-wav": "wav", "quicktime": "mov", "x-matroska": "mkv"}
"""Formats by the second word of a media type, where that is another."""
_PARAMS = "$.singleEmbeddingParams"


class Quirks(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a provider differs."""

    purpose: Literal["GENERIC_INDEX", "GENERIC_RETRIEVAL", "CLASSIFICATION", "CLUSTERING"] = (
        "GENERIC_INDEX"
    )
    """What the vectors are for where the client did not say: Nova insists on a word. Far more
    texts are stored than asked for; an operator whose clients embed queries says so here."""


_REFERENCE = Quirks()


class BedrockNovaEmbed(Unary):
    """The dialect."""

    operation = EMBEDDINGS

    def __init__(self, quirks: Quirks = _REFERENCE) -> None:
        super().__init__(NAME, errors)
        self._quirks = quirks

    def match(self, path: str, query: str, headers: Mapping[str, str]) -> Call | None:
        del query, headers
        return match_invoke(path, EMBEDDINGS, _MARKS)

    def decode_request(self, body: Json) -> EmbeddingRequest:
        top = Fields(body, "$")
        task = top.word("taskType", (_TASK,))
        schema = top.word("schemaVersion", (_SCHEMA,))
        params = top.object("singleEmbeddingParams")
        word = params.word("embeddingPurpose", tuple(_WORDS))
        size = params.take_optional("embeddingDimension", int)
        part, cut = _take_part(params)
        top.put("singleEmbeddingParams", rest(params, NAME).fields)
        form = [f"{name}={value}" for name, value in (("task", task), ("schema", schema)) if value]
        form += [] if word is None else [f"purpose={word}"]
        return EmbeddingRequest(
            model="",
            inputs=(Input(parts=(part,), at=part.at),),
            purpose=None if word is None else _WORDS[word],
            dimensions=size,
            truncate=None if cut is None else _CUTS[cut],
            paths={
                "purpose": f"{_PARAMS}.embeddingPurpose",
                "dimensions": f"{_PARAMS}.embeddingDimension",
                "truncate": f"{_PARAMS}.text.truncationMode",
            },
            residue=rest(top, NAME, *form),
        )

    def encode_request(self, request: EmbeddingRequest, losses: Losses) -> Json:
        only_floats(request, losses)
        own = is_own(request.residue, NAME)
        params: Json = {}
        word = said(request.residue, NAME, "purpose=")
        if word is None and not own:
            word = write_purpose(request, losses, _PURPOSES)
            if request.purpose is None:
                losses.omit("purpose", request.path("purpose"))
            word = word or self._quirks.purpose
        params |= {} if word is None else {"embeddingPurpose": word}
        if request.dimensions is not None:
            params["embeddingDimension"] = request.dimensions
        params |= self._write_part(only_input(request, losses), request, losses)
        omit_all(request, losses, "normalize", "user")
        extra = dict(losses.residue(request.residue, "$"))
        params |= extra.pop("singleEmbeddingParams", None) or {}
        body: Json = {} if own else {"taskType": _TASK}
        for name, start in (("taskType", "task="), ("schemaVersion", "schema=")):
            found = said(request.residue, NAME, start)
            body |= {} if found is None else {name: found}
        return {**body, "singleEmbeddingParams": params, **extra}

    def decode_response(self, body: Any) -> EmbeddingResponse:
        with reading_answer():
            top = Fields(body, "$")
            found = [_read_embedding(Fields(v, path)) for path, v in top.items("embeddings")]
            return EmbeddingResponse(embeddings=tuple(found), residue=rest(top, NAME))

    def encode_response(self, response: EmbeddingResponse, losses: Losses) -> Json:
        wanted = FLOATS if response.formats else None
        found = [_embedding(one, wanted, losses) for one in response.embeddings]
        return {"embeddings": found, **losses.residue(response.residue, "$")}

    def _write_part(self, one: Input, request: EmbeddingRequest, losses: Losses) -> Json:
        """One text or one medium, inline. A text too long is refused unless the client said."""
        match one.parts:
            case (Opaque() as part,) if part.dialect == NAME:
                return {part.kind: part.value}
            case (Blob(modality="image" | "audio" | "video") as part,):
                if one.title is not None:
                    losses.omit("title", f"{one.at}.title")
                losses.residue(one.residue, one.at)
                omit_all(request, losses, "truncate")
                return {part.modality: _media(part, losses)}
            case _:
                own = [part for part in one.parts if is_own(part.residue, NAME)]
                extra = own[0].residue.fields if own and own[0].residue else {}
                cut = request.truncate or (None if is_own(request.residue, NAME) else "none")
                mode = {} if cut is None else {"truncationMode": _CUTS_OUT[cut]}
                return {"text": {**mode, "value": one_text(one, losses), **extra}}


def _take_part(params: Fields) -> tuple[Text | Blob | Opaque, str | None]:
    """The one thing to embed, and how a text may be cut; what lies in S3 stays as it is."""
    kind = next((name for name in ("text", *_MEDIA) if name in params), None)
    if kind is None:
        raise InvalidRequest(params.at("text"), "an object with a value")
    value = cast("Json", params.take(kind, dict))
    found = Fields(value, params.at(kind))
    match found.peek("source"):
        case None if kind == "text":
            cut = found.word("truncationMode", tuple(_CUTS))
            text = found.take("value", str)
            return Text(content=text, at=found.path, residue=found.rest(NAME)), cut
        case {"bytes": str(content), **others} if not others and kind != "text":
            del found
            return _blob(kind, value, content, params.at(kind)), None
        case _:
            return Opaque(dialect=NAME, kind=kind, value=value, at=found.path), None


def _blob(kind: str, value: Json, content: str, path: str) -> Blob:
    left = {name: inner for name, inner in value.items() if name not in ("format", "source")}
    form = value.get("format")
    if form is not None and not isinstance(form, str):
        raise InvalidRequest(f"{path}.format", "a string")
    return Blob(
        modality=cast("Modality", kind),
        mime_type=f"{kind}/{form or '*'}",
        content=content,
        at=path,
        residue=Residue(dialect=NAME, fields=left, form=() if form is None else ("format",)),
    )


def _media(part: Blob, losses: Losses) -> Json:
    """Its format is the media type's second word, but for the few that have other names."""
    word = part.mime_type.partition("/")[2]
    body: Json = {"format": _FORMATS.get(word, word)}
    if is_own(part.residue, NAME) and not says(part.residue, NAME, "format"):
        body = {}
    return {**body, "source": {"bytes": part.content}, **losses.residue(part.residue, part.at)}


def _read_embedding(item: Fields) -> Embedding:
    kind = item.take_optional("embeddingType", str)
    vector = take_vector(item, "embedding")
    form = () if kind is None else (f"kind={kind}",)
    return Embedding(vectors=(vector,), residue=rest(item, NAME, *form))


def _embedding(one: Embedding, wanted: Format | None, losses: Losses) -> Json:
    kind = said(one.residue, NAME, "kind=")
    body: Json = {"embeddingType": "TEXT"} if not is_own(one.residue, NAME) else {}
    body |= {} if kind is None else {"embeddingType": kind}
    return {**body, "embedding": write_vector(one, wanted), **losses.residue(one.residue, "$")}
