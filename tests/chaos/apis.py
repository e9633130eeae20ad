"""The dialects that clients speak here: what they ask, and what a whole answer or an error is."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from dragoman.dialects import ChatDialect, read_answer
from dragoman.dialects.registry import client_dialect
from dragoman.errors import DragomanError, UpstreamError
from dragoman.ir import Json, Response, Text
from dragoman.ir.events import Event, fold

MOST_TOKENS = 300
"""That a client lets an answer have: no answer here is as long."""


@dataclass(frozen=True)
class Api:
    """One dialect, as its clients speak it."""

    dialect: str
    path: str
    stream_path: str
    """The same where the body says that a stream is wanted."""
    body: Callable[[str], Json]
    """Of a text, without model and stream."""
    is_error: Callable[[Any], bool]
    """Whether a decoded body is an error as this dialect has them."""
    names_model: bool = True
    """In the body; else in the path."""

    def request(self, model: str, text: str, *, stream: bool) -> tuple[str, bytes]:
        """Path and body."""
        path = (self.stream_path if stream else self.path).replace("MODEL", quote(model, safe=""))
        named = {"model": model, "stream": stream} if self.names_model else {}
        return path, json.dumps({**named, **self.body(text)}, separators=(",", ":")).encode()

    def read(self, raw: bytes, *, stream: bool) -> Response:
        """A whole answer. Raises `UpstreamError` for an error inside a stream, and another
        `DragomanError` or `ValueError` for what is no whole answer of this dialect."""
        dialect: ChatDialect = client_dialect(self.dialect)
        if not stream:
            return dialect.decode_response(read_answer(dialect, raw))
        events: list[Event] = []
        decoder = dialect.stream_decoder()
        decoder.feed(raw, events)
        decoder.close(events)
        return fold(events)


def said(response: Response) -> str:
    """The text of an answer."""
    parts = [part for choice in response.choices for part in choice.parts]
    return "".join(part.content for part in parts if isinstance(part, Text))


def name_answer(
    api: Api, status: int, raw: bytes, *, stream: bool
) -> tuple[str, str, Response | None]:
    """What came, by name, with its text or what is wrong with it: `whole`, `error`, `error event`,
    or `malformed`."""
    if status >= 400:
        return _name_error(api, raw)
    try:
        response = api.read(raw, stream=stream)
    except UpstreamError as error:
        return "error event", str(error), None
    except (DragomanError, ValueError) as error:
        return "malformed", str(error), None
    return "whole", said(response), response


def _name_error(api: Api, raw: bytes) -> tuple[str, str, None]:
    try:
        found = json.loads(raw)
    except ValueError:
        return "malformed", "no JSON", None
    text = raw.decode(errors="replace")[:300]
    return ("error" if api.is_error(found) else "malformed"), text, None


def _turn(text: str) -> list[Json]:
    return [{"role": "user", "content": text}]


def _openai_error(found: Any) -> bool:
    return set(found) == {"error"} and {"message", "type", "param", "code"} == set(found["error"])


def _anthropic_error(found: Any) -> bool:
    return found.get("type") == "error" and {"type", "message"} <= set(found["error"])


def _gemini_error(found: Any) -> bool:
    return set(found) == {"error"} and {"code", "message", "status"} <= set(found["error"])


APIS = (
    Api(
        "openai_chat",
        "/v1/chat/completions",
        "/v1/chat/completions",
        lambda text: {"messages": _turn(text), "max_tokens": MOST_TOKENS, "stop": ["@"]},
        _openai_error,
    ),
    Api(
        "anthropic_messages",
        "/v1/messages",
        "/v1/messages",
        lambda text: {"messages": _turn(text), "max_tokens": MOST_TOKENS, "stop_sequences": ["@"]},
        _anthropic_error,
    ),
    Api(
        "openai_responses",
        "/v1/responses",
        "/v1/responses",
        lambda text: {"input": text, "max_output_tokens": MOST_TOKENS},
        _openai_error,
    ),
    Api(
        "gemini_generate",
        "/v1beta/models/MODEL:generateContent",
        "/v1beta/models/MODEL:streamGenerateContent?alt=sse",
        lambda text: {
            "contents": [{"role": "user", "parts": [{"text": text}]}],
            "generationConfig": {"maxOutputTokens": MOST_TOKENS},
        },
        _gemini_error,
        names_model=False,
    ),
    Api(
        "cohere_chat",
        "/v2/chat",
        "/v2/chat",
        lambda text: {"messages": _turn(text), "max_tokens": MOST_TOKENS},
        lambda found: isinstance(found.get("message"), str) and "error" not in found,
    ),
    Api(
        "ollama_chat",
        "/api/chat",
        "/api/chat",
        lambda text: {"messages": _turn(text), "options": {"num_predict": MOST_TOKENS}},
        lambda found: set(found) == {"error"} and isinstance(found["error"], str),
    ),
)
