"""Conversations in the terms of no dialect: one a feature, each as plain as the feature allows."""

from __future__ import annotations

import functools
from typing import Any

import msgspec

from dragoman.catalog import provider_rows
from dragoman.dialects import AnyDialect
from dragoman.dialects.registry import provider_dialect
from dragoman.errors import Unrepresentable
from dragoman.ir import (
    Blob,
    Message,
    Part,
    ReasoningConfig,
    Request,
    ResponseFormat,
    Role,
    Text,
    Tool,
    ToolCall,
    ToolCallResponse,
    ToolChoice,
    Uri,
)
from dragoman.ir.losses import Losses

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
PDF = "JVBERi0xLjQKJSVFT0YK"
WAV = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQAAAAA="
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
WEATHER = Tool(name="weather", description="Weather of a city", parameters=SCHEMA)
CLOCK = Tool(name="clock", description="The time in a city", parameters=SCHEMA)


def said(role: Role, *parts: str | Part) -> Message:
    texts = (Text(content=part) if isinstance(part, str) else part for part in parts)
    return Message(role=role, parts=tuple(texts))


def spoken(client: AnyDialect, conversation: Any) -> tuple[Any, list[str]] | None:
    """The conversation, or other request, as read from a client, and what its dialect had no words
    for.

    None where it cannot say it at all. What only some providers of the dialect take, its clients
    can say: the wordiest of the catalogue speaks for them.
    """
    found: list[tuple[Any, list[str]]] = []
    for speaker in (client, *_providers(client.name)):
        losses = Losses(client.name)
        try:
            body = speaker.encode_request(conversation, losses)
        except Unrepresentable:
            continue
        found.append((body, losses.paths))
    if not found:
        return None
    body, lost = min(found, key=lambda said: len(said[1]))
    read = client.decode_request(msgspec.json.decode(msgspec.json.encode(body)))
    said_by_path = {
        name: getattr(conversation, name)
        for name in ("model", "stream")
        if hasattr(conversation, name)
    }
    return msgspec.structs.replace(read, **said_by_path), lost


@functools.cache
def _providers(dialect: str) -> tuple[AnyDialect, ...]:
    """The dialect as each provider of the catalogue speaks it."""
    served = (row.serves.get(dialect) for row in provider_rows().values())
    return tuple(provider_dialect(dialect, endpoint.quirks) for endpoint in served if endpoint)


def result(call: ToolCall, text: str) -> Message:
    return said("tool", ToolCallResponse(id=call.id, parts=(Text(content=text),)))


def asked(*messages: Message, **fields: Any) -> Request:
    given = messages or (said("user", "Hello there"),)
    return Request(**{"model": "the-model", "messages": given, "max_tokens": 512} | fields)


GRAZ = ToolCall(id="call_graz", name="weather", arguments='{"city":"Graz"}')
LINZ = ToolCall(id="call_linz", name="weather", arguments='{"city":"Linz"}')
MIXED = ToolCall(id="call_time", name="clock", arguments='{"city":"Linz"}')
TOOLS = (WEATHER, CLOCK)

CONVERSATIONS: dict[str, Request] = {
    "text": asked(),
    "no limit": asked(max_tokens=None),
    "system": asked(said("system", "Answer in verse."), said("user", "Hello there")),
    "several turns": asked(
        said("system", "Be brief."),
        said("user", "One?"),
        said("assistant", "Two."),
        said("user", "Three?"),
    ),
    "several texts": asked(said("user", "First part", "Second part")),
    "tools": asked(tools=TOOLS),
    "a tool's result": asked(
        said("user", "Weather?"),
        said("assistant", GRAZ),
        result(GRAZ, "sunny"),
        tools=TOOLS,
    ),
    "parallel tools": asked(
        said("user", "Weather?"),
        said("assistant", "Let me look.", GRAZ, MIXED),
        result(GRAZ, "sunny"),
        result(MIXED, "noon"),
        tools=TOOLS,
    ),
    "one tool twice": asked(
        said("user", "Weather?"),
        said("assistant", GRAZ, LINZ),
        result(GRAZ, "sunny"),
        result(LINZ, "rain"),
        said("assistant", "Sunny, rain."),
        said("user", "Thanks"),
        tools=TOOLS,
    ),
    "one call at a time": asked(tools=TOOLS, parallel_tool_calls=False),
    "tool choice auto": asked(tools=TOOLS, tool_choice=ToolChoice(mode="auto")),
    "tool choice none": asked(tools=TOOLS, tool_choice=ToolChoice(mode="none")),
    "tool choice required": asked(tools=TOOLS, tool_choice=ToolChoice(mode="required")),
    "tool choice named": asked(tools=TOOLS, tool_choice=ToolChoice(mode="tool", name="clock")),
    "image by address": asked(
        said(
            "user",
            "See",
            Uri(modality="image", uri="https://example.com/a.png", mime_type="image/png"),
        )
    ),
    "image inline": asked(
        said("user", "See", Blob(modality="image", mime_type="image/png", content=PNG))
    ),
    "document": asked(
        said(
            "user",
            "Read",
            Blob(modality="document", mime_type="application/pdf", content=PDF, filename="a.pdf"),
        )
    ),
    "audio": asked(
        said("user", "Hear", Blob(modality="audio", mime_type="audio/wav", content=WAV))
    ),
    "json schema": asked(
        response_format=ResponseFormat(kind="json_schema", name="place", schema=SCHEMA, strict=True)
    ),
    "json object": asked(response_format=ResponseFormat(kind="json_object")),
    "reasoning": asked(reasoning=ReasoningConfig(effort="high"), max_tokens=40_000),
    "reasoning off": asked(reasoning=ReasoningConfig(effort="none")),
    "temperature": asked(temperature=0.5),
    "top p": asked(top_p=0.25),
    "top k": asked(top_k=5),
    "stop": asked(stop_sequences=("END", "STOP")),
    "seed": asked(seed=7),
    "penalties": asked(frequency_penalty=0.5, presence_penalty=-0.5),
    "two answers": asked(choice_count=2),
    "log probabilities": asked(logprobs=True, top_logprobs=2),
    "user": asked(user="user-1"),
    "cache marks": asked(
        said("system", Text(content="Long.", cache_control={"type": "ephemeral"})),
        said("user", "Hello there"),
    ),
    "streamed": asked(stream=True),
    "streamed with usage": asked(stream=True, include_usage=True),
}
