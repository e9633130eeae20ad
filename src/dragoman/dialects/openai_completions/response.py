"""The whole answer: a text for each choice."""

from __future__ import annotations

from typing import Any, cast

import msgspec

from dragoman.dialects.openai_chat.errors import stream_error
from dragoman.dialects.openai_completions.names import (
    NAME,
    OBJECT,
    decode_finish,
    decode_logprobs,
    decode_usage,
    encode_finish,
    encode_logprobs,
    encode_usage,
    says,
)
from dragoman.errors import InvalidRequest, UpstreamProtocolError
from dragoman.ir import Choice, Json, Opaque, Part, Refusal, Residue, Response, Text, ToolCall
from dragoman.ir.losses import Losses
from dragoman.wire.fields import Fields

_LOGPROBS = "logprobs"
_CALLED = "the upstream called a tool, and none was on offer"


def decode_response(body: Json) -> Response:
    """A whole answer. Raises `UpstreamProtocolError` if it is not one."""
    if body.get("error"):
        raise stream_error(body["error"])
    try:
        fields = Fields(body, "$")
        choices = [_decode_choice(value, path) for path, value in fields.items("choices")]
        usage = fields.json("usage")
        head: dict[str, Any] = {
            "id": fields.take_optional("id", str) or "",
            "model": fields.take_optional("model", str) or "",
            "created": fields.take_optional("created", int),
        }
    except InvalidRequest as error:
        raise UpstreamProtocolError(f"the upstream's answer: {error}") from error
    if not choices:
        raise UpstreamProtocolError("the upstream's answer holds no choice")
    rest = fields.rest(NAME)
    left = {k: v for k, v in (rest.fields if rest else {}).items() if (k, v) != ("object", OBJECT)}
    choices.sort(key=lambda found: found[0])
    return Response(
        **head,
        choices=tuple(choice for _, choice in choices),
        usage=decode_usage(usage) if usage is not None else None,
        residue=Residue(dialect=NAME, fields=left, form=_absent(body)),
    )


def _absent(body: Json) -> tuple[str, ...]:
    """What the head lacks; an answer of its own gets nothing that it came without."""
    return tuple(name for name in ("id", "model", "created", "object") if name not in body)


def _decode_choice(value: Any, path: str) -> tuple[int, Choice]:
    fields = Fields(value, path)
    wire = cast("Json", value)
    if wire.get("error"):  # OpenRouter's
        raise stream_error(wire["error"])
    nothing = "text" in wire and wire["text"] is None  # as where a model says nothing at all
    text = "" if nothing else fields.take("text", str)
    index = fields.take_optional("index", int) or 0
    reason, said = decode_finish(fields.take_optional("finish_reason", str))
    stop = fields.take("stop_reason", str) if isinstance(wire.get("stop_reason"), str) else None
    likely = fields.json(_LOGPROBS)
    form = (_LOGPROBS, msgspec.json.encode(likely).decode()) if likely is not None else ()
    absent = tuple(f"no {name}" for name in ("index", "finish_reason") if name not in wire)
    rest = fields.rest(NAME)
    left = {**(rest.fields if rest else {}), **(said if "finish_reason" in wire else {})}
    choice = Choice(
        parts=(Text(content=text),) if text else (),
        finish_reason=reason,
        stop_sequence=stop,
        logprobs=decode_logprobs(likely),
        residue=Residue(dialect=NAME, fields=left, form=(*form, *absent)),
    )
    return index, choice


def encode_response(response: Response, losses: Losses) -> Json:
    """The answer for a client; what it says besides text is lost, and reported."""
    extra = losses.residue(response.residue, "$")
    head = {
        "id": response.id,
        "object": OBJECT,
        "created": response.created or 0,
        "model": response.model,
    }
    body: Json = {
        **{name: value for name, value in head.items() if not says(response.residue, name)},
        "choices": [_encode_choice(one, i, losses) for i, one in enumerate(response.choices)],
        **extra,
    }
    if response.usage is not None:
        body["usage"] = encode_usage(response.usage)
    return body


def _encode_choice(choice: Choice, index: int, losses: Losses) -> Json:
    path = f"$.choices[{index}]"
    residue = choice.residue
    known: Json = {
        "index": index,
        "text": "".join(_text(part, path, losses) for part in choice.parts),
        _LOGPROBS: _logprobs(choice),
        "finish_reason": encode_finish(choice.finish_reason, residue),
    }
    if choice.stop_sequence is not None:
        known["stop_reason"] = choice.stop_sequence
    extra = losses.residue(residue, path)
    known = {name: value for name, value in known.items() if not says(residue, f"no {name}")}
    if residue is not None and residue.dialect == NAME and known.get(_LOGPROBS) is None:
        known.pop(_LOGPROBS)
    return {**known, **extra}


def _logprobs(choice: Choice) -> Json | None:
    residue = choice.residue
    if residue is not None and says(residue, _LOGPROBS):
        whole = residue.form[residue.form.index(_LOGPROBS) + 1]
        return msgspec.json.decode(whole, type=Json)
    return encode_logprobs(choice.logprobs)


def _text(part: Part, path: str, losses: Losses) -> str:
    match part:
        case Text() | Refusal():
            losses.residue(part.residue, f"{path}.text")
            return part.content
        case ToolCall():
            raise UpstreamProtocolError(_CALLED)
        case _:
            kind = part.kind if isinstance(part, Opaque) else type(part).__name__.lower()
            losses.omit("residue", f"{path}.{kind}")
            return ""
