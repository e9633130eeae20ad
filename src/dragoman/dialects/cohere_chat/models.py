"""Cohere's list of models.

Source: https://docs.cohere.com/reference/list-models, November 2026.
"""

from __future__ import annotations

from collections.abc import Sequence

from dragoman.dialects.models import ModelCard, page_size, place_of, read_query
from dragoman.ir import Json

_PAGE, _MOST = 20, 1000


def encode_models(cards: Sequence[ModelCard], query: str) -> Json:
    """A page of them. Its token is the name of its last model."""
    asked = read_query(query)
    size = page_size(asked, "page_size", _PAGE, _MOST)
    token = asked.get("page_token")
    first = place_of(cards, token, "page_token") + 1 if token else 0
    page = cards[first : first + size]
    more = {"next_page_token": page[-1].id} if first + size < len(cards) else {}
    return {"models": [encode_model(card) for card in page], **more}


def encode_model(card: ModelCard) -> Json:
    """One of them."""
    features = [
        *(["vision"] if "image" in card.input else []),
        *(["reasoning"] if card.reasons else []),
    ]
    wire: Json = {"name": card.id, "endpoints": ["chat"], "default_endpoints": []}
    if card.max_input_tokens is not None:
        wire["context_length"] = card.max_input_tokens
    return {**wire, "features": features} if features else wire
