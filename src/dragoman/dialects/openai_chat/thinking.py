"""How a provider of this dialect is asked to think, where the client spoke another.

OpenAI has levels alone, in `reasoning_effort`. Others have fields of their own:

- `reasoning`: https://openrouter.ai/docs/use-cases/reasoning-tokens
- `thinking`: https://api-docs.deepseek.com/guides/thinking_mode
- `chat_template_kwargs`: https://qwen.readthedocs.io/en/latest/deployment/vllm.html

November 2026.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast, get_args

import msgspec

from dragoman.dialects.efforts import level_of, nearest_effort, says_level
from dragoman.dialects.openai_chat.spelling import NAME, Encoding
from dragoman.dialects.residues import pack, packed
from dragoman.ir import Effort, Json, ReasoningConfig, Request, Residue
from dragoman.wire.fields import Fields

_EFFORT = "reasoning_effort"
_LEVELS = frozenset({"minimal", "low", "medium", "high", "xhigh"})
"""What another dialect's effort may become; `none` is refused by most of OpenAI's models."""
_EFFORTS = frozenset(get_args(Effort))
_FIELD = "field"
_ON: tuple[Json, ...] = ({"type": "enabled"}, {"enable_thinking": True}, {"enabled": True})
_OFF: tuple[Json, ...] = ({"type": "disabled"}, {"enable_thinking": False}, {"enabled": False})
_SERVED: tuple[Effort, ...] = ("low", "medium", "high")
"""The levels that servers of open models take."""


def decode_thinking(top: Fields, body: Json) -> ReasoningConfig | None:
    """In whichever field it is asked for, if in one only.

    What is not known here stays in the residue: Groq has the level `default`, and more will come.
    """
    asked = [name for name in _WAYS if body.get(name) is not None]
    name = _EFFORT if _EFFORT in asked else asked[0] if len(asked) == 1 else None
    found = None if name is None else _read(name, body[name])
    if name is None or found is None:
        return None
    value = top.take(name, object)
    form = () if name == _EFFORT else pack(_FIELD, {name: value})
    residue = Residue(dialect=NAME, fields={}, form=form) if form else None
    return msgspec.structs.replace(found, at=top.at(name), residue=residue)


def _read(name: str, value: Any) -> ReasoningConfig | None:
    match name, value:
        case ("reasoning_effort", str(level)) if level in _EFFORTS:
            return ReasoningConfig(effort=cast("Effort", level))
        case ("reasoning", {"effort": str(level), **more}) if level in _EFFORTS and not more:
            return ReasoningConfig(effort=cast("Effort", level))
        case ("reasoning", {"max_tokens": int(tokens), **more}) if tokens > 0 and not more:
            return None if tokens is True else ReasoningConfig(budget_tokens=tokens)
        case (_, dict()) if value in _ON:
            return ReasoningConfig(adaptive=True)
        case (_, dict()) if value in _OFF:
            return ReasoningConfig(effort="none")
        case _:
            return None


def encode_thinking(request: Request, encoding: Encoding) -> Json:
    """The fields that ask for it; what they do not say is reported."""
    wanted = request.reasoning
    if wanted is None:
        return {}
    losses = encoding.losses
    losses.residue(wanted.residue, wanted.at)
    level = level_of(wanted)
    if encoding.own:
        return packed(wanted.residue, NAME, _FIELD) or {_EFFORT: level}
    out, says_all = _WAYS[encoding.quirks.thinking_field](wanted, level)
    if not (says_all and out):
        losses.omit("reasoning_config", wanted.at or request.path("reasoning"))
    return out


def _by_effort(wanted: ReasoningConfig, level: Effort | None) -> tuple[Json, bool]:
    level = "xhigh" if level == "max" else level  # the most it takes
    return ({_EFFORT: level} if level in _LEVELS else {}), says_level(wanted, level)


def _by_object(wanted: ReasoningConfig, level: Effort | None) -> tuple[Json, bool]:
    """A level, a number of tokens, or that it is on."""
    if wanted.budget_tokens and wanted.effort is None:
        return {"reasoning": {"max_tokens": wanted.budget_tokens}}, not wanted.adaptive
    if level is None:
        return ({"reasoning": {"enabled": True}} if wanted.adaptive else {}), True
    level = "xhigh" if level == "max" else level
    return {"reasoning": {"effort": level}}, says_level(wanted, level)


def _by_switch(wanted: ReasoningConfig, level: Effort | None) -> tuple[Json, bool]:
    """On or off, and a level beside: DeepSeek takes all, and has three of them."""
    return _switched("thinking", {"type": "enabled"}, {"type": "disabled"}, wanted, level)


def _by_template(wanted: ReasoningConfig, level: Effort | None) -> tuple[Json, bool]:
    """On or off for the chat template, and a level for the models that have them."""
    taken = level if level in (None, "none") else nearest_effort(level, _SERVED)
    on, off = {"enable_thinking": True}, {"enable_thinking": False}
    return _switched("chat_template_kwargs", on, off, wanted, taken)


def _switched(
    field: str, on: Json, off: Json, wanted: ReasoningConfig, level: Effort | None
) -> tuple[Json, bool]:
    if level == "none":
        return {field: off}, says_level(wanted, level)
    if level is None:
        return ({field: on} if wanted.adaptive else {}), True
    return {field: on, _EFFORT: level}, says_level(wanted, level)


_WAYS: dict[str, Callable[[ReasoningConfig, Effort | None], tuple[Json, bool]]] = {
    _EFFORT: _by_effort,
    "reasoning": _by_object,
    "thinking": _by_switch,
    "chat_template_kwargs": _by_template,
}
"""By the quirk: what to write, and whether it says all that was asked for."""
