"""Words of the dialect, its two spellings of a field, and its token counts."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any, TypeVar, cast

import msgspec

from dragoman.dialects.carrying import decode_signature, encode_signature
from dragoman.ir import Effort, FinishReason, Json, Modality, Part, Reasoning, Residue, Usage
from dragoman.wire.fields import Fields, as_list

NAME = "gemini_generate"
T = TypeVar("T")


class Quirks(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a provider differs."""

    call_ids: bool = True
    """Whether it takes `id` in function calls and their responses; Vertex AI does not."""


FINISH: dict[str, FinishReason] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "LANGUAGE": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter",
    "MODEL_ARMOR": "content_filter",
}
"""Any other word is an error of the model's."""
FINISH_OUT: dict[FinishReason, str] = {
    "stop": "STOP",
    "tool_call": "STOP",
    "length": "MAX_TOKENS",
    "content_filter": "SAFETY",
    "error": "OTHER",
}
MAX_BUDGET = 24576
"""The most that all models before Gemini 3 take of another dialect's effort."""
LEVELS: dict[Effort, str] = {
    "none": "minimal",
    "minimal": "minimal",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "high",
    "max": "high",
}
"""`thinkingLevel` for an effort asked for in another dialect, from Gemini 3 on."""
NO_SIGNATURE = "skip_thought_signature_validator"
"""Google's own placeholder for a call that another model made.
Source: https://ai.google.dev/gemini-api/docs/thought-signatures, November 2026."""
SIGNATURE = "thoughtSignature"
NEXT, PREVIOUS, TEXT, BARE = "next", "previous", "text", "bare"
"""Where a signature stood that is on no thought: on the part behind it (a call), on the text
before it, on an empty text, or in a part of its own."""

_HUMP = re.compile(r"(?<!^)([A-Z])")


def snake(name: str) -> str:
    """`functionCall` as `function_call`: both are taken, for this is protobuf's JSON."""
    return _HUMP.sub(r"_\1", name).lower()


class Cursor(Fields):
    """Fields by their camel-case names, in either spelling; `form` tells which came otherwise."""

    def __init__(self, value: Any, path: str) -> None:
        super().__init__(value, path)
        self._names: dict[str, str] = {}
        for given in self._left:
            if "_" in given:
                self._names[_camel(given)] = given

    def _given(self, name: str) -> str:
        return self._names.get(name, name) if name not in self._left else name

    def given(self, name: str) -> str:
        """The field's name as it came, also once it was taken."""
        return self._names.get(name, name)

    @property
    def form(self) -> tuple[str, ...]:
        """The names given in snake case."""
        return tuple(self._names.values())

    def __contains__(self, name: str) -> bool:
        return self._left.get(self._given(name)) is not None

    def at(self, name: str) -> str:
        return f"{self.path}.{self._names.get(name, name)}"

    def peek(self, name: str) -> Any:
        return self._left.get(self._given(name))

    def take_optional(self, name: str, kind: type[T]) -> T | None:
        return super().take_optional(self._given(name), kind)

    def object(self, name: str) -> Cursor:
        return Cursor(self.take(name, dict), self.at(name))

    def object_optional(self, name: str) -> Cursor | None:
        found = self.json(name)
        return None if found is None else Cursor(found, self.at(name))

    def items(self, name: str) -> list[tuple[str, Any]]:
        return super().items(self._given(name))

    def residue(self, *form: str) -> Residue | None:
        """What was not taken, and the spelling; None where that says nothing."""
        left = self.rest(NAME)
        words = (*form, *self.form)
        return (
            Residue(dialect=NAME, fields=left.fields if left else {}, form=words)
            if (left or words)
            else None
        )


def _camel(name: str) -> str:
    head, *tail = name.split("_")
    return head + "".join(word[:1].upper() + word[1:] for word in tail)


def spelled(wire: Json, residue: Residue | None, dialect: str = NAME) -> Json:
    """`wire` with the names in snake case that came so."""
    if residue is None or residue.dialect != dialect:
        return wire
    given = {_camel(word): word for word in residue.form if "_" in word}
    return {given.get(name, name): value for name, value in wire.items()} if given else wire


def own(residue: Residue | None) -> Json:
    """The residue's fields if they are this dialect's; else nothing, and nothing is reported."""
    return residue.fields if residue is not None and residue.dialect == NAME else {}


def is_own(residue: Residue | None) -> bool:
    """Whether the object came in this dialect."""
    return residue is not None and residue.dialect == NAME


def has_form(residue: Residue | None, word: str) -> bool:
    """Whether the object came in this dialect's spelling `word`."""
    return residue is not None and residue.dialect == NAME and word in residue.form


def state(signature: str, place: str, at: str, *form: str) -> Reasoning:
    """A signature that is on no thought, as a part of its own: so every dialect that brings
    reasoning back brings it back too. `place` says where it belongs."""
    residue = Residue(dialect=NAME, fields={SIGNATURE: signature}, form=(place, *form))
    return Reasoning(content="", at=at, residue=residue)


def place_of(part: Part) -> str | None:
    """Where the signature that `part` is belongs; None for any other part."""
    if not isinstance(part, Reasoning) or part.content:
        return None
    return next((place for place in _PLACES if has_form(part.residue, place)), None)


_PLACES = (NEXT, PREVIOUS, TEXT, BARE)


def pack(word: str, value: Any) -> tuple[str, str]:
    """A form that carries `value`, bookkeeping that no other dialect has a use for."""
    return word, msgspec.json.encode(value).decode()


def packed(residue: Residue | None, word: str) -> Any:
    """What stands behind `word` in the form; None where nothing does."""
    if residue is None or not has_form(residue, word):
        return None
    return msgspec.json.decode(residue.form[residue.form.index(word) + 1])


def json_object(found: Any) -> Json:
    """`found` if it is an object; else an empty one."""
    return cast("Json", found) if isinstance(found, dict) else {}


def modality_of(mime: str) -> Modality:
    """By the media type's first word; all that is no image, sound or film is a document."""
    match mime.partition("/")[0]:
        case "image" | "audio" | "video" as word:
            return word
        case _:
            return "document"


def carry(residue: Residue | None) -> str | None:
    """Another dialect's state as a signature, which clients of this one hold to be bytes."""
    state = encode_signature(residue)
    return base64.b64encode(state.encode()).decode() if state else None


def carried(signature: Any) -> Residue | None:
    """The state that a signature of ours carries; None for one that is Google's own."""
    if not isinstance(signature, str):
        return None
    try:
        raw = base64.b64decode(signature.translate(_URL_SAFE) + "==")
        return decode_signature(raw.decode("ascii"))
    except (binascii.Error, ValueError):
        return None


_URL_SAFE = str.maketrans("-_", "+/", "=")


def decode_usage(found: Any) -> Usage | None:
    """The prompt includes what was cached; what tools' results cost and thoughts stand apart."""
    if not isinstance(found, dict):
        return None
    wire = cast("Json", found)
    thoughts = _count(wire, "thoughtsTokenCount")
    return Usage(
        input_tokens=_count(wire, "promptTokenCount") + _count(wire, "toolUsePromptTokenCount"),
        output_tokens=_count(wire, "candidatesTokenCount") + thoughts,
        cache_read_input_tokens=_count(wire, "cachedContentTokenCount"),
        reasoning_tokens=thoughts,
        audio_input_tokens=_audio(wire, "promptTokensDetails"),
        audio_output_tokens=_audio(wire, "candidatesTokensDetails"),
        residue=Residue(dialect=NAME, fields={}, form=pack("usage", wire)),
    )


_AUDIO = "AUDIO"


def _audio(wire: Json, name: str) -> int:
    details = map(json_object, as_list(wire.get(name)))
    return sum(_count(one, "tokenCount") for one in details if one.get("modality") == _AUDIO)


def _count(wire: Json, name: str) -> int:
    found = wire.get(name)
    return found if isinstance(found, int) else 0


def encode_usage(usage: Usage) -> Json:
    """The provider's own object where it was this dialect's."""
    if (given := packed(usage.residue, "usage")) is not None:
        return cast("Json", given)
    wire: Json = {
        "promptTokenCount": usage.input_tokens,
        "candidatesTokenCount": usage.output_tokens - usage.reasoning_tokens,
        "totalTokenCount": usage.input_tokens + usage.output_tokens,
    }
    if usage.cache_read_input_tokens:
        wire["cachedContentTokenCount"] = usage.cache_read_input_tokens
    if usage.reasoning_tokens:
        wire["thoughtsTokenCount"] = usage.reasoning_tokens
    if sound := usage.audio_input_tokens:
        wire["promptTokensDetails"] = [{"modality": _AUDIO, "tokenCount": sound}]
    if sound := usage.audio_output_tokens:
        wire["candidatesTokensDetails"] = [{"modality": _AUDIO, "tokenCount": sound}]
    return wire
