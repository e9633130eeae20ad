"""Jina's rerank, which vLLM, llama.cpp, Together and others speak too, as client and as provider.

Sources: https://api.jina.ai/openapi.json, https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html,
https://docs.together.ai/reference/rerank, November 2026.
"""

from __future__ import annotations

from collections.abc import Mapping

from dragoman.dialects import RERANK, Call
from dragoman.dialects.openai_chat import errors
from dragoman.dialects.rerank.listed import ListedRerank, Names
from dragoman.ir import Json
from dragoman.ir.rerank import RerankResponse

NAME = "jina_rerank"
_PATHS = ("/v1/rerank", "/rerank")
_NAMES = Names(return_documents="return_documents", objects=True, returns=True)


class JinaRerank(ListedRerank):
    """The dialect. Documents come back unless the client says that it does not want them."""

    _id_prefix = "rerank-"

    def __init__(self) -> None:
        super().__init__(NAME, _NAMES, errors)

    def match(self, path: str, query: str, headers: Mapping[str, str]) -> Call | None:
        """Whatever no other dialect with the same path claims by its fields."""
        del query, headers
        return Call(operation=RERANK) if path in _PATHS else None

    def trimmings(self, response: RerankResponse) -> Json:
        body = super().trimmings(response)
        count = body["usage"]["total_tokens"]
        usage = {"total_tokens": count, "prompt_tokens": count}
        return {"id": response.id or "", **body, "usage": usage}
