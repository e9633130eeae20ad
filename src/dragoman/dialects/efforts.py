"""Levels of effort, and the budgets of tokens that stand for them where tokens are counted."""

from __future__ import annotations

from collections.abc import Sequence

from dragoman.ir import Effort, ReasoningConfig, Request

BUDGETS: dict[Effort, int] = {
    "minimal": 1024,
    "low": 2048,
    "medium": 8192,
    "high": 16384,
    "xhigh": 24576,
    "max": 32768,
}
"""Tokens of thought that an effort stands for, in every dialect; it rises. The least of Claude's
is 1,024, the most that the Gemini Pro models before 3 take 32,768."""
_ORDER: tuple[Effort, ...] = ("none", "minimal", "low", "medium", "high", "xhigh", "max")


def nearest_effort(effort: Effort, taken: Sequence[Effort]) -> Effort:
    """The level of `taken`, `none` left out, that is nearest; of two as near the lower."""
    place = _ORDER.index(effort)
    levels: list[Effort] = [level for level in _ORDER if level in taken and level != "none"]
    levels.sort(key=lambda level: abs(_ORDER.index(level) - place))
    return levels[0] if levels else effort


def level_of(config: ReasoningConfig) -> Effort | None:
    """The effort asked for, by name or as the least whose budget holds the tokens asked for; None
    where neither is given."""
    if config.effort is not None or config.budget_tokens is None:
        return config.effort
    if config.budget_tokens == 0:
        return "none"
    enough: list[Effort] = [name for name, n in BUDGETS.items() if n >= config.budget_tokens]
    return enough[0] if enough else "max"


def says_level(config: ReasoningConfig, level: Effort | None) -> bool:
    """Whether `level` says all that was asked for: a budget, where it is just the level's."""
    if config.adaptive or level is None or level != level_of(config):
        return False
    return config.budget_tokens in (None, BUDGETS.get(level, 0))


def budget_of(config: ReasoningConfig) -> int:
    """The tokens asked for, or those of the level asked for; a medium effort's where neither is."""
    if config.budget_tokens is not None:
        return config.budget_tokens
    return BUDGETS.get(config.effort or "medium", BUDGETS["medium"])


def effort_of(request: Request) -> Effort | None:
    """The level asked for, as near as the model has one; None where none is given."""
    level = level_of(request.reasoning or ReasoningConfig())
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
