"""Errors as answers: the words of those that came, the headers of those that go."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast

import msgspec

from dragoman.actions import Respond
from dragoman.errors import DragomanError, MethodNotAllowed
from dragoman.ir import Json

_MAX_TEXT = 500
_MAX_DEPTH = 4
_MAX_PROBLEMS = 8
_SPOKEN = ("message", "Message", "detail", "error", "errors", "msg", "title")
"""Fields that hold an error's words, the likeliest first."""
_TITLE = re.compile(r"<title>([^<]*)</title>", re.IGNORECASE)


def read_json(body: bytes) -> Any:
    """The value in `body`; None where it is no JSON."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def error_answer(error: DragomanError, body: Json, headers: Mapping[str, str] = {}) -> Respond:
    """The answer that tells a client of `error`, in the words of its dialect."""
    allow = {"allow": error.allow} if isinstance(error, MethodNotAllowed) else {}
    return Respond(
        status=error.status,
        headers={"content-type": "application/json", **headers, **allow},
        body=msgspec.json.encode(body),
    )


def is_error(body: bytes) -> bool:
    """Whether `body`, which is no answer, is an error, whatever its status: one of the shapes that
    servers and the proxies before them have for one."""
    match read_json(body):
        case {"error": found} | [{"error": found}, *_] if found:
            return bool(words_in(found))
        case {"message": str(text)} | {"detail": str(text)}:
            return bool(text)
        case _:
            return False


def words_of(status: int, body: bytes) -> str:
    """What `body`, of a provider or a proxy before it, says went wrong: the words of its JSON,
    the title of a page, else its text."""
    value = read_json(body)
    text = words_in(value) if value is not None else _plain(body)
    return text or f"The provider answered with status {status} and no message."


def words_in(value: Any, depth: int = _MAX_DEPTH) -> str:
    """The words in `value`: a string, an object that has them in one of its fields, a list of
    either. FastAPI says of each problem in a list where it is. Empty where there are none."""
    if not depth:
        return ""
    match value:
        case str():
            return value
        case bool():
            return ""
        case int():
            return str(value)
        case {"loc": [*places], "msg": str(text)}:
            return f"{'.'.join(map(str, places))}: {text}"
        case {}:
            fields = cast("Json", value)
            found = (words_in(fields.get(key), depth - 1) for key in _SPOKEN)
            return next((text for text in found if text), "")
        case [*items]:
            found = (words_in(item, depth - 1) for item in items[:_MAX_PROBLEMS])
            return "; ".join(text for text in found if text)
        case _:
            return ""


def _plain(body: bytes) -> str:
    text = body[: 4 * _MAX_TEXT].decode("utf-8", "replace").strip()
    title = _TITLE.search(text)
    if title:
        return title[1].strip()
    return "" if text.startswith("<") or text == "null" else text[:_MAX_TEXT]
