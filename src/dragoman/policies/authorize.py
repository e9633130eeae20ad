"""What a caller may do: which public models, and what its roles allow of the rest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from dragoman.config.policy import Caller, Model
from dragoman.config.schema import Denial, Grant
from dragoman.errors import ModelNotFound, PermissionDenied
from dragoman.ir import Blob, File, Part, Request, ToolCallResponse, Uri


def matches(pattern: str, name: str) -> bool:
    """Whether `name` is `pattern`, or begins with what stands before its final `*`."""
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern


def find_model(name: str, caller: Caller, models: Mapping[str, Model]) -> Model:
    """The model `caller` means by `name`: the exact one, else the longest pattern that matches.

    Raises `ModelNotFound`, in the same words whether it is not there or not granted.
    """
    granted = "*" in caller.models or any(matches(pattern, name) for pattern in caller.models)
    model = models.get(name) if granted and not name.endswith("*") else None
    if model is None and granted:
        patterns = [p for p in models if p.endswith("*") and matches(p, name)]
        model = models[max(patterns, key=len)] if patterns else None
    if model is None:
        raise ModelNotFound(
            f"The model {name!r} does not exist or you may not use it.", path="$.model"
        )
    return model


def list_models(caller: Caller, models: Iterable[str]) -> list[str]:
    """The public names `caller` may use, patterns included, in the policy's order."""
    return [name for name in models if any(matches(p, name) for p in caller.models)]


class Wish(NamedTuple):
    """What a request asks for, as far as roles speak of it."""

    operation: str
    dialect: str
    model: str = ""
    """Empty where none is named: then no role restricts it."""
    features: tuple[str, ...] = ()


class Verdict(NamedTuple):
    """Whether it may be, and in words why."""

    allowed: bool
    because: str


def judge(caller: Caller, wish: Wish) -> Verdict:
    """What the caller's roles say of `wish`: a denial by any wins over what others allow."""
    if not caller.roles:
        return Verdict(allowed=True, because=f"{caller.name} has no roles, which restrict nothing")
    for name, role in caller.roles.items():
        if denied := next(_denied(role.deny, wish), None):
            return Verdict(allowed=False, because=f"the role {name} denies {denied}")
    lacking: list[str] = []
    for name, role in caller.roles.items():
        lack = next(_lacking(role.allow, wish), None)
        if lack is None:
            return Verdict(allowed=True, because=f"the role {name} allows it")
        lacking.append(f"{name} does not allow {lack}")
    return Verdict(allowed=False, because=f"of its roles {', '.join(lacking)}")


def authorize(caller: Caller, wish: Wish) -> None:
    """Raises `PermissionDenied` with the reason where the caller's roles do not allow `wish`."""
    verdict = judge(caller, wish)
    if not verdict.allowed:
        raise PermissionDenied(f"You may not do this: {verdict.because}.")


def restricts_features(caller: Caller) -> bool:
    """Whether what a request asks for has to be known at all."""
    roles = caller.roles.values()
    return any(role.deny.features or "*" not in role.allow.features for role in roles)


def features_of(request: Request) -> tuple[str, ...]:
    """The features, as roles name them, that a chat request asks for."""
    shape, reasoning = request.response_format, request.reasoning
    parts = (part for message in request.messages for part in message.parts)
    asked = {
        "streaming": request.stream,
        "tools": bool(request.tools),
        "media": any(map(_holds_media, parts)),
        "schema": shape is not None and shape.kind != "text",
        "reasoning": reasoning is not None and reasoning.effort != "none",
    }
    return tuple(name for name, is_asked in asked.items() if is_asked)


def _holds_media(part: Part) -> bool:
    if isinstance(part, ToolCallResponse):
        return any(isinstance(inner, Uri | Blob | File) for inner in part.parts)
    return isinstance(part, Uri | Blob | File)


def _denied(deny: Denial, wish: Wish) -> Iterator[str]:
    for kind, patterns, name in _pairs(deny, wish):
        if any(matches(pattern, name) for pattern in patterns):
            yield f"the {kind} {name}"


def _lacking(allow: Grant, wish: Wish) -> Iterator[str]:
    for kind, patterns, name in _pairs(allow, wish):
        if not any(matches(pattern, name) for pattern in patterns):
            yield f"the {kind} {name}"


def _pairs(rule: Grant | Denial, wish: Wish) -> Iterator[tuple[str, Iterable[str], str]]:
    """Each thing wished for, beside the patterns that speak of it."""
    yield "operation", rule.operations, wish.operation
    yield "dialect", rule.dialects, wish.dialect
    if wish.model:
        yield "model", rule.models, wish.model
    for feature in wish.features:
        yield "feature", rule.features, feature
