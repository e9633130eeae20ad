"""The cheapest first: price times the tokens a request is reckoned to take."""

from __future__ import annotations

from dragoman.catalog.costs import cost_nanodollars
from dragoman.catalog.profiles import Profile
from dragoman.policies.route.content import Content


def estimate_cost(profile: Profile | None, content: Content) -> int | None:
    """Nanodollars; None where the model's prices are not known."""
    if profile is None or profile.prices is None:
        return None
    return cost_nanodollars(
        profile.prices,
        input_tokens=content.input_tokens(profile),
        output_tokens=content.likely_output_tokens,
    )


def rank_cost(cost: int | None) -> tuple[bool, int]:
    """Sorts the cheapest first and what is not known last."""
    return cost is None, cost or 0
