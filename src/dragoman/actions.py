"""What a stage asks Envoy to do, as plain values: the core needs no protobuf."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import cast

import msgspec

Metadata = Mapping[str, Mapping[str, object]]
"""Dynamic metadata by namespace; values are JSON-like (str, float, bool, lists, dicts)."""


class Shared(dict[str, Mapping[str, object]]):
    """Metadata of many actions, never changed."""

    written: object = None
    """For whoever writes it out, to keep what was written."""


class Amended(Mapping[str, Mapping[str, object]]):
    """Shared metadata, and what one action says beside it; of a name given twice, the latter."""

    def __init__(self, shared: Shared, added: Metadata) -> None:
        self.shared = shared
        self.added = added

    def __getitem__(self, name: str) -> Mapping[str, object]:
        return _merge(self.shared, self.added)[name]

    def __iter__(self) -> Iterator[str]:
        return iter({**self.shared, **self.added})

    def __len__(self) -> int:
        return len({**self.shared, **self.added})


def amend(metadata: Metadata, added: Metadata) -> Metadata:
    """`metadata` with more in its namespaces."""
    if isinstance(metadata, Shared):
        return Amended(metadata, added)
    if isinstance(metadata, Amended):
        return Amended(metadata.shared, _merge(metadata.added, added))
    return _merge(metadata, added)


def _merge(metadata: Metadata, added: Metadata) -> Metadata:
    merged = {name: {**metadata.get(name, {}), **fields} for name, fields in added.items()}
    return {**metadata, **merged}


class Continue(msgspec.Struct, frozen=True, kw_only=True):
    """Change nothing; Envoy keeps the bytes it has."""

    metadata: Metadata = {}


class Mutate(msgspec.Struct, frozen=True, kw_only=True):
    """Replace what is named and keep the rest. `body=None` keeps the body, `b""` empties it."""

    set_headers: Mapping[str, str] = {}
    remove_headers: tuple[str, ...] = ()
    body: bytes | None = None
    metadata: Metadata = {}
    clear_route_cache: bool = False


class Chunk(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of a streamed answer, written when it is returned; `end_of_stream` ends the body."""

    body: bytes
    end_of_stream: bool = False
    metadata: Metadata = {}


class Respond(msgspec.Struct, frozen=True, kw_only=True):
    """Answer the client now; no upstream is called."""

    status: int
    headers: Mapping[str, str] = {}
    body: bytes = b""
    details: str = "dragoman_response"
    """Shown as Envoy's response code details; starts with `dragoman_`."""
    metadata: Metadata = {}


Action = Continue | Mutate | Chunk | Respond


def join_chunks(actions: Sequence[Action]) -> list[Action]:
    """`actions` with each run of chunks made one; of a namespace, the last metadata stays."""
    joined: list[Action] = []
    for is_chunk, run in groupby(actions, lambda action: isinstance(action, Chunk)):
        same = list(run)
        joined += [_join(cast("list[Chunk]", same))] if is_chunk and same[1:] else same
    return joined


def _join(chunks: list[Chunk]) -> Chunk:
    metadata: dict[str, Mapping[str, object]] = {}
    for chunk in chunks:
        metadata |= chunk.metadata
    body = b"".join([chunk.body for chunk in chunks])
    return Chunk(body=body, end_of_stream=chunks[-1].end_of_stream, metadata=metadata)
