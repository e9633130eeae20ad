"""Whose endpoint a recorded path is: the registry's word, else a stated reason to leave it out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

import msgspec

from dragoman.dialects import MODELS, AnyDialect, Call
from dragoman.dialects.registry import ClientCall, client_call
from dragoman.errors import InvalidRequest

HEADS = ("", "/v1", "/v2", "/v1beta", "/api")
"""What stands before a suffix at the gateway where the provider's base path left it out."""

WHOLE_PATHS = ("tgi_generate",)
"""Dialects whose paths are too plain to be told by their end."""

OUT_OF_SCOPE: tuple[tuple[str, str], ...] = (
    (
        r"POST .*/models?/[^/]+/invoke(-with-response-stream)?$",
        "InvokeModel: each model's own body",
    ),
    (r"POST .*:(rawPredict|streamRawPredict)$", "raw prediction: each model's own body"),
    (r"\w+ .*(/files|/uploads?|/file_?[sS]earch\w*)(/|:|$)", "files are kept by their provider"),
    (r"\w+ .*/vector_stores(/|$)", "vector stores are kept by their provider"),
    (r"\w+ .*/realtime(/|$)", "realtime sessions run over WebSocket or WebRTC"),
    (r"\w+ .*(/batch(es)?(/|$)|:batchGenerate)", "batches answer later, from the provider's store"),
    (r"POST .*/responses/compact$", "compaction works on the provider's own state"),
    (r"POST .*/tokenize$", "the tokens themselves, which only their own model's provider knows"),
    (r"\w+ .*/(responses|chat/completions|interactions)/[^/]+", "stored answers: the provider's"),
    (r"\w+ .*/(cachedContents|caches)(/|$)", "explicit caches are kept by their provider"),
    (
        r"\w+ .*/(assistants|threads|conversations|containers|agents|skills|evals)(/|$)",
        "stored state",
    ),
    (r"\w+ .*/(fine[-_]tuning|tuned|datasets|connectors|graders)(/|$)", "training and its data"),
    (r"POST .*/(moderations|classify|classifications)$", "classification is no operation here"),
    (r"POST .*(/ocr|/videos?(/.*)?|:predict\w*|/interactions)$", "no operation of the gateway"),
    (r"\w+ .*/(audio|images?|speech|voices|text-to-speech)(/|$)", "no operation of the gateway"),
    (r"POST .*/(token|oauth.*|login|authorize|sts|session)$", "a login, not a call to a model"),
    (r"\w+ .*/api/(tags|show|ps|pull|push|create|delete|copy|version)$", "manages local models"),
    (r"(GET|HEAD) .*/models(/|$)", "the gateway lists its own models"),
    (r"(GET|HEAD|DELETE|PUT|PATCH|OPTIONS) ", "no call to a model"),
)
"""Method and path, against the first pattern that matches; only for what no dialect claims."""
_RULES = tuple((re.compile(pattern), reason) for pattern, reason in OUT_OF_SCOPE)


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """A path some dialect takes."""

    found: ClientCall
    endpoint: str
    """The gateway's path, the model's name left out."""

    @property
    def dialect(self) -> AnyDialect:
        return self.found.dialect

    @property
    def call(self) -> Call:
        assert self.found.call is not None
        return self.found.call

    def of_body(self, body: dict[str, Any]) -> Claim | None:
        """The dialect that claims the body, None if none of those with the path does."""
        try:
            return msgspec.structs.replace(self, found=self.found.claimed(body))
        except InvalidRequest:
            return None


def find_claim(method: str, path_and_query: str, headers: Mapping[str, str]) -> Claim | None:
    """Who takes the path, or what is left of it without the provider's own base path."""
    path, _, query = path_and_query.partition("?")
    for suffix in _suffixes(path):
        for head in HEADS:
            found = client_call(f"{head}{suffix}?{query}", headers)
            call = found.call
            if call is None or call.operation == MODELS:
                continue
            if found.dialect.name in WHOLE_PATHS and suffix != path:
                continue
            if call.method in ("", method):
                endpoint = _without_model(head + suffix, call.model)
                return Claim(found=found, endpoint=endpoint)
    return None


def why_left_out(method: str, path: str) -> str | None:
    """The reason of the first rule that matches; None where there is no rule."""
    called = f"{method} {path}"
    return next((reason for pattern, reason in _RULES if pattern.match(called)), None)


def _suffixes(path: str) -> Iterator[str]:
    """The path, then what is left of it one segment after the other, the longest first."""
    at = 0
    while at >= 0:
        yield path[at:]
        at = path.find("/", at + 1)


def _without_model(path: str, model: str | None) -> str:
    if not model:
        return path
    return "/".join(_segment(one, model) for one in path.split("/"))


def _segment(segment: str, model: str) -> str:
    plain = unquote(segment)
    return "{model}" + plain[len(model) :] if plain.startswith(model) else segment
