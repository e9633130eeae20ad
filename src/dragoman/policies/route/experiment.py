"""Experiments: for each conversation, user or caller a variant, which stays while weights do."""

from __future__ import annotations

from dragoman.config.policy import Experiment, Variant
from dragoman.policies.route.content import Content
from dragoman.policies.route.sticky import find_key, score
from dragoman.policies.route.weighted import Chance, draw


def assign(experiment: Experiment, content: Content, chance: Chance) -> Variant:
    """The variant that serves. Two experiments assign independently of each other."""
    variants = experiment.variants
    key = find_key(experiment.by, content)
    if key is None:
        return variants[draw([variant.weight for variant in variants], chance)]
    return max(variants, key=lambda v: score(f"{experiment.name}\0{v.name}", v.weight, key))
