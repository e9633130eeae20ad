"""Answers in one piece."""

from __future__ import annotations

from typing import Any

from dragoman.dialects.call_ids import answer_ids
from dragoman.dialects.gemini_generate.errors import stream_error
from dragoman.dialects.gemini_generate.names import (
    FINISH,
    FINISH_OUT,
    NAME,
    Cursor,
    decode_usage,
    encode_usage,
    has_form,
    json_object,
    pack,
    packed,
)
from dragoman.dialects.gemini_generate.parts import (
    decode_parts,
    encode_part,
    encode_parts,
    thought_for_client,
)
from dragoman.errors import InvalidRequest, UpstreamProtocolError
from dragoman.ir import (
    Choice,
    FinishReason,
    Json,
    Opaque,
    Part,
    Reasoning,
    Residue,
    Response,
    ToolCall,
)
from dragoman.ir.losses import Losses
from dragoman.wire.fields import as_list

_HEAD = ("modelVersion", "responseId")
_BOOKKEEPING = (
    "finishReason",
    "finishMessage",
    "index",
    "avgLogprobs",
    "safetyRatings",
    "tokenCount",
    "logprobsResult",
)
"""Fields of a candidate that other dialects say otherwise or that are no content."""


def decode_response(body: Json) -> Response:
    """A whole answer. Raises `UpstreamError` for an error sent with status 200,
    `UpstreamProtocolError` on what is no answer."""
    if "candidates" not in body and "error" in body:
        raise stream_error(body["error"])
    if not any(body.get(name) for name in ("candidates", "promptFeedback", "usageMetadata")):
        raise UpstreamProtocolError("the upstream's answer holds none")
    try:
        return _decode(body)
    except InvalidRequest as error:
        raise UpstreamProtocolError(f"the upstream's answer: {error.message}") from error


def _decode(body: Json) -> Response:
    top = Cursor(body, "$")
    ident = top.take_optional("responseId", str) or ""
    candidates = top.items("candidates")
    choices = [_choice(value, path, ident) for path, value in candidates]
    usage = decode_usage(top.json("usageMetadata"))
    model = top.take_optional("modelVersion", str) or ""
    if not choices:
        blocked = "blockReason" in json_object(body.get("promptFeedback"))
        reason: FinishReason = "content_filter" if blocked else "error"
        choices = [Choice(parts=(), finish_reason=reason, residue=_blocked())]
    kept = {name: top.take("createTime", str)} if (name := "createTime") in top else {}
    left = top.rest(NAME)
    given = [name for name in _HEAD if name in body]
    form = pack("head", {**kept, "given": given})
    residue = Residue(dialect=NAME, fields=left.fields if left else {}, form=form)
    return Response(id=ident, model=model, choices=tuple(choices), usage=usage, residue=residue)


def _blocked() -> Residue:
    """A prompt that was refused has no candidate at all."""
    return Residue(dialect=NAME, fields={}, form=("blocked",))


def _choice(value: Any, path: str, ident: str) -> Choice:
    fields = Cursor(value, path)
    candidate = json_object(value)
    content = fields.object_optional("content")
    ids = answer_ids(ident)
    found = content.items("parts") if content else []
    parts = tuple(part for at, one in found for part in decode_parts(one, at, ids))
    kept = {name: candidate[name] for name in _BOOKKEEPING if name in candidate}
    if content is not None:
        rest = content.rest(NAME)
        kept["content"] = rest.fields if rest else {}
        kept["parts"] = bool(found) or json_object(candidate["content"]).get("parts") == []
    left = fields.rest(NAME)
    extra = {n: v for n, v in (left.fields if left else {}).items() if n not in _BOOKKEEPING}
    return Choice(
        parts=parts,
        finish_reason=finish_of(candidate.get("finishReason"), parts),
        logprobs=decode_logprobs(candidate.get("logprobsResult")),
        residue=Residue(dialect=NAME, fields=extra, form=pack("candidate", kept)),
    )


def finish_of(word: Any, parts: tuple[Part, ...] | list[Part]) -> FinishReason:
    """Why a candidate ended; its calls are to be made where it just stopped."""
    reason = FINISH.get(word, "error") if isinstance(word, str) else "stop"
    calls = any(isinstance(part, ToolCall) for part in parts)
    return "tool_call" if reason == "stop" and calls else reason


def decode_logprobs(found: Any) -> Json | None:
    """The chosen tokens, each with its alternatives, as `{"content": [...]}`."""
    wire = json_object(found)
    chosen = as_list(wire.get("chosenCandidates"))
    if not chosen:
        return None
    tops = as_list(wire.get("topCandidates"))
    content: list[Json] = []
    for i, one in enumerate(chosen):
        others = as_list(json_object(tops[i]).get("candidates")) if i < len(tops) else []
        content.append({**_token(one), "top_logprobs": [_token(other) for other in others]})
    return {"content": content}


def _token(found: Any) -> Json:
    wire = json_object(found)
    token = str(wire.get("token") or "")
    return {
        "token": token,
        "logprob": wire.get("logProbability") or 0.0,
        "bytes": list(token.encode()),
    }


def encode_logprobs(logprobs: Json) -> Json:
    """The inverse."""
    content = as_list(logprobs.get("content"))
    return {
        "chosenCandidates": [_chosen(one) for one in content],
        "topCandidates": [
            {"candidates": list(map(_chosen, as_list(json_object(one).get("top_logprobs"))))}
            for one in content
        ],
    }


def _chosen(found: Any) -> Json:
    wire = json_object(found)
    return {"token": wire.get("token", ""), "logProbability": wire.get("logprob", 0.0)}


# --- write ------------------------------------------------------------------------------------


def encode_response(response: Response, losses: Losses) -> Json:
    """A whole answer for a client of this dialect."""
    extra = losses.residue(response.residue, "$")
    head = json_object(packed(response.residue, "head"))
    given: list[str] = head.pop("given", list(_HEAD))
    known = {"modelVersion": response.model, "responseId": response.id}
    body: Json = {
        "candidates": [
            _candidate(choice, i, losses)
            for i, choice in enumerate(response.choices)
            if not has_form(choice.residue, "blocked")
        ]
    }
    if not body["candidates"]:
        del body["candidates"]
    if response.usage is not None:
        body["usageMetadata"] = encode_usage(response.usage)
    return {**body, **{name: known[name] for name in given}, **head, **extra}


def _candidate(choice: Choice, index: int, losses: Losses) -> Json:
    parts = encode_parts(choice.parts, losses, lambda part: answer_part(part, losses))
    extra = losses.residue(choice.residue, "$.candidates")
    kept = packed(choice.residue, "candidate")
    if kept is None:
        content: Json = {"parts": parts, "role": "model"}
        wire: Json = {"content": content, "finishReason": FINISH_OUT[choice.finish_reason]}
        if choice.logprobs is not None:
            wire["logprobsResult"] = encode_logprobs(choice.logprobs)
        return {**wire, "index": index, **extra}
    candidate: Json = {n: v for n, v in kept.items() if n not in ("content", "parts")}
    if "content" in kept:
        said = {"parts": parts} if kept["parts"] else {}
        candidate["content"] = {**said, **kept["content"]}
    return {**candidate, **extra}


def answer_part(part: Part, losses: Losses) -> Json | None:
    """A part the model produced."""
    if isinstance(part, Reasoning):
        return thought_for_client(part)
    if isinstance(part, Opaque) and part.dialect != NAME:
        losses.paths.append(f"$.candidates.{part.kind}")
        return None
    try:
        return encode_part(part, losses, {})
    except InvalidRequest as error:
        raise UpstreamProtocolError("the upstream's tool call is not a JSON object") from error
