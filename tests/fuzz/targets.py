"""What is fuzzed: each target takes any bytes and may raise nothing.

A `DragomanError` is an answer, not a failure; what is raised besides is a finding, and so is an
error that blames the wrong side: what a provider sent is never the client's fault.

Most inputs name their dialect in the first line. Everything here goes by the registry.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import functools
import hashlib
import inspect
import json
import pkgutil
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import msgspec

import dragoman.wire
from dragoman.actions import Mutate
from dragoman.config.guardrails import (
    GuardrailEntry,
    GuardrailSection,
    InjectionEntry,
    read_guardrails,
)
from dragoman.config.load import parse
from dragoman.config.policy import Endpoint, Model, Policy, Provider, Target
from dragoman.config.redaction import read_redaction
from dragoman.config.schema import RedactionEntry, RedactionSection
from dragoman.dialects import CHAT, AnyDialect, StreamOptions, read_answer
from dragoman.dialects.registry import NAMES, client_call, client_dialect, provider_dialect
from dragoman.errors import (
    DragomanError,
    InvalidRequest,
    UpstreamError,
    UpstreamProtocolError,
)
from dragoman.exchange.decide import Decide
from dragoman.exchange.heads import AttemptHead, RequestHead, ResponseEditor
from dragoman.exchange.respond import RespondStage
from dragoman.exchange.translate import Translate
from dragoman.exchange.treat import Treatment
from dragoman.ir.events import fold
from dragoman.ir.losses import Losses
from dragoman.policies.guard.guard import Guard
from dragoman.policies.guard.injection import Scorer
from dragoman.policies.redact.profiles import Redactors
from dragoman.policies.redact.redactor import PLACEHOLDER, Redactor
from dragoman.wire.content_encoding import ACCEPTED, content_decoder
from dragoman.wire.form_stream import FormSplitter
from dragoman.wire.json import decode, decode_fields
from dragoman.wire.splice import splice
from tests.extproc.wire import greeted
from tests.properties.grammar import check

Run = Callable[[bytes], None]
PIECES = 400
"""Streams are also fed in about so many pieces, the shorter ones byte by byte."""
LIMIT = 2**16
"""Bytes a framing may hold."""


def _named(data: bytes) -> tuple[AnyDialect, str, bytes] | None:
    """The dialect of the first line, the line's second word, and the rest."""
    line, _, rest = data.partition(b"\n")
    name, _, word = line.decode("utf-8", "replace").partition(" ")
    return (client_dialect(name), word, rest) if name in NAMES else None


def _alike(dialect: AnyDialect) -> Iterator[AnyDialect]:
    """All dialects of its operation, itself included."""
    found = (client_dialect(name) for name in NAMES)
    return (other for other in found if other.operation == dialect.operation)


def _pieces(raw: bytes) -> list[bytes]:
    size = 1 + len(raw) // PIECES
    return [raw[at : at + size] for at in range(0, len(raw), size)]


# --- dialects ---------------------------------------------------------------------------------


def request(data: bytes) -> None:
    """A client's body, read and written in every dialect."""
    named = _named(data)
    if named is None:
        return
    dialect, _, raw = named
    try:
        body = decode(raw)
        dialect.check_request(body)
        splice(raw, {"model": "m", **dialect.edits(body)})
        dialect.wants_usage(body)
        read = dialect.decode_request(body)
    except DragomanError:
        return
    for other in _alike(dialect):
        try:
            for clamp in (False, True):
                losses = Losses(other.name, clamp=clamp)
                msgspec.json.encode(other.encode_request(read, losses))
        except DragomanError as error:
            if error.status >= 500:
                raise AssertionError(f"the client's request is nobody's {error.status}") from error


def answer(data: bytes) -> None:
    """A provider's body, read and written in every dialect."""
    named = _named(data)
    if named is None:
        return
    dialect, _, raw = named
    try:
        body = read_answer(dialect, raw)
    except DragomanError:
        return
    read = _not_the_clients_fault(lambda: dialect.decode_response(body))
    if read is None:
        return
    for other in _alike(dialect):
        encode = functools.partial(other.encode_response, read, Losses(other.name))
        msgspec.json.encode(_not_the_clients_fault(encode))


def _not_the_clients_fault(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except InvalidRequest as error:
        raise AssertionError("a provider's nonsense is blamed on the client") from error
    except DragomanError:
        return None


def stream(data: bytes) -> None:
    """A provider's stream: any cut says the same, and every client gets what it says."""
    named = _named(data)
    if named is None:
        return
    dialect, _, raw = named
    whole, error = _events(dialect, [raw])
    events, again = _events(dialect, _pieces(raw))
    assert (error is None) is (again is None), f"{error!r} when whole, {again!r} in pieces"
    assert error is not None or events == whole, "other events in pieces"
    if error is None:
        check(whole)
        fold(whole)
    for other in _alike(dialect):
        for include_usage in (True, False):
            written = _written(other, StreamOptions(include_usage=include_usage), whole, error)
            if written is not None and error is None:
                again, unreadable = _events(other, [written])
                assert unreadable is None, f"{other.name} cannot be read again: {unreadable}"
                check(again)


def _written(
    dialect: AnyDialect, options: StreamOptions, events: list[Any], error: DragomanError | None
) -> bytes | None:
    """The client's bytes; None where its dialect refuses to say the events."""
    encoder = dialect.stream_encoder(options)
    try:
        out = b"".join(map(encoder.feed, events))
        return out + (encoder.close() if error is None else encoder.fail(error))
    except DragomanError as refusal:
        assert isinstance(encoder.fail(refusal), bytes)
        return None


def _events(dialect: AnyDialect, pieces: list[bytes]) -> tuple[list[Any], DragomanError | None]:
    """The events until the end or until the error."""
    decoder, events = dialect.stream_decoder(), list[Any]()
    try:
        for piece in pieces:
            decoder.feed(piece, events)
        decoder.close(events)
    except (UpstreamError, UpstreamProtocolError) as error:
        return events, error
    return events, None


def error(data: bytes) -> None:
    """What a provider, or a proxy before it, says of a failure, told to every client."""
    named = _named(data)
    if named is None:
        return
    dialect, word, raw = named
    status = int(word) % 1000 if word.isdecimal() and word.isascii() else 500
    read = dialect.decode_error(status, raw)
    assert read.message
    assert read.status == status
    for other in _alike(dialect):
        told = other.encode_error(read)
        assert told.body
        if other.stream_types:
            other.stream_encoder(StreamOptions()).fail(read)


def call(data: bytes) -> None:
    """A path with its query, and header lines."""
    path, *lines = data.decode("utf-8", "replace").split("\n")
    pairs = (line.partition(":") for line in lines)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    found = client_call(path, headers)
    assert found.call is None or found.call.operation
    found.dialect.is_usage_frame(path)
    with contextlib.suppress(InvalidRequest):
        assert found.claimed({"model": path, "texts": [path]}).dialect


# --- wire -------------------------------------------------------------------------------------


def framing(data: bytes) -> None:
    """One of the framings: all bytes at once, or one by one, gives the same frames."""
    name, _, raw = data.partition(b"\n")
    make = framings().get(name.decode("utf-8", "replace"))
    if make is None:
        return
    whole, failed = _frames(make(), [raw])
    again, also = _frames(make(), _pieces(raw))
    assert (failed is None) is (also is None), f"{failed!r} when whole, {also!r} in pieces"
    assert failed is not None or again == whole, "other frames in pieces"


def _frames(decoder: Any, pieces: list[bytes]) -> tuple[Any, DragomanError | None]:
    found: list[Any] = []
    try:
        for piece in pieces:
            fed = decoder.feed(piece)
            found.append(list(fed) if isinstance(fed, Iterator) else fed)
        found.append(decoder.close())
    except DragomanError as error:
        return found, error
    if all(isinstance(one, bytes) for one in found):
        plain = b"".join(found)
        passes = isinstance(decoder, FormSplitter | type(content_decoder("", 0)))
        assert len(plain) <= LIMIT or passes
        return plain, None
    return [frame for one in found for frame in one or ()], None


@functools.cache
def framings() -> dict[str, Callable[[], Any]]:
    """Whatever in `wire` is fed and closed."""
    found: dict[str, Callable[[], Any]] = {
        name: functools.partial(content_decoder, name, LIMIT) for name in ("identity", *ACCEPTED)
    }
    for module in pkgutil.iter_modules(dragoman.wire.__path__):
        for name, value in vars(import_module(f"dragoman.wire.{module.name}")).items():
            is_decoder = inspect.isclass(value) and {"feed", "close"} <= vars(value).keys()
            if (
                is_decoder
                and not name.startswith("_")
                and not getattr(value, "_is_protocol", False)
            ):
                found[name] = _maker(value)
    return found


def _maker(decoder: Any) -> Callable[[], Any]:
    """Its limits, if it has any, set low enough to be reached."""
    limits = {
        name: LIMIT
        for name, parameter in inspect.signature(decoder).parameters.items()
        if isinstance(parameter.default, int) or name.startswith("max_")
    }
    return functools.partial(decoder, **limits)


def reader(data: bytes) -> None:
    """The JSON reader, whole and fields only, and the splice."""
    try:
        body = decode(data)
    except DragomanError:
        body = None
    try:
        fields = decode_fields(data)
    except DragomanError:
        assert body is None, "readable whole, but not by its fields"
        return
    assert body is None or list(fields) == list(body)
    again = splice(data, {})
    assert (
        body is None
        or decode(again) == {k: v for k, v in body.items() if fields[k] != b"null"}
        or (decode(again) == body)
    )


# --- the transport ----------------------------------------------------------------------------


def connection(data: bytes) -> None:
    """What a peer sends behind its greeting: answered by whole frames, and nothing is left over.

    Cut differently it may be answered differently: what came together is answered together.
    """
    for pieces in ([data], _pieces(data)):
        wire = greeted(message_bytes=LIMIT, buffered_bytes=4 * LIMIT, idle_frames=PIECES)
        for piece in pieces:
            wire.frames(wire.send(piece))
        wire.calls.close()
        assert not wire._unread, "half a frame was written"
        assert wire.calls._held_bytes == 0
        assert wire.connection.failed is None or wire.connection.open_streams == 0


# --- the whole way ----------------------------------------------------------------------------

KEY = "fuzz"
_DIGEST = hashlib.sha256(KEY.encode()).hexdigest()
_POLICY = f"""
callers: {{fuzz: {{keys: ["{_DIGEST}"]}}}}
providers: {{one: {{kind: openai, key: {{env: KEY}}}}}}
models: {{"one": {{targets: [{{provider: one, model: m}}]}}}}
limits: {{request_body_bytes: 65536, response_body_bytes: 65536}}
"""


@functools.cache
def policy() -> Policy:
    """One provider for each dialect, all of which every model falls back on, its own first."""
    plain = parse(_POLICY, "fuzz", {"KEY": "1"})
    providers = {name: _provider(plain.providers["one"], name) for name in NAMES}
    models = {
        name: Model(
            name=name,
            clamp=i % 2 == 0,
            targets=tuple(
                Target(provider=other, model=f"m-{other}", weight=1, priority=j)
                for j, other in enumerate(sorted(NAMES, key=lambda other: other != name))
            ),
        )
        for i, name in enumerate(NAMES)
    }
    native = msgspec.structs.replace(plain.native, usage=False, strip_usage=False)
    return msgspec.structs.replace(plain, providers=providers, models=models, native=native)


def _provider(like: Provider, dialect: str) -> Provider:
    endpoint = Endpoint(dialect=provider_dialect(dialect, {}), path="/p/{model}", stream_path=None)
    return msgspec.structs.replace(like, name=dialect, endpoints={dialect: endpoint})


def exchange(data: bytes) -> None:
    """Decide, translate for each target, edit its answer, respond: as the service does it."""
    try:
        said = json.loads(data)
    except (ValueError, RecursionError):
        return
    if not isinstance(said, dict):
        return
    raw = _body(said.get("body"))
    head = RequestHead(
        method=str(said.get("method", "POST")),
        path=str(said.get("path", "")).encode("utf-8", "replace").decode(),
        headers={"authorization": f"Bearer {KEY}", **_texts(said.get("headers"))},
    )
    decided = Decide(policy(), lambda: 0.5).on_request(head, raw)
    if not isinstance(decided, Mutate):
        return
    msgspec.json.encode(decided.metadata)
    facts = {k: v for k, v in decided.metadata["dragoman"].items() if isinstance(v, str)}
    for name in NAMES:
        attempt = AttemptHead(cluster=name, metadata=facts)
        stage = Translate(policy(), attempt)
        mutated = stage.on_request(decided.body or raw)
        if isinstance(mutated, Mutate) and not stage.passes_response:
            _edit(stage, said)
    _edit(RespondStage(policy(), facts, next(iter(NAMES))), said)


def _edit(editor: ResponseEditor | Translate, said: dict[str, Any]) -> None:
    status = said.get("status")
    headers = {":status": str(status if type(status) is int else 200)}
    headers |= _texts(said.get("answer_headers"))
    body = _body(said.get("answer"))
    try:
        editor.on_headers(headers, end_of_stream=False)
    except UpstreamProtocolError:
        return  # an encoding nobody asked for: the service answers it as any error
    middle = len(body) // 2
    editor.on_body(body[:middle], end_of_stream=False)
    editor.on_body(body[middle:], end_of_stream=True)


def _texts(value: Any) -> dict[str, str]:
    pairs = value.items() if isinstance(value, dict) else ()
    return {
        name.lower(): text for name, text in pairs if isinstance(text, str) and name != ":status"
    }


def _body(value: Any) -> bytes:
    """Text as it is, base64 of bytes, any other JSON written out."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace")
    if isinstance(value, dict) and set(value) == {"base64"} and isinstance(value["base64"], str):
        try:
            return base64.b64decode(value["base64"])
        except (binascii.Error, ValueError):
            return b""
    try:
        return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")
    except RecursionError:
        return b""


# --- redaction --------------------------------------------------------------------------------


@functools.cache
def redactor() -> Redactor:
    """Hides all it knows, so that everything can be given back."""
    section = RedactionSection(
        profiles={"all": RedactionEntry(entities={"personal": "replace", "secret": "replace"})},
        max_map_bytes=1_000_000,
    )
    read = read_redaction(section, {}, ValueError)
    assert read is not None
    found = Redactors(read, b"k" * 16).named("all")
    assert found is not None
    return found


def redaction(data: bytes) -> None:
    """A text: hidden, answered in pieces, given back."""
    text = data.decode("utf-8", "replace")
    raw = json.dumps({"messages": [{"content": text}]}).encode()
    hidden = redactor().redact(raw, "fuzz")
    said = json.loads(hidden.body or raw)["messages"][0]["content"]
    assert hidden.body is None or json.loads(hidden.body)
    given = Treatment(hidden.originals).piecewise(is_json=False)
    pieces = [said[at : at + 3] for at in range(0, len(said), 3)]
    back = "".join(map(given.feed, pieces)) + given.close()
    if not said.lstrip().startswith(("{", "[")) and not PLACEHOLDER.search(text):
        assert back == text


# --- guardrails -------------------------------------------------------------------------------


@functools.cache
def guard() -> Guard:
    """Reports all it finds, so that every text is looked at."""
    entry = GuardrailEntry(injection=InjectionEntry(threshold=0.01, action="report"))
    read = read_guardrails(GuardrailSection(profiles={"all": entry}), ValueError)
    assert read is not None
    return Guard(read.profiles["all"], Scorer())


def guardrails(data: bytes) -> None:
    """A text, in turns of several: it is judged, and the same however it is escaped."""
    text = data.decode("utf-8", "replace")
    turns = [{"role": role, "content": text} for role in ("user", "tool", "system")]
    body = {"messages": turns, "documents": [{"data": {"text": text}}]}
    seen = guard().look(json.dumps(body).encode(), body)
    assert seen == guard().look(json.dumps(body, ensure_ascii=False).encode(), body)
    score = seen.counts.get("score", 0)
    assert 0 <= score <= 1


TARGETS: dict[str, Run] = {
    "request": request,
    "answer": answer,
    "stream": stream,
    "error": error,
    "call": call,
    "framing": framing,
    "reader": reader,
    "connection": connection,
    "exchange": exchange,
    "redaction": redaction,
    "guardrails": guardrails,
}
CHATS = tuple(name for name in NAMES if client_dialect(name).operation == CHAT)
