"""The ways of asking for a count, as data."""

from __future__ import annotations

from dragoman.dialects.count_tokens import Row

_CHAT_TEMPLATE = ("tool_choice", "parallel_tool_calls", "response_format", "reasoning")
_ANTHROPIC = frozenset(
    {
        "model",
        "messages",
        "system",
        "tools",
        "tool_choice",
        "thinking",
        "output_config",
        "output_format",
        "cache_control",
        "mcp_servers",
        "context_management",
        "anthropic_version",
    }
)
_OPENAI = frozenset(
    {
        "model",
        "input",
        "instructions",
        "conversation",
        "previous_response_id",
        "parallel_tool_calls",
        "personality",
        "reasoning",
        "text",
        "tool_choice",
        "tools",
        "truncation",
    }
)
_GOOGLE = frozenset({"contents", "systemInstruction", "tools", "generationConfig"})

ROWS = (
    Row(
        name="anthropic_count_tokens",
        chat="anthropic_messages",
        path="/v1/messages/count_tokens|/v1(?:beta1)?/projects/[^/]+/locations/[^/]+"
        "/publishers/anthropic/models/count-tokens:rawPredict",
        fields=_ANTHROPIC,
        count="input_tokens",
    ),
    Row(
        name="openai_input_tokens",
        chat="openai_responses",
        path="/v1/responses/input_tokens",
        fields=_OPENAI,
        optional={"input": "x"},
        count="input_tokens",
        constant={"object": "response.input_tokens"},
    ),
    Row(
        name="gemini_count_tokens",
        chat="gemini_generate",
        path="/v1(?:beta1?|alpha)?(?:/projects/[^/]+/locations/[^/]+)?(?:/publishers/google)?"
        "/(?:models|tunedModels|endpoints)/(?P<model>.+):countTokens",
        fields=_GOOGLE | {"toolConfig", "safetySettings", "cachedContent"},
        count="totalTokens",
    ),
    Row(
        name="bedrock_count_tokens",
        chat="bedrock_converse",
        path="/model/(?P<model>.+)/count-tokens",
        fields=frozenset({"messages", "system", "toolConfig", "additionalModelRequestFields"}),
        unsaid=("response_format",),
        count="inputTokens",
    ),
    Row(
        name="vllm_tokenize",
        chat="openai_chat",
        fields=frozenset({"model", "messages", "tools"}),
        unsaid=_CHAT_TEMPLATE,
        count="count",
    ),
    Row(
        name="tgi_chat_tokenize",
        chat="openai_chat",
        fields=frozenset({"model", "messages", "tools"}),
        unsaid=_CHAT_TEMPLATE,
        count="tokenize_response",
    ),
)
VERTEX = {"fields": _GOOGLE, "unsaid": ("tool_choice",)}
"""What differs where Google's count takes no whole request."""
