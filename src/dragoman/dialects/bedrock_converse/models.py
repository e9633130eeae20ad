"""Bedrock's list of models, which AWS serves on a host of its own.

Source: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_ListFoundationModels.html,
November 2026.
"""

from __future__ import annotations

from collections.abc import Sequence

from dragoman.dialects.models import ModelCard, read_query, timestamp
from dragoman.ir import Json

_KINDS = {
    "text": "TEXT",
    "image": "IMAGE",
    "audio": "SPEECH",
    "video": "VIDEO",
    "embedding": "EMBEDDING",
}
"""Words for modalities. A document is no modality here."""


def encode_models(cards: Sequence[ModelCard], query: str) -> Json:
    """All of them, or those of one output modality: the API has no pages."""
    wanted = read_query(query).get("byOutputModality")
    found = [_summary(card) for card in cards]
    if wanted is not None:
        found = [one for one in found if wanted in one.get("outputModalities", [])]
    return {"modelSummaries": found}


def encode_model(card: ModelCard) -> Json:
    """One of them."""
    return {"modelDetails": _summary(card)}


def _summary(card: ModelCard) -> Json:
    wire: Json = {
        "modelArn": f"arn:aws:bedrock:::foundation-model/{card.id}",
        "modelId": card.id,
        "modelName": card.name,
        "providerName": "dragoman",
        "responseStreamingSupported": True,
        "inferenceTypesSupported": ["ON_DEMAND"],
    }
    for name, kinds in (("inputModalities", card.input), ("outputModalities", card.output)):
        if words := [_KINDS[kind] for kind in kinds if kind in _KINDS]:
            wire[name] = words
    if card.retires is None:
        return {**wire, "modelLifecycle": {"status": "ACTIVE"}}
    return {
        **wire,
        "modelLifecycle": {"status": "LEGACY", "endOfLifeTime": timestamp(card.retires)},
    }
