"""Cohere Embed, as client and as provider.

Source: https://docs.cohere.com/reference/embed, November 2026.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, cast

import msgspec

from dragoman.dialects import EMBEDDINGS, Call
from dragoman.dialects.base import ErrorShape
from dragoman.dialects.cohere_chat import errors
from dragoman.dialects.embeddings.inputs import (
    omit_all,
    one_text,
    refuse_mixed,
    take_texts,
    write_purpose,
)
from dragoman.dialects.embeddings.vectors import as_vector, write_vector
from dragoman.dialects.residues import held, hold, is_own, rest, said, says
from dragoman.dialects.unary import Unary, reading_answer
from dragoman.errors import InvalidRequest
from dragoman.ir import Blob, Json, Opaque, Residue, Text, Uri, Usage
from dragoman.ir.embeddings import (
    Dtype,
    Embedding,
    EmbeddingRequest,
    EmbeddingResponse,
    Format,
    Input,
    Purpose,
    Truncate,
    Vector,
)
from dragoman.ir.losses import Losses
from dragoman.wire.data_url import read_data_url, write_data_url
from dragoman.wire.fields import Fields

NAME = "cohere_embed"
_IMAGE = "image"
_BARE = "bare"
_PURPOSES: dict[Purpose, str] = {
    "query": "search_query",
    "document": "search_document",
    "classification": "classification",
    "clustering": "clustering",
}
_WORDS: dict[str, Purpose] = {word: purpose for purpose, word in _PURPOSES.items()}
_TYPES: dict[str, Dtype] = {
    "float": "float",
    "base64": "float",
    "int8": "int8",
    "uint8": "uint8",
    "binary": "binary",
    "ubinary": "ubinary",
}
_CUTS: dict[str, Truncate] = {
    "NONE": "none",
    "START": "start",
    "END": "end",
    "LEFT": "start",
    "RIGHT": "end",
}
_CUTS_OUT: dict[Truncate, str] = {"none": "NONE", "start": "START", "end": "END"}
_PLACES = ("texts", "images", "inputs")
_BY_TYPE = "embeddings_by_type"
_FLOATS = "embeddings_floats"


class Quirks(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a provider differs."""

    input_type: Literal["search_document", "search_query", "classification", "clustering"] = (
        "search_document"
    )
    """What the vectors are for where the client did not say: Cohere insists on a word. Far more
    texts are stored than asked for; an operator whose clients embed queries says so here."""


_REFERENCE = Quirks()


class CohereEmbed(Unary):
    """The dialect."""

    operation = EMBEDDINGS
    path: ClassVar[str] = "/v2/embed"
    has_base64: ClassVar[bool] = True
    """Whether it writes floats as base64, too."""
    bare_urls: ClassVar[bool] = False
    """Whether the address of an image stands in `inputs` without an object around it."""
    floats: ClassVar[bool] = False
    """Whether an answer to a client that asked for no types has bare floats, not lists by type."""

    def __init__(
        self, quirks: Quirks = _REFERENCE, name: str = NAME, shape: ErrorShape = errors
    ) -> None:
        super().__init__(name, shape)
        self._quirks = quirks

    def match(self, path: str, query: str, headers: Mapping[str, str]) -> Call | None:
        del query, headers
        return Call(operation=EMBEDDINGS) if path == self.path else None

    def decode_request(self, body: Json) -> EmbeddingRequest:
        top = Fields(body, "$")
        model = top.take_optional("model", str) or ""
        word = top.word("input_type", (*_WORDS, _IMAGE))
        place, inputs = _take_inputs(top, self.name)
        cut = top.word("truncate", tuple(_CUTS))
        form = [place] + [f"input_type={word}"] * (word is not None)
        return EmbeddingRequest(
            model=model,
            inputs=inputs,
            purpose=None if word is None else _WORDS.get(word),
            dimensions=top.take_optional("output_dimension", int),
            formats=tuple(_format(value, path) for path, value in top.items("embedding_types")),
            truncate=None if cut is None else _CUTS[cut],
            paths={
                "inputs": f"$.{place}",
                "purpose": "$.input_type",
                "dimensions": "$.output_dimension",
                "formats": "$.embedding_types",
            },
            residue=rest(top, self.name, *form, f"cut={cut}"),
        )

    def encode_request(self, request: EmbeddingRequest, losses: Losses) -> Json:
        refuse_mixed(request, losses)
        body: Json = {"model": request.model} if self._names_model(request) else {}
        body |= self._write_inputs(request, losses)
        body |= self._write_purpose(request, losses, images="images" in body)
        if request.formats:
            types = [self._type_word(one, losses) for one in request.formats]
            body["embedding_types"] = list(dict.fromkeys(types))
        if request.dimensions is not None:
            body["output_dimension"] = request.dimensions
        if request.truncate is not None:
            cut = said(request.residue, self.name, "cut=")
            body["truncate"] = cut or _CUTS_OUT[request.truncate]
        omit_all(request, losses, "normalize", "user")
        return {**body, **losses.residue(request.residue, "$")}

    def decode_response(self, body: Any) -> EmbeddingResponse:
        with reading_answer():
            top = Fields(body, "$")
            shape = "floats" if isinstance(body.get("embeddings"), list) else "types"
            embeddings = _take_embeddings(top)
            kept = {name: body[name] for name in ("meta", "texts", "response_type") if name in body}
            for name in kept:
                top.take_optional(name, object)
            return EmbeddingResponse(
                id=top.take_optional("id", str),
                embeddings=embeddings,
                usage=read_usage(kept.get("meta")),
                residue=rest(top, self.name, shape, *hold(kept)),
            )

    def encode_response(self, response: EmbeddingResponse, losses: Losses) -> Json:
        extra = losses.residue(response.residue, "$")
        own = is_own(response.residue, self.name)
        formats = response.formats or _as_they_came(response)
        bare = self.floats and not any(one.at for one in formats)
        if own and not response.formats:
            bare = says(response.residue, self.name, "floats")
        if bare:
            listed: Any = [write_vector(one, formats[0]) for one in response.embeddings]
        else:
            listed = {
                _word(one): [write_vector(each, one) for each in response.embeddings]
                for one in formats
            }
        body: Json = {"embeddings": listed}
        if response.id is not None or not own:
            body["id"] = response.id or ""
        if own:
            if not bare:
                extra = {**extra, "embeddings": {**extra.get("embeddings", {}), **listed}}
            return {**body, **held(response.residue, self.name), **extra}
        return {**body, **self._trimmings(response, bare=bare)}

    def _trimmings(self, response: EmbeddingResponse, *, bare: bool) -> Json:
        """What stands beside the vectors in an answer of the dialect."""
        body: Json = {"response_type": _FLOATS if bare else _BY_TYPE}
        if response.usage is not None:
            units = {"input_tokens": response.usage.input_tokens}
            body["meta"] = {"api_version": {"version": "2"}, "billed_units": units}
        return body

    def _type_word(self, one: Format, losses: Losses) -> str:
        """Base64 is made of floats on the way back where a provider has none."""
        if one.base64 and one.dtype != "float":
            losses.omit("formats", one.at, "it has base64 of floats only")
        return _word(one) if self.has_base64 else one.dtype

    def _names_model(self, request: EmbeddingRequest) -> bool:
        return bool(request.model)

    def _write_inputs(self, request: EmbeddingRequest, losses: Losses) -> Json:
        """All texts, all images, or what mixes them."""
        place = next((one for one in _PLACES if says(request.residue, self.name, one)), None)
        if place is None:
            kinds = {tuple(type(part) for part in one.parts) for one in request.inputs}
            place = "images" if kinds == {(Blob,)} else "texts"
            if kinds - {(Text,)} and place == "texts":
                place = "inputs"
        if place == "texts":
            return {place: [one_text(one, losses) for one in request.inputs]}
        write = self._write_image if place == "images" else self._write_content
        return {place: [write(one, losses) for one in request.inputs]}

    def _write_image(self, one: Input, losses: Losses) -> str:
        (part,) = one.parts
        if one.title is not None:
            losses.omit("title", f"{one.at}.title")
        losses.residue(one.residue, one.at)
        losses.residue(part.residue, part.at)
        return _write_url(part, losses)

    def _write_content(self, one: Input, losses: Losses) -> Json:
        if one.title is not None:
            losses.omit("title", f"{one.at}.title")
        content = [self._write_part(part, losses) for part in one.parts]
        return {"content": content, **losses.residue(one.residue, one.at)}

    def _write_part(self, part: Any, losses: Losses) -> Json:
        if isinstance(part, Text):
            return {"type": "text", "text": part.content, **losses.residue(part.residue, part.at)}
        if isinstance(part, Opaque) and part.dialect == self.name:
            return part.value
        url = _write_url(part, losses)
        extra = losses.residue(part.residue, part.at)
        bare = self.bare_urls
        if is_own(part.residue, self.name):
            bare = says(part.residue, self.name, _BARE)
        return {"type": "image_url", "image_url": url if bare else {"url": url, **extra}}

    def _write_purpose(self, request: EmbeddingRequest, losses: Losses, *, images: bool) -> Json:
        """The word, or the provider's own default, reported, where the client gave none."""
        own = is_own(request.residue, self.name)
        word = said(request.residue, self.name, "input_type=")
        if word is None and not own:
            named = _IMAGE if images else write_purpose(request, losses, _PURPOSES)
            if request.purpose is None or images:
                losses.omit("purpose", request.path("purpose"))
            word = named or self._quirks.input_type
        return {} if word is None else {"input_type": word}


# --- requests ---------------------------------------------------------------------------------


def _take_inputs(top: Fields, dialect: str) -> tuple[str, tuple[Input, ...]]:
    """The inputs, and the one field they stand in."""
    given = [name for name in _PLACES if name in top]
    if len(given) != 1:
        raise InvalidRequest("$.texts", "one of texts, images and inputs")
    (place,) = given
    if place == "texts":
        if isinstance(top.peek(place), str):
            raise InvalidRequest("$.texts", "an array of strings")
        inputs, _ = take_texts(top, place)
    elif place == "images":
        inputs = tuple(_image_input(value, path) for path, value in top.items(place))
    else:
        inputs = tuple(_content_input(Fields(v, path), dialect) for path, v in top.items(place))
    if not inputs:
        raise InvalidRequest(f"$.{place}", "at least one input")
    return place, inputs


def _image_input(value: Any, path: str) -> Input:
    if not isinstance(value, str):
        raise InvalidRequest(path, "a string")
    return Input(parts=(_read_image(value, path, None),), at=path)


def _read_image(url: str, path: str, residue: Residue | None) -> Blob | Uri:
    data = read_data_url(url)
    if data is None:
        return Uri(modality="image", uri=url, at=path, residue=residue)
    mime, content = data
    return Blob(modality="image", mime_type=mime, content=content, at=path, residue=residue)


def _content_input(fields: Fields, dialect: str) -> Input:
    parts = tuple(_part(value, path, dialect) for path, value in fields.items("content"))
    if not parts:
        raise InvalidRequest(fields.at("content"), "at least one part")
    return Input(parts=parts, at=fields.path, residue=fields.rest(dialect))


def _part(value: Any, path: str, dialect: str) -> Text | Blob | Uri | Opaque:
    fields = Fields(value, path)
    kind = fields.take("type", str)
    if kind == "text":
        text = fields.take("text", str)
        return Text(content=text, at=path, residue=fields.rest(dialect))
    if kind != "image_url":
        return Opaque(dialect=dialect, kind=kind, value=cast("Json", value), at=path)
    found = fields.peek("image_url")
    if isinstance(found, str):  # Bedrock has it bare
        residue = Residue(dialect=dialect, fields={}, form=(_BARE,))
        return _read_image(fields.take("image_url", str), fields.at("image_url"), residue)
    image = fields.object("image_url")
    url = image.take("url", str)
    return _read_image(url, image.path, rest(image, dialect))


def _write_url(part: Any, losses: Losses) -> str:
    match part:
        case Blob(modality="image"):
            return write_data_url(part.mime_type, part.content)
        case Uri(modality="image") if is_own(part.residue, losses.dialect):
            return part.uri
        case _:
            losses.omit("inputs", part.at, "it takes texts, and images inline")
    raise AssertionError("inputs have meaning")


def _format(value: Any, path: str) -> Format:
    if not isinstance(value, str) or value not in _TYPES:
        raise InvalidRequest(path, "one of " + ", ".join(_TYPES))
    return Format(dtype=_TYPES[value], base64=value == "base64", at=path)


def _word(one: Format) -> str:
    return "base64" if one.base64 else one.dtype


# --- answers ----------------------------------------------------------------------------------


def _take_embeddings(top: Fields) -> tuple[Embedding, ...]:
    """From lists by type, or a list of floats; each embedding has all its types."""
    if isinstance(top.peek("embeddings"), list):
        return tuple(
            Embedding(vectors=(as_vector(value, path, "float"),))
            for path, value in top.items("embeddings")
        )
    found = top.object("embeddings")
    columns = [
        [as_vector(value, path, dtype) for path, value in found.items(word)]
        for word, dtype in _TYPES.items()
        if word in found
    ]
    if len({len(column) for column in columns}) > 1:
        raise InvalidRequest(found.path, "as many vectors of each type")
    top.put("embeddings", rest(found, "").fields)
    return tuple(Embedding(vectors=vectors) for vectors in zip(*columns, strict=True))


def _as_they_came(response: EmbeddingResponse) -> tuple[Format, ...]:
    first = response.embeddings[0].vectors if response.embeddings else ()
    return tuple(_format_of(vector) for vector in first) or (Format(),)


def _format_of(vector: Vector) -> Format:
    return Format(dtype=vector.dtype or "float", base64=vector.is_base64)


def read_usage(meta: Any) -> Usage | None:
    """Tokens as billed; None where the answer says nothing of them."""
    match meta:
        case {"billed_units": {"input_tokens": int() | float() as tokens, **others}}:
            images = others.get("image_tokens")
            more = int(images) if isinstance(images, int | float) else 0
            return Usage(input_tokens=int(tokens) + more)
        case _:
            return None
