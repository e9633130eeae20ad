"""What providers take of JSON Schema where they hold the model to it, as data."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

_FORMATS = frozenset(
    {
        "date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid",
    }
)  # fmt: skip
_COMMON = frozenset(
    {
        "type", "title", "description", "enum", "anyOf", "$ref", "$defs", "properties", "required",
        "additionalProperties", "items", "format", "minItems",
    }
)  # fmt: skip
_PLAIN = re.compile(r"(?!.*(\(\?[=!<]|\\[bB1-9])).*", re.DOTALL)
"""Regular expressions without lookaround, word boundary and backreference."""


class Subset(msgspec.Struct, frozen=True, kw_only=True):
    """One provider's part of the language: the draft of 2020-12."""

    dialects: frozenset[str] = frozenset()
    """Those that have it in common: what a client of one says goes to another as it stands."""
    keywords: frozenset[str]
    only: Mapping[str, frozenset[Any]] = {}
    """Of these keywords, the only values taken."""
    patterns: re.Pattern[str] | None = None
    """Which regular expressions it takes; None: any, where it takes `pattern`."""
    literals: tuple[type, ...]
    """Types of the values that `enum` and `const` may hold."""
    closed: bool
    """Whether every object must say that it has no properties but those named."""
    complete: bool = False
    """Whether every property must be required."""
    recursion: Literal["any", "optional", "none"]
    """Where a schema may hold itself: only in properties that may be left out, or nowhere."""


_SCALARS = (str, int, float, bool, type(None))
CLAUDE = Subset(
    keywords=_COMMON | {"const", "default", "allOf", "pattern"},
    only={"format": _FORMATS, "minItems": frozenset({0, 1})},
    patterns=_PLAIN,
    literals=_SCALARS,
    closed=True,
    recursion="none",
)
"""Anthropic's `output_config.format` and strict tools, and Bedrock's of the same kind.

Sources: https://platform.claude.com/docs/en/build-with-claude/structured-outputs,
https://docs.aws.amazon.com/bedrock/latest/userguide/structured-output.html, November 2026.
"""
OPENAI = Subset(
    dialects=frozenset({"openai_chat", "openai_responses"}),
    keywords=_COMMON
    | {
        "const", "pattern", "maxItems", "multipleOf",
        "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum",
    },
    only={"format": _FORMATS - {"uri"}},
    literals=_SCALARS,
    closed=True,
    complete=True,
    recursion="any",
)  # fmt: skip
"""What is sent with `strict`.

Source: https://platform.openai.com/docs/guides/structured-outputs, November 2026.
"""
GEMINI = Subset(
    keywords=_COMMON
    | {"$id", "$anchor", "prefixItems", "maxItems", "minimum", "maximum", "propertyOrdering"},
    literals=(str, int, float),
    closed=False,
    recursion="optional",
)
"""`responseJsonSchema`, of every model that has the field.

Source: https://ai.google.dev/api/generate-content#generationconfig, November 2026.
"""
