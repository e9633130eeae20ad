"""What a client kept of a stream: Google's SDK has each chunk's content as a turn of the model's.

Of this dialect a word or a line break alone may be a turn; others would read each as a paragraph,
or refuse it.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import cast

import msgspec

from dragoman.dialects.carrying import join_thoughts
from dragoman.dialects.gemini_generate.names import NAME
from dragoman.ir import Message, Part, Reasoning, Text


def join_pieces(messages: Iterable[Message]) -> list[Message]:
    """`messages`, with turns of the model's that are pieces of one as that turn."""
    out: list[Message] = []
    for role, turns in groupby(messages, key=lambda message: message.role):
        run = list(turns)
        parts = [part for message in run for part in message.parts]
        joined = join_thoughts(parts, NAME) if role == "assistant" else parts
        if role == "assistant" and (len(run) > 1 or any(map(_is_blank, parts))):
            joined = _join(joined)
        if len(joined) < len(parts):
            run = [msgspec.structs.replace(run[0], parts=tuple(joined))]
        out += run
    return out


def _join(parts: list[Part]) -> list[Part]:
    out: list[Part] = []
    for kind, run in groupby(parts, key=_kind):
        if kind is None:
            out += run
            continue
        pieces = cast("list[Text | Reasoning]", list(run))
        content = "".join(piece.content for piece in pieces)
        out.append(msgspec.structs.replace(pieces[0], content=content))
    return out


def _is_blank(part: Part) -> bool:
    """In one turn, what tells pieces from paragraphs: nobody writes a paragraph of nothing."""
    return _kind(part) is Text and not cast("Text", part).content.strip()


def _kind(part: Part) -> type[Part] | None:
    """Of a part that is nothing but its words."""
    return type(part) if isinstance(part, Text | Reasoning) and part.residue is None else None
