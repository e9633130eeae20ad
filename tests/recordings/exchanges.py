"""Recorded exchanges with real providers, one JSON line each, from any folder of that shape.

Only what a check needs must be there: a path and an answer. What else is missing is guessed, and a
line that cannot be used is kept with its reason, so that every line of the folder is counted.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from dragoman.dialects import AnyDialect, Call
from dragoman.errors import DragomanError
from dragoman.wire.content_encoding import content_decoder
from dragoman.wire.json import decode
from tests.recordings.scope import find_claim, why_left_out
from tests.sdk import Wire

ASKED_FOR = os.environ.get("RECORDINGS")
FOLDER = Path(ASKED_FOR or Path(__file__).parents[3] / "shared" / "recordings")
_MAX_PLAIN = 256 * 2**20
_JSON = "application/json"
_ENCODINGS = ("json", "text", "base64")
_NAMES = (
    (re.compile(r"/(models?)/[^/:]+(?:(?:%3A|:)\d+)?(?=[/:]|$)"), r"/\1/{model}"),
    (re.compile(r"/(projects|fileSearchStores)/[^/:]+"), r"/\1/{id}"),
    (re.compile(r"/(?!v\d)[^/:{]*\d[^/:]{7,}"), "/{id}"),
)
"""Whatever in a path differs from call to call."""


class Exchange(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """One call and its answer."""

    id: str
    """File and line."""
    provider: str
    endpoint: str
    dialect: AnyDialect
    call: Call
    request: dict[str, Any]
    wire: Wire

    @property
    def is_stream(self) -> bool:
        return self.wire.kind != _JSON

    @property
    def is_error(self) -> bool:
        return self.wire.status >= 400


class Aside(msgspec.Struct, frozen=True, kw_only=True):
    """A line no check runs over, and why not."""

    id: str
    provider: str
    endpoint: str
    column: str
    """`out of scope`, `skipped` or `bad line`."""
    reason: str


def load(folder: Path = FOLDER) -> list[Exchange | Aside]:
    """Every line of every file, in order."""
    return [
        read_line(line, f"{file.relative_to(folder)}:{number}", file.stem)
        for file in sorted(folder.rglob("*.jsonl"))
        for number, line in enumerate(file.read_bytes().split(b"\n"), start=1)
        if line.strip()
    ]


def read_line(line: bytes, place: str, provider: str) -> Exchange | Aside:
    """One line, whatever it holds."""
    try:
        record = _Record(json.loads(line), provider)
        return _read(record, place)
    except (
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        RecursionError,
        DragomanError,
    ) as error:
        why = f"{type(error).__name__}: {error}"[:100]
        return Aside(id=place, provider=provider, endpoint="?", column="bad line", reason=why)


def _read(record: _Record, place: str) -> Exchange | Aside:
    path = record.path.partition("?")[0]
    claim = find_claim(record.method, record.path, record.request_headers)
    request = record.request_body() if claim is not None and claim.call.body == "json" else None
    if claim is not None and isinstance(request, dict):
        claim = claim.of_body(request)
    if claim is None:
        reason = why_left_out(record.method, path)
        return Aside(
            id=place,
            provider=record.provider,
            endpoint=_nameless(path),
            column="skipped" if reason is None else "out of scope",
            reason=reason or "no dialect takes this path, and no rule leaves it out",
        )
    if claim.call.body != "json":
        return Aside(
            id=place,
            provider=record.provider,
            endpoint=_nameless(claim.endpoint),
            column="out of scope",
            reason="passes through unread, to and from its provider: nothing is translated",
        )
    if not isinstance(request, dict):
        kind = record.request_headers.get("content-type", "its type is not said").partition(";")[0]
        return Aside(
            id=place,
            provider=record.provider,
            endpoint=claim.endpoint,
            column="skipped",
            reason=f"the request is no JSON object ({kind})",
        )
    asked = claim.call.is_streamed(request)
    return Exchange(
        id=place,
        provider=record.provider,
        endpoint=claim.endpoint,
        dialect=claim.dialect,
        call=claim.call,
        request=decode(_encoded(request)),
        wire=record.wire(claim.dialect, asked=asked),
    )


class _Record:
    """One line. Fields that are missing are guessed; `KeyError` where there is nothing to go by."""

    def __init__(self, record: dict[str, Any], provider: str) -> None:
        self._request: dict[str, Any] = record["request"]
        self._response: dict[str, Any] = record["response"]
        self.provider = str(record.get("provider") or provider)
        self.method = str(self._request.get("method") or "POST").upper()
        self.request_headers = _headers(self._request)
        self.path = _path(self._request)

    def request_body(self) -> Any:
        raw = _bytes(self._request)
        try:
            return json.loads(raw)
        except ValueError:
            return None

    def wire(self, dialect: AnyDialect, *, asked: bool) -> Wire:
        headers, status = _headers(self._response), _status(self._response)
        raw = _bytes(self._response)
        if self._response.get("encoding") == "base64":
            raw = _expanded(raw, headers.get("content-encoding") or _encoding_of(raw))
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        return Wire(raw, status=status, kind=_kind(kind, dialect, raw, asked=asked))


def _kind(kind: str, dialect: AnyDialect, raw: bytes, *, asked: bool) -> str:
    """The stream's content type, or JSON: what the bytes were, where the headers do not say."""
    if asked and raw.lstrip()[:1] == b"[" and _JSON in dialect.stream_types:
        return dialect.stream_types[0]
    if kind in dialect.stream_types and (asked or kind != _JSON):
        return kind
    is_object = raw.lstrip()[:1] == b"{" and _is_json(raw)
    if asked and not is_object and dialect.stream_types:
        return dialect.stream_types[0]
    return _JSON


def _nameless(path: str) -> str:
    for pattern, name in _NAMES:
        path = pattern.sub(name, path)
    return path


def _expanded(raw: bytes, encoding: str) -> bytes:
    """Undone, unless whoever recorded it had undone it already and kept the header."""
    try:
        decoder = content_decoder(encoding, _MAX_PLAIN)
        return decoder.feed(raw) + decoder.close()
    except DragomanError:
        return raw


def _encoding_of(raw: bytes) -> str:
    """By the first bytes, where whoever recorded it kept no header."""
    return "gzip" if raw.startswith(b"\x1f\x8b") else ""


def _is_json(raw: bytes) -> bool:
    try:
        json.loads(raw)
    except ValueError:
        return False
    return True


def _headers(message: dict[str, Any]) -> dict[str, str]:
    """Names in lower case; a list's first value; also pairs."""
    found = message.get("headers") or {}
    pairs: Iterator[Any] = iter(found.items() if isinstance(found, dict) else found)
    return {
        str(name).lower(): str(value[0] if isinstance(value, list) and value else value)
        for name, value in pairs
    }


def _path(request: dict[str, Any]) -> str:
    found = request.get("path") or request.get("url") or request.get("uri")
    if not isinstance(found, str):
        raise KeyError("request.path")
    parts = urlsplit(found)
    return parts.path + (f"?{parts.query}" if parts.query else "")


def _status(response: dict[str, Any]) -> int:
    found = response.get("status", response.get("status_code", 200))
    return int(found["code"] if isinstance(found, dict) else found)


def _bytes(message: dict[str, Any]) -> bytes:
    """The body as it went over the wire."""
    body, encoding = message.get("body"), message.get("encoding")
    if encoding is not None and encoding not in _ENCODINGS:
        raise ValueError(f"unknown encoding {encoding!r}")
    if encoding == "base64":
        return base64.b64decode(body)
    if isinstance(body, str) and (encoding != "json" or _holds_json(body)):
        return body.encode()
    return b"" if body is None and encoding != "json" else _encoded(body)


def _holds_json(body: str) -> bool:
    """Whether it is a JSON document that was written down as a string once more."""
    return body.lstrip()[:1] in ("{", "[") and _is_json(body.encode())


def _encoded(body: Any) -> bytes:
    return json.dumps(body, ensure_ascii=False).encode()
