"""Answers in one piece."""

from __future__ import annotations

import re

from dragoman.dialects.call_ids import CallIds
from dragoman.dialects.ollama_chat.errors import stream_error
from dragoman.dialects.ollama_chat.messages import decode_turn, encode_turn
from dragoman.dialects.ollama_chat.names import (
    FINISH_OUT,
    NAME,
    decode_logprobs,
    decode_usage,
    encode_logprobs,
    encode_usage,
    finish_of,
    seconds_of,
    time_of,
)
from dragoman.dialects.residues import is_own, json_object, nest, pack, packed
from dragoman.errors import InvalidRequest, UpstreamProtocolError
from dragoman.ir import (
    Blob,
    Choice,
    File,
    Json,
    Opaque,
    Part,
    Residue,
    Response,
    ToolCall,
    Uri,
)
from dragoman.ir.losses import Losses
from dragoman.wire.fields import Fields

TIMES = ("total_duration", "load_duration", "prompt_eval_duration", "eval_duration")
"""Nanoseconds. Bookkeeping of the server's that no other dialect has a use for."""
_COUNTS = ("prompt_eval_count", "eval_count")
_HEAD = ("created_at", "done", "done_reason", "logprobs", *TIMES)
_NOT_IN_ID = re.compile(r"[^0-9]")
_TIME_DIGITS = 23
"""Of a time to the nanosecond."""


def decode_response(body: Json) -> Response:
    """A whole answer. It has no id.

    Raises `UpstreamError` for an error sent with status 200, `UpstreamProtocolError` for what is
    no answer.
    """
    if body.get("error"):
        raise stream_error(body["error"])
    try:
        return _decode(body)
    except InvalidRequest as error:
        raise UpstreamProtocolError(f"the upstream's answer: {error.message}") from error


def _decode(body: Json) -> Response:
    top = Fields(body, "$")
    message = top.object("message")
    role = message.take_optional("role", str)
    parts, form = decode_turn(message, CallIds(call_prefix(body.get("created_at"))))
    model = top.take_optional("model", str)
    usage = decode_usage(body)
    head = {name: body[name] for name in _HEAD if name in body}
    left = top.rest(NAME)
    known = (*_HEAD, *_COUNTS)
    fields = {n: v for n, v in (left.fields if left else {}).items() if n not in known}
    word = body.get("done_reason")
    spelled = (*form, *pack("head", head), *pack("role", role))
    choice = Choice(
        parts=parts,
        finish_reason=finish_of(
            word if isinstance(word, str) else "",
            has_calls=any(isinstance(part, ToolCall) for part in parts),
        ),
        logprobs=decode_logprobs(body.get("logprobs")),
        residue=nest(Residue(dialect=NAME, fields={}, form=spelled), "message", message.rest(NAME)),
    )
    return Response(
        id="",
        model=model or "",
        created=seconds_of(body.get("created_at")),
        choices=(choice,),
        usage=usage,
        residue=Residue(dialect=NAME, fields=fields) if fields else None,
    )


def call_prefix(created_at: object) -> str:
    """What ids of an answer's calls begin with: other than those of another answer."""
    digits = _NOT_IN_ID.sub("", created_at) if isinstance(created_at, str) else ""
    return f"call_{digits[:_TIME_DIGITS]}" if digits else "call"


def encode_response(response: Response, losses: Losses) -> Json:
    """A whole answer for a client of this dialect."""
    choice = response.choices[0]
    extra = losses.residue(response.residue, "$")
    beside = losses.residue(choice.residue, "$")
    said = [part for part in choice.parts if _is_sayable(part, losses)]
    try:
        turn = encode_turn(said, losses, choice.residue, "")
    except InvalidRequest as error:
        raise UpstreamProtocolError("the upstream's tool call is no JSON object") from error
    counts = encode_usage(response.usage)
    within = json_object(beside.get("message"))
    if not is_own(choice.residue, NAME):
        head = _head(response, choice)
        return {"model": response.model, "message": {"role": "assistant", **turn}, **head, **counts}
    role = packed(choice.residue, NAME, "role")
    message = {**({"role": role} if role is not None else {}), **within, **turn}
    named = {"model": response.model} if response.model else {}
    head = packed(choice.residue, NAME, "head")
    return {**extra, **named, "message": message, **head, **counts}


def _head(response: Response, choice: Choice) -> Json:
    reason = FINISH_OUT[choice.finish_reason]
    head: Json = {"created_at": time_of(response.created), "done": True, "done_reason": reason}
    if choice.logprobs is not None:
        head["logprobs"] = encode_logprobs(choice.logprobs)
    return head


def _is_sayable(part: Part, losses: Losses) -> bool:
    if isinstance(part, Uri | Blob | File):
        losses.paths.append(f"$.message.{part.modality}")  # its answers hold no media
        return False
    if isinstance(part, Opaque):
        losses.paths.append(f"$.message.{part.kind}")
        return False
    return True
