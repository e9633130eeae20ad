"""Voyage's rerank, as client and as provider.

Sources: https://docs.voyageai.com/reference/reranker-api and
https://docs.fireworks.ai/api-reference/rerank-documents, November 2026.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from dragoman.dialects import RERANK, Call
from dragoman.dialects.plain_errors import PlainErrors
from dragoman.dialects.rerank.listed import ListedRerank, Names
from dragoman.ir import Json

NAME = "voyage_rerank"
_NAMES = Names(
    top_n="top_k",
    return_documents="return_documents",
    truncate="truncation",
    results="data",
    wraps_text=False,
)


class Quirks(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a provider differs."""

    top_n_field: Literal["top_k", "top_n"] = "top_k"
    """Where it takes how many results are wanted."""
    truncation: bool = True
    """Whether it takes `truncation`."""


_REFERENCE = Quirks()


class VoyageRerank(ListedRerank):
    """The dialect."""

    def __init__(self, quirks: Quirks = _REFERENCE) -> None:
        names = msgspec.structs.replace(
            _NAMES,
            top_n=quirks.top_n_field,
            truncate="truncation" if quirks.truncation else None,
        )
        super().__init__(NAME, names, PlainErrors("detail"))

    def match(self, path: str, query: str, headers: Mapping[str, str]) -> Call | None:
        """Told from Jina's by the fields that only Voyage documents."""
        del query, headers
        return Call(operation=RERANK, claims=_is_voyage) if path == "/v1/rerank" else None


def _is_voyage(body: Json) -> bool:
    return "top_n" not in body and ("top_k" in body or "truncation" in body)
