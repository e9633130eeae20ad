"""What the modules of this dialect share: its name, its residue, and the merge that undoes it."""

from __future__ import annotations

from typing import cast

import msgspec

from dragoman.dialects.openai_chat.quirks import Quirks
from dragoman.ir import Json, Markable, Residue
from dragoman.ir.losses import Losses
from dragoman.wire.fields import Fields

NAME = "openai_chat"
WHOLE_CALLS = "whole_calls"
"""The framing of Mistral's streams: each tool call whole in one chunk, usage with the last choice,
reasoning as `thinking` in the content.

Its SDKs want a name in every call of every chunk; OpenAI's clients join the names of such pieces.
"""
USER_AGENT = "user-agent"
SDK_AGENT = "mistral-client"
"""How the user agents of Mistral's SDKs begin, in every language."""


class Encoding(msgspec.Struct, frozen=True, kw_only=True):
    """One encoding under way. `own`: the source was this dialect, so what it says is written back
    as it stood, whatever the provider is thought to take."""

    losses: Losses
    quirks: Quirks = Quirks()
    own: bool = False


UNTYPED = "untyped"
"""Spelling of a function, a call or a choice without its `type`, as Mistral has them."""


def typed(residue: Residue | None) -> Json:
    """The `type` of a function, or its own, unless the object came without one."""
    if says(residue, UNTYPED):
        return {}
    own = residue.fields if residue is not None and residue.dialect == NAME else {}
    return {"type": own.get("type", "function")}


def rest(fields: Fields, *form: str) -> Residue | None:
    """What was not taken from `fields`, with the spelling the object came in."""
    left = fields.rest(NAME)
    if not form:
        return left
    return Residue(dialect=NAME, fields=left.fields if left else {}, form=form)


def nest(outer: Residue | None, name: str, inner: Residue | None) -> Residue | None:
    """`outer` with the rest of its object `name` put back where it stood."""
    if inner is None:
        return outer
    fields, form = (outer.fields, outer.form) if outer else ({}, ())
    whole = {**fields.get(name, {}), **inner.fields}
    return Residue(dialect=NAME, fields={**fields, name: whole}, form=form + inner.form)


def is_own(residue: Residue | None) -> bool:
    """Whether the object came from this dialect."""
    return residue is not None and residue.dialect == NAME


def says(residue: Residue | None, word: str) -> bool:
    """Whether the object came from this dialect, in the spelling `word`."""
    return residue is not None and residue.dialect == NAME and word in residue.form


def merge(extra: Json, known: Json) -> Json:
    """`known` beside the fields that have no name here, also inside the objects both have."""
    out = dict(extra)
    for name, value in known.items():
        before = out.get(name)
        if isinstance(before, dict) and isinstance(value, dict):
            out[name] = merge(cast("Json", before), cast("Json", value))
        else:
            out[name] = value
    return out


def cache_mark(node: Markable, encoding: Encoding) -> Json:
    """The node's prompt-cache mark as a field, where the provider takes one."""
    if node.cache_control is None:
        return {}
    if encoding.own or encoding.quirks.cache_control:
        return {"cache_control": node.cache_control}
    encoding.losses.omit("cache_control", node.mark_path)
    return {}
