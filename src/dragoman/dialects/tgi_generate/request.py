"""The request: the text to go on from, and parameters.

What only this dialect knows and what changes the answer's meaning (an expression its text must
match, an adapter, the prompt within the answer) is a part that no other dialect drops. The details
of an answer are given whether or not they are asked for, but for tokens that no other provider
tells: `top_n_tokens` asks for those.
"""

from __future__ import annotations

from itertools import chain
from typing import Any

from dragoman.dialects.prompts import omit_hints, only_prompt
from dragoman.dialects.tgi_generate.names import NAME, is_own, json_object, pack, packed
from dragoman.errors import InvalidRequest
from dragoman.ir import Json, Message, Opaque, Part, Request, Residue, ResponseFormat, Text
from dragoman.ir.losses import Losses
from dragoman.wire.fields import Fields

_AT = "$.parameters"
_PLAIN: dict[str, tuple[str, type]] = {
    "max_tokens": ("max_new_tokens", int),
    "temperature": ("temperature", float),
    "top_p": ("top_p", float),
    "top_k": ("top_k", int),
    "seed": ("seed", int),
    "frequency_penalty": ("frequency_penalty", float),
}
_PATHS = {name: f"{_AT}.{wire}" for name, (wire, _) in _PLAIN.items()} | {
    "stop_sequences": f"{_AT}.stop",
    "logprobs": f"{_AT}.top_n_tokens",
    "top_logprobs": f"{_AT}.top_n_tokens",
    "messages": "$.inputs",
    "response_format": f"{_AT}.grammar",
}
_UNSAID = ("parallel_tool_calls", "service_tier", "presence_penalty", "user")
_GRAMMAR = "grammar"
_NAMED = "json_schema"
_STREAMED, _NAMED_MODEL, _DETAILS = "stream", "model", "details"


def decode_request(body: Json) -> Request:
    """The request in `body`. Raises `InvalidRequest` with the place of what is wrong."""
    top = Fields(body, "$")
    parts: list[Part] = [Text(content=top.take("inputs", str), at="$.inputs")]
    given = top.object_optional("parameters")
    fields = given or Fields({}, _AT)
    shape = _grammar(fields, parts)
    parts += _extras(fields)
    plain: dict[str, Any] = {
        name: fields.take_optional(wire, kind) for name, (wire, kind) in _PLAIN.items()
    }
    alternatives = fields.take_optional("top_n_tokens", int)
    stop = fields.strings("stop")
    stream = top.take_optional("stream", bool)
    model = top.take_optional("model", str)
    details = fields.take_optional("details", bool)
    said = {_STREAMED: stream, _NAMED_MODEL: model, _DETAILS: details}
    form = [pack(word, value) for word, value in said.items() if value is not None]
    rest, inner = top.rest(NAME), fields.rest(NAME)
    left: Json = dict(rest.fields) if rest else {}
    if given is not None:
        left["parameters"] = inner.fields if inner else {}
    return Request(
        model=model or "",
        messages=(Message(role="user", parts=tuple(parts), at="$.inputs"),),
        stop_sequences=stop,
        logprobs=None if alternatives is None else True,
        top_logprobs=alternatives,
        response_format=shape,
        stream=stream or False,
        paths=_PATHS,
        residue=Residue(dialect=NAME, fields=left, form=tuple(chain.from_iterable(form))),
        **plain,
    )


def _grammar(fields: Fields, parts: list[Part]) -> ResponseFormat | None:
    """A schema; an expression goes to `parts`, as what no other dialect has."""
    at = fields.at(_GRAMMAR)
    whole = fields.json(_GRAMMAR)
    if whole is None:
        return None
    grammar = Fields(whole, at)
    kind = grammar.take("type", str)
    if kind not in ("json", _NAMED):
        parts.append(_opaque(f"{kind} grammar", _GRAMMAR, whole, at))
        return None
    value = grammar.object("value")
    schema: Json | None = None
    name: str | None = None
    residue: Residue | None
    if kind == _NAMED:
        schema, name = value.json("schema"), value.take_optional("name", str)
        outer, rest = grammar.rest(NAME), value.rest(NAME)
        extra = {"value": rest.fields} if rest else {}
        left = {**(outer.fields if outer else {}), **extra}
        residue = Residue(dialect=NAME, fields=left, form=(_NAMED,))
    else:
        schema, residue = dict(whole["value"]), grammar.rest(NAME)
    return ResponseFormat(
        kind="json_schema",
        name=name,
        schema=schema,
        at=at,
        fields_at=f"{at}.value",
        schema_at=f"{at}.value.schema" if kind == _NAMED else f"{at}.value",
        residue=residue,
    )


def _extras(fields: Fields) -> list[Part]:
    found: list[Part] = []
    if fields.peek("return_full_text") is True:
        asked = fields.take("return_full_text", bool)
        at = fields.at("return_full_text")
        found.append(_opaque("prompt within the answer", "return_full_text", asked, at))
    adapter = fields.take_optional("adapter_id", str)
    if adapter is not None:
        found.append(_opaque("adapter", "adapter_id", adapter, fields.at("adapter_id")))
    return found


def _opaque(kind: str, field: str, value: Any, path: str) -> Opaque:
    return Opaque(dialect=NAME, kind=kind, value={field: value}, at=path)


def encode_request(request: Request, losses: Losses) -> Json:
    """The request as `/generate` takes it. What counts tokens is asked for in any case."""
    if is_own(request.residue):
        return _encode_own(request, losses)
    prompt = only_prompt(request, losses)
    losses.residue(request.residue, "$")
    omit_hints(request, losses, _UNSAID)
    if request.choice_count not in (None, 1):
        losses.omit("choice_count", request.path("choice_count"), "it gives one answer")
    parameters: Json = {"details": True, **_sampling(request)}
    if request.logprobs:
        parameters["top_n_tokens"] = max(1, request.top_logprobs or 0)
    elif request.top_logprobs is not None:
        losses.omit("top_logprobs", request.path("top_logprobs"))
    shape = request.response_format
    if shape is not None and shape.kind != "text":
        parameters[_GRAMMAR] = _foreign_grammar(request, shape, losses)
    return {"inputs": prompt, "parameters": parameters}


def _sampling(request: Request) -> Json:
    """No temperature is greedy here, and 0 is refused; so is a `top_p` of 1, which is none."""
    out: Json = {}
    for name, (wire, _) in _PLAIN.items():
        value = getattr(request, name)
        if value is not None:
            out[wire] = value
    if out.get("temperature") == 0:
        del out["temperature"]
        out["do_sample"] = False
    if out.get("top_p") == 1:
        del out["top_p"]
    if request.stop_sequences:
        out["stop"] = list(request.stop_sequences)
    return out


def _foreign_grammar(request: Request, shape: ResponseFormat, losses: Losses) -> Json:
    at = shape.at or request.path("response_format")
    if shape.kind == "json_object":
        losses.omit("response_format", at, "ask for a json_schema instead")
    for name in ("name", "strict", "description"):
        if getattr(shape, name) is not None:
            losses.omit("name", f"{shape.fields_at}.{name}")
    losses.residue(shape.residue, at)
    return {"type": "json", "value": shape.schema or {}}


def _encode_own(request: Request, losses: Losses) -> Json:
    """As it came, whatever it was."""
    body: Json = losses.residue(request.residue, "$")
    parameters: Json = {**json_object(body.get("parameters"))}
    texts: list[str] = []
    for part in (part for message in request.messages for part in message.parts):
        if isinstance(part, Opaque):
            parameters |= part.value
        elif isinstance(part, Text):
            texts.append(part.content)
    for name, (wire, _) in _PLAIN.items():
        if getattr(request, name) is not None:
            parameters[wire] = getattr(request, name)
    if request.stop_sequences:
        parameters["stop"] = list(request.stop_sequences)
    if request.top_logprobs is not None:
        parameters["top_n_tokens"] = request.top_logprobs
    if request.response_format is not None:
        parameters[_GRAMMAR] = _own_grammar(request.response_format)
    if (details := packed(request.residue, _DETAILS)) is not None:
        parameters[_DETAILS] = details
    out: Json = {**body, "inputs": "".join(texts)}
    if parameters or body.get("parameters") is not None:
        out["parameters"] = parameters
    said = {_STREAMED: request.stream, _NAMED_MODEL: request.model}
    return out | {n: v for n, v in said.items() if packed(request.residue, n) is not None}


def _own_grammar(shape: ResponseFormat) -> Json:
    residue = shape.residue
    left = residue.fields if residue else {}
    if residue is None or _NAMED not in residue.form:
        return {"type": "json", "value": shape.schema or {}, **left}
    known = {"name": shape.name, "schema": shape.schema}
    value = {name: one for name, one in known.items() if one is not None}
    return {**left, "type": _NAMED, "value": {**left.get("value", {}), **value}}


def check(body: Json) -> None:
    """Raises `InvalidRequest` where `body` cannot be a request."""
    if not isinstance(body.get("inputs"), str):
        raise InvalidRequest("$.inputs", "a string")
    if not isinstance(body.get("stream"), bool | None):
        raise InvalidRequest("$.stream", "a boolean")
