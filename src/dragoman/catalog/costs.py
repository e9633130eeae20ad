"""What a call costs, by the prices of a model's profile."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from dragoman.catalog.profiles import Prices, Rates

NANODOLLARS = 1_000_000_000
"""In a US dollar. Money is counted in whole ones: a token may cost less than a microdollar."""
_OF_INPUT = frozenset({"input", "cached", "cache_write", "input_audio", "input_image"})
_PER_TOKEN = 1000
"""Nanodollars a token at a price of one dollar a million."""


def cost_nanodollars(
    prices: Prices,
    *,
    input_tokens: int,
    output_tokens: int,
    **parts: int,
) -> int | None:
    """The cost of one call; None where it is not known what its input or output costs.

    `parts` are counts of other `counts.KINDS`, each a part of the input or of the output. Where its
    price is not known, that of the whole stands in; a write is taken for one of five minutes. What
    is priced by the call may have no price of tokens, which then cost nothing; what gives nothing
    but images may have no other price of output.
    """
    apart = _apart(_tier(prices, input_tokens) if prices.tiers else prices, prices)
    if apart is None:
        return None
    nanodollars = input_tokens * apart["input"] + output_tokens * apart["output"]
    nanodollars += sum(count * apart[kind] for kind, count in parts.items())
    return max(round(nanodollars + (prices.request or 0) * NANODOLLARS), 0)


def _each(at: Rates, prices: Prices) -> dict[str, float] | None:
    """The rate of each kind of token at `at`, one of the rates of `prices`, whatever stands in for
    it; None where nothing does."""
    free = None if prices.request is None else 0.0
    whole_input = _first(at.input, free)
    whole_output = _first(at.output, at.output_image, free)
    if whole_input is None or whole_output is None:
        return None
    known = {
        "cached": at.cached,
        "cache_write": _first(at.cache_write, at.cache_write_5m),
        "input_audio": at.input_audio,
        "input_image": at.input_image,
        "reasoning": at.reasoning,
        "output_audio": at.output_audio,
        "output_image": at.output_image,
    }
    each = {kind: whole_input if kind in _OF_INPUT else whole_output for kind in known}
    each |= {kind: rate for kind, rate in known.items() if rate is not None}
    return each | {"input": whole_input, "output": whole_output}


def _first(*rates: float | None) -> float | None:
    return next((rate for rate in rates if rate is not None), None)


def encode_prices(prices: Prices) -> dict[str, object] | None:
    """`prices` for whoever can only multiply and add up counts of tokens, of which some are parts
    of others: nanodollars a token of each kind, what is charged for the whole taken off its parts.

    `usual`, and with more than `above` tokens of input `long`; `call` is for the call itself. None
    where they are not known, or have more than one tier.
    """
    usual = _apart(prices, prices)
    if usual is None or prices.tiers[1:]:
        return None
    encoded: dict[str, object] = {"usual": usual}
    encoded["call"] = (prices.request or 0.0) * NANODOLLARS
    for tier in prices.tiers:
        long = _apart(tier, prices)
        if long is None:
            return None
        encoded |= {"above": float(tier.above_tokens), "long": long}
    return encoded


@lru_cache(1024)
def _apart(at: Rates, prices: Prices) -> Mapping[str, float] | None:
    """As `_each`, in nanodollars a token, what is charged for the whole taken off its parts."""
    each = _each(at, prices)
    if each is None:
        return None
    wholes = {kind: "input" if kind in _OF_INPUT else "output" for kind in each}
    return {
        kind: (rate - (0 if kind == wholes[kind] else each[wholes[kind]])) * _PER_TOKEN
        for kind, rate in each.items()
    }


def _tier(prices: Prices, input_tokens: int) -> Rates:
    """The rates of a request of this size."""
    fitting = [tier for tier in prices.tiers if input_tokens > tier.above_tokens]
    return max(fitting, key=lambda tier: tier.above_tokens, default=prices)
