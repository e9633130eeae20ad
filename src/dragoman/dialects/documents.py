"""Documents of plain text, in words, for dialects that have no documents or none of this kind.

The form says where a document begins and ends, and what is known about it, a line each:

    <document>
    title: …
    context: …

    the text
    </document>

A search result is one with a `source`, in a tag of its own name.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from dragoman.ir import Blob
from dragoman.wire.fields import as_list

_TEXTS = frozenset({"text/plain", "text/markdown", "text/csv", "text/html"})


def write_document(kind: str, about: Mapping[str, str | None], text: str) -> str:
    """The form; `kind` is the tag, and what of `about` is None is left out."""
    lines = [f"{name}: {said}" for name, said in about.items() if said is not None]
    head = "\n".join([f"<{kind}>", *lines, ""] if lines else [f"<{kind}>"])
    return f"{head}\n{text}\n</{kind}>"


def words_of_document(part: Blob) -> str | None:
    """The words of an inline document that is plain text; None for any other medium."""
    mime = part.mime_type.partition(";")[0].strip().lower()
    if part.modality != "document" or mime not in _TEXTS:
        return None
    try:
        return base64.b64decode(part.content, validate=True).decode()
    except (binascii.Error, ValueError):
        return None


def document_as_text(part: Blob) -> str | None:
    """The same in the form above, its filename the title."""
    words = words_of_document(part)
    if words is None:
        return None
    kind = part.mime_type.partition("/")[2]
    about = {"title": part.filename, "format": None if kind == "plain" else kind}
    return write_document("document", about, words)


def joined_texts(blocks: Any) -> str | None:
    """The words of a list of objects that say each a `text`, a blank line between two; None where
    one of them says something else."""
    texts: list[str] = []
    for block in as_list(blocks):
        match block:
            case {"text": str(text), **others} if others.keys() <= {"type"}:
                texts.append(text)
            case _:
                return None
    return "\n\n".join(texts) if texts else None
