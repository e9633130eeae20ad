"""Reasoning of an assistant message: plain text, and details that only their author can read.

Neither is OpenAI's. `reasoning_content` comes from DeepSeek (vLLM, Fireworks, xAI and others took
it over), `reasoning` and `reasoning_details` from OpenRouter.
Source: https://openrouter.ai/docs/use-cases/reasoning-tokens, November 2026.

A signature of Anthropic's travels to the client and back as a detail of the format
`anthropic-claude-v1`, a redacted thought as `reasoning.encrypted` of the same format.

Gemini signs calls and texts too: that signature is `extra_content` of the call or the message, as
Google's own endpoint of this dialect has it.
Source: https://ai.google.dev/gemini-api/docs/thought-signatures, November 2026.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import msgspec

from dragoman.dialects.carrying import decode_signature, encode_signature
from dragoman.dialects.openai_chat.parts import THINKING
from dragoman.dialects.openai_chat.quirks import Quirks
from dragoman.dialects.openai_chat.spelling import NAME, Encoding, says
from dragoman.dialects.residues import json_object
from dragoman.errors import InvalidRequest
from dragoman.ir import Json, Part, Reasoning, Residue
from dragoman.wire.fields import Fields

DETAILS = "reasoning_details"
PLAIN_FIELDS = ("reasoning_content", "reasoning")
_ANTHROPIC = "anthropic_messages"
_FORMAT = "anthropic-claude-v1"
_CARRIED = "dragoman-v1"
"""Another dialect's state; see `carrying`."""
_GEMINI, _GEMINI_FIELD = "gemini_generate", "thoughtSignature"
_EXTRA, _GOOGLE, _SIGNATURE = "extra_content", "google", "thought_signature"
ON_CALL, ON_TEXT, ALONE = "next", "previous", "text"
"""Where a signature of Gemini's stands that is on no thought, in its dialect's words."""
_UNINDEXED = "unindexed"
_BESIDE = "beside"
"""The spelling of words that stand beside details without any."""
_TEXT_NAMES = {"reasoning.text": "text", "reasoning.summary": "summary"}


def decode_reasoning(fields: Fields, message: Json) -> tuple[list[Reasoning], tuple[str, ...]]:
    """The message's reasoning, and the fields it stood in.

    A plain field that only repeats what another one says is taken with it, as is the one that
    speaks for details without words; one that says something else stays in `fields`.
    """
    parts = [
        decode_detail(path, _object(item, path), index)
        for index, (path, item) in enumerate(fields.items(DETAILS))
    ]
    form = [DETAILS] if parts else []
    text = "".join(part.content for part in parts) if parts else None
    for name in PLAIN_FIELDS:
        value = message.get(name)
        if isinstance(value, str) and value and text == "":
            text = fields.take(name, str)
            form.append(name)
            beside = Residue(dialect=NAME, fields={}, form=(_BESIDE,))
            parts.insert(0, Reasoning(content=text, at=fields.at(name), residue=beside))
        elif isinstance(value, str) and text in (None, value):
            text = fields.take(name, str)
            form.append(name)
            if text and not parts:
                parts = [Reasoning(content=text, at=fields.at(name))]
    return parts, tuple(form)


def is_ours(item: Any) -> bool:
    """Whether a detail is what only clients are told: it carries another dialect's state."""
    return json_object(item).get("format") == _CARRIED


def _object(item: Any, path: str) -> Json:
    if not isinstance(item, dict):
        raise InvalidRequest(path, "an object")
    return cast("Json", item)


def text_name(item: Json) -> str | None:
    """The field of a detail that holds its words; None where it has none."""
    kind = item.get("type")
    return _TEXT_NAMES.get(kind) if isinstance(kind, str) else None


def has_words(item: Json) -> bool:
    """Whether a detail says anything that the plain field may repeat."""
    name = text_name(item)
    return name is not None and bool(item.get(name))


def decode_detail(path: str, item: Json, index: int) -> Reasoning:
    """One detail; `index` is its place in the list."""
    form = () if "index" in item else (_UNINDEXED,)
    name = text_name(item)
    text = item.get(name) if name else None
    content = text if isinstance(text, str) else ""
    left = {key: value for key, value in item.items() if key != name or content != value}
    residue = Residue(dialect=NAME, fields=left, form=form)
    match left:
        case {"type": "reasoning.text"} if _is_only(left, index):
            residue = Residue(dialect=NAME, fields={}, form=form)
        case {"type": "reasoning.text", "format": "anthropic-claude-v1", "signature": str(value)}:
            if _is_only(left, index, "format", "signature") and isinstance(text, str):
                fields_out = {"signature": value}
                residue = Residue(dialect=_ANTHROPIC, fields=fields_out, form=form)
        case {"type": "reasoning.text", "format": "dragoman-v1", "signature": str(value)}:
            carried = decode_signature(value)
            if carried and _is_only(left, index, "format", "signature") and isinstance(text, str):
                residue = Residue(dialect=carried.dialect, fields=carried.fields, form=carried.form)
        case {"type": "reasoning.encrypted", "format": "anthropic-claude-v1", "data": str(value)}:
            if _is_only(left, index, "format", "data"):
                residue = Residue(dialect=_ANTHROPIC, fields={"data": value}, form=form)
        case _:
            pass
    return Reasoning(content=content, at=path, residue=residue)


def _is_only(item: Json, index: int, *names: str) -> bool:
    """Whether nothing but `names` and what can be told anew stands in `item`."""
    return item.keys() <= {"type", "index", *names} and item.get("index", index) == index


def encode_detail(part: Reasoning, index: int) -> Json:
    """One detail at its place in the list."""
    known: Json = {"type": "reasoning.text", "text": part.content}
    residue = part.residue
    if residue is not None and residue.dialect == _ANTHROPIC:
        if "data" in residue.fields:
            known = {"type": "reasoning.encrypted", "data": residue.fields["data"]}
        elif signature := residue.fields.get("signature"):  # empty where nobody signed
            known["signature"] = signature
        known["format"] = _FORMAT
    elif residue is not None and residue.dialect == NAME and _is_detail(residue):
        name = text_name(residue.fields)
        if name is None or name in residue.fields:
            return residue.fields
        return {name: part.content, **residue.fields}
    elif residue is not None and residue.fields:
        known |= {"signature": encode_signature(residue), "format": _CARRIED}
    is_unindexed = residue is not None and _UNINDEXED in residue.form
    return known if is_unindexed else {**known, "index": index}


def _is_detail(residue: Residue) -> bool:
    return bool(residue.fields) and not says(residue, THINKING)


def encode_details(parts: Sequence[Reasoning]) -> list[Json]:
    """The whole list of details."""
    return [encode_detail(part, index) for index, part in enumerate(parts)]


def encode_own(parts: Sequence[Reasoning], residue: Residue | None) -> Json:
    """In the very fields it came in; empty where the message came from another dialect."""
    text = "".join(part.content for part in parts)
    out: Json = {name: text for name in PLAIN_FIELDS if says(residue, name)}
    details = [part for part in parts if not says(part.residue, _BESIDE)]
    return {**out, DETAILS: encode_details(details)} if says(residue, DETAILS) else out


def answer_quirks(parts: Sequence[Part]) -> Quirks:
    """What a client takes: the text, and details where it must send them back to be of use."""
    thoughts = [part for part in parts if isinstance(part, Reasoning)]
    details = any(part.residue and part.residue.fields and not place_of(part) for part in thoughts)
    return Quirks(
        reasoning_field="reasoning_content",
        reasoning_details=details,
        states=True,
        extra_content=True,
        images=True,
    )


def place_of(part: Part) -> str | None:
    """Where the signature of Gemini's that `part` is belongs; None for any other part."""
    residue = part.residue
    if not isinstance(part, Reasoning) or residue is None or residue.dialect != _GEMINI:
        return None
    if part.content or not residue.form or not isinstance(residue.fields.get(_GEMINI_FIELD), str):
        return None
    return ON_CALL if ON_CALL in residue.form else ALONE


def take_signature(fields: Fields, place: str) -> list[Reasoning]:
    """The signature of Gemini's in `extra_content`, if that is all there is."""
    signature = read_signature(fields.peek(_EXTRA))
    if signature is None or fields.peek(_EXTRA) != _wrap(signature):
        return []
    fields.json(_EXTRA)
    at = f"{fields.at(_EXTRA)}.{_GOOGLE}.{_SIGNATURE}"
    return [Reasoning(content="", at=at, residue=signed(signature, place))]


def read_signature(extra: Any) -> str | None:
    """The signature in a field `extra_content`."""
    match extra:
        case {"google": {"thought_signature": str(signature)}}:
            return signature
        case _:
            return None


def signed(signature: str, place: str) -> Residue:
    """A signature of Gemini's, as the residue of the part it is."""
    return Residue(dialect=_GEMINI, fields={_GEMINI_FIELD: signature}, form=(place,))


def extra_content(residue: Residue | None) -> Json:
    """The field that holds a signature of Gemini's."""
    return {} if residue is None else {_EXTRA: _wrap(residue.fields[_GEMINI_FIELD])}


def _wrap(signature: str) -> Json:
    return {_GOOGLE: {_SIGNATURE: signature}}


def _readable(part: Reasoning, encoding: Encoding) -> Reasoning:
    """Of a state that no provider of this dialect can read, the words alone; clients get all."""
    if encoding.quirks.states or not is_ours(encode_detail(part, 0)):
        return part
    encoding.losses.omit("reasoning", part.at)
    return msgspec.structs.replace(part, residue=None)


def encode_history(parts: Sequence[Reasoning], encoding: Encoding) -> Json:
    """In the fields the other side takes; what it does not take is lost, as a hint."""
    quirks, losses = encoding.quirks, encoding.losses
    out: Json = {}
    text = "".join(part.content for part in parts)
    if quirks.reasoning_field is not None and text:
        out[quirks.reasoning_field] = text
    if quirks.reasoning_details:
        return {**out, DETAILS: encode_details([_readable(part, encoding) for part in parts])}
    for part in parts:
        if quirks.reasoning_field is None:
            losses.omit("reasoning", part.at)
        else:
            losses.residue(part.residue, part.at)
    return out
