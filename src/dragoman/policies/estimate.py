"""How many tokens a request holds, roughly: for models whose provider does not count.

One token for every four bytes of UTF-8 text, times the model's `token_ratio` where its profile has
one. Texts are those of messages, reasoning and tool results, names and arguments of calls, the
tools' names, descriptions and schemas, and the schema of the answer. A medium counts
`MEDIUM_TOKENS`, and where it stands inline and is no image one token for every
`BYTES_PER_MEDIUM_TOKEN` bytes if that is more; inline text is text. Linear in the request's size.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import msgspec

from dragoman.ir import (
    Blob,
    File,
    Json,
    Opaque,
    OpaqueTool,
    Part,
    Reasoning,
    Refusal,
    Request,
    Text,
    Tool,
    ToolCall,
    ToolCallResponse,
    Uri,
)

BYTES_PER_TOKEN = 4
MEDIUM_TOKENS = 1000
BYTES_PER_MEDIUM_TOKEN = 128


def estimate_tokens(request: Request, ratio: float | None = None) -> int:
    """The estimate; `ratio` is the model's `token_ratio`, None where it is not known."""
    texts, media = 0, 0
    for part in _parts(request):
        text, medium = _measure(part)
        texts += text
        media += medium
    texts += sum(map(_tool_bytes, request.tools))
    if request.response_format is not None:
        texts += _json_bytes(request.response_format.schema)
    return math.ceil(texts / BYTES_PER_TOKEN * (ratio or 1)) + media


def _parts(request: Request) -> Iterator[Part]:
    for message in request.messages:
        for part in message.parts:
            yield part
            if isinstance(part, ToolCallResponse):
                yield from part.parts


def _measure(part: Part) -> tuple[int, int]:
    """Bytes of text, and tokens of media."""
    match part:
        case Text() | Refusal() | Reasoning():
            return _bytes(part.content), 0
        case ToolCall():
            return _bytes(part.name) + _bytes(part.arguments), 0
        case ToolCallResponse():
            return 0, 0  # its parts come after it
        case Opaque():
            return _json_bytes(part.value), 0
        case Blob() if part.mime_type.startswith("text/"):
            return _content_bytes(part), 0
        case Blob() if part.modality != "image":
            return 0, max(MEDIUM_TOKENS, _content_bytes(part) // BYTES_PER_MEDIUM_TOKEN)
        case Blob() | Uri() | File():
            return 0, MEDIUM_TOKENS


def _tool_bytes(tool: Tool | OpaqueTool) -> int:
    if isinstance(tool, OpaqueTool):
        return _json_bytes(tool.value)
    return _bytes(tool.name) + _bytes(tool.description or "") + _json_bytes(tool.parameters)


def _bytes(text: str) -> int:
    return len(text.encode())


def _content_bytes(blob: Blob) -> int:
    """How much its base64 stands for."""
    return len(blob.content) * 3 // 4


def _json_bytes(value: Json | None) -> int:
    return len(msgspec.json.encode(value)) if value else 0
