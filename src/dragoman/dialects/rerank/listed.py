"""Rerank dialects that differ in the names of their fields: one codec over a table of names."""

from __future__ import annotations

from typing import Any, cast

import msgspec

from dragoman.dialects import RERANK
from dragoman.dialects.base import ErrorShape
from dragoman.dialects.residues import held, hold, is_own, rest, said, says
from dragoman.dialects.unary import Unary, reading_answer
from dragoman.errors import InvalidRequest, UpstreamProtocolError
from dragoman.ir import Json, Residue, Usage
from dragoman.ir.losses import Losses
from dragoman.ir.rerank import Document, Ranked, RerankRequest, RerankResponse
from dragoman.wire.fields import Fields

_OBJECT = "object"
"""Form of a text that came in an object."""
_BOOKKEEPING = ("usage", "meta", "object")


class Names(msgspec.Struct, frozen=True, kw_only=True):
    """What one dialect calls its fields; None: it has no such thing."""

    documents: str = "documents"
    top_n: str | None = "top_n"
    return_documents: str | None = None
    max_tokens: str | None = None
    truncate: str | None = None
    objects: bool = False
    """Whether documents, and the query, may be objects."""
    model: bool = True
    """Whether bodies name the model."""
    results: str | None = "results"
    """None: the answer is a bare list."""
    score: str = "relevance_score"
    document: str = "document"
    wraps_text: bool = True
    """Whether a document in an answer is an object with its text."""
    returns: bool = False
    """Whether documents come back where the client did not say."""


class ListedRerank(Unary):
    """A dialect by its names."""

    operation = RERANK

    def __init__(self, name: str, names: Names, errors: ErrorShape) -> None:
        super().__init__(name, errors)
        self._names = names

    def decode_request(self, body: Json) -> RerankRequest:
        top, names = Fields(body, "$"), self._names
        model = top.take_optional("model", str)
        documents = tuple(self._document(v, path) for path, v in top.items(names.documents))
        if not documents:
            raise InvalidRequest(f"$.{names.documents}", "an array of at least one document")
        return RerankRequest(
            model=model or "",
            query=self._document(top.take("query", object), "$.query"),
            documents=documents,
            top_n=_take(top, names.top_n, int),
            return_documents=_take(top, names.return_documents, bool),
            max_tokens_per_document=_take(top, names.max_tokens, int),
            truncate=_take(top, names.truncate, bool),
            paths={
                "top_n": f"$.{names.top_n}",
                "return_documents": f"$.{names.return_documents}",
                "max_tokens_per_document": f"$.{names.max_tokens}",
                "truncate": f"$.{names.truncate}",
            },
            residue=rest(top, self.name),
        )

    def encode_request(self, request: RerankRequest, losses: Losses) -> Json:
        """What it cannot be asked for is done on the way back, or reported."""
        names, own = self._names, is_own(request.residue, self.name)
        body: Json = {"model": request.model} if request.model and (names.model or own) else {}
        body["query"] = self._write(request.query, "query", losses)
        body[names.documents] = [self._write(d, "documents", losses) for d in request.documents]
        if names.top_n is not None and request.top_n is not None:
            body[names.top_n] = request.top_n
        if names.return_documents is not None and own and request.return_documents is not None:
            body[names.return_documents] = request.return_documents
        elif names.returns and not own:
            body[str(names.return_documents)] = False  # the gateway has them
        for field, name in (
            ("max_tokens_per_document", names.max_tokens),
            ("truncate", names.truncate),
        ):
            value = getattr(request, field)
            if value is None:
                continue
            if name is None:
                losses.omit(field, request.path(field))
            else:
                body[name] = value
        return {**body, **losses.residue(request.residue, "$")}

    def decode_response(self, body: Any) -> RerankResponse:
        results = self._names.results
        if results is None and not isinstance(body, list):
            raise UpstreamProtocolError("the upstream's answer is no list of results")
        with reading_answer():
            whole: Json = {"": body} if results is None else cast("Any", body)
            top = Fields(whole, "$")
            if results is not None and results not in top:
                raise InvalidRequest(f"$.{results}", "an array")
            found = [self._ranked(Fields(v, path)) for path, v in top.items(results or "")]
            kept = {name: whole[name] for name in _BOOKKEEPING if name in whole}
            for name in kept:
                top.take_optional(name, object)
            model = top.take_optional("model", str)
            form = () if model is None else ("model",)
            return RerankResponse(
                id=top.take_optional("id", str),
                model=model or "",
                results=tuple(found),
                usage=_read_usage(kept),
                search_units=_read_units(kept.get("meta")),
                residue=rest(top, self.name, *form, *hold(kept)),
            )

    def encode_response(self, response: RerankResponse, losses: Losses) -> Json | list[Any]:
        own = is_own(response.residue, self.name)
        extra = losses.residue(response.residue, "$")
        results = [self._result(one, response, losses) for one in response.results]
        if self._names.results is None:
            return results
        body: Json = {self._names.results: results}
        if own:
            body |= {} if response.id is None else {"id": response.id}
            body |= {"model": response.model} if says(response.residue, self.name, "model") else {}
            return {**body, **held(response.residue, self.name), **extra}
        return {**body, **self.trimmings(response)}

    def trimmings(self, response: RerankResponse) -> Json:
        """What stands beside the results in an answer of the dialect."""
        count = 0 if response.usage is None else response.usage.input_tokens
        return {"object": "list", "model": response.model, "usage": {"total_tokens": count}}

    def _document(self, value: Any, path: str) -> Document:
        if isinstance(value, str):
            return Document(text=value, at=path)
        if not isinstance(value, dict) or not self._names.objects:
            more = " or an object" if self._names.objects else ""
            raise InvalidRequest(path, f"a string{more}")
        whole = cast("Json", value)
        text = whole.get("text")
        if isinstance(text, str) and len(whole) == 1:
            residue = Residue(dialect=self.name, fields={}, form=(_OBJECT,))
            return Document(text=text, at=f"{path}.text", residue=residue)
        return Document(value=whole, at=path)

    def _write(self, document: Document, field: str, losses: Losses) -> Any:
        if document.text is not None:
            is_object = says(document.residue, self.name, _OBJECT)
            return {"text": document.text} if is_object else document.text
        if not self._names.objects:
            losses.omit(field, document.at, "it takes texts")
        return document.value

    def _ranked(self, fields: Fields) -> Ranked:
        document, form = _take_document(fields, self._names.document)
        return Ranked(
            index=fields.take("index", int),
            score=fields.take(self._names.score, float),
            document=document,
            residue=rest(fields, self.name, *form),
        )

    def _result(self, one: Ranked, response: RerankResponse, losses: Losses) -> Json:
        own = is_own(one.residue, self.name)
        extra = losses.residue(one.residue, "$.results")
        body: Json = {"index": one.index, self._names.score: one.score}
        wanted = response.return_documents
        wanted = self._names.returns if wanted is None else wanted
        if own:
            wanted = said(one.residue, self.name, "came=") is not None
        if wanted and one.document is not None:
            wraps = self._names.wraps_text
            if own:
                wraps = said(one.residue, self.name, "came=") == "dict"
            text = one.document.text
            whole = one.document.value if text is None else {"text": text}
            body[self._names.document] = whole if wraps or text is None else text
        return {**body, **extra}


def _take_document(fields: Fields, name: str) -> tuple[Document | None, tuple[str, ...]]:
    """A text, bare or in an object, or another object, and which of them it was."""
    found = fields.peek(name)
    if isinstance(found, str):
        return Document(text=fields.take(name, str)), ("came=str",)
    value = fields.json(name)
    if value is None:
        return None, ()
    text = value.get("text")
    if isinstance(text, str) and len(value) == 1:
        return Document(text=text), ("came=dict",)
    return Document(value=value), ("came=dict",)


def _take(top: Fields, name: str | None, kind: type[Any]) -> Any:
    return None if name is None else top.take_optional(name, kind)


def _read_usage(kept: Json) -> Usage | None:
    match kept:
        case {"usage": {"prompt_tokens": int(count)}} | {"usage": {"total_tokens": int(count)}}:
            return Usage(input_tokens=count)
        case {"meta": {"tokens": {"input_tokens": int() | float() as tokens}}}:
            return Usage(input_tokens=int(tokens))
        case _:
            return None


def _read_units(meta: Any) -> float | None:
    match meta:
        case {"billed_units": {"search_units": int() | float() as units}}:
            return units
        case _:
            return None
