"""How providers of this dialect differ from its reference, as data."""

from __future__ import annotations

from typing import Literal

import msgspec


class Quirks(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One provider's differences. The defaults are OpenAI itself."""

    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] | None = None
    """The only name it takes for the limit; None: both, and the newer one is written."""
    seed_field: Literal["seed", "random_seed"] = "seed"
    """Its name for the seed."""
    include_usage: bool = True
    """Whether it takes `stream_options.include_usage`; those that do not report it always."""
    reasoning_field: Literal["reasoning_content", "reasoning"] | None = None
    """Where an assistant message of the history carries its reasoning; None: nowhere."""
    thinking_parts: bool = False
    """Whether it takes its own `thinking` parts back, in the content of the history."""
    thinking_field: Literal["reasoning_effort", "reasoning", "thinking", "chat_template_kwargs"] = (
        "reasoning_effort"
    )
    """Where another dialect's client asks it to think."""
    reasoning_details: bool = False
    """Whether it takes `reasoning_details`, signatures included, in the history."""
    states: bool = False
    """Whether these may carry other dialects' states: a client's may, which sends them back."""
    extra_content: bool = False
    """Whether it takes Gemini's signatures back, on calls and messages."""
    developer_role: bool = True
    """Whether it knows the role `developer`; `system` is written where it does not."""
    cache_control: bool = False
    """Whether it takes prompt-cache marks on content parts and tools."""
    images: bool = False
    """Whether its models may be asked for images, and it takes those they made in the history."""
    top_k: bool = False
    """Whether it takes `top_k`."""
    bare_media: bool = False
    """Whether audio is a bare string, and a document a `document_url`."""
    whole_calls: bool = False
    """Whether it streams each tool call whole, and usage with the last choice (`WHOLE_CALLS`)."""
    text_array: bool = True
    """Whether it takes an array of nothing but texts; they are joined by a blank line if not."""
