"""Text Embeddings Inference's own `/rerank`, as client and as provider.

Source: https://huggingface.github.io/text-embeddings-inference/, November 2026.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dragoman.dialects import RERANK, Call
from dragoman.dialects.embeddings.tei_embed import MODEL
from dragoman.dialects.ollama_chat import errors
from dragoman.dialects.rerank.listed import ListedRerank, Names
from dragoman.ir import Json

NAME = "tei_rerank"
_NAMES = Names(
    documents="texts",
    top_n=None,
    return_documents="return_text",
    truncate="truncate",
    model=False,
    results=None,
    score="score",
    document="text",
    wraps_text=False,
)


class TeiRerank(ListedRerank):
    """The dialect. It ranks all it is given, in a bare list, and tells no usage."""

    def __init__(self) -> None:
        super().__init__(NAME, _NAMES, errors)

    def match(self, path: str, query: str, headers: Mapping[str, str]) -> Call | None:
        del query, headers
        if path != "/rerank":
            return None
        return Call(operation=RERANK, default_model=MODEL, claims=lambda body: "texts" in body)

    def rename(self, body: Json, model: str) -> dict[str, Any]:
        del body, model
        return {}

    def edits(self, body: Json) -> dict[str, Any]:
        """Its bodies name no model."""
        del body
        return {"model": None}
