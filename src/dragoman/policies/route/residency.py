"""Where a request may be served: what is declared is kept, or the request is refused."""

from __future__ import annotations

from collections.abc import Mapping

from dragoman.config.policy import Caller, Target, is_within
from dragoman.errors import ResidencyRefused

HEADER = "dragoman-residency"
"""Regions, separated by commas, that a client allows for one request."""

Demands = tuple[tuple[str, ...], ...]
"""Sets of regions: one of each must be where the request goes. None: it may go anywhere."""


def find_demands(caller: Caller, headers: Mapping[str, str]) -> Demands:
    """What the caller's policy and the request's header declare. The header only narrows."""
    said = headers.get(HEADER)
    if not said:
        return (caller.residency,) if caller.residency else ()
    words = tuple(word.strip().lower() for word in said.split(","))
    return (caller.residency, words) if caller.residency else (words,)


def complies(region: str | None, demands: Demands) -> bool:
    """Whether `region` is one of each set, or inside one: `eu-west-1` is in `eu`. An upstream that
    does not say where it is complies with nothing."""
    if region is None:
        return not demands
    return all(any(is_within(region, allowed) for allowed in regions) for regions in demands)


def check_region(provider: str, region: str | None, demands: Demands) -> None:
    """Raises `ResidencyRefused` where what goes to `provider` would not stay."""
    if not complies(region, demands):
        raise ResidencyRefused(f"{provider} is not in {_words(demands)}, which was declared.")


def keep_residents(model: str, targets: list[Target], demands: Demands) -> list[Target]:
    """Those that comply, in their order. Raises `ResidencyRefused` where none does."""
    kept = [target for target in targets if complies(target.region, demands)]
    if not kept:
        raise ResidencyRefused(
            f"No upstream of {model} is in {_words(demands)}, which was declared."
        )
    return kept


def _words(demands: Demands) -> str:
    return " and ".join(" or ".join(regions) for regions in demands)
