"""Cohere Embed as Amazon Bedrock's InvokeModel takes it: the path names the model.

Sources: https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-embed-v3.html,
https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-embed-v4.html, November 2026.
"""

from __future__ import annotations

from collections.abc import Mapping

from dragoman.dialects import EMBEDDINGS, Call
from dragoman.dialects.bedrock_converse import errors
from dragoman.dialects.embeddings.cohere_embed import CohereEmbed, Quirks
from dragoman.dialects.embeddings.invoke import match_invoke
from dragoman.ir import Json
from dragoman.ir.embeddings import EmbeddingRequest, EmbeddingResponse

NAME = "bedrock_cohere_embed"
_REFERENCE = Quirks()
_MARKS = ("texts", "images", "inputs")


class BedrockCohereEmbed(CohereEmbed):
    """The dialect. A client that asks for no types gets a list of floats, as version 3 answers."""

    has_base64 = False
    bare_urls = True
    floats = True

    def __init__(self, quirks: Quirks = _REFERENCE) -> None:
        super().__init__(quirks, NAME, errors)

    def match(self, path: str, query: str, headers: Mapping[str, str]) -> Call | None:
        del query, headers
        return match_invoke(path, EMBEDDINGS, _MARKS)

    def _names_model(self, request: EmbeddingRequest) -> bool:
        del request
        return False

    def _trimmings(self, response: EmbeddingResponse, *, bare: bool) -> Json:
        """Its tokens are counted in a header."""
        kept = super()._trimmings(response, bare=bare)
        return {name: value for name, value in kept.items() if name != "meta"}
