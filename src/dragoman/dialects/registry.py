"""Every dialect by name, and which one a client speaks by the path it calls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from dragoman.dialects import Dialect
from dragoman.dialects.anthropic_messages import AnthropicMessages
from dragoman.dialects.anthropic_messages import Quirks as AnthropicQuirks
from dragoman.dialects.openai_chat import OpenAIChat
from dragoman.dialects.openai_chat import Quirks as OpenAIQuirks
from dragoman.errors import InvalidRequest
from dragoman.ir import Json

Operation = Literal["chat", "models"]


class ClientRoute(msgspec.Struct, frozen=True, kw_only=True):
    """What a path means. `operation` None: nothing; the dialect is the likeliest for the error."""

    dialect: Dialect
    operation: Operation | None


_OPENAI = OpenAIChat()
_ANTHROPIC = AnthropicMessages()
_CLIENTS: dict[str, Dialect] = {dialect.name: dialect for dialect in (_OPENAI, _ANTHROPIC)}
_CHAT: dict[str, Dialect] = {"/v1/chat/completions": _OPENAI, "/v1/messages": _ANTHROPIC}
_MODELS = "/v1/models"

NAMES = tuple(_CLIENTS)
"""All dialects, by name."""


def client_dialect(name: str) -> Dialect:
    """The dialect of a client, by name; OpenAI's, the most widely read, where there is none."""
    return _CLIENTS.get(name, _OPENAI)


def client_dialect_for_path(path: str, headers: Mapping[str, str]) -> ClientRoute:
    """The dialect and operation of a call to `path` (without its query)."""
    if dialect := _CHAT.get(path):
        return ClientRoute(dialect=dialect, operation="chat")
    is_anthropic = "anthropic-version" in headers or path.startswith("/v1/messages")
    dialect = _ANTHROPIC if is_anthropic else _OPENAI
    is_models = path == _MODELS or path.startswith(_MODELS + "/")
    return ClientRoute(dialect=dialect, operation="models" if is_models else None)


def provider_dialect(name: str, quirks: Json) -> Dialect:
    """The dialect `name` as a provider with `quirks` speaks it.

    Raises `InvalidRequest` for a dialect or a quirk that does not exist.
    """
    try:
        if name == _OPENAI.name:
            return OpenAIChat(msgspec.convert(quirks, OpenAIQuirks))
        if name == _ANTHROPIC.name:
            return AnthropicMessages(msgspec.convert(quirks, AnthropicQuirks))
    except msgspec.ValidationError as error:
        raise InvalidRequest("$.quirks", str(error)) from error
    raise InvalidRequest("$.dialect", "one of " + ", ".join(NAMES))
