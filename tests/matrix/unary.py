"""What is tried of each pair of dialects that answer in one piece: embeddings, rerank."""

from __future__ import annotations

from typing import Any

import msgspec

from dragoman.ir import Blob, Text, Usage
from dragoman.ir.embeddings import (
    Embedding,
    EmbeddingRequest,
    EmbeddingResponse,
    Format,
    Input,
    Tokens,
    Vector,
)
from dragoman.ir.rerank import Document, Ranked, RerankRequest, RerankResponse
from tests.differential.conversations import PNG
from tests.matrix.features import Feature, lettered

_VECTOR = Vector(data=msgspec.Raw(b"[0.5,-0.25]"))
_IMAGE = Blob(modality="image", mime_type="image/png", content=PNG)


def _inputs(*parts: Any) -> tuple[Input, ...]:
    """One a part, or a part's list."""
    return tuple(Input(parts=tuple(part) if isinstance(part, list) else (part,)) for part in parts)


def _embed(*parts: Any, **more: Any) -> EmbeddingRequest:
    inputs = more.pop("inputs", None) or _inputs(*(parts or (Text(content="Hello"),)))
    return EmbeddingRequest(model="the-model", inputs=inputs, **more)


def _vectors(count: int = 1, vector: Vector = _VECTOR) -> EmbeddingResponse:
    embeddings = tuple(Embedding(vectors=(vector,)) for _ in range(count))
    return EmbeddingResponse(embeddings=embeddings, usage=Usage(input_tokens=30))


def _rerank(*documents: Document, **more: Any) -> RerankRequest:
    given = documents or (Document(text="one"), Document(text="two"))
    query = Document(text="which?")
    return RerankRequest(model="the-model", query=query, documents=given, **more)


def _ranking(count: int = 2) -> RerankResponse:
    order = [Ranked(index=1, score=0.75), Ranked(index=0, score=0.25)]
    return RerankResponse(results=tuple(order[:count]), usage=Usage(input_tokens=30))


_TITLED = (Input(parts=(Text(content="Hello"),), title="A title"),)
QUESTIONS: dict[str, EmbeddingRequest | RerankRequest] = {
    "one input": _embed(),
    "two inputs": _embed(Text(content="Hello"), Text(content="there")),
    "token ids": _embed(Tokens(ids=(1, 2, 3))),
    "an image": _embed(_IMAGE),
    "text and image": _embed([Text(content="Hello"), _IMAGE]),
    "dimensions": _embed(dimensions=256),
    "base64": _embed(formats=(Format(base64=True),)),
    "integers": _embed(formats=(Format(dtype="int8"),)),
    "bits": _embed(formats=(Format(dtype="ubinary"),)),
    "two formats": _embed(formats=(Format(), Format(dtype="int8"))),
    "purpose": _embed(purpose="query"),
    "purpose of a kind": _embed(purpose="clustering"),
    "cut at the end": _embed(truncate="end"),
    "cut at the start": _embed(truncate="start"),
    "not cut": _embed(truncate="none"),
    "title": _embed(purpose="document", inputs=_TITLED),
    "normalized": _embed(normalize=True),
    "as they are": _embed(normalize=False),
    "user": _embed(user="u1"),
    "two documents": _rerank(),
    "the best": _rerank(top_n=1),
    "with documents": _rerank(return_documents=True),
    "without documents": _rerank(return_documents=False),
    "objects": _rerank(Document(value={"title": "one", "text": "two"})),
    "documents cut": _rerank(truncate=True),
    "documents not cut": _rerank(truncate=False),
    "short documents": _rerank(max_tokens_per_document=512),
}
_BASE = "one input"
EMBEDDING_FEATURES = lettered(
    Feature(name="one text", asked=("one input",), answer=_vectors(), ways=("body",)),
    Feature(name="several texts", asked=("two inputs",), answer=_vectors(2), ways=("body",)),
    Feature(name="token ids", asked=("token ids",)),
    Feature(name="an image", asked=("an image",)),
    Feature(name="text and image in one input", asked=("text and image",)),
    Feature(name="dimensions", asked=("dimensions",)),
    Feature(name="vectors as base64", asked=("base64",), answer=_vectors(), ways=("body",)),
    Feature(name="integer vectors", asked=("integers",)),
    Feature(name="packed bits", asked=("bits",)),
    Feature(name="two formats at once", asked=("two formats",)),
    Feature(
        name="what they are for", asked=("purpose", "purpose of a kind"), is_hint=True, base=_BASE
    ),
    Feature(
        name="truncation at the end, or none",
        asked=("cut at the end", "not cut"),
        is_hint=True,
        base=_BASE,
    ),
    Feature(name="truncation at the start", asked=("cut at the start",), is_hint=True, base=_BASE),
    Feature(name="title", asked=("title",), is_hint=True, base=_BASE),
    Feature(
        name="normalization, on and off",
        asked=("normalized", "as they are"),
        is_hint=True,
        base=_BASE,
    ),
    Feature(name="user", asked=("user",), is_hint=True, base=_BASE),
    Feature(name="errors", asked=(), ways=("error",)),
)
RERANK_FEATURES = lettered(
    Feature(name="texts", asked=("two documents",), answer=_ranking(), ways=("body",)),
    Feature(name="the best only", asked=("the best",), answer=_ranking(1), ways=("body",)),
    Feature(name="documents in the answer, or not", asked=("with documents", "without documents")),
    Feature(name="documents as objects", asked=("objects",)),
    Feature(
        name="truncation, or none",
        asked=("documents cut", "documents not cut"),
        is_hint=True,
        base="two documents",
    ),
    Feature(
        name="a limit a document", asked=("short documents",), is_hint=True, base="two documents"
    ),
    Feature(name="errors", asked=(), ways=("error",)),
)
