"""The request: a prompt, and everything else a top-level field.

A plain prompt is one text of the user's. What only a completion knows (a suffix, an echo, a prompt
of tokens, several prompts) is a part of this dialect alone, so that no other drops it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dragoman.dialects.openai_completions.names import NAME, Quirks, is_own, says
from dragoman.dialects.prompts import omit_hints, only_prompt
from dragoman.errors import InvalidRequest
from dragoman.ir import Json, Message, Opaque, Part, Request, Residue, Text
from dragoman.ir.losses import Losses
from dragoman.wire.fields import Fields

_PATHS = {
    "stop_sequences": "$.stop",
    "choice_count": "$.n",
    "top_logprobs": "$.logprobs",
    "include_usage": "$.stream_options.include_usage",
    "messages": "$.prompt",
}
_PLAIN: dict[str, tuple[str, type]] = {
    "max_tokens": ("max_tokens", int),
    "temperature": ("temperature", float),
    "top_p": ("top_p", float),
    "seed": ("seed", int),
    "frequency_penalty": ("frequency_penalty", float),
    "presence_penalty": ("presence_penalty", float),
    "choice_count": ("n", int),
    "user": ("user", str),
}
_UNSAID = ("parallel_tool_calls", "service_tier")
_ONE_STOP = "stop"
_LISTED = "list"
_NOT_STREAMED = "stream"


def decode_request(body: Json) -> Request:
    """The request in `body`. Raises `InvalidRequest` with the place of what is wrong."""
    top = Fields(body, "$")
    parts, form = _prompt(top)
    parts += _extras(top)
    options = top.object_optional("stream_options")
    include_usage = options.take_optional("include_usage", bool) if options else None
    plain: dict[str, Any] = {
        name: top.take_optional(wire, kind) for name, (wire, kind) in _PLAIN.items()
    }
    likely = top.take_optional("logprobs", int)
    if isinstance(body.get("stop"), str):
        form.append(_ONE_STOP)
    if body.get("stream") is False:
        form.append(_NOT_STREAMED)
    return Request(
        model=top.take("model", str),
        messages=(Message(role="user", parts=tuple(parts), at="$.prompt"),),
        top_k=top.take_optional("top_k", int),
        stop_sequences=top.strings("stop"),
        logprobs=None if likely is None else True,
        top_logprobs=likely,
        stream=top.take_optional("stream", bool) or False,
        include_usage=include_usage,
        paths=_PATHS,
        residue=_residue(top, options, form),
        **plain,
    )


def _prompt(top: Fields) -> tuple[list[Part], list[str]]:
    """One text; anything else, whole, as a part that this dialect alone has."""
    match top.peek("prompt"):
        case str(text):
            top.take("prompt", str)
            return [Text(content=text, at="$.prompt")], []
        case [str(text)]:
            top.take("prompt", list)
            return [Text(content=text, at="$.prompt[0]")], [_LISTED]
        case [str(), *_]:
            prompts = list(top.strings("prompt"))
            return [_opaque("second prompt", "prompt", prompts, "$.prompt[1]")], []
        case [*_] as tokens if tokens and _are_tokens(tokens):
            return [_opaque("token", "prompt", top.take("prompt", list), "$.prompt[0]")], []
        case _:
            raise InvalidRequest("$.prompt", "a string, tokens, or an array of these")


def _are_tokens(found: Sequence[Any]) -> bool:
    """Tokens, or lists of them."""
    lists = found if all(isinstance(one, list) for one in found) else [found]
    return all(type(token) is int for one in lists for token in one)


def _extras(top: Fields) -> list[Part]:
    found: list[Part] = []
    suffix = top.take_optional("suffix", str)
    if suffix is not None:
        found.append(_opaque("suffix", "suffix", suffix, "$.suffix"))
    if top.peek("echo") is True:
        found.append(_opaque("echo", "echo", top.take("echo", bool), "$.echo"))
    return found


def _opaque(kind: str, field: str, value: Any, path: str) -> Opaque:
    return Opaque(dialect=NAME, kind=kind, value={field: value}, at=path)


def _residue(top: Fields, options: Fields | None, form: list[str]) -> Residue:
    left = top.rest(NAME)
    fields = left.fields if left else {}
    if options is not None:
        inner = options.rest(NAME)
        fields = {**fields, "stream_options": inner.fields if inner else {}}
    return Residue(dialect=NAME, fields=fields, form=tuple(form))


def encode_request(request: Request, losses: Losses, quirks: Quirks) -> Json:
    """The request as `/v1/completions` takes it."""
    own = is_own(request.residue)
    body: Json = losses.residue(request.residue, "$") | {"model": request.model}
    body |= _own_prompt(request) if own else {"prompt": _foreign_prompt(request, losses)}
    for name, (wire, _) in _PLAIN.items():
        if getattr(request, name) is not None:
            body[wire] = getattr(request, name)
    if request.top_k is not None:
        if own or quirks.top_k:
            body["top_k"] = request.top_k
        else:
            losses.omit("top_k", request.path("top_k"))
    if request.stop_sequences:
        one = says(request.residue, _ONE_STOP)
        body["stop"] = request.stop_sequences[0] if one else list(request.stop_sequences)
    if request.logprobs:
        body["logprobs"] = request.top_logprobs or 0
    return body | _stream(request, quirks, body, own=own)


def _own_prompt(request: Request) -> Json:
    found: Json = {}
    for part in (part for message in request.messages for part in message.parts):
        if isinstance(part, Opaque):
            found |= part.value
        elif isinstance(part, Text):
            listed = says(request.residue, _LISTED)
            found["prompt"] = [part.content] if listed else part.content
    return found


def _foreign_prompt(request: Request, losses: Losses) -> str:
    prompt = only_prompt(request, losses)
    omit_hints(request, losses, _UNSAID)
    shape = request.response_format
    if shape is not None and shape.kind != "text":
        path = shape.at or request.path("response_format")
        losses.omit("response_format", path, "it writes text, of no shape")
    if request.top_logprobs is not None and not request.logprobs:
        losses.omit("top_logprobs", request.path("top_logprobs"))
    return prompt


def _stream(request: Request, quirks: Quirks, body: Json, *, own: bool) -> Json:
    """Usage is asked for whether or not the client did: every call is metered."""
    if own:
        out: Json = {}
        if request.stream or says(request.residue, _NOT_STREAMED):
            out["stream"] = request.stream
        if request.include_usage is not None:
            options: Json = body.get("stream_options") or {}
            out["stream_options"] = {**options, "include_usage": request.include_usage}
        return out
    if not request.stream:
        return {}
    asked = {"stream_options": {"include_usage": True}} if quirks.include_usage else {}
    return {"stream": True, **asked}
