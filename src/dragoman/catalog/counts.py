"""Where answers say their token counts, as data: what Envoy's own filters look for.

One row of `FAMILIES` a way of counting. The first family of which an answer holds a count is the
one that is read; its counts of a kind add up. Envoy's statistics and the ledger both read this
table, so that they always say the same.
"""

from __future__ import annotations

from typing import Literal, get_args

import msgspec

Kind = Literal[
    "input", "output", "cached", "cache_write", "reasoning",
    "input_audio", "input_image", "output_audio", "output_image",
]  # fmt: skip
KINDS: tuple[Kind, ...] = get_args(Kind)
"""Cached and written input, and sound and images in it, are part of the input; reasoning, sound and
images are part of the output."""
DIRECTIONS = KINDS[:5]
"""Those that statistics tell apart."""


class Count(msgspec.Struct, frozen=True):
    """One number in an answer."""

    path: tuple[str, ...]
    """Names from the top of the JSON object."""
    kinds: tuple[Kind, ...]
    """What it is a part of."""

    @property
    def key(self) -> str:
        """Its name in the metadata namespace `dragoman.usage`."""
        return ".".join(self.path)


class Family(msgspec.Struct, frozen=True, kw_only=True):
    """One way of counting."""

    counts: tuple[Count, ...]
    grows: bool
    """A stream tells its counts early and again; cut short, it leaves a part of them."""


def _count(path: str, *kinds: Kind) -> Count:
    return Count(tuple(path.split(".")), kinds)


FAMILIES: dict[str, Family] = {
    "openai": Family(
        grows=False,
        counts=(
            _count("usage.prompt_tokens", "input"),
            _count("usage.completion_tokens", "output"),
            _count("usage.prompt_tokens_details.cached_tokens", "cached"),
            _count("usage.completion_tokens_details.reasoning_tokens", "reasoning"),
            _count("usage.prompt_tokens_details.audio_tokens", "input_audio"),
            _count("usage.prompt_tokens_details.image_tokens", "input_image"),
            _count("usage.completion_tokens_details.audio_tokens", "output_audio"),
            _count("usage.completion_tokens_details.image_tokens", "output_image"),
        ),
    ),
    "anthropic": Family(  # and OpenAI's Responses, whose input includes what was cached
        grows=True,
        counts=(
            _count("usage.input_tokens", "input"),
            _count("usage.output_tokens", "output"),
            _count("usage.cache_read_input_tokens", "input", "cached"),
            _count("usage.cache_creation_input_tokens", "input", "cache_write"),
            _count("usage.input_tokens_details.cached_tokens", "cached"),
            _count("usage.output_tokens_details.reasoning_tokens", "reasoning"),
            _count("usage.output_tokens_details.thinking_tokens", "reasoning"),
            # OpenAI's images and transcripts
            _count("usage.input_tokens_details.image_tokens", "input_image"),
            _count("usage.input_tokens_details.audio_tokens", "input_audio"),
            _count("usage.input_token_details.audio_tokens", "input_audio"),
            _count("usage.output_tokens_details.image_tokens", "output_image"),
        ),
    ),
    "gemini": Family(
        grows=True,
        counts=(
            _count("usageMetadata.promptTokenCount", "input"),
            _count("usageMetadata.toolUsePromptTokenCount", "input"),
            _count("usageMetadata.candidatesTokenCount", "output"),
            _count("usageMetadata.thoughtsTokenCount", "output", "reasoning"),
            _count("usageMetadata.cachedContentTokenCount", "cached"),
        ),
    ),
    "bedrock": Family(
        grows=False,
        counts=(
            _count("usage.inputTokens", "input"),
            _count("usage.outputTokens", "output"),
            _count("usage.cacheReadInputTokens", "input", "cached"),
            _count("usage.cacheWriteInputTokens", "input", "cache_write"),
        ),
    ),
    "cohere": Family(
        grows=False,
        counts=(
            _count("usage.tokens.input_tokens", "input"),
            _count("usage.tokens.output_tokens", "output"),
            _count("usage.cached_tokens", "cached"),
        ),
    ),
    "cohere billed": Family(  # where it does not say what the model read
        grows=False,
        counts=(
            _count("usage.billed_units.input_tokens", "input"),
            _count("usage.billed_units.output_tokens", "output"),
            _count("usage.cached_tokens", "cached"),
        ),
    ),
    "billed": Family(  # Cohere's embeddings
        grows=False,
        counts=(
            _count("meta.billed_units.input_tokens", "input"),
            _count("meta.billed_units.image_tokens", "input", "input_image"),
        ),
    ),
    "ollama": Family(
        grows=False,
        counts=(_count("prompt_eval_count", "input"), _count("eval_count", "output")),
    ),
    "total": Family(grows=False, counts=(_count("usage.total_tokens", "input"),)),  # Voyage, Jina
    "titan": Family(grows=False, counts=(_count("inputTextTokenCount", "input"),)),
    "tgi": Family(
        grows=False,
        counts=(
            _count("details.input_length", "input"),
            _count("details.generated_tokens", "output"),
        ),
    ),
}
"""In the order in which they are looked for."""

HEADERS: dict[str, Kind] = {
    "x-amzn-bedrock-input-token-count": "input",
    "x-amzn-bedrock-output-token-count": "output",
}
"""Response headers that tell counts beside an answer whose body tells none, by what they count."""
FAMILIES["headers"] = Family(
    grows=False, counts=tuple(Count((name,), (kind,)) for name, kind in HEADERS.items())
)

WRAPPERS: tuple[tuple[str, ...], ...] = (("message",), ("response",), ("delta",))
"""Events of a stream may hold the same object one level down: Anthropic's first, the last of
OpenAI's Responses, Cohere's last."""

COUNTED: dict[str, tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]] = {
    "openai_chat": (("openai", "total"), ()),
    "openai_completions": (("openai", "total"), ()),
    "openai_responses": (("anthropic",), (("response",),)),
    "anthropic_messages": (("anthropic",), (("message",),)),
    "gemini_generate": (("gemini",), ()),
}
"""The families in a dialect's own answers and the wrappers in its streams, for the dialects asked
most: in answers of any other dialect Envoy looks for all counts, in every event."""


def all_counts() -> list[Count]:
    """Every count of every family, once."""
    counts = (count for family in FAMILIES.values() for count in family.counts)
    return list(dict.fromkeys(counts))
