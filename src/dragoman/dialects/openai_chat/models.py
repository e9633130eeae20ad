"""OpenAI's list of models.

Source: https://platform.openai.com/docs/api-reference/models, November 2026. OpenAI says nothing of
limits; `context_window` and `max_completion_tokens` are how Groq's API, of the same shape, tells
them: https://console.groq.com/docs/models.
"""

from __future__ import annotations

from collections.abc import Sequence

from dragoman.dialects.models import ModelCard, unix_seconds
from dragoman.ir import Json

_OWNER = "dragoman"


def encode_models(cards: Sequence[ModelCard]) -> Json:
    """All of them: the API has no pages."""
    return {"object": "list", "data": [encode_model(card) for card in cards]}


def encode_model(card: ModelCard) -> Json:
    """One of them."""
    created = unix_seconds(card.created)
    wire: Json = {"id": card.id, "object": "model", "created": created, "owned_by": _OWNER}
    if card.max_input_tokens is not None:
        wire["context_window"] = card.max_input_tokens
    if card.max_output_tokens is not None:
        wire["max_completion_tokens"] = card.max_output_tokens
    if card.retires is not None:
        wire["shutdown_date"] = card.retires.isoformat()
    return wire
