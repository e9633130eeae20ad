"""Cohere Rerank, as client and as provider.

Source: https://docs.cohere.com/reference/rerank, November 2026.
"""

from __future__ import annotations

from collections.abc import Mapping

from dragoman.dialects import RERANK, Call
from dragoman.dialects.cohere_chat import errors
from dragoman.dialects.rerank.listed import ListedRerank, Names
from dragoman.ir import Json
from dragoman.ir.rerank import RerankResponse

NAME = "cohere_rerank"


class CohereRerank(ListedRerank):
    """The dialect. Its providers bill searches, not tokens."""

    def __init__(self) -> None:
        super().__init__(NAME, Names(max_tokens="max_tokens_per_doc"), errors)

    def match(self, path: str, query: str, headers: Mapping[str, str]) -> Call | None:
        del query, headers
        return Call(operation=RERANK) if path == "/v2/rerank" else None

    def trimmings(self, response: RerankResponse) -> Json:
        meta: Json = {"api_version": {"version": "2"}}
        if response.search_units is not None:
            meta["billed_units"] = {"search_units": response.search_units}
        if response.usage is not None:
            meta["tokens"] = {"input_tokens": response.usage.input_tokens}
        return {"id": response.id or "", "meta": meta}
