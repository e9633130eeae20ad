"""What a caller may use: which public models."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from dragoman.config.policy import Caller, Model
from dragoman.errors import NotFound


def matches(pattern: str, name: str) -> bool:
    """Whether `name` is `pattern`, or begins with what stands before its final `*`."""
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern


def find_model(name: str, caller: Caller, models: Mapping[str, Model]) -> Model:
    """The model `caller` means by `name`: the exact one, else the longest pattern that matches.

    Raises `NotFound`, in the same words whether it is not there or not granted.
    """
    granted = any(matches(pattern, name) for pattern in caller.models)
    model = models.get(name) if granted and not name.endswith("*") else None
    if model is None and granted:
        patterns = [p for p in models if p.endswith("*") and matches(p, name)]
        model = models[max(patterns, key=len)] if patterns else None
    if model is None:
        raise NotFound(f"The model {name!r} does not exist or you may not use it.", path="$.model")
    return model


def list_models(caller: Caller, models: Iterable[str]) -> list[str]:
    """The public names `caller` may use, patterns included, in the policy's order."""
    return [name for name in models if any(matches(p, name) for p in caller.models)]
