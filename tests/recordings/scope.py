"""Whose endpoint a recorded path is: the registry's word, else a stated reason to leave it out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote

import msgspec

from dragoman.dialects import MODELS, AnyDialect, Call
from dragoman.dialects.anthropic_messages.names import INVOKE
from dragoman.dialects.registry import ClientCall, client_call
from dragoman.errors import InvalidRequest

HEADS = ("", "/v1", "/v2", "/v1beta", "/api")
"""What stands before a suffix at the gateway where the provider's base path left it out."""

WHOLE_PATHS = ("tgi_generate",)
"""Dialects whose paths are too plain to be told by their end."""

ONLY_ALIKE: tuple[tuple[str, str], ...] = (
    (r"POST .*/v1/(chat|embed)$", "an API before /v2's, with another body"),
    (r"\w+ .*/ml/v1/", "bodies of its own, by model_id and project"),
    (r"POST .*/api/embeddings$", "an API before /api/embed, one prompt a call"),
    (
        r"POST .*/(fim|agents)/completions$",
        "a prompt answered by chat's choices, or a stored agent",
    ),
    (r"POST .*/model/[^/]*titan-text[^/]*/invoke$", "InvokeModel: each model's own body"),
)
"""Paths that end as one of the gateway's does and are another's; before any dialect's claim."""
OUT_OF_SCOPE: tuple[tuple[str, str], ...] = (
    (
        r"POST .*/models?/.+/invoke(-with-response-stream)?$",
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
    (
        r"\w+ .*/(fine[-_]tun(ing|es)|tuned\w*|custom-models|datasets|connectors|graders)(/|$)",
        "training and its data",
    ),
    (r"POST .*/(v1/complete|generate|engines/[^/]+/generate|\w+/complete)$", "a text API given up"),
    (r"POST .*/(edits|answers|searches|summarize)$", "an API given up by its provider"),
    (r"POST .*/predictions$", "jobs that answer later, from the provider's store"),
    (r"POST .*/invocations(-response-stream)?$", "a server's own body, whatever model it runs"),
    (r"POST .*/(moderations|classify|classifications)$", "classification is no operation here"),
    (r"POST .*(/ocr|/videos?(/.*)?|:predict\w*|/interactions)$", "no operation of the gateway"),
    (r"\w+ .*/(audio|images?|speech|voices|text-to-speech)(/|$)", "no operation of the gateway"),
    (r"POST .*/(token|oauth.*|login|authorize|sts|session)$", "a login, not a call to a model"),
    (r"\w+ .*/api/(tags|show|ps|pull|push|create|delete|copy|version)$", "manages local models"),
    (r"(GET|HEAD) .*/models(/|$)", "the gateway lists its own models"),
    (r"(GET|HEAD|DELETE|PUT|PATCH|OPTIONS) ", "no call to a model"),
)
"""Method and path, against the first pattern that matches; only for what no dialect claims."""
NO_OPERATION = "no operation of the gateway, and no path that a dialect has"
_OURS = re.compile(
    r"POST .*(chat|completions?|messages|responses|converse(-stream)?|invoke(-with-\S+)?"
    r"|[gG]enerateContent|embed\w*|[eE]mbedContents?|re-?rank\w*|count_?-?[tT]okens|input_tokens)$"
)
"""What reads like a call of ours: if no dialect takes it, that is worth a look."""
_RULES = tuple((re.compile(pattern), reason) for pattern, reason in OUT_OF_SCOPE)
_ONLY_ALIKE = tuple((re.compile(pattern), reason) for pattern, reason in ONLY_ALIKE)


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
        if self.call.framing == INVOKE and "prompt" in body and "messages" not in body:
            return None  # the models' text API before Messages
        try:
            return msgspec.structs.replace(self, found=self.found.claimed(body))
        except InvalidRequest:
            return None


def find_claim(method: str, path_and_query: str, headers: Mapping[str, str]) -> Claim | None:
    """Who takes the path, or what is left of it without the provider's own base path."""
    path, _, query = path_and_query.partition("?")
    if _matched(_ONLY_ALIKE, method, path):
        return None
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
    found = _matched(_ONLY_ALIKE, method, path) or _matched(_RULES, method, path)
    return found or (None if _OURS.match(f"{method} {path}") else NO_OPERATION)


def _matched(rules: Iterable[tuple[re.Pattern[str], str]], method: str, path: str) -> str | None:
    called = f"{method} {path}"
    return next((reason for pattern, reason in rules if pattern.match(called)), None)


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
    if plain == model or plain.startswith(f"{model}:"):
        return "{model}" + plain[len(model) :]
    return segment
