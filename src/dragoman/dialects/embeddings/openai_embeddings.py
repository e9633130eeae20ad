"""OpenAI embeddings, as client and as provider; most other providers speak it with differences.

Sources: https://platform.openai.com/docs/api-reference/embeddings,
https://docs.mistral.ai/api/#tag/embeddings, https://docs.voyageai.com/reference/embeddings-api,
https://api.jina.ai/openapi.json, November 2026.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, cast

import msgspec

from dragoman.dialects import EMBEDDINGS, Call
from dragoman.dialects.embeddings.inputs import (
    ONE,
    omit_all,
    one_text,
    refuse_mixed,
    take_texts,
    text_input,
    write_purpose,
)
from dragoman.dialects.embeddings.vectors import only_format, take_vector, write_vector
from dragoman.dialects.openai_chat import errors
from dragoman.dialects.residues import held, hold, is_own, rest, said, says
from dragoman.dialects.unary import Unary, reading_answer
from dragoman.errors import InvalidRequest
from dragoman.ir import Json, Opaque, Residue, Usage
from dragoman.ir.embeddings import (
    Dtype,
    Embedding,
    EmbeddingRequest,
    EmbeddingResponse,
    Format,
    Input,
    Purpose,
    Tokens,
    Truncate,
)
from dragoman.ir.losses import Losses
from dragoman.wire.fields import Fields, as_list

NAME = "openai_embeddings"
_FLAT = "flat"
"""Form of a request whose input is the tokens of one text."""
_NAMELESS = "nameless"
"""Form of an answer that does not name its model."""
_PURPOSES: dict[str, dict[str, Purpose]] = {
    "input_type": {"query": "query", "document": "document", "passage": "document"},
    "task": {
        "retrieval.query": "query",
        "retrieval.passage": "document",
        "text-matching": "similarity",
        "classification": "classification",
        "separation": "clustering",
        "code.query": "code_query",
    },
}
"""By the field that says it: Voyage's, which vLLM and NIM have too, and Jina's."""
_WRITTEN: dict[str, dict[Purpose, str]] = {
    "input_type": {"query": "query", "document": "document"},
    "task": {purpose: word for word, purpose in _PURPOSES["task"].items()},
}
_DIMENSIONS = ("dimensions", "output_dimension")
_DTYPES = ("output_dtype", "embedding_type")
_DTYPE_WORDS: dict[str, Dtype] = {
    "float": "float",
    "int8": "int8",
    "uint8": "uint8",
    "binary": "binary",
    "ubinary": "ubinary",
}
_TRUNCATIONS = ("truncation", "truncate")


class Quirks(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a provider differs. The defaults are OpenAI itself."""

    tokens: bool = True
    """Whether it takes token ids in place of texts."""
    user: bool = True
    """Whether it takes `user`."""
    dimensions_field: Literal["dimensions", "output_dimension", "none"] = "dimensions"
    """Where it takes the number of dimensions; `none`: nowhere."""
    encoding_formats: tuple[Literal["float", "base64"], ...] = ("float", "base64")
    """Words it takes for `encoding_format`; what it lacks is converted on the way back."""
    dtype_field: Literal["output_dtype", "embedding_type"] | None = None
    """Where it takes the numbers' type; None: it has floats only."""
    purpose_field: Literal["input_type", "task"] | None = None
    """Where it takes what the vectors are for; None: nowhere."""
    truncation_field: Literal["truncation", "truncate"] | None = None
    """Where it takes whether to cut an input that is too long; None: nowhere."""


_REFERENCE = Quirks()


class OpenAIEmbeddings(Unary):
    """The dialect; `quirks` say how a provider differs from OpenAI itself."""

    operation = EMBEDDINGS
    _id_prefix = "embd-"

    def __init__(self, quirks: Quirks = _REFERENCE) -> None:
        super().__init__(NAME, errors)
        self._quirks = quirks

    def match(self, path: str, query: str, headers: Mapping[str, str]) -> Call | None:
        del query, headers
        return Call(operation=EMBEDDINGS) if path == "/v1/embeddings" else None

    def edits(self, body: Json) -> dict[str, Any]:
        """Renames what this provider has another word for; what it lacks it refuses itself."""
        edits: dict[str, Any] = {}
        wanted = self._quirks.dimensions_field
        for name in _DIMENSIONS:
            if wanted not in ("none", name) and body.get(name) is not None:
                edits |= {name: None, wanted: body[name]}
        if body.get("encoding_format") == "float" and "float" not in self._quirks.encoding_formats:
            edits["encoding_format"] = None
        return edits

    def decode_request(self, body: Json) -> EmbeddingRequest:
        top = Fields(body, "$")
        model = top.take_optional("model", str) or ""
        inputs, form = _take_inputs(top)
        purpose, purpose_form = _take_purpose(top)
        dimensions = next((name for name in _DIMENSIONS if name in top), "dimensions")
        cut = next((n for n in _TRUNCATIONS if isinstance(top.peek(n), bool)), "truncation")
        formats, formats_form = _take_formats(top)
        return EmbeddingRequest(
            model=model,
            inputs=inputs,
            purpose=purpose,
            dimensions=top.take_optional(dimensions, int),
            formats=formats,
            truncate=_truncate(top.take_optional(cut, bool)),
            user=top.take_optional("user", str),
            paths={
                "inputs": "$.input",
                "dimensions": f"$.{dimensions}",
                "truncate": f"$.{cut}",
                "purpose": f"$.{purpose_form[0].partition('=')[0]}"
                if purpose_form
                else "$.input_type",
            },
            residue=rest(
                top, NAME, *form, *purpose_form, *formats_form, f"size={dimensions}", f"cut={cut}"
            ),
        )

    def encode_request(self, request: EmbeddingRequest, losses: Losses) -> Json:
        refuse_mixed(request, losses)
        quirks = _as_it_came(request, self._quirks)
        body: Json = {"model": request.model} if request.model else {}
        body["input"] = _write_inputs(request, losses, quirks)
        if quirks.user and request.user is not None:
            body["user"] = request.user
        elif request.user is not None:
            losses.omit("user", request.path("user"))
        body |= _write_options(request, losses, quirks)
        omit_all(request, losses, "normalize")
        return {**body, **losses.residue(request.residue, "$")}

    def decode_response(self, body: Any) -> EmbeddingResponse:
        with reading_answer():
            top = Fields(body, "$")
            if not isinstance(top.peek("data"), list):
                raise InvalidRequest("$.data", "an array")
            embeddings = [_read_embedding(Fields(v, path)) for path, v in top.items("data")]
            usage = top.json("usage")
            return EmbeddingResponse(
                id=top.take_optional("id", str),
                model=top.take_optional("model", str) or "",
                embeddings=tuple(one for _, one in sorted(embeddings, key=lambda pair: pair[0])),
                usage=None if usage is None else _read_usage(usage),
                residue=rest(top, NAME, *(() if "model" in body else (_NAMELESS,))),
            )

    def encode_response(self, response: EmbeddingResponse, losses: Losses) -> Json:
        """With all that the SDKs of OpenAI, Mistral and others insist on."""
        wanted = only_format(response.formats)
        extra = losses.residue(response.residue, "$")
        own = is_own(response.residue, NAME)
        body: Json = {} if own else {"id": response.id or "", "object": "list"}
        if own and response.id is not None:
            body["id"] = response.id
        body["data"] = [
            _write_embedding(one, index, wanted, losses)
            for index, one in enumerate(response.embeddings)
        ]
        if not says(response.residue, NAME, _NAMELESS):
            body["model"] = response.model
        if not own or response.usage is not None:
            body["usage"] = _write_usage(response.usage or Usage())
        return {**body, **extra}


# --- requests ---------------------------------------------------------------------------------


def _take_inputs(top: Fields) -> tuple[tuple[Input, ...], tuple[str, ...]]:
    found = top.peek("input")
    if isinstance(found, str):
        return take_texts(top, "input")
    if not isinstance(found, list) or not found:
        raise InvalidRequest("$.input", "a string, or an array of at least one input")
    items = top.items("input")
    if type(items[0][1]) is int:
        values = [value for _, value in items]
        return (_tokens_input(values, "$.input"),), (_FLAT,)
    return tuple(_input(value, path) for path, value in items), ()


def _input(value: Any, path: str) -> Input:
    match value:
        case list():
            return _tokens_input(as_list(value), path)
        case dict():  # Jina's images and texts
            whole = cast("Json", value)
            part = Opaque(dialect=NAME, kind=next(iter(whole), "input"), value=whole, at=path)
            return Input(parts=(part,), at=path)
        case _:
            return text_input(value, path)


def _tokens_input(values: list[Any], path: str) -> Input:
    if not values or not all(type(value) is int for value in values):
        raise InvalidRequest(path, "an array of token ids")
    return Input(parts=(Tokens(ids=tuple(values), at=path),), at=path)


def _take_purpose(top: Fields) -> tuple[Purpose | None, tuple[str, ...]]:
    """What the vectors are for, where it is said in a word that is known."""
    for field, words in _PURPOSES.items():
        word = top.peek(field)
        if isinstance(word, str) and word in words:
            top.take(field, str)
            return words[word], (f"{field}={word}",)
    return None, ()


def _take_formats(top: Fields) -> tuple[tuple[Format, ...], tuple[str, ...]]:
    encoding = top.word("encoding_format", ("float", "base64"))
    for field in _DTYPES:
        word = top.peek(field)
        if not isinstance(word, str):
            continue
        if encoding is None and word == "base64":  # Jina
            top.take(field, str)
            return (Format(base64=True, at=f"$.{field}"),), (f"dtype={field}", "base64 dtype")
        if word not in _DTYPE_WORDS:
            raise InvalidRequest(f"$.{field}", "one of " + ", ".join(_DTYPE_WORDS))
        top.take(field, str)
        form = (f"dtype={field}", *(() if encoding is None else (f"encoding={encoding}",)))
        base64 = encoding == "base64"
        return (Format(dtype=_DTYPE_WORDS[word], base64=base64, at=f"$.{field}"),), form
    if encoding is None:
        return (), ()
    return (Format(base64=encoding == "base64", at="$.encoding_format"),), (f"encoding={encoding}",)


def _truncate(cut: bool | None) -> Truncate | None:  # noqa: FBT001 - a converter, not a switch
    return None if cut is None else "end" if cut else "none"


def _as_it_came(request: EmbeddingRequest, quirks: Quirks) -> Quirks:
    """The words the request used, if it came in this dialect: what it says is written so again."""
    residue = request.residue
    if not is_own(residue, NAME):
        return quirks
    read: Json = {
        "tokens": True,
        "user": True,
        "encoding_formats": ("float", "base64"),
        "dimensions_field": said(residue, NAME, "size="),
        "truncation_field": said(residue, NAME, "cut="),
        "dtype_field": said(residue, NAME, "dtype="),
        "purpose_field": next((f for f in _PURPOSES if said(residue, NAME, f"{f}=")), None),
    }
    return msgspec.structs.replace(quirks, **read)


def _write_inputs(request: EmbeddingRequest, losses: Losses, quirks: Quirks) -> Any:
    found = [_write_input(one, losses, quirks) for one in request.inputs]
    is_one = says(request.residue, NAME, ONE) or says(request.residue, NAME, _FLAT)
    return found[0] if is_one and len(found) == 1 else found


def _write_input(one: Input, losses: Losses, quirks: Quirks) -> Any:
    match one.parts:
        case (Tokens() as tokens,) if quirks.tokens:
            return list(tokens.ids)
        case (Opaque() as part,) if part.dialect == NAME:
            return part.value
        case _:
            return one_text(one, losses)


def _write_options(request: EmbeddingRequest, losses: Losses, quirks: Quirks) -> Json:
    body: Json = {}
    if request.dimensions is not None:
        if quirks.dimensions_field == "none":
            losses.omit("dimensions", request.path("dimensions"), "it has no choice of them")
        else:
            body[quirks.dimensions_field] = request.dimensions
    if quirks.truncation_field is not None and request.truncate in ("end", "none"):
        body[quirks.truncation_field] = request.truncate == "end"
    else:
        omit_all(request, losses, "truncate")
    field = quirks.purpose_field
    if field is None:
        omit_all(request, losses, "purpose")
    else:
        word = write_purpose(request, losses, _WRITTEN[field])
        word = said(request.residue, NAME, f"{field}=") or word
        body |= {} if word is None else {field: word}
    return body | _write_formats(request, losses, quirks)


def _write_formats(request: EmbeddingRequest, losses: Losses, quirks: Quirks) -> Json:
    """One type of number; of floats, JSON or base64, both can be made from either."""
    if not request.formats:
        return {}
    first, *others = request.formats
    for other in others:
        if other.dtype != first.dtype:
            losses.omit("formats", other.at, "it gives one type of number")
    if first.dtype != "float" and quirks.dtype_field is None:
        losses.omit("formats", first.at, f"it has no {first.dtype} vectors")
    if says(request.residue, NAME, "base64 dtype"):
        return {str(quirks.dtype_field): "base64"}
    own = is_own(request.residue, NAME)
    body: Json = {}
    if quirks.dtype_field is not None and (own or first.dtype != "float"):
        body[quirks.dtype_field] = first.dtype
    encoding = "base64" if first.base64 else "float"
    if encoding in quirks.encoding_formats and (
        not own or said(request.residue, NAME, "encoding=")
    ):
        body["encoding_format"] = encoding
    return body


# --- answers ----------------------------------------------------------------------------------


def _read_embedding(item: Fields) -> tuple[int, Embedding]:
    index = item.take_optional("index", int)
    vector = take_vector(item, "embedding")
    form = () if index is None else ("index",)
    return index or 0, Embedding(vectors=(vector,), residue=rest(item, NAME, *form))


def _write_embedding(one: Embedding, index: int, wanted: Format | None, losses: Losses) -> Json:
    extra = losses.residue(one.residue, f"$.data[{index}]")
    own = is_own(one.residue, NAME)
    body: Json = {} if own else {"object": "embedding"}
    if not own or says(one.residue, NAME, "index"):
        body["index"] = index
    return {**body, "embedding": write_vector(one, wanted), **extra}


def _read_usage(wire: Json) -> Usage:
    """Voyage and Jina give the total only."""
    found = wire.get("prompt_tokens", wire.get("total_tokens"))
    count = found if isinstance(found, int) and not isinstance(found, bool) else 0
    return Usage(input_tokens=count, residue=Residue(dialect=NAME, fields={}, form=hold(wire)))


def _write_usage(usage: Usage) -> Json:
    """The provider's own object where it was this dialect's; none counted is none told."""
    if is_own(usage.residue, NAME):
        return held(usage.residue, NAME)
    return {"prompt_tokens": usage.input_tokens, "total_tokens": usage.input_tokens}
