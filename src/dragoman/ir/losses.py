"""What the other dialect cannot say: declared here once per field, so that no encoder judges.

- *meaning*: the answer would be to another question. Refused with `Unrepresentable`.
- *range*: a value the other side does not take. Refused, or clamped where the route opted in.
- *hint*: the answer is still right without it. Dropped, and reported with its path.
"""

from __future__ import annotations

from typing import Literal, cast

from dragoman.errors import Unrepresentable
from dragoman.ir import Json, Residue

Weight = Literal["meaning", "range", "hint"]

WEIGHTS: dict[str, Weight] = {
    "messages": "meaning",
    "parts": "meaning",
    "tools": "meaning",
    "tool_choice": "meaning",
    "choice_count": "meaning",
    "response_format": "meaning",
    "stop_sequences": "meaning",
    "logprobs": "meaning",
    "top_logprobs": "meaning",
    "inputs": "meaning",
    "formats": "meaning",
    "dimensions": "meaning",
    "unnormalized": "meaning",
    "mixed": "meaning",
    "query": "meaning",
    "documents": "meaning",
    "max_tokens": "range",
    "temperature": "range",
    "top_p": "range",
    "budget_tokens": "range",
    "frequency_penalty": "hint",
    "presence_penalty": "hint",
    "seed": "hint",
    "top_k": "hint",
    "user": "hint",
    "name": "hint",
    "role": "hint",
    "strict": "hint",
    "schema_bound": "hint",
    "reasoning": "hint",
    "reasoning_config": "hint",
    "service_tier": "hint",
    "cache_control": "hint",
    "is_error": "hint",
    "filename": "hint",
    "parallel_tool_calls": "hint",
    "purpose": "hint",
    "title": "hint",
    "truncate": "hint",
    "normalize": "hint",
    "max_tokens_per_document": "hint",
    "residue": "hint",
}
"""How much each field weighs. An encoder that meets a field missing here is a bug (KeyError)."""


class Losses:
    """Collects the paths of what one translation into `dialect` leaves behind."""

    def __init__(self, dialect: str, *, clamp: bool = False) -> None:
        self.dialect = dialect
        self.paths: list[str] = []
        """JSON paths in the source body, in the order they were dropped or clamped."""
        self.clamp = clamp
        """Whether the route wants values out of range moved to the nearest bound."""

    def omit(self, field: str, path: str, why: str = "") -> None:
        """Leave `field` out: recorded if it is a hint, `Unrepresentable` if it has meaning."""
        if WEIGHTS[field] == "hint":
            self.paths.append(path)
        else:
            raise Unrepresentable(path, self.dialect, why)

    def bound(self, field: str, path: str, value: float, low: float, high: float) -> float:
        """`value` if it lies in [low, high]; the nearest bound if the route clamps; else 400."""
        if low <= value <= high:
            return value
        if WEIGHTS[field] != "range" or not self.clamp:
            raise Unrepresentable(path, self.dialect, f"must be between {low:g} and {high:g}")
        self.paths.append(path)
        return min(max(value, low), high)

    def residue(self, residue: Residue | None, path: str) -> Json:
        """The fields to merge into the output; those of another dialect are recorded as lost.

        A lost object is recorded by its leaves. A null or an empty value says nothing to lose.
        """
        if residue is None:
            return {}
        if residue.dialect == self.dialect:
            return residue.fields
        self._lose(residue.fields, path)
        return {}

    def _lose(self, fields: Json, path: str) -> None:
        for name, value in fields.items():
            if isinstance(value, dict):
                self._lose(cast("Json", value), f"{path}.{name}")
            elif value is not None and value != []:
                self.paths.append(f"{path}.{name}")
