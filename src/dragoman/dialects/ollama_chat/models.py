"""Ollama's list of models: local ones, of which a gateway knows neither files nor families.

Source: https://docs.ollama.com/api/tags, November 2026.
"""

from __future__ import annotations

from collections.abc import Sequence

from dragoman.dialects.models import ModelCard, timestamp
from dragoman.ir import Json

_DETAILS: Json = {
    "parent_model": "",
    "format": "",
    "family": "",
    "families": [],
    "parameter_size": "",
    "quantization_level": "",
}


def encode_models(cards: Sequence[ModelCard]) -> Json:
    """All of them: the API has no pages."""
    return {"models": [encode_model(card) for card in cards]}


def encode_model(card: ModelCard) -> Json:
    """One of them."""
    head = {"name": card.id, "model": card.id, "modified_at": timestamp(card.created)}
    return {**head, "size": 0, "digest": "", "details": _DETAILS}
