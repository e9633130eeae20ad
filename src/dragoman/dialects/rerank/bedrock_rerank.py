"""Amazon Bedrock's Rerank (of the agent runtime), as client and as provider.

Source: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_agent-runtime_Rerank.html,
November 2026.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from dragoman.dialects import RERANK, Call
from dragoman.dialects.bedrock_converse import errors
from dragoman.dialects.residues import rest
from dragoman.dialects.unary import Unary, reading_answer
from dragoman.errors import InvalidRequest
from dragoman.ir import Json
from dragoman.ir.losses import Losses
from dragoman.ir.rerank import Document, Ranked, RerankRequest, RerankResponse
from dragoman.wire.fields import Fields

NAME = "bedrock_rerank"
_CONFIG = "rerankingConfiguration"
_INNER = "bedrockRerankingConfiguration"
_MODEL = "modelConfiguration"
_KIND = "BEDROCK_RERANKING_MODEL"
_TOP_N = f"$.{_CONFIG}.{_INNER}.numberOfResults"


class BedrockRerank(Unary):
    """The dialect. It tells no usage: searches are billed."""

    operation = RERANK

    def __init__(self) -> None:
        super().__init__(NAME, errors)

    def match(self, path: str, query: str, headers: Mapping[str, str]) -> Call | None:
        del query, headers
        if path != "/rerank":
            return None
        return Call(operation=RERANK, claims=lambda body: _CONFIG in body)

    def model_of(self, body: Json) -> Any:
        match body.get(_CONFIG):
            case {"bedrockRerankingConfiguration": {"modelConfiguration": {"modelArn": found}}}:
                return found
            case _:
                return None

    def edits(self, body: Json) -> dict[str, Any]:
        """The model stands where this dialect names it."""
        model = body.get("model")
        if model is None or self.model_of(body) in (None, model):
            return {"model": None}
        config = body[_CONFIG]
        inner = config[_INNER]
        named = {**inner, _MODEL: {**inner[_MODEL], "modelArn": model}}
        return {"model": None, _CONFIG: {**config, _INNER: named}}

    def decode_request(self, body: Json) -> RerankRequest:
        top = Fields(body, "$")
        queries = [_query(Fields(value, path)) for path, value in top.items("queries")]
        if len(queries) != 1:
            raise InvalidRequest("$.queries", "an array of one query")
        documents = [_source(Fields(value, path)) for path, value in top.items("sources")]
        if not documents:
            raise InvalidRequest("$.sources", "an array of at least one source")
        config = top.object(_CONFIG)
        config.word("type", (_KIND,))
        inner = config.object(_INNER)
        named = inner.object(_MODEL)
        model, count = named.take("modelArn", str), inner.take_optional("numberOfResults", int)
        inner.put(_MODEL, rest(named, NAME).fields)
        config.put(_INNER, rest(inner, NAME).fields)
        top.put(_CONFIG, rest(config, NAME).fields)
        return RerankRequest(
            model=model,
            query=queries[0],
            documents=tuple(documents),
            top_n=count,
            paths={"top_n": _TOP_N},
            residue=rest(top, NAME),
        )

    def encode_request(self, request: RerankRequest, losses: Losses) -> Json:
        for field in ("max_tokens_per_document", "truncate"):
            if getattr(request, field) is not None:
                losses.omit(field, request.path(field))
        if request.query.text is None:
            losses.omit("query", request.query.at, "it takes a text")
        extra = dict(losses.residue(request.residue, "$"))
        config = dict(cast("Json", extra.pop(_CONFIG, {})))
        inner = dict(cast("Json", config.pop(_INNER, {})))
        named = cast("Json", inner.pop(_MODEL, {}))
        if request.top_n is not None:
            inner["numberOfResults"] = request.top_n
        inner[_MODEL] = {"modelArn": request.model, **named}
        return {
            "queries": [{"type": "TEXT", "textQuery": {"text": request.query.text}}],
            "sources": [
                {"type": "INLINE", "inlineDocumentSource": _inline(document)}
                for document in request.documents
            ],
            _CONFIG: {"type": _KIND, _INNER: inner, **config},
            **extra,
        }

    def decode_response(self, body: Any) -> RerankResponse:
        with reading_answer():
            top = Fields(body, "$")
            if "results" not in top:
                raise InvalidRequest("$.results", "an array")
            found = [_ranked(Fields(value, path)) for path, value in top.items("results")]
            return RerankResponse(results=tuple(found), residue=rest(top, NAME))

    def encode_response(self, response: RerankResponse, losses: Losses) -> Json:
        results = [
            {
                "index": one.index,
                "relevanceScore": one.score,
                **losses.residue(one.residue, "$.results"),
            }
            for one in response.results
        ]
        return {"results": results, **losses.residue(response.residue, "$")}


def _query(fields: Fields) -> Document:
    fields.word("type", ("TEXT",))
    text = fields.object("textQuery")
    return Document(text=text.take("text", str), at=text.at("text"))


def _source(fields: Fields) -> Document:
    fields.word("type", ("INLINE",))
    inner = fields.object("inlineDocumentSource")
    if inner.word("type", ("TEXT", "JSON")) == "JSON":
        at = inner.at("jsonDocument")
        return Document(value=cast("Json", inner.take("jsonDocument", dict)), at=at)
    text = inner.object("textDocument")
    return Document(text=text.take("text", str), at=text.at("text"))


def _inline(document: Document) -> Json:
    if document.text is None:
        return {"type": "JSON", "jsonDocument": document.value}
    return {"type": "TEXT", "textDocument": {"text": document.text}}


def _ranked(fields: Fields) -> Ranked:
    index = fields.take("index", int)
    score = fields.take("relevanceScore", float)
    return Ranked(index=index, score=score, residue=rest(fields, NAME))
