"""Google Gemini's `embedContent` and `batchEmbedContents`, as client and as provider.

Sources: https://ai.google.dev/api/embeddings and
https://cloud.google.com/vertex-ai/generative-ai/docs/reference/rest/v1/projects.locations.publishers.models/embedContent,
November 2026.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote

import msgspec

from dragoman.dialects import EMBEDDINGS, Call
from dragoman.dialects.embeddings.inputs import (
    omit_all,
    only_floats,
    only_input,
    refuse_mixed,
    write_purpose,
)
from dragoman.dialects.embeddings.vectors import only_embedding, take_vector, write_vector
from dragoman.dialects.gemini_generate import errors
from dragoman.dialects.gemini_generate.names import Cursor, json_object, modality_of, spelled
from dragoman.dialects.residues import held, hold, is_own, rest, said
from dragoman.dialects.unary import Unary, reading_answer
from dragoman.errors import InvalidRequest
from dragoman.ir import Blob, Json, Opaque, Residue, Text, Usage
from dragoman.ir.embeddings import (
    FLOATS,
    Embedding,
    EmbeddingRequest,
    EmbeddingResponse,
    Format,
    Input,
    Purpose,
)
from dragoman.ir.losses import Losses
from dragoman.wire.base64_text import from_standard, to_standard
from dragoman.wire.fields import as_list

SINGLE = "gemini_embed"
BATCH = "gemini_batch_embed"
PURPOSES: dict[Purpose, str] = {
    "query": "RETRIEVAL_QUERY",
    "document": "RETRIEVAL_DOCUMENT",
    "similarity": "SEMANTIC_SIMILARITY",
    "classification": "CLASSIFICATION",
    "clustering": "CLUSTERING",
    "question_answering": "QUESTION_ANSWERING",
    "fact_verification": "FACT_VERIFICATION",
    "code_query": "CODE_RETRIEVAL_QUERY",
}
WORDS: dict[str, Purpose] = {word: purpose for purpose, word in PURPOSES.items()}
_PATH = (
    r"/v1(?:beta1?|alpha)?(?:/projects/[^/]+/locations/[^/]+)?(?:/publishers/[^/]+)?"
    r"/(?:models|tunedModels|endpoints)/(.+):"
)
_CONFIG = "embedContentConfig"


class Quirks(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a provider differs. The defaults are Google's AI Studio."""

    config: bool = False
    """Whether the options stand in `embedContentConfig`, with `autoTruncate`, as at Vertex AI."""


_REFERENCE = Quirks()


class _Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What one of the requests in a batch asks for; all of them should ask for the same."""

    word: str | None
    dimensions: int | None
    truncate: bool | None


class _Read(NamedTuple):
    """One of the requests in a batch, and the object its options stand in."""

    one: Input
    asked: _Asked
    options: Cursor


class _Gemini(Unary):
    """What one request and a batch of them have in common."""

    operation = EMBEDDINGS

    def __init__(self, name: str, method: str, quirks: Quirks) -> None:
        super().__init__(name, errors)
        self._path = re.compile(_PATH + method)
        self._quirks = quirks

    def match(self, path: str, query: str, headers: Mapping[str, str]) -> Call | None:
        del query, headers
        found = self._path.fullmatch(path)
        return Call(operation=EMBEDDINGS, model=unquote(found[1])) if found else None

    def _read(self, value: Any, path: str) -> _Read:
        """One `EmbedContentRequest`."""
        fields = Cursor(value, path)
        model = fields.take_optional("model", str)
        content = fields.object("content")
        parts = tuple(self._part(Cursor(v, at), v) for at, v in content.items("parts"))
        if not parts:
            raise InvalidRequest(content.at("parts"), "at least one part")
        config = fields.object_optional(_CONFIG)
        options = fields if config is None else config
        word = options.peek("taskType")
        asked = _Asked(
            word=options.take("taskType", str) if isinstance(word, str) and word in WORDS else None,
            dimensions=options.take_optional("outputDimensionality", int),
            truncate=options.take_optional("autoTruncate", bool),
        )
        title = options.take_optional("title", str)
        form = [f"config={','.join(config.form)}"] if config is not None else []
        if config is not None:
            fields.put(_CONFIG, rest(config, self.name).fields)
        form += [] if model is None else [f"model={model}"]
        kept = rest(content, self.name).fields
        residue = rest(fields, self.name, *hold(kept), *form, *fields.form, *content.form)
        one = Input(parts=parts, title=title, at=path, residue=residue)
        return _Read(one=one, asked=asked, options=options)

    def _part(self, fields: Cursor, value: Any) -> Text | Blob | Opaque:
        if set(value) == {"text"}:
            return Text(content=fields.take("text", str), at=fields.path)
        inline = fields.object_optional("inlineData")
        if inline is None or len(value) > 1:
            kind = next(iter(json_object(value)), "part")
            return Opaque(dialect=self.name, kind=kind, value=value, at=fields.path)
        mime = inline.take("mimeType", str)
        content, form = to_standard(inline.take("data", str))
        return Blob(
            modality=modality_of(mime),
            mime_type=mime,
            content=content,
            at=fields.path,
            residue=rest(inline, self.name, *form, *fields.form, *inline.form),
        )

    def _request(self, read: list[_Read], top: Cursor) -> EmbeddingRequest:
        """The whole of `read`, whose first says what all are asked for."""
        first = read[0].asked
        odd = next((each.one.at for each in read if each.asked != first), "")
        places = {
            "purpose": "taskType",
            "dimensions": "outputDimensionality",
            "truncate": "autoTruncate",
        }
        paths = {field: read[0].options.at(name) for field, name in places.items()}
        if len(read) > 1:
            paths = {field: path.replace("[0]", "[*]") for field, path in paths.items()}
        return EmbeddingRequest(
            model="",
            inputs=tuple(each.one for each in read),
            purpose=None if first.word is None else WORDS[first.word],
            dimensions=first.dimensions,
            truncate=None if first.truncate is None else "end" if first.truncate else "none",
            mixed_at=odd,
            paths=paths,
            residue=rest(top, self.name, *top.form, *_differing(read, odd)),
        )

    def _write(self, request: EmbeddingRequest, one: Input, index: int, losses: Losses) -> Json:
        """One `EmbedContentRequest`."""
        own = is_own(one.residue, self.name)
        content = {"parts": [self._write_part(part, losses) for part in one.parts]}
        body: Json = {"content": {**spelled(content, one.residue, self.name)}}
        body["content"] |= held(one.residue, self.name)
        options = self._options(request, one, index, losses)
        config = said(one.residue, self.name, "config=")
        model = said(one.residue, self.name, "model=")
        body |= {} if model is None else {"model": model}
        extra = dict(losses.residue(one.residue, one.at))
        if config is None and (own or not self._quirks.config):
            return spelled({**body, **options, **extra}, one.residue, self.name)
        names = Residue(dialect=self.name, fields={}, form=tuple((config or "").split(",")))
        inner = {**spelled(options, names, self.name), **json_object(extra.pop(_CONFIG, None))}
        if inner or own:
            body[_CONFIG] = inner
        return spelled({**body, **extra}, one.residue, self.name)

    def _options(self, request: EmbeddingRequest, one: Input, index: int, losses: Losses) -> Json:
        own = is_own(one.residue, self.name)
        asked = _Asked(
            word=write_purpose(request, losses, PURPOSES),
            dimensions=request.dimensions,
            truncate=None if request.truncate is None else request.truncate == "end",
        )
        if own and request.mixed_at:
            packed = said(request.residue, self.name, f"asked{index}=")
            asked = asked if packed is None else msgspec.json.decode(packed, type=_Asked)
        options: Json = {}
        if asked.word is not None:
            options["taskType"] = asked.word
        if one.title is not None:
            options["title"] = one.title
        if asked.dimensions is not None:
            options["outputDimensionality"] = asked.dimensions
        if asked.truncate is not None and (own or self._quirks.config):
            if request.truncate == "start":
                losses.omit("truncate", request.path("truncate"))
            options["autoTruncate"] = asked.truncate
        elif index == 0:
            omit_all(request, losses, "truncate")
        return options

    def _write_part(self, part: Any, losses: Losses) -> Json:
        match part:
            case Text():
                return {"text": part.content, **losses.residue(part.residue, part.at)}
            case Blob():
                own = is_own(part.residue, self.name) and part.residue
                data = from_standard(part.content, own.form if own else ())
                inner = {"mimeType": part.mime_type, "data": data}
                inner |= losses.residue(part.residue, part.at)
                inner = spelled(inner, part.residue, self.name)
                return spelled({"inlineData": inner}, part.residue, self.name)
            case Opaque() if part.dialect == self.name:
                return part.value
            case _:
                losses.omit("inputs", part.at, "it takes texts, and media inline")
        raise AssertionError("inputs have meaning")

    def _check(self, request: EmbeddingRequest, losses: Losses) -> None:
        only_floats(request, losses)
        omit_all(request, losses, "normalize", "user")
        if not is_own(request.residue, self.name):
            refuse_mixed(request, losses)

    def _read_embedding(self, fields: Cursor) -> Embedding:
        vector = take_vector(fields, "values")
        return Embedding(vectors=(vector,), residue=rest(fields, self.name))

    def _response(self, top: Cursor, embeddings: tuple[Embedding, ...]) -> EmbeddingResponse:
        usage = top.json("usageMetadata")
        return EmbeddingResponse(
            embeddings=embeddings,
            usage=None if usage is None else _read_usage(usage, self.name),
            residue=rest(top, self.name),
        )

    def _write_embedding(self, one: Embedding, wanted: Format | None, losses: Losses) -> Json:
        extra = losses.residue(one.residue, "$.embedding")
        return {"values": write_vector(one, wanted), **extra}

    def _trimmings(self, response: EmbeddingResponse, losses: Losses) -> Json:
        body: Json = {}
        if response.usage is not None:
            own = is_own(response.usage.residue, self.name)
            count = {"promptTokenCount": response.usage.input_tokens}
            body["usageMetadata"] = held(response.usage.residue, self.name) if own else count
        return {**body, **losses.residue(response.residue, "$")}


class GeminiEmbed(_Gemini):
    """One content a call."""

    def __init__(self, quirks: Quirks = _REFERENCE) -> None:
        super().__init__(SINGLE, "embedContent", quirks)

    def edits(self, body: Json) -> dict[str, Any]:
        """The path names the model; a body that does so too may name another."""
        del body
        return {"model": None}

    def decode_request(self, body: Json) -> EmbeddingRequest:
        return self._request([self._read(body, "$")], Cursor({}, "$"))

    def encode_request(self, request: EmbeddingRequest, losses: Losses) -> Json:
        self._check(request, losses)
        body = self._write(request, only_input(request, losses), 0, losses)
        return {**body, **losses.residue(request.residue, "$")}

    def decode_response(self, body: Any) -> EmbeddingResponse:
        with reading_answer():
            top = Cursor(body, "$")
            return self._response(top, (self._read_embedding(top.object("embedding")),))

    def encode_response(self, response: EmbeddingResponse, losses: Losses) -> Json:
        wanted = FLOATS if response.formats else None
        one = only_embedding(response, losses)
        body = {"embedding": self._write_embedding(one, wanted, losses)}
        return {**body, **self._trimmings(response, losses)}


class GeminiBatchEmbed(_Gemini):
    """Several contents a call, each a request of its own."""

    def __init__(self, quirks: Quirks = _REFERENCE) -> None:
        super().__init__(BATCH, "batchEmbedContents", quirks)

    def edits(self, body: Json) -> dict[str, Any]:
        """Every request in a batch names the model, as the path does."""
        model, given = body.get("model"), as_list(body.get("requests"))
        named = [_named(one, f"models/{model}") for one in given]
        return {"requests": named} if model is not None and named != given else {}

    def decode_request(self, body: Json) -> EmbeddingRequest:
        top = Cursor(body, "$")
        read = [self._read(value, path) for path, value in top.items("requests")]
        if not read:
            raise InvalidRequest("$.requests", "at least one request")
        return self._request(read, top)

    def encode_request(self, request: EmbeddingRequest, losses: Losses) -> Json:
        self._check(request, losses)
        requests = [
            self._write(request, one, index, losses) for index, one in enumerate(request.inputs)
        ]
        if not is_own(request.residue, self.name):
            requests = [{"model": f"models/{request.model}", **one} for one in requests]
        return {"requests": requests, **losses.residue(request.residue, "$")}

    def decode_response(self, body: Any) -> EmbeddingResponse:
        with reading_answer():
            top = Cursor(body, "$")
            found = top.items("embeddings")
            read = tuple(self._read_embedding(Cursor(value, path)) for path, value in found)
            return self._response(top, read)

    def encode_response(self, response: EmbeddingResponse, losses: Losses) -> Json:
        wanted = FLOATS if response.formats else None
        found = [self._write_embedding(one, wanted, losses) for one in response.embeddings]
        return {"embeddings": found, **self._trimmings(response, losses)}


def _named(request: Any, model: str) -> Any:
    match request:
        case {"model": _, **others}:
            return {"model": model, **others}
        case _:
            return request


def _differing(read: list[_Read], odd: str) -> list[str]:
    """What each is asked for, where that differs."""
    if not odd:
        return []
    return [f"asked{i}={msgspec.json.encode(each.asked).decode()}" for i, each in enumerate(read)]


def _read_usage(wire: Json, dialect: str) -> Usage:
    found = wire.get("promptTokenCount")
    count = found if isinstance(found, int) and not isinstance(found, bool) else 0
    return Usage(input_tokens=count, residue=Residue(dialect=dialect, fields={}, form=hold(wire)))
