"""Answers in one piece: output items to parts of one choice and back."""

from __future__ import annotations

from typing import Any

from dragoman.dialects.call_ids import CallIds, answer_ids, fill_id
from dragoman.dialects.openai_responses.errors import stream_error
from dragoman.dialects.openai_responses.names import (
    ECHOES,
    ITEM,
    NAME,
    decode_usage,
    encode_usage,
    finish_of,
    json_object,
    pack,
    packed,
    residue_of,
    status_of,
)
from dragoman.dialects.openai_responses.parts import (
    decode_call,
    decode_part,
    decode_reasoning,
    encode_call,
    encode_reasoning,
    encode_said,
)
from dragoman.errors import InvalidRequest, UpstreamProtocolError
from dragoman.ir import (
    Choice,
    Json,
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

_KNOWN = ("id", "model", "output", "usage")
_ECHO = "echo"


def decode_response(body: Json) -> Response:
    """A whole answer. Raises `UpstreamError` where it says that it failed."""
    if body.get("status") == "failed" or (body.get("error") and not body.get("output")):
        raise stream_error(body.get("error"))
    if not isinstance(body.get("output"), list):
        raise UpstreamProtocolError("the upstream's answer: $.output: expected an array of items")
    try:
        return _decode(body)
    except InvalidRequest as error:
        raise UpstreamProtocolError(f"the upstream's answer: {error.message}") from error


def _decode(body: Json) -> Response:
    top = Fields(body, "$")
    ids = answer_ids(body.get("id"))
    items = [(path, _with_id(item, ids)) for path, item in top.items("output")]
    parts = [part for path, item in items for part in _item_parts(item, path)]
    logprobs = [as_list(p.pop("logprobs")) for p in map(_fields, parts) if p.get("logprobs")]
    calls = any(isinstance(part, ToolCall) for part in parts)
    choice = Choice(
        parts=tuple(parts),
        finish_reason=finish_of(body, calls=calls),
        logprobs={"content": [item for one in logprobs for item in one]} if logprobs else None,
    )
    created = body.get("created_at")
    return Response(
        id=top.take_optional("id", str) or "",
        model=top.take_optional("model", str) or "",
        created=int(created) if isinstance(created, int | float) else None,
        choices=(choice,),
        usage=decode_usage(body.get("usage")),
        residue=head_residue(body),
    )


def _fields(part: Part) -> Json:
    residue = part.residue if isinstance(part, Text) else None
    return residue.fields if residue else {}


def head_residue(body: Json) -> Residue | None:
    """What the answer's top says besides; echoes of the request are bookkeeping, not content."""
    echo = {name: value for name, value in body.items() if name in ECHOES}
    left = {
        name: value
        for name, value in body.items()
        if name not in ECHOES and (name not in _KNOWN or value in (None, ""))
    }
    return residue_of(left, *pack(_ECHO, echo))


def _with_id(item: Any, ids: CallIds) -> Any:
    is_call = json_object(item).get("type") == "function_call"
    return fill_id(ids, item, "call_id") if is_call else item


def _item_parts(value: Any, path: str) -> list[Part]:
    fields = Fields(value, path)
    kind = fields.take("type", str)
    match kind:
        case "message":
            found = [decode_part(item, at) for at, item in fields.items("content")]
            left = fields.rest(NAME)
            own = pack(ITEM, left.fields if left else {})
            return [_with_form(part, own) for part in found] or [
                Opaque(dialect=NAME, kind=kind, value=value, at=path)
            ]
        case "function_call":
            return [decode_call(fields)]
        case "reasoning":
            return [decode_reasoning(value, path)]
        case _:
            return [Opaque(dialect=NAME, kind=kind, value=value, at=path)]


def _with_form(part: Part, form: tuple[str, ...]) -> Part:
    if not isinstance(part, Text | Refusal):
        return part
    old = part.residue or Residue(dialect=NAME, fields={})
    residue = Residue(dialect=NAME, fields=dict(old.fields), form=(*old.form, *form))
    kind = Text if isinstance(part, Text) else Refusal
    return kind(content=part.content, at=part.at, residue=residue)


# --- write ------------------------------------------------------------------------------------


def encode_response(response: Response, losses: Losses) -> Json:
    """A whole answer for a client of this dialect."""
    choice = response.choices[0]
    output = encode_output(choice, response.id, losses)
    usage = None if response.usage is None else encode_usage(response.usage)
    body = head(response.id, response.model, response.created, response.residue, losses)
    if packed(response.residue, _ECHO) is None:
        status, details = status_of(choice.finish_reason)
        body |= {"status": status, "incomplete_details": details}
    body["output"] = output
    if usage is not None or packed(response.residue, _ECHO) is None:
        body["usage"] = usage
    return body


def head(
    ident: str, model: str, created: int | None, residue: Residue | None, losses: Losses
) -> Json:
    """The fields of an answer that are no content."""
    known: Json = {"id": ident, "model": model}
    if (echo := packed(residue, _ECHO)) is not None:
        named = {name: value for name, value in known.items() if value}
        return {**echo, **losses.residue(residue, "$"), **named}
    return {
        "id": ident,
        "object": "response",
        "created_at": created or 0,
        "status": "completed",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": None,
        "metadata": {},
        "model": model,
        "output": [],
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "store": False,
        "temperature": None,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": None,
        "truncation": "disabled",
        "usage": None,
        **losses.residue(residue, "$"),
    }


def encode_output(choice: Choice, ident: str, losses: Losses) -> list[Json]:
    """The output items of a choice; texts beside each other share a message."""
    items: list[Json] = []
    logprobs = as_list((choice.logprobs or {}).get("content"))
    before: Json | None = None
    for part in choice.parts:
        if not isinstance(part, Text | Refusal):
            before = None
            items += _item(part, item_id(part, ident, len(items)), losses)
            continue
        owner = packed(part.residue, ITEM)
        if part.residue is not None and part.residue.dialect != NAME:
            losses.residue(part.residue, part.at)
        said = encode_said(part)
        if logprobs and isinstance(part, Text):
            said["logprobs"], logprobs = logprobs, []
        if items and before is not None and before == (owner or {}):
            items[-1]["content"].append(said)
            continue
        before = owner or {}
        fields = message_fields(ident, len(items)) if owner is None else owner
        items.append({**fields, "type": "message", "content": [said]})
    losses.residue(choice.residue, "$")
    return items


def message_fields(ident: str, number: int) -> Json:
    """A message's own fields where its provider has no such items."""
    return {"id": f"msg_{ident}_{number}", "role": "assistant", "status": "completed"}


def item_id(part: Part, ident: str, number: int) -> str:
    """An id for an item whose provider gave none: the answer's, and its place."""
    prefix = "fc" if isinstance(part, ToolCall) else "rs" if isinstance(part, Reasoning) else "it"
    return f"{prefix}_{ident}_{number}"


def _item(part: Part, ident: str, losses: Losses) -> list[Json]:
    match part:
        case ToolCall():
            extra = {} if part.residue else {"id": ident, "status": "completed"}
            return [{**extra, **encode_call(part, losses)}]
        case Reasoning():
            wire = encode_reasoning(part)
            return [wire if "id" in wire else {"id": ident, **wire}]
        case Opaque() if part.dialect == NAME:
            return [part.value]
        case Opaque():
            losses.paths.append(f"$.output.{part.kind}")
            return []
        case _:
            losses.paths.append(f"$.output.{type(part).__name__}")
            return []
