"""The answer in one piece."""

from __future__ import annotations

import re
from typing import cast

import msgspec

from dragoman.dialects.openai_chat.errors import stream_error
from dragoman.dialects.openai_chat.finish import decode_finish, encode_finish
from dragoman.dialects.openai_chat.messages import decode_message, encode_turn
from dragoman.dialects.openai_chat.reasoning import answer_quirks
from dragoman.dialects.openai_chat.spelling import NAME, Encoding, is_own, merge, nest
from dragoman.dialects.openai_chat.usage import decode_usage, encode_usage
from dragoman.errors import InvalidRequest, UpstreamProtocolError
from dragoman.ir import (
    Choice,
    Json,
    Message,
    Opaque,
    Part,
    Reasoning,
    Refusal,
    Residue,
    Response,
    Text,
    ToolCall,
)
from dragoman.ir.losses import Losses
from dragoman.wire.fields import Fields

_OBJECT = "chat.completion"
_NOT_IN_ID = re.compile(r"[^a-zA-Z0-9_-]")


def decode_response(body: Json) -> Response:
    """The answer in `body`.

    Raises `UpstreamError` for an error sent with status 200, `UpstreamProtocolError` for what is
    not a completion.
    """
    if body.get("error") and not body.get("choices"):
        raise stream_error(body["error"])
    try:
        return _decode(Fields(body, "$"), body)
    except InvalidRequest as error:
        raise UpstreamProtocolError(
            f"The upstream's answer is not a completion: {error}"
        ) from error


def _decode(top: Fields, body: Json) -> Response:
    if body.get("object") == _OBJECT:
        top.take("object", str)
    response_id = top.take_optional("id", str) or ""
    choices = [_decode_choice(item, path, response_id) for path, item in top.items("choices")]
    if not choices:
        raise InvalidRequest("$.choices", "at least one choice")
    usage = top.json("usage")
    return Response(
        id=response_id,
        model=top.take_optional("model", str) or "",
        created=top.take_optional("created", int),
        choices=tuple(choice for _, choice in sorted(choices, key=lambda pair: pair[0])),
        usage=None if usage is None else decode_usage(usage),
        residue=top.rest(NAME) or Residue(dialect=NAME, fields={}),
    )


def _decode_choice(value: object, path: str, response_id: str) -> tuple[int, Choice]:
    fields = Fields(value, path)
    index = fields.take_optional("index", int) or 0
    whole = _complete(fields.json("message"), fields.at("message"), response_id)
    message = decode_message(whole, fields.at("message"))
    word = fields.take_optional("finish_reason", str)
    has_calls = any(isinstance(part, ToolCall) for part in message.parts)
    reason, said = decode_finish(word, has_calls=has_calls)
    stopped_by = cast("Json", value).get("stop_reason")  # vLLM: a string, a token or null
    stop = fields.take("stop_reason", str) if isinstance(stopped_by, str) else None
    logprobs = fields.json("logprobs")
    residue = nest(fields.rest(NAME), "message", message.residue)
    if said is not None:
        residue = _join(residue, said)
    choice = Choice(
        parts=message.parts,
        finish_reason=reason,
        stop_sequence=stop,
        logprobs=logprobs,
        residue=residue,
    )
    return index, choice


def _join(residue: Residue | None, said: Residue) -> Residue:
    if residue is None:
        return said
    return msgspec.structs.replace(residue, fields={**residue.fields, **said.fields})


def _complete(message: Json | None, path: str, response_id: str) -> Json:
    """`message` with what some providers leave out: its role, and ids and arguments of calls."""
    if message is None:
        raise InvalidRequest(path, "an object")
    whole = {"role": "assistant", **message}
    calls = Fields(message, path).items("tool_calls")
    if calls:
        whole["tool_calls"] = [
            _complete_call(Fields(call, at), cast("Json", call), call_id(response_id, i))
            for i, (at, call) in enumerate(calls)
        ]
    return whole


def _complete_call(fields: Fields, call: Json, new_id: str) -> Json:
    whole = call if call.get("id") else {**call, "id": new_id}
    function = fields.json("function")
    if function is None or isinstance(arguments := function.get("arguments"), str):
        return whole
    # TGI and Ollama have sent an object, others nothing for a call without arguments.
    text = "" if arguments is None else msgspec.json.encode(arguments).decode()
    return {**whole, "function": {**function, "arguments": text}}


def call_id(response_id: str, index: int) -> str:
    """An id for a call that came without one: the same in a stream as in a body."""
    return f"call_{_NOT_IN_ID.sub('', response_id)}_{index}"


def encode_response(response: Response, losses: Losses) -> Json:
    """The answer for a client; what only another dialect has is lost, as a hint."""
    own = is_own(response.residue)
    body: Json = {
        "id": response.id,
        "object": _OBJECT,
        "created": response.created or 0,
        "model": response.model,
        "choices": [
            _encode_choice(choice, index, Encoding(losses=losses, own=own))
            for index, choice in enumerate(response.choices)
        ],
    }
    if response.usage is not None:
        body["usage"] = encode_usage(response.usage)
        losses.residue(response.usage.residue, "$.usage")
    return merge(losses.residue(response.residue, "$"), body)


def _encode_choice(choice: Choice, index: int, encoding: Encoding) -> Json:
    path = f"$.choices[{index}]"
    extra = encoding.losses.residue(choice.residue, path)
    parts = [part for part in choice.parts if _is_sayable(part, path, encoding.losses)]
    fields = _encode_own(choice, parts, encoding) if encoding.own else _encode(parts, encoding)
    known: Json = {"index": index, "message": {"role": "assistant", **fields}}
    if choice.logprobs is not None:
        known["logprobs"] = choice.logprobs
    known["finish_reason"] = encode_finish(choice.finish_reason, choice.residue)
    if choice.stop_sequence is not None:
        known["stop_reason"] = choice.stop_sequence
    return merge(extra, known)


def _is_sayable(part: Part, path: str, losses: Losses) -> bool:
    """Whether an answer of this dialect has a place for `part`; recorded as lost if not."""
    if isinstance(part, Text | Refusal | Reasoning | ToolCall):
        return True
    if isinstance(part, Opaque) and part.dialect == NAME:
        return True
    kind = part.kind if isinstance(part, Opaque) else type(part).__name__
    losses.omit("residue", part.at or f"{path}.{kind}")
    return False


def _encode_own(choice: Choice, parts: list[Part], encoding: Encoding) -> Json:
    message = Message(role="assistant", parts=choice.parts, residue=choice.residue)
    quirks = answer_quirks(parts)
    return encode_turn(message, parts, Encoding(losses=encoding.losses, quirks=quirks, own=True))


def _encode(parts: list[Part], encoding: Encoding) -> Json:
    """One string of all texts: an answer has no array of them."""
    losses = encoding.losses
    for part in parts:
        if isinstance(part, Text | Refusal):
            losses.residue(part.residue, part.at)
    texts = [part.content for part in parts if isinstance(part, Text)]
    refusals = [part.content for part in parts if isinstance(part, Refusal)]
    others: list[Part] = [part for part in parts if isinstance(part, Reasoning | ToolCall)]
    turn = Encoding(losses=losses, quirks=answer_quirks(parts))
    return {
        **encode_turn(Message(role="assistant", parts=()), others, turn),
        "content": "".join(texts) if texts else None,
        "refusal": "".join(refusals) if refusals else None,
    }
