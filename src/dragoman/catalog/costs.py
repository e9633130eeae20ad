"""What a call costs, by the prices of a model's profile."""

from __future__ import annotations

from dragoman.catalog.counts import Kind
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
    each = _each(_tier(prices, input_tokens), prices)
    if each is None:
        return None
    dollars = (
        max(input_tokens - cached - cache_write, 0) * each["input"]
        + cached * each["cached"]
        + cache_write * each["cache_write"]
        + (output_tokens - reasoning) * each["output"]
        + reasoning * each["reasoning"]
    )
    return round(dollars * _PER_TOKEN + (prices.request or 0) * NANODOLLARS)


def _each(at: Rates, prices: Prices) -> dict[Kind, float] | None:
    """The rate of each kind of token at `at`, one of the rates of `prices`, whatever stands in for
    it; None where nothing does."""
    free = None if prices.request is None else 0.0
    fresh = free if at.input is None else at.input
    output = free if at.output is None else at.output
    if fresh is None or output is None:
        return None
    written = next((p for p in (at.cache_write, at.cache_write_5m) if p is not None), fresh)
    return {
        "input": fresh,
        "cached": fresh if at.cached is None else at.cached,
        "cache_write": written,
        "output": output,
        "reasoning": output if at.reasoning is None else at.reasoning,
    }


def encode_prices(prices: Prices) -> dict[str, object] | None:
    """`prices` for whoever can only multiply and add up counts of tokens, of which some are parts
    of others: nanodollars a token of each kind, what is charged for the whole taken off its parts.

    `usual`, and with more than `above` tokens of input `long`; `call` is for the call itself. None
    where they are not known, or have more than one tier.
    """
    usual = _each(prices, prices)
    if usual is None or prices.tiers[1:]:
        return None
    encoded: dict[str, object] = {"usual": _apart(usual)}
    encoded["call"] = (prices.request or 0.0) * NANODOLLARS
    for tier in prices.tiers:
        long = _each(tier, prices)
        if long is None:
            return None
        encoded |= {"above": float(tier.above_tokens), "long": _apart(long)}
    return encoded


def _apart(each: dict[Kind, float]) -> dict[str, float]:
    return {
        "input": each["input"] * _PER_TOKEN,
        "cached": (each["cached"] - each["input"]) * _PER_TOKEN,
        "cache_write": (each["cache_write"] - each["input"]) * _PER_TOKEN,
        "output": each["output"] * _PER_TOKEN,
        "reasoning": (each["reasoning"] - each["output"]) * _PER_TOKEN,
    }


def _tier(prices: Prices, input_tokens: int) -> Rates:
    """The rates of a request of this size."""
    fitting = [tier for tier in prices.tiers if input_tokens > tier.above_tokens]
    return max(fitting, key=lambda tier: tier.above_tokens, default=prices)
