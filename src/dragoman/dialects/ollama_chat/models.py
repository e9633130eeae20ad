"""Ollama's models: local ones, of which a gateway knows neither files nor families.

Sources: https://docs.ollama.com/api/tags, https://docs.ollama.com/api-reference/show-model-details,
https://docs.ollama.com/api/ps, https://docs.ollama.com/api-reference/get-version, November 2026.
"""

from __future__ import annotations

from collections.abc import Sequence

from dragoman.dialects.models import ModelCard, timestamp
from dragoman.ir import Json

VERSION: Json = {"version": "0.40.12"}
"""The release of Ollama whose API this is: some clients refuse to speak with an old one."""
RUNNING: Json = {"models": []}
"""What is loaded into memory here: nothing, models run at their providers."""
_ARCHITECTURE = "dragoman"
_DETAILS: Json = {
    "parent_model": "",
    "format": "",
    "family": "",
    "families": [],
    "parameter_size": "",
    "quantization_level": "",
}


def encode_models(cards: Sequence[ModelCard], query: str) -> Json:
    """All of them: the API has no pages."""
    del query
    return {"models": [_listed(card) for card in cards]}


def _listed(card: ModelCard) -> Json:
    head = {"name": card.id, "model": card.id, "modified_at": timestamp(card.created)}
    return {**head, "size": 0, "digest": "", "details": _DETAILS}


def encode_model(card: ModelCard) -> Json:
    """One of them. Clients find its context by the name of its architecture."""
    facts: Json = {"general.architecture": _ARCHITECTURE, "general.basename": card.name}
    if card.max_input_tokens is not None:
        facts[f"{_ARCHITECTURE}.context_length"] = card.max_input_tokens
    return {
        "modelfile": "",
        "parameters": "",
        "template": "",
        "details": _DETAILS,
        "model_info": facts,
        "capabilities": _capabilities(card),
        "modified_at": timestamp(card.created),
    }


def _capabilities(card: ModelCard) -> list[str]:
    """Whether it takes tools is known of no model, and left to its provider to refuse: clients
    offer none to a model that is not said to."""
    if "embedding" in card.output:
        return ["embedding"]
    known = {"vision": "image" in card.input, "thinking": card.reasons is True}
    return ["completion", "tools", *(name for name, is_known in known.items() if is_known)]
