"""The texts of one event of a streamed answer, of any dialect, and which of them go on in others.

A text that comes in pieces is told by its channel: the names that lead to it and the numbers that
the dialects give to what runs side by side (the choice, the content block, the tool call).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, cast

from dragoman.dialects.texts import is_identifier
from dragoman.ir import Json
from dragoman.wire.fields import as_list

Ids = tuple[tuple[str, Any], ...]
Channel = tuple[Ids, tuple[str, ...]]

_NUMBERS = (
    "index", "output_index", "content_index", "summary_index", "item_id", "contentBlockIndex",
    "thought",
)  # fmt: skip
"""Fields that tell which of several this is."""
_PIECES = frozenset({"delta", "candidates", "choices", "message", "token", "contentBlockDelta"})
"""Fields whose texts are pieces of longer ones; all other texts are whole."""
_WHOLE = frozenset({"content_block", "response", "item", "part", "logprobs", "usage"})
_FINISHES = ("finish_reason", "finishReason", "stop_reason", "stopReason", "done_reason")
_ENDS = (".done", "_stop", "Stop", "-end", ".completed", ".incomplete", ".failed")


class StreamText(NamedTuple):
    """One string of an event; `holder[key]` is where it stands."""

    holder: Any
    key: Any
    text: str
    channel: Channel | None
    """None: it is whole."""
    is_json: bool
    """A piece of JSON: what is put into it must be escaped once more."""
    path: str
    """Without the numbers in it."""


def stream_texts(event: Json) -> Iterator[StreamText]:
    """The texts of `event`, in order."""
    kind = event.get("type")
    start: Ids = (("type", kind),) if isinstance(kind, str) else ()
    yield from _walk(event, start, (), "")


def _walk(node: Json, ids: Ids, names: tuple[str, ...], within: str) -> Iterator[StreamText]:
    """`within` is `piece` or `whole` once a field said which."""
    ids += _ids(node) if names else _event_ids(node)
    if node.get("special") is True:  # a token that clients leave out
        within = "whole"
    for name, value in node.items():
        inside = within
        if name in _WHOLE:
            inside = "whole"
        elif name in _PIECES and not within:
            inside = "piece"
        way = (*names, name)
        for holder, key, found, inner in _strings(node, name, value, ids):
            if isinstance(found, dict):
                yield from _walk(cast("Json", found), inner, way, inside)
            elif not is_identifier(name, found):
                channel = (inner, way) if inside == "piece" else None
                path = "$." + ".".join(way)
                yield StreamText(holder, key, found, channel, _is_json(inner, way), path)


def _strings(holder: Any, key: Any, value: Any, ids: Ids) -> Iterator[tuple[Any, Any, Any, Ids]]:
    """The strings and objects in `value`, lists laid open, each with what tells it from others."""
    if isinstance(value, str | dict):
        yield holder, key, value, ids
    elif isinstance(value, list):
        for i, item in enumerate(as_list(value)):
            numbered = isinstance(item, dict) and "index" in item
            yield from _strings(cast("Any", value), i, item, ids if numbered else (*ids, ("#", i)))


def _ids(node: Json) -> Ids:
    return tuple((name, node[name]) for name in _NUMBERS if _is_plain(node.get(name)))


def _event_ids(event: Json) -> Ids:
    """An event without a type of its own numbers itself, not what it is about."""
    return tuple(pair for pair in _ids(event) if pair[0] != "index" or "type" in event)


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | int)


def _is_json(ids: Ids, names: tuple[str, ...]) -> bool:
    last = names[-1]
    if last in ("arguments", "partial_json") or names[-2:] == ("toolUse", "input"):
        return True
    return last == "delta" and any(n == "type" and "call_arguments" in str(v) for n, v in ids)


def ended(event: Json, kind: str) -> list[Ids]:
    """What `event` ends: channels that have all the numbers of one of these. `kind` is the name
    its frame gives it, where the event itself has none."""
    said = str(event.get("type") or kind)
    if said.endswith(_ENDS) or event.get("done") is True:
        return [_event_ids(event)]
    return [ids for ids, finished in _finishing(event, ()) if finished]


def _finishing(node: Json, ids: Ids) -> Iterator[tuple[Ids, bool]]:
    for name in ("choices", "candidates"):
        for _, _, item, inner in _strings(node, name, node.get(name), ids):
            if isinstance(item, dict):
                choice = cast("Json", item)
                is_over = any(choice.get(finish) for finish in _FINISHES)
                yield (*inner, *_ids(choice)), is_over


def is_ended(channel: Channel, ids: Ids) -> bool:
    """Whether the end of what has `ids` is the end of `channel`."""
    return set(ids) <= set(channel[0])


def is_after(channel: Channel, other: Channel) -> bool:
    """Whether `channel` is a text of the choice that `other` is, or a call within it: models write
    one after the other, where choices and calls may run side by side."""
    mine, its = (tuple(p for p in c[0] if p[0] != "thought") for c in (channel, other))
    return mine[: len(its)] == its
