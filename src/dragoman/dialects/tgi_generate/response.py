"""The whole answer: its text, and details that count and explain it."""

from __future__ import annotations

from dragoman.dialects.tgi_generate.errors import stream_error
from dragoman.dialects.tgi_generate.names import (
    NAME,
    decode_finish,
    decode_logprobs,
    decode_usage,
    encode_tokens,
    finish_word,
    json_object,
    pack,
    packed,
)
from dragoman.errors import InvalidRequest, UpstreamProtocolError
from dragoman.ir import Choice, Json, Opaque, Part, Refusal, Residue, Response, Text, ToolCall
from dragoman.ir.losses import Losses
from dragoman.wire.fields import Fields, as_list

CALLED = "the upstream called a tool, and none was on offer"


def decode_response(body: Json) -> Response:
    """A whole answer. Raises `UpstreamProtocolError` if it is not one."""
    if "error" in body and "generated_text" not in body:
        raise stream_error(body)
    try:
        fields = Fields(body, "$")
        text = fields.take("generated_text", str)
    except InvalidRequest as error:
        raise UpstreamProtocolError(f"the upstream's answer: {error}") from error
    given = body.get("details")
    details = json_object(given)
    reason, said = decode_finish(details.get("finish_reason"))
    tokens, alternatives = as_list(details.get("tokens")), as_list(details.get("top_tokens"))
    choice = Choice(
        parts=(Text(content=text),) if text else (),
        finish_reason=reason,
        logprobs=decode_logprobs(tokens, alternatives),
        residue=said,
    )
    rest = fields.rest(NAME)
    left = {k: v for k, v in (rest.fields if rest else {}).items() if k != "details"}
    form = pack("details", given) if "details" in body else ("no details",)
    residue = Residue(dialect=NAME, fields=left, form=form)
    usage = decode_usage(details)
    return Response(id="", model="", choices=(choice,), usage=usage, residue=residue)


def encode_response(response: Response, losses: Losses) -> Json:
    """The answer for a client; what it says besides text is lost, and reported."""
    if len(response.choices) != 1:
        raise UpstreamProtocolError("the upstream did not send the one answer asked for")
    choice = response.choices[0]
    body: Json = {"generated_text": "".join(_text(part, losses) for part in choice.parts)}
    body |= losses.residue(response.residue, "$")
    residue = response.residue
    if residue is not None and residue.dialect == NAME:
        told = packed(residue, "details")
        return body if "no details" in residue.form else {**body, "details": told}
    losses.residue(choice.residue, "$")
    return {**body, "details": _details(response, choice)}


def _details(response: Response, choice: Choice) -> Json:
    """`input_length` is the stream's word: the whole answer's, tokens of the prompt, nobody has."""
    tokens, alternatives = encode_tokens(choice.logprobs)
    usage = response.usage
    return {
        "finish_reason": finish_word(choice.finish_reason, choice.stop_sequence, choice.residue),
        "generated_tokens": usage.output_tokens if usage else 0,
        "input_length": usage.input_tokens if usage else 0,
        "seed": None,
        "prefill": list[Json](),
        "tokens": tokens,
        **({"top_tokens": alternatives} if any(alternatives) else {}),
    }


def _text(part: Part, losses: Losses) -> str:
    match part:
        case Text() | Refusal():
            losses.residue(part.residue, "$.generated_text")
            return part.content
        case ToolCall():
            raise UpstreamProtocolError(CALLED)
        case _:
            kind = part.kind if isinstance(part, Opaque) else type(part).__name__.lower()
            losses.omit("residue", f"$.{kind}")
            return ""
