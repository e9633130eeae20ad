"""What a call costs, by the prices of a model's profile."""

from __future__ import annotations

from dragoman.catalog.profiles import Prices

NANODOLLARS = 1_000_000_000
"""In a US dollar. Money is counted in whole ones: a token may cost less than a microdollar."""
_PER_TOKEN = 1000
"""Nanodollars a token at a price of one dollar a million."""


def cost_nanodollars(
    prices: Prices, *, input_tokens: int, output_tokens: int, cached: int = 0, cache_write: int = 0
) -> int | None:
    """The cost of one call; None where the prices of input or output are not known.

    `cached` and `cache_write` are parts of the input. Where their price is not known, that of the
    input stands in; a write is taken for one of five minutes.
    """
    at = _tier(prices, input_tokens)
    if at.input is None or at.output is None:
        return None
    read = at.input if at.cached is None else at.cached
    written = next((p for p in (at.cache_write, at.cache_write_5m) if p is not None), at.input)
    fresh = max(input_tokens - cached - cache_write, 0)
    dollars = fresh * at.input + cached * read + cache_write * written + output_tokens * at.output
    return round(dollars * _PER_TOKEN)


def _tier(prices: Prices, input_tokens: int) -> Prices:
    """The prices of a request of this size."""
    fitting = [tier for tier in prices.tiers if input_tokens > tier.above_tokens]
    return max(fitting, key=lambda tier: tier.above_tokens, default=prices)
