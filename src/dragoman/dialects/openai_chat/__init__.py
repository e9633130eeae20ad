"""OpenAI Chat Completions, `POST /v1/chat/completions`.

Source: https://platform.openai.com/docs/api-reference/chat, November 2026.
"""

from __future__ import annotations

from collections.abc import Mapping
from operator import is_not
from typing import Any, cast

import msgspec

from dragoman.dialects import CHAT, Call, StreamOptions
from dragoman.dialects.base import Chat, models_call
from dragoman.dialects.openai_chat import errors, models
from dragoman.dialects.openai_chat import request as requests
from dragoman.dialects.openai_chat import response as responses
from dragoman.dialects.openai_chat.images import is_image
from dragoman.dialects.openai_chat.messages import own_turn, says_thoughts
from dragoman.dialects.openai_chat.quirks import Quirks
from dragoman.dialects.openai_chat.spelling import (
    NAME,
    SDK_AGENT,
    USER_AGENT,
    WHOLE_CALLS,
    Encoding,
    is_own,
)
from dragoman.dialects.openai_chat.stream_decoder import ChatStreamDecoder
from dragoman.dialects.openai_chat.stream_encoder import ChatStreamEncoder
from dragoman.ir import Blob, Json, Request, Response, Uri
from dragoman.ir.losses import Losses
from dragoman.wire.fields import as_list

__all__ = ["WHOLE_CALLS", "OpenAIChat", "Quirks", "WholeChat"]

_MODELS = "/v1/models"
_SEEDS = ("seed", "random_seed")
_LIMITS = ("max_completion_tokens", "max_tokens")


class _UsageFrame(msgspec.Struct):
    choices: list[msgspec.Raw] | None = None
    usage: dict[str, msgspec.Raw] | None = None


_decode_usage_frame = msgspec.json.Decoder(_UsageFrame).decode


class OpenAIChat(Chat):
    """The dialect, as a provider with `quirks` speaks it."""

    name = NAME
    _id_prefix = "chatcmpl-"
    _requests, _responses, _errors, _models = requests, responses, errors, models

    def __init__(self, quirks: Quirks | None = None) -> None:
        self._quirks = quirks or Quirks()

    def match(self, path: str, query: str, headers: Mapping[str, str]) -> Call | None:
        del query
        if path == "/v1/chat/completions":
            if headers.get(USER_AGENT) == SDK_AGENT:
                return Call(operation=CHAT, framing=WHOLE_CALLS, wants_usage=True)
            return Call(operation=CHAT)
        return models_call(path, _MODELS)

    def encode_request(self, request: Request, losses: Losses) -> Json:
        own = is_own(request.residue)
        return requests.encode_request(
            request, Encoding(losses=losses, quirks=self._quirks, own=own)
        )

    def stream_decoder(self) -> ChatStreamDecoder:
        return ChatStreamDecoder()

    def stream_encoder(self, options: StreamOptions) -> ChatStreamEncoder:
        return ChatStreamEncoder(options)

    def edits(self, body: Json) -> dict[str, Any]:
        """See `Dialect.edits`."""
        edits = self._stream_edits(body) | self._word_edits(body)
        limit = self._quirks.max_tokens_field
        for name in _LIMITS:
            if limit is not None and name != limit and body.get(name) is not None:
                edits[name] = None
                edits.setdefault(limit, body.get(limit) or body[name])
        return edits | _edit_messages(body, developer_role=self._quirks.developer_role)

    def _word_edits(self, body: Json) -> dict[str, Any]:
        """The provider's name for the seed; `required` for `any`, which only Mistral knows and
        holds to be the same."""
        edits: dict[str, Any] = {}
        wanted = self._quirks.seed_field
        for name in _SEEDS:
            if name != wanted and body.get(name) is not None and body.get(wanted) is None:
                edits |= {name: None, wanted: body[name]}
        if body.get("tool_choice") == "any":
            edits["tool_choice"] = "required"
        return edits

    def _stream_edits(self, body: Json) -> dict[str, Any]:
        if body.get("stream") is not True:
            return {}
        given = body.get("stream_options")
        options = cast("Json", given) if isinstance(given, dict) else {}
        if self._quirks.include_usage:
            if options.get("include_usage") is True:
                return {}
            return {"stream_options": {**options, "include_usage": True}}
        if "include_usage" not in options:
            return {}
        left = {name: value for name, value in options.items() if name != "include_usage"}
        return {"stream_options": left or None}

    def frames(self, framing: str) -> bool:
        return framing != WHOLE_CALLS or self._quirks.whole_calls

    def borrows(self, body: Json) -> bool:
        return any(map(says_thoughts, as_list(body.get("messages"))))

    def own_history(self, body: Json, losses: Losses) -> dict[str, Any]:
        """See `Dialect.own_history`. Reasoning stands in the content for Mistral's clients alone,
        and only clients were told others' state among the details."""
        messages = as_list(body.get("messages"))
        encoding = Encoding(losses=losses, quirks=self._quirks)
        told = [
            own_turn(message, f"$.messages[{index}]", encoding)
            for index, message in enumerate(messages)
        ]
        return {"messages": told} if any(map(is_not, told, messages)) else {}

    def wants_usage(self, body: Json) -> bool | None:
        given = body.get("stream_options")
        return isinstance(given, dict) and cast("Json", given).get("include_usage") is True

    def has_place_for(self, media: Uri | Blob) -> bool:
        return is_image(media)

    def is_usage_frame(self, data: str) -> bool:
        if '"usage"' not in data:
            return False
        try:
            frame = _decode_usage_frame(data)
        except msgspec.DecodeError:
            return False
        return frame.choices == [] and frame.usage is not None


class WholeChat(OpenAIChat):
    """The same for clients that want their streams `WHOLE_CALLS`, who read reasoning in the
    content of whole answers, too."""

    def encode_response(self, response: Response, losses: Losses) -> Json:
        return responses.in_content(super().encode_response(response, losses))


def _edit_messages(body: Json, *, developer_role: bool) -> dict[str, Any]:
    """The messages with `system` for a `developer` nobody knows, and with each image's bare
    address, as only Mistral takes it, in an object; empty where there is nothing to edit."""
    messages = as_list(body.get("messages"))
    edited = [_edit_message(message, developer_role) for message in messages]
    return {"messages": edited} if any(map(is_not, edited, messages)) else {}


def _edit_message(message: Any, developer_role: bool) -> Any:  # noqa: FBT001
    if not isinstance(message, dict):
        return message
    given = cast("Json", message)
    if given.get("role") == "developer" and not developer_role:
        return _edit_message({**given, "role": "system"}, developer_role)
    parts = as_list(given.get("content"))
    if any(map(_is_bare_image, parts)):
        return {**given, "content": [_edit_part(part) for part in parts]}
    return given


def _is_bare_image(part: Any) -> bool:
    if not isinstance(part, dict):
        return False
    given = cast("Json", part)
    return given.get("type") == "image_url" and isinstance(given.get("image_url"), str)


def _edit_part(part: Any) -> Any:
    return {**part, "image_url": {"url": part["image_url"]}} if _is_bare_image(part) else part
