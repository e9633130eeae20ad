"""Well-formed inputs of every target, from what the registry and the fixtures hold."""

from __future__ import annotations

import base64
import functools
import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from dragoman.dialects import EMBEDDINGS, RERANK, AnyDialect
from dragoman.dialects.registry import NAMES, client_dialect
from dragoman.errors import DragomanError, UpstreamError
from dragoman.ir import (
    Choice,
    Reasoning,
    Refusal,
    Response,
    Text,
    ToolCall,
    Usage,
)
from dragoman.ir.embeddings import Embedding, EmbeddingResponse, Format, Vector
from dragoman.ir.events import (
    ChoiceEnd,
    Delta,
    Event,
    Finish,
    PartEnd,
    PartStart,
    Start,
    UsageUpdate,
)
from dragoman.ir.losses import Losses
from dragoman.ir.rerank import Document, Ranked, RerankResponse
from tests.clients import path_of
from tests.extproc.test_lean_rules import CONNECTION_RULES, MALFORMED, STREAM_RULES
from tests.fuzz.targets import CHATS, framings
from tests.guardrails.quality import labelled as attacks
from tests.properties.cases import ALL_USAGE, FIXTURES, encode_stream, golden_requests
from tests.recordings.exchanges import Exchange, load
from tests.redaction.quality import labelled

USAGE = Usage(
    input_tokens=30,
    output_tokens=12,
    cache_read_input_tokens=8,
    cache_creation_input_tokens=4,
    reasoning_tokens=5,
)
CALLS = (
    ToolCall(id="call_1", name="look_up", arguments='{"city":"Graz","days":[1,2.5,null]}'),
    ToolCall(id="call_2", name="look_up", arguments="{}"),
)
_PLAIN = (
    Response(
        id="r1",
        model="m",
        created=1,
        usage=USAGE,
        choices=(
            Choice(
                parts=(Reasoning(content="hm"), Text(content="Look: é𝄞"), *CALLS),
                finish_reason="tool_call",
            ),
        ),
    ),
    Response(
        id="r2",
        model="m",
        choices=(Choice(parts=(Text(content="one"),), finish_reason="length"),),
    ),
    Response(
        id="r3",
        model="m",
        usage=USAGE,
        choices=(Choice(parts=(Refusal(content="no"),), finish_reason="content_filter"),),
    ),
    Response(
        id="r4",
        model="m",
        usage=USAGE,
        choices=tuple(Choice(parts=(Text(content=t),), finish_reason="stop") for t in "ab"),
    ),
)
_TOKEN = {"token": "a", "logprob": -0.5, "bytes": [97]}
LIKELY = Choice(
    parts=(Text(content="a"),),
    finish_reason="stop",
    logprobs={"content": [{**_TOKEN, "top_logprobs": [_TOKEN]}]},
)
RESPONSES = (*_PLAIN, Response(id="r5", model="m", usage=USAGE, choices=(LIKELY,)))
_VECTOR = Vector(dtype="float", data=msgspec.Raw(b"[0.5,-0.25,1]"))
_BASE64 = Vector(dtype="float", data="AAAAPwAAgL4AAIA/")
_BYTES = Vector(dtype="int8", data=msgspec.Raw(b"[1,-2,127]"))
UNARY_ANSWERS: dict[str, tuple[Any, ...]] = {
    EMBEDDINGS: (
        EmbeddingResponse(
            embeddings=(Embedding(vectors=(_VECTOR,)),), id="e", model="m", usage=USAGE
        ),
        EmbeddingResponse(embeddings=(Embedding(vectors=(_BASE64,)),), model="m"),
        EmbeddingResponse(
            embeddings=(Embedding(vectors=(_VECTOR, _BYTES)),) * 2,
            formats=(Format(), Format(dtype="int8", at="$.x")),
        ),
    ),
    RERANK: (
        RerankResponse(
            results=(
                Ranked(index=1, score=0.75, document=Document(text="é")),
                Ranked(index=0, score=0.5, document=Document(value={"text": "a", "n": 1})),
            ),
            id="r",
            model="m",
            usage=USAGE,
            search_units=1,
            return_documents=True,
        ),
    ),
}
ERRORS = (
    b"",
    b"<html><head><title>502 Bad Gateway</title></head></html>",
    b'{"error": {"message": "slow down", "type": "rate_limit_error", "code": 429}}',
    b'[{"error": {"code": 400, "message": "no", "status": "INVALID_ARGUMENT", "details": [{}]}}]',
    b'{"message": "The model is unknown", "__type": "ValidationException"}',
    b'{"error": "model not found"}',
    b'{"detail": [{"loc": ["body", "x"], "msg": "field required", "type": "missing"}]}',
    b'{"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}',
)


def seeds(target: str, *, recorded: bool = False) -> list[bytes]:
    """Inputs to begin with; with `recorded`, those of real providers too, where they are."""
    found = list(_SEEDS[target]())
    if recorded:
        found += _recorded(target)
    return found


def _named(name: str, raw: bytes) -> bytes:
    return name.encode() + b"\n" + raw


def _requests() -> Iterator[bytes]:
    for name in NAMES:
        for body in golden_requests(name).values():
            yield _named(name, _dumped(body))


def answers(name: str) -> Iterator[bytes]:
    """Whole answers of one dialect: written from samples, and those of its fixtures."""
    dialect = client_dialect(name)
    for response in RESPONSES if name in CHATS else ():
        try:
            yield _dumped(dialect.encode_response(response, Losses(name)))
        except DragomanError:
            continue
    for answer in UNARY_ANSWERS.get(dialect.operation, ()):
        try:
            yield msgspec.json.encode(dialect.encode_response(answer, Losses(name)))
        except DragomanError:
            continue
    for folder in ("answers", "responses"):
        for file in sorted((FIXTURES / name / folder).glob("*.json")):
            yield file.read_bytes()


def streams(name: str) -> Iterator[bytes]:
    """Streams of one dialect."""
    for response in RESPONSES if name in CHATS else ():
        try:
            client_dialect(name).encode_response(response, Losses(name))
            yield encode_stream(client_dialect(name), list(events_of(response)))
        except DragomanError:
            continue


def events_of(response: Response) -> Iterator[Event]:
    """`response` as a stream of pieces of three characters."""
    yield Start(id=response.id, model=response.model, created=response.created)
    for i, choice in enumerate(response.choices):
        for part in choice.parts:
            yield from _part(part, i, choice.logprobs)
    if response.usage:
        yield UsageUpdate(usage=response.usage)
    for i, choice in enumerate(response.choices):
        yield ChoiceEnd(reason=choice.finish_reason, choice=i)
    yield Finish()


def _part(part: Any, choice: int, logprobs: dict[str, Any] | None) -> Iterator[Event]:
    match part:
        case ToolCall(arguments=content):
            yield PartStart(kind="tool_call", choice=choice, id=part.id, name=part.name)
        case Reasoning(content=content):
            yield PartStart(kind="reasoning", choice=choice)
        case Refusal(content=content):
            yield PartStart(kind="refusal", choice=choice)
        case _:
            content = part.content
            yield PartStart(kind="text", choice=choice)
    for at in range(0, len(content), 3):
        yield Delta(content=content[at : at + 3], choice=choice, logprobs=logprobs)
    yield PartEnd(choice=choice)


def _errors() -> Iterator[bytes]:
    told = UpstreamError("slow down", status=429, kind="rate_limit_error", code="c", param="p")
    for name in NAMES:
        for body in (*ERRORS, client_dialect(name).encode_error(told).body):
            yield _named(f"{name} 429", body)


def _calls() -> Iterator[bytes]:
    for name in NAMES:
        for stream in (False, True):
            path = path_of(client_dialect(name), "m/x:y", stream=stream)
            if path is not None:
                yield f"{path}?key=1&beta=true\nauthorization: Bearer x".encode()
                yield f"/v1{path}/models/%zz%20\nanthropic-version: 2023-06-01".encode()


def _framings() -> Iterator[bytes]:
    plain = b"".join(raw for name in CHATS for raw in streams(name))[:3000]
    deflate = zlib.compressobj(wbits=-15)
    raws = (
        gzip.compress(plain) * 2,
        zlib.compress(plain),
        deflate.compress(plain) + deflate.flush(),
    )
    yield from (_named("FormSplitter", raw) for raw in _forms())
    for framing in framings():
        for name in CHATS:
            yield from (_named(framing, raw) for raw in streams(name))
        yield from (_named(framing, raw) for raw in raws)
        yield _named(
            framing, b"\xef\xbb\xbfevent: a\r\ndata: b\rdata: c\n\n: note\nretry: 1\nid\n\n"
        )


def _forms() -> Iterator[bytes]:
    name = b"--b\r\ncontent-disposition: form-data; name="
    parts = (b'"model"\r\n\r\ngpt', b'"file"; filename="a"\r\n\r\n\r\n--c\r', b'"x"\r\n\r\n')
    for given in (parts, parts[::-1], parts[1:2], parts * 9):
        yield b"".join(name + part + b"\r\n" for part in given) + b"--b--\r\n"


def _readers() -> Iterator[bytes]:
    yield b' {"a": [1, 1.50, -0.0, 1e400, "\\ud83d\\ude00", "\\ud800"], "a": null, "b": {"c": {}}} '
    yield b"[" * 130 + b"]" * 130
    yield b'{"a":' * 130 + b"1" + b"}" * 130
    yield from (raw.partition(b"\n")[2] for raw in list(_requests())[::5])


def _exchanges() -> Iterator[bytes]:
    for name in NAMES:
        for i, body in enumerate(golden_requests(name).values()):
            if said := _exchange(client_dialect(name), body, i):
                yield _dumped(said)


def _exchange(dialect: AnyDialect, body: dict[str, Any], i: int) -> dict[str, Any] | None:
    """A call with the answer of one provider after the other, in one piece or streamed."""
    stream = i % 2 == 1
    path = path_of(dialect, dialect.name, stream=stream)
    provider = client_dialect(CHATS[i % len(CHATS)])
    found = list(streams(provider.name) if stream else answers(provider.name))
    if path is None or not found:
        return None
    kind = provider.stream_type(ALL_USAGE) if stream else "application/json"
    asked = {**body, **({"model": dialect.name} if "model" in body else {})}
    if "stream" in body or stream and "model" in body:
        asked["stream"] = stream
    return {
        "path": path,
        "headers": {"content-type": "application/json"},
        "body": asked,
        "status": 200,
        "answer_headers": {"content-type": kind},
        "answer": _as_text(found[i % len(found)]),
    }


def _as_text(raw: bytes) -> Any:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(raw).decode()}


def _dumped(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def _conversations() -> Iterator[bytes]:
    """What each rule of the transport is tried with; none begins with a line of its own."""
    for given, _ in (CONNECTION_RULES | STREAM_RULES).values():
        yield given if isinstance(given, bytes) else b"".join(given)
    yield from MALFORMED.values()


_SEEDS: dict[str, Callable[[], Iterator[bytes]]] = {
    "request": _requests,
    "answer": lambda: (_named(name, raw) for name in NAMES for raw in answers(name)),
    "stream": lambda: (_named(name, raw) for name in NAMES for raw in streams(name)),
    "error": _errors,
    "call": _calls,
    "framing": _framings,
    "reader": _readers,
    "exchange": _exchanges,
    "connection": _conversations,
    "redaction": lambda: (text.encode() for text, _ in labelled()),
    "guardrails": lambda: (text.encode() for _, text in attacks("attacks")),
}
MOST_BYTES = 8_000
"""A larger recording teaches nothing that a smaller one does not, and slows every run down."""


@functools.cache
def _exchanges_recorded() -> tuple[Exchange, ...]:
    return tuple(one for one in load() if isinstance(one, Exchange))


def _recorded(target: str) -> list[bytes]:
    found: list[bytes] = []
    for one in _exchanges_recorded():
        name, wire = one.dialect.name, one.wire
        kind = "error" if one.is_error else "stream" if one.is_stream else "answer"
        if target == "request":
            found.append(_named(name, _dumped(one.request)))
        elif target == kind:
            found.append(_named(f"{name} {wire.status}" if one.is_error else name, wire.body))
    return [raw for raw in found if len(raw) < MOST_BYTES]
