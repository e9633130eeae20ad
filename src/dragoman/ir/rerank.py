"""What a rerank request and its answer mean, whatever the wire format."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from dragoman.errors import UpstreamProtocolError
from dragoman.ir import Json, Node, Residue, Usage


class Document(Node, frozen=True, kw_only=True):
    """One text, or an object that a provider reads in its own way."""

    text: str | None = None
    value: Json | None = None
    """The whole object; None for a text."""


class RerankRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One rerank request. None always means "the client did not say"."""

    model: str
    query: Document
    documents: tuple[Document, ...]
    top_n: int | None = None
    return_documents: bool | None = None
    max_tokens_per_document: int | None = None
    truncate: bool | None = None
    """Whether a document that is too long is cut rather than refused."""
    paths: Mapping[str, str] = {}
    """Where a field above stands in the client's body, by its name here."""
    residue: Residue | None = None

    def path(self, field: str) -> str:
        """The JSON path of `field` in the client's body."""
        return self.paths.get(field, f"$.{field}")

    def complete(self, response: RerankResponse) -> RerankResponse:
        """`response` with what only the question tells: model, documents, how many are wanted."""
        count = len(response.results) if self.top_n is None else max(0, self.top_n)
        results = response.results[:count]
        for ranked in results:
            if not 0 <= ranked.index < len(self.documents):
                raise UpstreamProtocolError("the upstream ranked a document nobody sent")
        return msgspec.structs.replace(
            response,
            model=response.model or self.model,
            return_documents=self.return_documents,
            results=tuple(
                msgspec.structs.replace(
                    ranked, document=ranked.document or self.documents[ranked.index]
                )
                for ranked in results
            ),
        )


class Ranked(Node, frozen=True, kw_only=True):
    """One document's place; `index` is its place in the request."""

    index: int
    score: float
    document: Document | None = None


class RerankResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A whole answer, its results in the provider's order: the best first."""

    results: tuple[Ranked, ...]
    id: str | None = None
    model: str = ""
    usage: Usage | None = None
    search_units: float | None = None
    """What some providers bill instead of tokens."""
    return_documents: bool | None = None
    """What the client said; None: its dialect's own default."""
    residue: Residue | None = None
