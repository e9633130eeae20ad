"""What an object of one dialect keeps for its way back: fields without a name, and its spelling."""

from __future__ import annotations

from typing import Any, cast

import msgspec

from dragoman.ir import Json, Reasoning, Residue
from dragoman.ir.losses import Losses
from dragoman.wire.fields import Fields

_HELD = "held"


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


def rest(fields: Fields, dialect: str, *form: str) -> Residue:
    """The same where the residue itself says that the object came in `dialect`."""
    return keep(fields, dialect, *form) or Residue(dialect=dialect, fields={})


def said(residue: Residue | None, dialect: str, start: str) -> str | None:
    """What follows `start` in the spelling of an object that came in `dialect`."""
    if residue is None or residue.dialect != dialect:
        return None
    found = (word.removeprefix(start) for word in residue.form if word.startswith(start))
    return next(found, None)


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


def packed(residue: Residue | None, dialect: str, word: str, kind: Any = Any) -> Any:
    """What stands behind `word` in the form; None where nothing of that type does: a residue that
    a client sent back (see `carrying`) may hold anything."""
    if residue is None or not says(residue, dialect, word):
        return None
    try:
        return msgspec.json.decode(residue.form[residue.form.index(word) + 1], type=kind)
    except (IndexError, msgspec.DecodeError):
        return None


def hold(fields: Json) -> tuple[str, ...]:
    """A form that carries fields which are bookkeeping; empty where there are none."""
    return pack(_HELD, fields) if fields else ()


def held(residue: Residue | None, dialect: str) -> Json:
    """What `hold` carries, in an object that came in `dialect`."""
    return json_object(packed(residue, dialect, _HELD))


def lose_state(part: Reasoning, losses: Losses) -> None:
    """Reports that what only the reasoning's author can read stays behind; its words need not."""
    residue = part.residue
    if residue is not None and residue.dialect != losses.dialect and residue.fields:
        losses.omit("reasoning", part.at or "$.reasoning")


def json_object(found: Any) -> Json:
    """`found` if it is an object; else an empty one."""
    return cast("Json", found) if isinstance(found, dict) else {}
