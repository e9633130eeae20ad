"""Dialects that no SDK reads beyond JSON (InvokeModel) or at all, read as their pages say."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tests.sdk import Said, Wire, vectors

UNCOUNTED = ("input_tokens",)


class Reader:
    """One dialect; `UNSAID` is what an answer of it has no place for."""

    def __init__(self, said: Callable[[Any], Said], *unsaid: str) -> None:
        self._said = said
        self.UNSAID = unsaid

    def read(self, wire: Wire) -> Said:
        return self._said(json.loads(wire.body))

    def read_error(self, wire: Wire) -> tuple[int, str]:
        body = json.loads(wire.body)
        error = body.get("error", body)
        if isinstance(error, str):
            return wire.status, error
        return wire.status, error.get("message") or error["detail"]


def _titan(body: Any) -> Said:
    found = body.get("embedding") or next(iter(body["embeddingsByType"].values()))
    return Said(vectors=vectors([found]), input_tokens=body["inputTextTokenCount"])


def _cohere(body: Any) -> Said:
    found = body["embeddings"]
    if body["response_type"] == "embeddings_by_type":
        found = next(one for one in found.values() if one)
    return Said(vectors=vectors(found))


def _nova(body: Any) -> Said:
    return Said(vectors=vectors(one["embedding"] for one in body["embeddings"]))


def _gemini(body: Any) -> Said:
    count = body.get("usageMetadata", {}).get("promptTokenCount", 0)
    return Said(vectors=vectors([body["embedding"]["values"]]), input_tokens=count)


def _vertex(body: Any) -> Said:
    found = [one["embeddings"] for one in body["predictions"]]
    counts = [one.get("statistics", {}).get("token_count", 0) for one in found]
    return Said(vectors=vectors(one["values"] for one in found), input_tokens=int(sum(counts)))


def _results(field: str, score: str) -> Callable[[Any], Said]:
    def said(body: Any) -> Said:
        found = body[field] if field else body
        count = body.get("usage", {}).get("total_tokens", 0) if field else 0
        ranking = tuple((one["index"], one[score]) for one in found)
        return Said(ranking=ranking, input_tokens=count)

    return said


READERS = {
    "bedrock_titan_embed": Reader(_titan),
    "bedrock_cohere_embed": Reader(_cohere, *UNCOUNTED),
    "bedrock_nova_embed": Reader(_nova, *UNCOUNTED),
    "gemini_embed": Reader(_gemini),
    "vertex_predict": Reader(_vertex),
    "tei_embed": Reader(lambda body: Said(vectors=vectors(body)), *UNCOUNTED),
    "jina_rerank": Reader(_results("results", "relevance_score")),
    "voyage_rerank": Reader(_results("data", "relevance_score")),
    "tei_rerank": Reader(_results("", "score"), *UNCOUNTED),
}
