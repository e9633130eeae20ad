"""The official SDKs as oracles: what a client reads in an answer's bytes. One module a dialect."""

from __future__ import annotations

import base64
import functools
import importlib
import json
from array import array
from collections.abc import Iterable
from importlib.util import find_spec
from typing import Any

import msgspec

from dragoman.dialects import StreamOptions
from dragoman.dialects.registry import client_dialect


class Call(msgspec.Struct, frozen=True):
    """A tool call. `arguments` is parsed where it is JSON."""

    id: str
    name: str
    arguments: Any


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """What one answer says, whoever says it. Words of a refusal count as text."""

    text: str = ""
    reasoning: str = ""
    calls: tuple[Call, ...] = ()
    finish: str = ""
    """`stop`, `length`, `tool_calls` or `content_filter`."""
    refused: bool = False
    """Whether some of its words decline; most dialects tell by the reason alone."""
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    vectors: tuple[tuple[float, ...], ...] = ()
    """Of an embeddings answer, their numbers as 32 bits hold them."""
    ranking: tuple[tuple[int, float], ...] = ()
    """Of a rerank answer: index and score, the best first."""


def vectors(found: Iterable[list[float] | str]) -> tuple[tuple[float, ...], ...]:
    """Vectors of floats, from numbers or from base64."""
    return tuple(
        tuple(array("f", base64.b64decode(one) if isinstance(one, str) else one)) for one in found
    )


class Wire(msgspec.Struct, frozen=True):
    """An answer as it goes over the wire."""

    body: bytes
    status: int = 200
    kind: str = "application/json"


def stream(dialect: str, body: bytes) -> Wire:
    """A streamed answer, with the content type the dialect gives one."""
    return Wire(body, kind=client_dialect(dialect).stream_type(StreamOptions(include_usage=True)))


def read(dialect: str, wire: Wire) -> Said:
    """The answer as the official SDK of `dialect` reads it. Raises what the SDK raises."""
    said: Said = _module(dialect).read(wire)
    return msgspec.structs.replace(said, finish=_settled(said))


def _settled(said: Said) -> str:
    """Some dialects and servers tell by the calls alone that calls are to be made, and most have no
    word for an error of the model's own."""
    if said.finish in ("stop", "tool_calls", "error"):
        return "tool_calls" if said.calls else "stop"
    return said.finish


def read_error(dialect: str, wire: Wire) -> tuple[int, str]:
    """Status and message of the error that the SDK raises on `wire`; fails if it raises none."""
    error: tuple[int, str] = _module(dialect).read_error(wire)
    return error


def read_break(dialect: str, wire: Wire) -> tuple[str, str]:
    """Of a stream that breaks off with an error, as the SDK tells its user: the text that came
    before it, and the error's words. Fails if the SDK tells of none."""
    told: tuple[str, str] = _module(dialect).read_break(wire)
    return told


def comparable(said: Said, *dialects: str, like: Said) -> Said:
    """`said` without what one of `dialects` has no field for (`UNSAID` of its reader), and without
    the ids of calls where those of the original, `like`, have none."""
    unsaid = {name for dialect in dialects for name in getattr(_module(dialect), "UNSAID", ())}
    unsaid |= {"refused"}
    if like.refused and said.finish == "content_filter":
        said = msgspec.structs.replace(said, finish=like.finish)
    if not (like.input_tokens or like.output_tokens):  # its SDK saw no counts
        unsaid |= {"input_tokens", "cached_tokens", "output_tokens"}
    if like.finish == "length" or any(isinstance(call.arguments, str) for call in like.calls):
        # cut short, or no JSON: each SDK makes something else of it
        calls = tuple(msgspec.structs.replace(call, arguments=None) for call in said.calls)
        said = msgspec.structs.replace(said, calls=calls)
    if "call_ids" in unsaid or not all(call.id for call in like.calls):
        calls = tuple(msgspec.structs.replace(call, id="") for call in said.calls)
        said = msgspec.structs.replace(said, calls=calls)
    empty = Said()
    left_out = {name: getattr(empty, name) for name in unsaid if name in Said.__struct_fields__}
    return msgspec.structs.replace(said, **left_out)


def says_only_text(dialect: str) -> bool:
    """Whether its answers have no place for reasoning and tool calls."""
    return bool(getattr(_module(dialect), "ONLY_TEXT", False))


@functools.cache
def has_reader(dialect: str) -> bool:
    """Whether anything here reads the dialect."""
    return find_spec(f"tests.sdk.{dialect}") is not None or dialect in _by_hand().READERS


def _by_hand() -> Any:
    """Readers of dialects that no SDK here speaks, written from their documentation."""
    return importlib.import_module("tests.sdk.by_hand")


def _module(dialect: str) -> Any:
    if find_spec(f"tests.sdk.{dialect}") is None:
        return _by_hand().READERS[dialect]
    return importlib.import_module(f"tests.sdk.{dialect}")


def parsed(arguments: str) -> Any:
    """Arguments as the value they say, or as their text where they are no JSON."""
    try:
        found = json.loads(arguments) if arguments else {}
    except json.JSONDecodeError:
        return arguments
    return {} if found is None else found
