"""What a stage asks Envoy to do, as plain values: the core needs no protobuf."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

Metadata = Mapping[str, Mapping[str, object]]
"""Dynamic metadata by namespace; values are JSON-like (str, float, bool, lists, dicts)."""


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
