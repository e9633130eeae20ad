"""Answers in one piece."""

from __future__ import annotations

from typing import cast

from dragoman.dialects.bedrock_converse.errors import decode_error
from dragoman.dialects.bedrock_converse.names import (
    FINISH,
    FINISH_OUT,
    NAME,
    decode_usage,
    encode_usage,
    json_object,
    pack,
    packed,
)
from dragoman.dialects.bedrock_converse.parts import (
    decode_blocks,
    encode_block,
    thought_for_client,
)
from dragoman.dialects.call_ids import answer_ids, fill_id
from dragoman.errors import InvalidRequest, Unrepresentable, UpstreamProtocolError
from dragoman.ir import Choice, Json, Opaque, Part, Reasoning, Residue, Response, Usage
from dragoman.ir.losses import Losses
from dragoman.wire.fields import Fields, as_list

_CALL = "toolUse"
_BOOKKEEPING = ("metrics", "performanceConfig", "serviceTier")


def decode_response(body: Json) -> Response:
    """A whole answer. It names neither itself nor its model."""
    if "output" not in body and "message" in body:
        raise decode_error(502, str(body["message"]).encode())
    try:
        return _decode(body)
    except InvalidRequest as error:
        raise UpstreamProtocolError(f"the upstream's answer: {error.message}") from error


def _decode(body: Json) -> Response:
    top = Fields(body, "$")
    output = top.object("output")
    whole = _with_ids(cast("Json", output.take("message", dict)))
    message = Fields(whole, output.at("message"))
    parts = decode_blocks(message, "content")
    word = top.take_optional("stopReason", str) or ""
    usage = decode_usage(top.json("usage"))
    beside, within = output.rest(NAME), message.rest(NAME)
    kept = {name: body[name] for name in _BOOKKEEPING if name in body}
    left = top.rest(NAME)
    extra = {n: v for n, v in (left.fields if left else {}).items() if n not in kept}
    form = pack("message", within.fields if within else {})
    choice = Choice(
        parts=parts,
        finish_reason=FINISH.get(word, "error"),
        residue=Residue(dialect=NAME, fields={}, form=(*form, *pack("stopReason", word))),
    )
    head = {**kept, "output": beside.fields if beside else {}}
    residue = Residue(dialect=NAME, fields=extra, form=pack("head", head))
    return Response(id="", model="", choices=(choice,), usage=usage, residue=residue)


def _with_ids(message: Json) -> Json:
    """The answer's message, each call with an id."""
    ids = answer_ids(None)
    blocks = [
        {**block, _CALL: fill_id(ids, block[_CALL], "toolUseId")}
        if _CALL in json_object(block)
        else block
        for block in as_list(message.get("content"))
    ]
    return {**message, "content": blocks} if blocks else message


def encode_response(response: Response, losses: Losses) -> Json:
    """A whole answer for a client of this dialect."""
    choice = response.choices[0]
    found = [answer_block(part, losses) for part in choice.parts]
    content = [block for block in found if block is not None]
    extra = losses.residue(response.residue, "$")
    losses.residue(choice.residue, "$.output")
    head = packed(response.residue, "head")
    kept = packed(choice.residue, "message")
    message = {"role": "assistant"} if kept is None else kept
    if content or kept is None:  # else as it came: none, null or an empty list
        message = {**message, "content": content}
    word = packed(choice.residue, "stopReason")
    reason = FINISH_OUT[choice.finish_reason]
    if word is None:
        word = "stop_sequence" if choice.stop_sequence is not None else reason
    body: Json = {"output": {"message": message}, "stopReason": word}
    if response.usage is not None or head is None:
        body["usage"] = encode_usage(response.usage or Usage())
    if head is None:
        return {**body, "metrics": {"latencyMs": 0}, **extra}
    body["output"] |= json_object(head.pop("output", None))
    return {**body, **head, **extra}


def answer_block(part: Part, losses: Losses) -> Json | None:
    """A block the model produced."""
    if isinstance(part, Reasoning):
        return thought_for_client(part)
    if isinstance(part, Opaque) and part.dialect != NAME:
        losses.paths.append(f"$.output.message.content.{part.kind}")
        return None
    try:
        return encode_block(part, losses)
    except Unrepresentable as refusal:  # media it does not know, or by address
        losses.paths.append(refusal.path or "$.output.message.content")
        return None
    except InvalidRequest as error:
        raise UpstreamProtocolError("the upstream's tool call is not JSON") from error
