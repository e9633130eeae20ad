"""What a model takes of a request, by its profile: its media and its parameters.

A model without a profile, and a fact that its profile does not have, refuse nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from dragoman.catalog.profiles import Profile
from dragoman.dialects.efforts import nearest_effort
from dragoman.errors import NotTaken
from dragoman.ir import (
    Blob,
    File,
    Modality,
    Part,
    ReasoningStyle,
    Request,
    ToolCallResponse,
    Uri,
)
from dragoman.ir.losses import WEIGHTS, Losses

_MARK = re.compile(rb'"(?:input_)?(image|audio|video|document|file|application/)')
"""Stands in a body of any chat dialect that holds such a medium: in a key, a type, a MIME type."""
_MARKED: dict[bytes, Modality] = {
    b"image": "image",
    b"audio": "audio",
    b"video": "video",
    b"document": "document",
    b"file": "document",
    b"application/": "document",
}


def find_media(raw: bytes) -> frozenset[Modality]:
    """The kinds of media that a body may hold, by a look at its bytes: more perhaps than it does,
    never fewer. Costs next to nothing beside reading the body."""
    return frozenset(_MARKED[word] for word in _MARK.findall(raw))


def refuses_media(profile: Profile, media: frozenset[Modality]) -> bool:
    """Whether the model does not take one of `media`."""
    return profile.input is not None and not media <= set(profile.input)


def check_media(request: Request, profile: Profile, model: str) -> None:
    """Raises `NotTaken` for the first medium that the model does not take."""
    if profile.input is None:
        return
    for part in _parts(request):
        if isinstance(part, Uri | Blob | File) and part.modality not in profile.input:
            raise NotTaken(part.at, model, f"takes no {part.modality}")


def fit(request: Request, profile: Profile | None, model: str, losses: Losses) -> Request:
    """`request` as the model takes it, and told how the model takes a wish to think.

    A parameter that it refuses is left out and reported if it is a hint, and else refused by its
    path; where the route clamps, one of a range is left out and reported too.
    """
    if profile is None:
        return request
    check_media(request, profile, model)
    left_out: dict[str, Any] = {}
    for name, why in _refused(request, profile):
        path = request.path(name)
        if WEIGHTS[name] != "hint" and not (WEIGHTS[name] == "range" and losses.clamp):
            raise NotTaken(path, model, why)
        losses.paths.append(path)
        left_out[name] = () if name == "stop_sequences" else None
    for name, value in (profile.fixed or {}).items():
        if getattr(request, name) == value:
            left_out[name] = None  # what it does unasked, and does not want to hear
    left_out |= _at_level(request, profile.reasoning, losses)
    return msgspec.structs.replace(request, reasoning_style=profile.reasoning, **left_out)


def _at_level(request: Request, style: ReasoningStyle | None, losses: Losses) -> dict[str, Any]:
    """An effort that the model does not have becomes the nearest it has; that it be none is left
    out where it always thinks. Both are reported."""
    config = request.reasoning
    if config is None or config.effort is None or style is None or style.ways == ("budget",):
        return {}
    if not style.efforts or config.effort in style.efforts:
        return {}
    losses.paths.append(config.at or request.path("reasoning"))
    if config.effort == "none":
        return {"reasoning": None}
    nearest = nearest_effort(config.effort, style.efforts)
    return {"reasoning": msgspec.structs.replace(config, effort=nearest)}


def _refused(request: Request, profile: Profile) -> Iterator[tuple[str, str]]:
    """The parameters given that the model refuses, and why."""
    config = request.reasoning
    reasons = config is not None and (config.effort or "none") != "none"
    names = dict.fromkeys(profile.refuses or ())
    for name in (*names, *((profile.refuses_reasoning or ()) if reasons else ())):
        if _is_said(request, name):
            yield name, f"takes no {name}{'' if name in names else ' while it reasons'}"
    for name, value in (profile.fixed or {}).items():
        if _is_said(request, name) and getattr(request, name) != value:
            yield name, f"takes no {name} but {value:g}"
    both = [name for name in profile.not_both or () if _is_said(request, name)]
    for name in both[1:]:
        yield name, f"takes {both[0]} or {name}, not both"


def _is_said(request: Request, name: str) -> bool:
    value = getattr(request, name)
    if value is None or value is False or value == ():
        return False
    return name != "choice_count" or value != 1


def _parts(request: Request) -> Iterator[Part]:
    for message in request.messages:
        for part in message.parts:
            yield part
            if isinstance(part, ToolCallResponse):
                yield from part.parts
