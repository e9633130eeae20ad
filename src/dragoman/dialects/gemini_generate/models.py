"""Google's list of models.

Source: https://ai.google.dev/api/models, November 2026.
"""

from __future__ import annotations

from collections.abc import Sequence

from dragoman.dialects.models import ModelCard, page_size, place_of, read_query
from dragoman.ir import Json

_PAGE, _MOST = 50, 1000
_METHODS = ["generateContent", "streamGenerateContent", "countTokens"]


def encode_models(cards: Sequence[ModelCard], query: str) -> Json:
    """A page of them. Its token is the name of its last model."""
    asked = read_query(query)
    size = page_size(asked, "pageSize", _PAGE, _MOST)
    token = asked.get("pageToken")
    first = place_of(cards, token, "pageToken") + 1 if token else 0
    page = cards[first : first + size]
    more = {"nextPageToken": page[-1].id} if first + size < len(cards) else {}
    return {"models": [encode_model(card) for card in page], **more}


def encode_model(card: ModelCard) -> Json:
    """One of them."""
    wire: Json = {
        "name": f"models/{card.id}",
        "displayName": card.name,
        "supportedGenerationMethods": _METHODS,
    }
    if card.max_input_tokens is not None:
        wire["inputTokenLimit"] = card.max_input_tokens
    if card.max_output_tokens is not None:
        wire["outputTokenLimit"] = card.max_output_tokens
    if card.reasons is not None:
        wire["thinking"] = card.reasons
    return wire
