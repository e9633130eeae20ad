"""The cheapest first: price times the tokens a request is reckoned to take."""

from __future__ import annotations

from datetime import date

from dragoman.catalog.costs import cost_nanodollars
from dragoman.catalog.profiles import Profile
from dragoman.policies.route.content import Content


def estimate_cost(profile: Profile | None, content: Content, day: date) -> int | None:
    """Nanodollars; None where the model's prices on `day` are not known."""
    prices = None if profile is None else profile.prices_on(day)
    if profile is None or prices is None:
        return None
    return cost_nanodollars(
        prices,
        input_tokens=content.input_tokens(profile),
        output_tokens=content.likely_output_tokens,
    )


def rank_cost(cost: int | None) -> tuple[bool, int]:
    """Sorts the cheapest first and what is not known last."""
    return cost is None, cost or 0
