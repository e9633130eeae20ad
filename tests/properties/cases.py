"""What the seven properties run over: every dialect, every ordered pair, every golden request."""

from __future__ import annotations

import json
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import settings

from dragoman.dialects import (
    CHAT,
    EMBEDDINGS,
    RERANK,
    AnyDialect,
    ChatDialect,
    StreamOptions,
    StreamTranslator,
)
from dragoman.dialects.registry import CHAT_NAMES, client_dialect, names_of
from dragoman.errors import Unrepresentable
from dragoman.ir.events import ChoiceEnd, Delta, Event, PartEnd, PartStart
from dragoman.ir.losses import Losses
from tests import sdk

FIXTURES = Path(__file__).parents[1] / "fixtures"
TRANSLATED: dict[str, AnyDialect] = {
    name: client_dialect(name) for op in (CHAT, EMBEDDINGS, RERANK) for name in names_of(op)
}
"""All that translate, chat and the operations that answer in one piece."""
DIALECTS: dict[str, ChatDialect] = {name: client_dialect(name) for name in CHAT_NAMES}
PAIRS = {
    f"{source}->{target}": (DIALECTS[source], DIALECTS[target])
    for source, target in product(CHAT_NAMES, CHAT_NAMES)
}
TO_ALL = settings(max_examples=2 * settings().max_examples)
"""For properties that hold each example up to all targets: to draw it costs more than the rest."""
ALL_USAGE = StreamOptions(include_usage=True)
"""So that no stream says less than the body."""


def golden_requests(dialect: str) -> dict[str, dict[str, Any]]:
    """Request bodies by name; `name.translations.json` beside one has its translations."""
    found = sorted((FIXTURES / dialect / "requests").glob("*.json"))
    return {path.stem: json.loads(path.read_text()) for path in found if "." not in path.stem}


GOLDENS = {
    f"{dialect}/{name}": (dialect, name, body)
    for dialect in TRANSLATED
    for name, body in golden_requests(dialect).items()
}


def peers(dialect: str) -> list[AnyDialect]:
    """The other dialects of its operation."""
    names = names_of(TRANSLATED[dialect].operation)
    return [TRANSLATED[name] for name in names if name != dialect]


TRANSLATIONS = {
    f"{name}->{target.name}": (TRANSLATED[golden[0]], target, golden[1], golden[2])
    for name, golden in GOLDENS.items()
    for target in peers(golden[0])
}


def translate(source: AnyDialect, target: AnyDialect, body: dict[str, Any]) -> dict[str, Any]:
    """The translation, or the refusal, as a golden file says it."""
    losses = Losses(target.name)
    try:
        output = target.encode_request(source.decode_request(body), losses)
    except Unrepresentable as refusal:
        return {"refused": refusal.path, "why": refusal.message}
    return {"dropped": losses.paths, "body": output}


def encode_stream(dialect: ChatDialect, events: list[Event]) -> bytes:
    encoder = dialect.stream_encoder(ALL_USAGE)
    return b"".join(map(encoder.feed, events)) + encoder.close()


def sayable(events: list[Event], *dialects: ChatDialect) -> list[Event]:
    """`events` without what an answer of one of `dialects` has no place for."""
    if not any(sdk.says_only_text(dialect.name) for dialect in dialects):
        return events
    kept: list[Event] = []
    kind = ""
    for event in events:
        kind = event.kind if isinstance(event, PartStart) else kind
        if not isinstance(event, PartStart | Delta | PartEnd) or kind == "text":
            kept.append(_stopped(event))
    return kept


def _stopped(event: Event) -> Event:
    is_call = isinstance(event, ChoiceEnd) and event.reason == "tool_call"
    return msgspec.structs.replace(event, reason="stop") if is_call else event


def decode_stream(dialect: ChatDialect, pieces: list[bytes]) -> list[Event]:
    decoder, events = dialect.stream_decoder(), list[Event]()
    for piece in pieces:
        decoder.feed(piece, events)
    decoder.close(events)
    return events


def translate_stream(source: ChatDialect, target: ChatDialect, pieces: list[bytes]) -> bytes:
    translator, out = StreamTranslator(source, target, ALL_USAGE), bytearray()
    for piece in pieces:
        translator.feed(piece, out)
    translator.close(out)
    return bytes(out)


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    """`data` in pieces; each cut is taken modulo its length."""
    edges = sorted({at % (len(data) + 1) for at in cuts} | {0, len(data)})
    return [data[a:b] for a, b in pairwise(edges)]


def each_byte(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]
