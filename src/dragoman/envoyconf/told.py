"""Response headers that tell clients what is known of their request."""

from __future__ import annotations

from dragoman import metadata as names
from dragoman.ir import Json


def id_header() -> Json:
    """The request's id, by which `dragoman explain` finds it in the ledger."""
    return from_metadata("x-dragoman-request-id", names.REQUEST_NAMESPACE, names.ID)


def from_metadata(header: str, namespace: str, key: str) -> Json:
    """A response header; absent where the metadata is."""
    value = f"%DYNAMIC_METADATA({namespace}:{key})%"
    return {
        "header": {"key": header, "value": value},
        "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
    }
