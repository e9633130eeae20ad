"""Amazon Bedrock's InvokeModel, whose body is each model's own: its fields tell whose it is."""

from __future__ import annotations

import re
from urllib.parse import unquote

from dragoman.dialects import Call
from dragoman.ir import Json

_INVOKE = re.compile(r"/model/(.+)/invoke")


def match_invoke(path: str, operation: str, marks: tuple[str, ...]) -> Call | None:
    """A call for bodies that have one of the fields `marks`."""
    found = _INVOKE.fullmatch(path)
    if found is None:
        return None

    def claims(body: Json) -> bool:
        return any(name in body for name in marks)

    return Call(operation=operation, model=unquote(found[1]), claims=claims)
