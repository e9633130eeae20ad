"""How a client of each dialect calls the gateway: the path, asked of the catalogue and registry."""

from __future__ import annotations

import functools

from dragoman.catalog import provider_rows
from dragoman.dialects import AnyDialect
from tests.recordings.scope import find_claim

MODEL = "the-model"


@functools.cache
def _paths(dialect: str) -> dict[bool | None, str]:
    """Paths by whether they ask for a stream (None: the body says), with `MODEL` where one is."""
    found: dict[bool | None, str] = {}
    for row in provider_rows().values():
        served = row.serves.get(dialect)
        for template in (served.path, served.stream_path) if served else ():
            path, _, query = (template or "").replace("{model}", MODEL).partition("?")
            claim = find_claim("POST", f"{path}?{query}", {})
            if claim is not None and claim.dialect.name == dialect:
                called = claim.endpoint.replace("{model}", MODEL)
                found.setdefault(claim.call.stream, called + (f"?{query}" if query else ""))
    return found


def path_of(dialect: AnyDialect, model: str, *, stream: bool) -> str | None:
    """The path a client asks, None where no provider of the catalogue serves the dialect."""
    paths = _paths(dialect.name)
    path = paths.get(stream, paths.get(None))
    return None if path is None else path.replace(MODEL, model)
