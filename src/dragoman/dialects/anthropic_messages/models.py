"""Anthropic's list of models.

Source: https://docs.anthropic.com/en/api/models-list, November 2026.
"""

from __future__ import annotations

from collections.abc import Sequence

from dragoman.dialects.models import ModelCard, page_size, place_of, read_query, timestamp
from dragoman.ir import Json

_PAGE, _MOST = 20, 1000


def encode_models(cards: Sequence[ModelCard], query: str) -> Json:
    """The page after `after_id`, or the one that ends before `before_id`."""
    asked = read_query(query)
    limit = page_size(asked, "limit", _PAGE, _MOST)
    first, last = 0, len(cards)
    if "before_id" in asked:
        last = place_of(cards, asked["before_id"], "before_id")
        first = max(0, last - limit)
        more = first > 0
    else:
        if "after_id" in asked:
            first = place_of(cards, asked["after_id"], "after_id") + 1
        more = last > first + limit
        last = min(last, first + limit)
    data = [encode_model(card) for card in cards[first:last]]
    ends = (data[0]["id"], data[-1]["id"]) if data else (None, None)
    return {"data": data, "has_more": more, "first_id": ends[0], "last_id": ends[1]}


def encode_model(card: ModelCard) -> Json:
    """One of them. A model with a date to end on is closed to new users there: `deprecated`."""
    return {
        "type": "model",
        "id": card.id,
        "display_name": card.name,
        "created_at": timestamp(card.created),
        "max_input_tokens": card.max_input_tokens,
        "max_tokens": card.max_output_tokens,
        "lifecycle": "active" if card.retires is None else "deprecated",
        "retires_at": None if card.retires is None else timestamp(card.retires),
    }
