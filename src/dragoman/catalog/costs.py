"""What a call costs, by the prices of a model's profile."""

from __future__ import annotations

from dragoman.catalog.profiles import Prices, Rates

NANODOLLARS = 1_000_000_000
"""In a US dollar. Money is counted in whole ones: a token may cost less than a microdollar."""
_PER_TOKEN = 1000
"""Nanodollars a token at a price of one dollar a million."""


def cost_nanodollars(
    prices: Prices,
    *,
    input_tokens: int,
    output_tokens: int,
    cached: int = 0,
    cache_write: int = 0,
    reasoning: int = 0,
) -> int | None:
    """The cost of one call; None where it is not known what its input or output costs.

    `cached` and `cache_write` are parts of the input, `reasoning` of the output. Where their price
    is not known, that of the whole stands in; a write is taken for one of five minutes. What is
    priced by the call may have no price of tokens, which then cost nothing.
    """
    at, free = _tier(prices, input_tokens), None if prices.request is None else 0.0
    fresh_price = free if at.input is None else at.input
    output_price = free if at.output is None else at.output
    if fresh_price is None or output_price is None:
        return None
    written = next((p for p in (at.cache_write, at.cache_write_5m) if p is not None), fresh_price)
    dollars = (
        max(input_tokens - cached - cache_write, 0) * fresh_price
        + cached * (fresh_price if at.cached is None else at.cached)
        + cache_write * written
        + (output_tokens - reasoning) * output_price
        + reasoning * (output_price if at.reasoning is None else at.reasoning)
    )
    return round(dollars * _PER_TOKEN + (prices.request or 0) * NANODOLLARS)


def _tier(prices: Prices, input_tokens: int) -> Rates:
    """The rates of a request of this size."""
    fitting = [tier for tier in prices.tiers if input_tokens > tier.above_tokens]
    return max(fitting, key=lambda tier: tier.above_tokens, default=prices)
