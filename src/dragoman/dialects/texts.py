"""Which strings of a body are text: all of them but identifiers that look like one, and blobs.

One rule for every dialect, and for those to come: what a table does not name is text, so that a new
field or a new dialect is never a hole. A name counts as an identifier only where the dialect, not
the client, chose the names: below a tool's arguments, its result or a schema everything is text,
names and long numbers too. A string that is JSON itself (the arguments of OpenAI's tool calls, many
tool results) is read as such, with its own escapes; so is a file in base64 that is text.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from dragoman.errors import InvalidRequest
from dragoman.wire.json_texts import Place, rewrite
from dragoman.wire.text_files import TextFile, read_text_file

IDENTIFIERS = frozenset(
    [
        "id",
        "call_id",
        "tool_call_id",
        "tool_use_id",
        "toolUseId",
        "item_id",
        "previous_response_id",
        "response_id",
        "conversation",
        "file_id",
        "fileId",
        "container",
        "container_id",
        "cachedContent",
        "name",
        "type",
        "role",
        "object",
        "status",
        "signature",
        "thought_signature",
        "thoughtSignature",
        "encrypted_content",
        "model",
        "modelId",
        "media_type",
        "mimeType",
        "mime_type",
        "format",
        "server_label",
        "service_tier",
        "prompt_cache_key",
        "obfuscation",
        "system_fingerprint",
        "responseId",
        "modelVersion",
        "vector_store_ids",
        "finish_reason",
        "finishReason",
        "stop_reason",
        "stopReason",
        "created_at",
        "event_id",
        "generation_id",
    ]
)
"""Fields whose value is not text where it looks like an identifier."""
BLOBS = frozenset({
    "data", "bytes", "file_data", "fileData", "b64_json", "signature", "thought_signature",
    "thoughtSignature", "encrypted_content", "redactedContent", "image", "audio",
})  # fmt: skip
"""Fields that may hold a file or a sealed state: not text where they look like base64."""
FILES = ("data", "bytes", "file_data", "fileData")
"""Those that may hold a file which is text."""
FREE = frozenset({
    "arguments", "args", "input", "response", "json", "parameters", "parametersJsonSchema",
    "responseJsonSchema", "responseSchema", "input_schema", "inputSchema", "schema", "data",
    "metadata", "requestMetadata", "document",
})  # fmt: skip
"""Fields whose object has names of the client's own."""
_ECHO = re.compile(r"\$\.(?:response\.)?(?:instructions|tools|tool_choice|metadata|prompt|text\.)")
"""OpenAI's Responses tell in their answers what was asked."""
_IDENTIFIER = re.compile(r"[A-Za-z0-9_.:/|+=-]{1,128}|[A-Za-z0-9+/=_-]+")
_BASE64 = re.compile(r"(?:data:[\w.+/;=-]{0,128};base64,)?(?:[A-Za-z0-9+/_-]++\r?\n?)*+={0,2}\s*")
_JSON_STARTS = ("{", "[", '"')
_MIN_BLOB = 64
_MIN_DIGITS = 7
_MAX_NESTING = 8
"""JSON in a string, in a string of which there is JSON in a string, and so on."""


class TextSlot(NamedTuple):
    """One text of a body."""

    text: str
    path: str
    hint: str
    """The name the client gave it, where it chose the names; else empty."""


Change = Callable[[str, str, Callable[[], str]], str | None]
"""Of a slot's text, its hint and (called only if wanted) its path: the new text; None keeps it."""


def edit_texts(raw: bytes, change: Change) -> bytes | None:
    """`raw`, a request or an answer of any dialect, with its texts changed; None if none was.

    All other bytes stay: a provider's prompt cache sees the same prefix.
    """
    return rewrite(raw, _Texts(change))


def text_slots(raw: bytes) -> list[TextSlot]:
    """The texts of `raw`, in order."""
    found: list[TextSlot] = []

    def keep(text: str, hint: str, path: Callable[[], str]) -> None:
        found.append(TextSlot(text, path(), hint))

    edit_texts(raw, keep)
    return found


class _Texts:
    """Tells `rewrite` what is text."""

    def __init__(
        self, change: Change, depth: int = 0, path: Callable[[], str] | None = None
    ) -> None:
        self._change = change
        self._depth = depth
        self._path = path
        """Where the string stands that this JSON is in; None: it is the body."""

    def opens_free(self, place: Place) -> bool:
        return len(place.keys) > 1 and place.keys[-1] in FREE

    def key(self, text: str, place: Place) -> str | None:
        return self._change(text, "", self._path or place.path)

    def number(self, digits: str, place: Place) -> str | None:
        if len(digits) < _MIN_DIGITS or not digits.isdigit():
            return None
        return self._change(digits, place.name, self._path or place.path)

    def value(self, text: str, place: Place) -> str | None:
        free = bool(place.free) and place.free[-1]
        if not text or (not free and is_identifier(place.name, text)):
            return None
        is_long, file = len(text) >= _MIN_BLOB, _file(text, place)
        said = None if file is None else self._text(file.text, place, "")
        if is_long and (file is not None or _is_blob(text, place)):
            changed = None
        else:  # what is short may be no file, though it can be read as one
            changed = self._text(text, place, place.name if free else "")
        if changed is None and file is not None and said is not None:
            return file.write(said)
        return changed

    def _text(self, text: str, place: Place, hint: str) -> str | None:
        if text.lstrip()[:1] in _JSON_STARTS and _is_json(text):
            return self._nested(text, place)
        return self._change(text, hint, self._path or place.path)

    def _nested(self, text: str, place: Place) -> str | None:
        where = self._path or place.path
        if self._depth == _MAX_NESTING:
            raise InvalidRequest(where(), f"JSON in strings no deeper than {_MAX_NESTING} times")
        path = where()
        inner = _Texts(self._change, self._depth + 1, lambda: path)
        changed = rewrite(text.encode(), inner, free=True)
        return None if changed is None else changed.decode()


def is_echo(path: Callable[[], str]) -> bool:
    """Whether a text of an answer only says what the request did."""
    return _ECHO.match(path()) is not None


def is_identifier(name: str, text: str) -> bool:
    """Whether a field of the dialect's own that is called `name` holds no text."""
    return name in IDENTIFIERS and _IDENTIFIER.fullmatch(text) is not None


def _file(text: str, place: Place) -> TextFile | None:
    is_named = place.name in FILES or text.startswith("data:")
    return read_text_file(text) if is_named else None


def _is_blob(text: str, place: Place) -> bool:
    named = place.name in BLOBS or text.startswith("data:")
    return named and _BASE64.fullmatch(text) is not None


def _is_json(text: str) -> bool:
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True
