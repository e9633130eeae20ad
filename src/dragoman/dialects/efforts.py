"""Levels of effort, and the budgets of tokens that stand for them where tokens are counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dragoman.ir import Effort, ReasoningConfig, Request

_ORDER: tuple[Effort, ...] = ("none", "minimal", "low", "medium", "high", "xhigh", "max")


def nearest_effort(effort: Effort, taken: Sequence[Effort]) -> Effort:
    """The level of `taken`, `none` left out, that is nearest; of two as near the lower."""
    place = _ORDER.index(effort)
    levels: list[Effort] = [level for level in _ORDER if level in taken and level != "none"]
    levels.sort(key=lambda level: abs(_ORDER.index(level) - place))
    return levels[0] if levels else effort


def effort_of(request: Request, budgets: Mapping[Effort, int]) -> Effort | None:
    """The level asked for, by name or as the least whose budget holds the tokens asked for, as near
    as the model has one; None where neither is given. `budgets` rise."""
    config = request.reasoning or ReasoningConfig()
    level: Effort | None = config.effort
    if level is None and (wanted := config.budget_tokens) is not None:
        enough: list[Effort] = [name for name, budget in budgets.items() if budget >= wanted]
        level = enough[0] if enough else "max"
    taken = request.reasoning_style.efforts if request.reasoning_style else ()
    return nearest_effort(level, taken) if level and taken and level not in taken else level


def wants_adaptive(request: Request) -> bool:
    """Whether the model asked rather thinks as much as it sees fit, by a level of effort, than up
    to a number of tokens; False where it is not known."""
    style = request.reasoning_style
    if style is None or "adaptive" not in style.ways:
        return False
    counted = request.reasoning is not None and request.reasoning.budget_tokens is not None
    return not (counted and "budget" in style.ways)
