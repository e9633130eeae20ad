"""Images that a model makes: `images` of an assistant message or delta, beside its content.

The field is OpenRouter's, in answers and in the history; others took it over.
Source: https://openrouter.ai/docs/features/multimodal/image-generation, November 2026.

A signature of Gemini's stands on an image as it stands on a call, in `extra_content`.
"""

from __future__ import annotations

from typing import Any, TypeGuard

import msgspec

from dragoman.dialects.openai_chat import reasoning
from dragoman.dialects.openai_chat.parts import decode_url, encode_part
from dragoman.dialects.openai_chat.spelling import NAME, UNTYPED, Encoding, says
from dragoman.dialects.residues import pack, packed
from dragoman.ir import Blob, Json, Part, Reasoning, Residue, Uri
from dragoman.wire.fields import Fields, as_list

IMAGES = "images"
_TYPE = "image_url"
_INDEX = "index"


def decode_images(found: object, path: str) -> list[Part]:
    """The images in a field, each behind the signature it bears; none where one is no image."""
    items = as_list(found)
    if not all(map(_is_image, items)):
        return []
    return [part for i, item in enumerate(items) for part in _decode(item, f"{path}[{i}]")]


def _is_image(item: Any) -> bool:
    match item:
        case {"image_url": {"url": str()}, "type": "image_url"}:
            return True
        case {"image_url": {"url": str()}}:
            return "type" not in item
        case _:
            return False


def _decode(item: Json, path: str) -> list[Reasoning | Uri | Blob]:
    fields = Fields(item, path)
    form = [IMAGES]
    if fields.take_optional("type", str) is None:
        form.append(UNTYPED)
    if _INDEX in fields:
        form += pack(_INDEX, fields.take(_INDEX, object))
    signature = reasoning.take_signature(fields, reasoning.ON_CALL)
    part = decode_url(fields, item, _TYPE)
    left = part.residue.fields if part.residue else {}
    words = part.residue.form if part.residue else ()
    residue = Residue(dialect=NAME, fields=left, form=(*words, *form))
    return [*signature, msgspec.structs.replace(part, residue=residue)]


def is_image(part: Part) -> TypeGuard[Uri | Blob]:
    """Whether an assistant message has a place for `part` in this field."""
    return isinstance(part, Uri | Blob) and part.modality == "image"


def stood_here(part: Part) -> bool:
    """Whether `part` came in this field of this dialect."""
    return says(part.residue, IMAGES)


def encode_image(part: Uri | Blob, encoding: Encoding) -> Json:
    """One item of the field."""
    item = encode_part(part, encoding)
    if says(part.residue, UNTYPED):
        del item["type"]
    index = packed(part.residue, NAME, _INDEX)
    return item if index is None else {**item, _INDEX: index}
