"""Answers in one piece."""

from __future__ import annotations

from typing import Any, cast

from dragoman.dialects.call_ids import answer_ids, fill_id
from dragoman.dialects.carrying import encode_signature
from dragoman.dialects.cohere_chat.messages import decode_turn, encode_turn
from dragoman.dialects.cohere_chat.names import (
    FINISH_OUT,
    NAME,
    decode_logprobs,
    decode_usage,
    encode_logprobs,
    encode_usage,
    finish_of,
)
from dragoman.dialects.cohere_chat.parts import SIGNATURE
from dragoman.dialects.residues import is_own, json_object, nest, pack, packed
from dragoman.errors import InvalidRequest, UpstreamError, UpstreamProtocolError
from dragoman.ir import (
    Blob,
    Choice,
    File,
    Json,
    Opaque,
    Part,
    Reasoning,
    Residue,
    Response,
    ToolCall,
    Uri,
)
from dragoman.ir.losses import Losses
from dragoman.wire.fields import Fields, as_list

_BAD_GATEWAY = 502


def decode_response(body: Json) -> Response:
    """A whole answer. It does not name its model.

    Raises `UpstreamError` for an error sent with status 200, `UpstreamProtocolError` for what is
    no answer.
    """
    message = body.get("message")
    if isinstance(message, str):
        raise UpstreamError(message, status=_BAD_GATEWAY)
    try:
        return _decode(body)
    except InvalidRequest as error:
        raise UpstreamProtocolError(f"the upstream's answer: {error.message}") from error


def _decode(body: Json) -> Response:
    top = Fields(body, "$")
    whole = _with_ids(cast("Json", top.take("message", dict)), body.get("id"))
    message = Fields(whole, top.at("message"))
    role = message.take_optional("role", str)
    parts, form = decode_turn(message)
    word = top.take_optional("finish_reason", str)
    raw = cast("list[Any] | None", top.take_optional("logprobs", list))
    has_calls = any(isinstance(part, ToolCall) for part in parts)
    spelled = (
        *form,
        *pack("finish_reason", word),
        *pack("logprobs", raw),
        *pack("role", role),
    )
    residue = Residue(dialect=NAME, fields={}, form=spelled)
    choice = Choice(
        parts=parts,
        finish_reason=finish_of(word or "", has_calls=has_calls),
        logprobs=decode_logprobs(raw),
        residue=nest(residue, "message", message.rest(NAME)),
    )
    ident = top.take_optional("id", str)
    usage = decode_usage(top.json("usage"))
    return Response(
        id=ident or "", model="", choices=(choice,), usage=usage, residue=top.rest(NAME)
    )


def _with_ids(message: Json, response_id: object) -> Json:
    """The answer's message, each call with an id."""
    ids = answer_ids(response_id)
    calls = [fill_id(ids, call, "id") for call in as_list(message.get("tool_calls"))]
    return {**message, "tool_calls": calls} if calls else message


def encode_response(response: Response, losses: Losses) -> Json:
    """A whole answer for a client of this dialect."""
    choice = response.choices[0]
    extra = losses.residue(response.residue, "$")
    beside = losses.residue(choice.residue, "$")
    body = _own(choice, losses) if is_own(choice.residue, NAME) else _foreign(choice, losses)
    body["message"] = {**json_object(beside.get("message")), **body["message"]}
    if response.id or not is_own(choice.residue, NAME):
        body["id"] = response.id
    if response.usage is not None:
        body["usage"] = encode_usage(response.usage)
    return {**extra, **body}


def _own(choice: Choice, losses: Losses) -> Json:
    form = choice.residue.form if choice.residue else ()
    role: str | None = packed(choice.residue, NAME, "role")
    head = {"role": role} if role is not None else {}
    body: Json = {"message": {**head, **encode_turn(list(choice.parts), losses, *form)}}
    for name in ("finish_reason", "logprobs"):
        if (value := packed(choice.residue, NAME, name)) is not None:
            body[name] = value
    return body


def _foreign(choice: Choice, losses: Losses) -> Json:
    said = [part for part in choice.parts if _is_sayable(part, losses)]
    turn = encode_turn([part for part in said if not isinstance(part, Reasoning)], losses)
    thoughts = [thought_for_client(part) for part in said if isinstance(part, Reasoning)]
    if thoughts:
        turn["content"] = [*thoughts, *turn.get("content", [])]
    stopped = choice.stop_sequence is not None and choice.finish_reason == "stop"
    body: Json = {
        "finish_reason": "STOP_SEQUENCE" if stopped else FINISH_OUT[choice.finish_reason],
        "message": {"role": "assistant", **turn},
    }
    if choice.logprobs is not None:
        body["logprobs"] = encode_logprobs(choice.logprobs)
    return body


def _is_sayable(part: Part, losses: Losses) -> bool:
    if isinstance(part, Opaque) and part.dialect != NAME:
        losses.paths.append(f"$.message.content.{part.kind}")
        return False
    if isinstance(part, Uri | Blob | File):
        losses.paths.append(f"$.message.content.{part.modality}")  # its answers hold no media
        return False
    return True


def thought_for_client(part: Reasoning) -> Json:
    """Reasoning, with the state that its author must see again."""
    state = encode_signature(part.residue)
    signature = {SIGNATURE: state} if state else {}
    return {"type": "thinking", "thinking": part.content, **signature}
