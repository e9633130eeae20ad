"""OpenAI's list of models.

Source: https://platform.openai.com/docs/api-reference/models, November 2026. OpenAI says nothing of
limits; `context_window` and `max_completion_tokens` are how Groq's API, of the same shape, tells
them: https://console.groq.com/docs/models. `type`, `capabilities` and `max_context_length` are
Mistral's, whose SDKs read no model without the first two: https://docs.mistral.ai/api/#tag/models.
OpenAI's own read past what they do not know.
"""

from __future__ import annotations

from collections.abc import Sequence

from dragoman.dialects.models import ModelCard, unix_seconds
from dragoman.ir import Json

_OWNER = "dragoman"


def encode_models(cards: Sequence[ModelCard], query: str) -> Json:
    """All of them: the API has no pages."""
    del query
    return {"object": "list", "data": [encode_model(card) for card in cards]}


def encode_model(card: ModelCard) -> Json:
    """One of them."""
    created = unix_seconds(card.created)
    wire: Json = {"id": card.id, "object": "model", "created": created, "owned_by": _OWNER}
    wire |= {"type": "base", "capabilities": _capabilities(card)}
    if card.max_input_tokens is not None:
        wire |= dict.fromkeys(("context_window", "max_context_length"), card.max_input_tokens)
    if card.max_output_tokens is not None:
        wire["max_completion_tokens"] = card.max_output_tokens
    if card.retires is not None:
        wire["shutdown_date"] = card.retires.isoformat()
    return wire


def _capabilities(card: ModelCard) -> Json:
    """In Mistral's words, those that are known."""
    known: Json = {}
    if card.output:
        known["completion_chat"] = "text" in card.output
    if card.input:
        known |= {"vision": "image" in card.input, "audio": "audio" in card.input}
    if card.reasons is not None:
        known["reasoning"] = card.reasons
    return known
