"""The answer in one piece."""

from __future__ import annotations

import re
from typing import TypeVar, cast

import msgspec

from dragoman.dialects.openai_chat.errors import stream_error
from dragoman.dialects.openai_chat.finish import decode_finish, encode_finish
from dragoman.dialects.openai_chat.images import is_image
from dragoman.dialects.openai_chat.messages import (
    AS_FIELD,
    LEGACY_CALL,
    decode_message,
    encode_turn,
)
from dragoman.dialects.openai_chat.parts import signed_part
from dragoman.dialects.openai_chat.reasoning import PLAIN_FIELDS, answer_quirks, decode_reasoning
from dragoman.dialects.openai_chat.spelling import NAME, Encoding, is_own, merge, nest, rest, says
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
from dragoman.wire.fields import Fields, as_list

T = TypeVar("T")
_OBJECT = "chat.completion"
_HEAD = ("id", "object", "created", "model")
_NOT_IN_ID = re.compile(r"[^a-zA-Z0-9_-]")


def decode_response(body: Json) -> Response:
    """The answer in `body`.

    Raises `UpstreamError` for an error sent with status 200, of the whole or (OpenRouter's) of a
    choice, `UpstreamProtocolError` for what is not a completion.
    """
    if body.get("error") or (not body.get("choices") and body.get("object") == "error"):
        raise stream_error(body.get("error") or body)
    try:
        return _decode(Fields(body, "$"), body)
    except InvalidRequest as error:
        raise UpstreamProtocolError(
            f"The upstream's answer is not a completion: {error}"
        ) from error


def _decode(top: Fields, body: Json) -> Response:
    absent = tuple(name for name in _HEAD if name not in body)
    if body.get("object") == _OBJECT:
        top.take("object", str)
    response_id = _if_any(top, "id", str) or ""
    choices = [_decode_choice(item, path, response_id) for path, item in top.items("choices")]
    if not choices:
        raise InvalidRequest("$.choices", "at least one choice")
    usage = top.json("usage")
    return Response(
        id=response_id,
        model=_if_any(top, "model", str) or "",
        created=_if_any(top, "created", int),
        choices=tuple(choice for _, choice in sorted(choices, key=lambda pair: pair[0])),
        usage=None if usage is None else decode_usage(usage),
        residue=rest(top, *absent) or Residue(dialect=NAME, fields={}),
    )


def _if_any(fields: Fields, name: str, kind: type[T]) -> T | None:
    """A field of the head, where it is what it should be; else it stays where it is, for what
    surrounds an answer must not cost the client the answer."""
    found = fields.peek(name)
    is_one = isinstance(found, kind) and not isinstance(found, bool)
    return fields.take_optional(name, kind) if is_one else None


def _decode_choice(value: object, path: str, response_id: str) -> tuple[int, Choice]:
    fields = Fields(value, path)
    absent = tuple(n for n in ("index", "finish_reason") if n not in cast("Json", value))
    if error := fields.peek("error"):
        raise stream_error(error)
    index = _if_any(fields, "index", int) or 0
    given = fields.json("message")
    whole = _complete(given, fields.at("message"), response_id)
    message = decode_message(whole, fields.at("message"))
    parts = tuple(_called(part, response_id) for part in message.parts)
    word = fields.take_optional("finish_reason", str)
    has_calls = any(isinstance(part, ToolCall) for part in parts)
    reason, said = decode_finish(word, has_calls=has_calls)
    stopped_by = cast("Json", value).get("stop_reason")  # vLLM: a string, a token or null
    stop = fields.take("stop_reason", str) if isinstance(stopped_by, str) else None
    tokens = fields.peek("logprobs")
    logprobs = None
    if isinstance(tokens, dict) and "content" in tokens:
        logprobs = fields.json("logprobs")
    residue = nest(rest(fields, *absent), "message", message.residue)
    if aside := _aside(given or {}):
        residue = nest(residue, "message", aside)
    if said is not None and "finish_reason" not in absent:
        residue = _join(residue, said)
    choice = Choice(
        parts=parts,
        finish_reason=reason,
        stop_sequence=stop,
        logprobs=logprobs,
        residue=residue,
    )
    return index, choice


def _called(part: Part, response_id: str) -> Part:
    """A `function_call` of an answer as the call it is; it has no id of its own."""
    if not isinstance(part, Opaque) or part.kind != LEGACY_CALL:
        return part
    match part.value:
        case {"name": str(name), "arguments": str(arguments), **more} if not more:
            ident, form = (
                call_id(response_id, 0),
                Residue(dialect=NAME, fields={}, form=(AS_FIELD,)),
            )
            return ToolCall(id=ident, name=name, arguments=arguments, residue=form)
        case _:
            return part


def _aside(message: Json) -> Residue | None:
    """Who the message says it is from, where that is not what every answer says."""
    who: Json = {name: message[name] for name in ("role", "name") if name in message}
    if "role" not in who:
        return Residue(dialect=NAME, fields=who, form=("role",))
    if who == {"role": "assistant"}:
        return None
    return Residue(dialect=NAME, fields=who)


def _join(residue: Residue | None, said: Residue) -> Residue:
    if residue is None:
        return said
    return msgspec.structs.replace(residue, fields={**residue.fields, **said.fields})


def _complete(message: Json | None, path: str, response_id: str) -> Json:
    """`message` with what some providers leave out: its role, and ids and arguments of calls."""
    if message is None:
        raise InvalidRequest(path, "an object")
    whole = {**message, "role": "assistant"}
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
    extra = losses.residue(response.residue, "$")
    head: Json = {
        "id": response.id,
        "object": _OBJECT,
        "created": response.created or 0,
        "model": response.model,
    }
    body: Json = {
        **_as_given(head, extra, response.residue),
        "choices": [
            _encode_choice(choice, index, Encoding(losses=losses, own=own))
            for index, choice in enumerate(response.choices)
        ],
    }
    if response.usage is not None:
        body["usage"] = encode_usage(response.usage)
    return merge(extra, body)


def in_content(body: Json) -> Json:
    """`body`, a whole answer, as those read it that want their streams `WHOLE_CALLS`: reasoning is
    a `thinking` part of the content."""
    choices = [{**one, "message": _think_in_content(one["message"])} for one in body["choices"]]
    return {**body, "choices": choices}


def _think_in_content(message: Json) -> Json:
    thoughts, names = decode_reasoning(Fields(message, "$"), message)
    if not thoughts:
        return message
    left = {n: v for n, v in message.items() if n not in names and (n not in PLAIN_FIELDS or v)}
    said = message.get("content")
    text = [{"type": "text", "text": said}] if isinstance(said, str) and said else as_list(said)
    return {**left, "content": [*map(signed_part, thoughts), *text]}


def _as_given(known: Json, extra: Json, residue: Residue | None) -> Json:
    """`known` without what a provider of this dialect left out, or said its own way."""
    return {
        name: value
        for name, value in known.items()
        if name not in extra and not says(residue, name)
    }


def _encode_choice(choice: Choice, index: int, encoding: Encoding) -> Json:
    path = f"$.choices[{index}]"
    extra = encoding.losses.residue(choice.residue, path)
    parts = [part for part in choice.parts if _is_sayable(part, path, encoding.losses)]
    fields = _encode_own(choice, parts, encoding) if encoding.own else _encode(parts, encoding)
    known: Json = _as_given({"index": index}, extra, choice.residue)
    said = _as_given({"role": "assistant"}, extra.get("message", {}), choice.residue)
    known["message"] = {**said, **fields}
    if choice.logprobs is not None:
        known["logprobs"] = choice.logprobs
    if not says(choice.residue, "finish_reason"):
        known["finish_reason"] = encode_finish(choice.finish_reason, choice.residue)
    if choice.stop_sequence is not None:
        known["stop_reason"] = choice.stop_sequence
    return merge(extra, known)


def _is_sayable(part: Part, path: str, losses: Losses) -> bool:
    """Whether an answer of this dialect has a place for `part`; recorded as lost if not."""
    if isinstance(part, Text | Refusal | Reasoning | ToolCall) or is_image(part):
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
    others: list[Part] = [
        part for part in parts if isinstance(part, Reasoning | ToolCall) or is_image(part)
    ]
    turn = Encoding(losses=losses, quirks=answer_quirks(parts))
    return {
        **encode_turn(Message(role="assistant", parts=()), others, turn),
        "content": "".join(texts) if texts else None,
        "refusal": "".join(refusals) if refusals else None,
    }
