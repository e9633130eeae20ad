"""What is embedded, and what for: between the dialects' fields and the representation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dragoman.dialects.residues import says
from dragoman.errors import InvalidRequest
from dragoman.ir import Text
from dragoman.ir.embeddings import NEAREST, EmbeddingRequest, Input, Purpose
from dragoman.ir.losses import Losses
from dragoman.wire.fields import Fields

ONE = "one"
"""Form of a request that gave one string in place of a list."""


def take_texts(top: Fields, name: str) -> tuple[tuple[Input, ...], tuple[str, ...]]:
    """One string or a list of strings, and the form it came in."""
    is_one = isinstance(top.peek(name), str)
    found = top.one_or_many(name)
    inputs = tuple(text_input(value, path) for path, value in found)
    return inputs, (ONE,) if is_one else ()


def text_input(value: Any, path: str) -> Input:
    """An input that is one string."""
    if not isinstance(value, str):
        raise InvalidRequest(path, "a string")
    return Input(parts=(Text(content=value, at=path),), at=path)


def write_texts(request: EmbeddingRequest, losses: Losses, dialect: str) -> str | list[str]:
    """The texts, as one string where the request came so in this very dialect."""
    texts = [one_text(one, losses) for one in request.inputs]
    return texts[0] if says(request.residue, dialect, ONE) and len(texts) == 1 else texts


def one_text(one: Input, losses: Losses) -> str:
    """The input's only text; anything else is refused."""
    if one.title is not None:
        losses.omit("title", f"{one.at}.title")
    losses.residue(one.residue, one.at)
    match one.parts:
        case (Text() as text,):
            losses.residue(text.residue, text.at)
            return text.content
        case ():
            losses.omit("inputs", one.at, "there is nothing in it")
        case (part,):
            losses.omit("inputs", part.at, "it takes text")
        case (_, second, *_):
            losses.omit("inputs", second.at, "it takes one text an input")
        case _:  # pragma: no cover - the four are all there are
            pass
    raise AssertionError("inputs have meaning")


def only_input(request: EmbeddingRequest, losses: Losses) -> Input:
    """The only input, for a dialect that takes one a call."""
    if len(request.inputs) != 1:
        at = request.inputs[1].at if request.inputs else request.path("inputs")
        losses.omit("inputs", at, "it takes one input a call")
    return request.inputs[0]


def refuse_mixed(request: EmbeddingRequest, losses: Losses) -> None:
    """Refuse inputs that ask for different things, where a request says it once for all."""
    if request.mixed_at:
        losses.omit("mixed", request.mixed_at, "it says this once for all inputs")


def only_floats(request: EmbeddingRequest, losses: Losses) -> None:
    """Refuse every other type of number."""
    for one in request.formats:
        if one.dtype != "float":
            losses.omit("formats", one.at, f"it has no {one.dtype} vectors")


def omit_all(request: EmbeddingRequest, losses: Losses, *fields: str) -> None:
    """Leave out each of `fields` that the client gave; vectors not normalized have meaning."""
    for field in fields:
        value = getattr(request, field)
        if value is None:
            continue
        if field == "normalize" and value is False:
            losses.omit("unnormalized", request.path(field), "its vectors come as they come")
        losses.omit(field, request.path(field))


def write_purpose(
    request: EmbeddingRequest, losses: Losses, words: Mapping[Purpose, str]
) -> str | None:
    """The dialect's word for what the vectors are for, or the nearest, reported; None: none."""
    purpose = request.purpose
    if purpose is None or purpose in words:
        return None if purpose is None else words[purpose]
    losses.omit("purpose", request.path("purpose"))
    return words.get(NEAREST.get(purpose, purpose))
