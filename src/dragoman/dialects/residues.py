"""What an object of one dialect keeps for its way back: fields without a name, and its spelling."""

from __future__ import annotations

from typing import Any, cast

import msgspec

from dragoman.ir import Json, Reasoning, Residue
from dragoman.ir.losses import Losses
from dragoman.wire.fields import Fields


def is_own(residue: Residue | None, dialect: str) -> bool:
    """Whether the object came in `dialect`."""
    return residue is not None and residue.dialect == dialect


def says(residue: Residue | None, dialect: str, word: str) -> bool:
    """Whether the object came in `dialect`, in the spelling `word`."""
    return residue is not None and residue.dialect == dialect and word in residue.form


def keep(fields: Fields, dialect: str, *form: str) -> Residue | None:
    """What was not taken from `fields`, and the spelling; None where that says nothing."""
    left = fields.rest(dialect)
    if left is None and not form:
        return None
    return Residue(dialect=dialect, fields=left.fields if left else {}, form=form)


def nest(outer: Residue | None, name: str, inner: Residue | None) -> Residue | None:
    """`outer` with the rest of its object `name` put back where it stood."""
    if inner is None:
        return outer
    fields, form = (outer.fields, outer.form) if outer else ({}, ())
    within = {name: inner.fields} if inner.fields else {}
    return Residue(dialect=inner.dialect, fields={**fields, **within}, form=form + inner.form)


def pack(word: str, value: Any) -> tuple[str, str]:
    """A form that carries `value`, bookkeeping that no other dialect has a use for."""
    return word, msgspec.json.encode(value).decode()


def packed(residue: Residue | None, dialect: str, word: str) -> Any:
    """What stands behind `word` in the form; None where nothing does."""
    if residue is None or not says(residue, dialect, word):
        return None
    return msgspec.json.decode(residue.form[residue.form.index(word) + 1])


def lose_state(part: Reasoning, losses: Losses) -> None:
    """Reports that what only the reasoning's author can read stays behind; its words need not."""
    residue = part.residue
    if residue is not None and residue.dialect != losses.dialect and residue.fields:
        losses.omit("reasoning", part.at or "$.reasoning")


def json_object(found: Any) -> Json:
    """`found` if it is an object; else an empty one."""
    return cast("Json", found) if isinstance(found, dict) else {}
