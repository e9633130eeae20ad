"""The answer in one piece."""

from __future__ import annotations

import re
from typing import Any, cast

import msgspec

from dragoman.dialects.openai_chat import reasoning
from dragoman.dialects.openai_chat.errors import stream_error
from dragoman.dialects.openai_chat.finish import decode_finish, encode_finish
from dragoman.dialects.openai_chat.messages import decode_message, encode_turn
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
        raise UpstreamProtocolError(f"The upstream's answer is not a completion: {error}") from error


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
        residue=top.rest(NAME),
    )


def _decode_choice(value: object, path: str, response_id: str) -> tuple[int, Choice]:
    fields = Fields(value, path)
    index = fields.take_optional("index", int) or 0
    whole = _complete(fields.take("message", dict), response_id)
    message = decode_message(whole, fields.at("message"))
    word = fields.take_optional("finish_reason", str)
    has_calls = any(isinstance(part, ToolCall) for part in message.parts)
    reason, said = decode_finish(word, has_calls=has_calls)
    stopped_by = cast("Json", value).get("stop_reason")  # vLLM: a string, a token or null
    stop = fields.take("stop_reason", str) if isinstance(stopped_by, str) else None
    logprobs = fields.json("logprobs")
    residue = nest(fields.rest(NAME), "message", message.residue)
    if said is not None:
        residue = nest(said, "", None) if residue is None else _with(residue, said.fields)
    choice = Choice(
        parts=message.parts,
        finish_reason=reason,
        stop_sequence=stop,
        logprobs=logprobs,
        residue=residue,
    )
    return index, choice


def _with(residue: Any, fields: Json) -> Any:
    return msgspec.structs.replace(residue, fields={**residue.fields, **fields})


def _complete(message: Json, response_id: str) -> Json:
    """`message` with what some providers leave out: its role, and ids and arguments of calls."""
    whole = {"role": "assistant", **message}
    calls = message.get("tool_calls")
    if isinstance(calls, list):
        whole["tool_calls"] = [
            _complete_call(call, call_id(response_id, i)) if isinstance(call, dict) else call
            for i, call in enumerate(cast("list[Any]", calls))
        ]
    return whole


def _complete_call(call: Json, new_id: str) -> Json:
    function = call.get("function")
    whole = call if call.get("id") else {**call, "id": new_id}
    if not isinstance(function, dict):
        return whole
    known = cast("Json", function)
    arguments = known.get("arguments")
    if isinstance(arguments, str):
        return whole
    # TGI and Ollama have sent an object, others nothing for a call without arguments.
    text = "" if arguments is None else msgspec.json.encode(arguments).decode()
    return {**whole, "function": {**known, "arguments": text}}


def call_id(response_id: str, index: int) -> str:
    """An id for a call that came without one: the same in a stream as in a body."""
    return f"call_{_NOT_IN_ID.sub('', response_id)}_{index}"


def encode_response(response: Response, losses: Losses) -> Json:
    """The answer for a client; what only another dialect has is lost, as a hint."""
    body: Json = {
        "id": response.id,
        "object": _OBJECT,
        "created": response.created or 0,
        "model": response.model,
        "choices": [_encode_choice(c, i, losses) for i, c in enumerate(response.choices)],
    }
    if response.usage is not None:
        body["usage"] = encode_usage(response.usage)
        if not is_own(response.usage.residue):
            losses.residue(response.usage.residue, "$.usage")
    return merge(losses.residue(response.residue, "$"), body)


def _encode_choice(choice: Choice, index: int, losses: Losses) -> Json:
    path = f"$.choices[{index}]"
    extra = losses.residue(choice.residue, path)
    message = merge({"role": "assistant"}, _encode_message(choice, path, losses))
    known: Json = {"index": index, "message": message}
    if choice.logprobs is not None:
        known["logprobs"] = choice.logprobs
    known["finish_reason"] = encode_finish(choice.finish_reason, choice.residue)
    if choice.stop_sequence is not None:
        known["stop_reason"] = choice.stop_sequence
    return merge(extra, known)


def _encode_message(choice: Choice, path: str, losses: Losses) -> Json:
    parts: list[Part] = []
    for part in choice.parts:
        if isinstance(part, Text | Refusal | Reasoning | ToolCall) or (
            isinstance(part, Opaque) and part.dialect == NAME
        ):
            parts.append(part)
        else:
            kind = part.kind if isinstance(part, Opaque) else type(part).__name__
            losses.omit("residue", part.at or f"{path}.{kind}")
    own = is_own(choice.residue) or any(is_own(part.residue) for part in parts)
    return _encode_own(choice, parts, losses) if own else _encode_foreign(parts, losses)


def _encode_own(choice: Choice, parts: list[Part], losses: Losses) -> Json:
    message = Message(role="assistant", parts=choice.parts, residue=choice.residue)
    fields = encode_turn(message, parts, Encoding(losses=losses, own=True))
    thoughts = [part for part in parts if isinstance(part, Reasoning)]
    said = any(name in fields for name in (*reasoning.PLAIN_FIELDS, reasoning.DETAILS))
    return fields if said else {**fields, **reasoning.encode_answer(thoughts, losses)}


def _encode_foreign(parts: list[Part], losses: Losses) -> Json:
    """One string of all texts: an answer has no array of them."""
    out: Json = {}
    for part in parts:
        if not isinstance(part, Reasoning | ToolCall):
            losses.residue(part.residue, part.at)
    texts = [part.content for part in parts if isinstance(part, Text)]
    refusals = [part.content for part in parts if isinstance(part, Refusal)]
    out["content"] = "".join(texts) if texts else None
    out["refusal"] = "".join(refusals) if refusals else None
    thoughts = [part for part in parts if isinstance(part, Reasoning)]
    out |= reasoning.encode_answer(thoughts, losses)
    calls = [_encode_call(part, losses) for part in parts if isinstance(part, ToolCall)]
    return {**out, "tool_calls": calls} if calls else out


def _encode_call(call: ToolCall, losses: Losses) -> Json:
    losses.residue(call.residue, call.at)
    function = {"name": call.name, "arguments": call.arguments or "{}"}
    return {"id": call.id, "type": "function", "function": function}
