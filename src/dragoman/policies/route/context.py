"""Whether a request is too long for a model, by an estimate."""

from __future__ import annotations

from typing import Literal

from dragoman.catalog.profiles import Profile
from dragoman.policies.route.content import Content

Excess = Literal["input_too_long", "output_too_long"]


def find_excess(profile: Profile | None, content: Content) -> Excess | None:
    """Which limit of the model the request is above; None for one whose limits are not known."""
    if profile is None:
        return None
    limit = profile.max_output_tokens
    if limit is not None and content.asked_output_tokens > limit:
        return "output_too_long"
    limit = profile.max_input_tokens
    if limit is not None and content.input_tokens(profile) > limit:
        return "input_too_long"
    return None
