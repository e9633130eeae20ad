"""What must hold of a recorded exchange, and the one verdict on it.

A check raises where something is wrong. What a dialect refuses by name, what nobody can compare,
and what had to be completed is noted instead, each with its reason.
"""

from __future__ import annotations

import base64
import functools
import json
import re
import traceback
import zlib
from codecs import BOM_UTF8
from collections.abc import Iterator
from typing import Any

import msgspec

from dragoman.dialects import AnyDialect, read_answer
from dragoman.dialects.pass_through import PassThrough
from dragoman.dialects.registry import NAMES, client_dialect
from dragoman.errors import (
    DragomanError,
    InvalidJson,
    InvalidRequest,
    UpstreamError,
    UpstreamProtocolError,
)
from dragoman.exchange.translate import Question
from dragoman.ir import Request
from dragoman.ir.embeddings import FLOATS, EmbeddingResponse
from dragoman.ir.events import Event, UsageUpdate
from dragoman.ir.losses import Losses
from dragoman.wire.eventstream import EventStreamDecoder
from tests import sdk
from tests.leaves import opened, unaccounted, unpacked
from tests.properties.cases import cut, decode_stream, encode_stream, translate_stream
from tests.properties.grammar import check as check_grammar
from tests.recordings.exchanges import Exchange

BYTES_FED = 2**20
"""About how much the checks of one stream feed again in all: fewer cuts for a longer one."""
MOST_CUTS, LEAST_CUTS = 60, 2
LEAST_READ = 2
"""How many other SDKs read even the longest answer."""
BYTE_BY_BYTE = 16 * 2**10
"""How much of either end of a stream is fed byte by byte; what lies between, in pieces."""
PIECE = 61

COMPLETED = {
    "id": "a tool call without an id: one is made up, for the next turn needs it",
    "arguments": "a tool call without arguments: it gets empty ones, for SDKs need the field",
    "input": "a tool call without arguments: it gets empty ones, for SDKs need the field",
}
_EVENTS, _FRAMES = "text/event-stream", "application/vnd.amazon.eventstream"
_REASON = re.compile(rb'"finish_?[rR]eason":\s*"\w')
AS_TEXT = "a tool call's arguments are an object: they become its text, for SDKs need a string"
UNNUMBERED = "embeddings have the same index: they count as they come"
"""Fields an answer may lack, or have empty, and gets on its way through its own dialect."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one exchange."""

    column: str
    """`passed`, `refused`, `skipped` or `failed`: the worst that was found."""
    reasons: tuple[str, ...] = ()
    said: tuple[str, ...] = ()
    """The other dialects that say all of it."""
    refused: tuple[str, ...] = ()
    """The other dialects that refuse it, in whole or in part."""
    failures: tuple[str, ...] = ()


class Findings:
    """What the checks of one exchange noted so far."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.dialect = exchange.dialect
        self.refusals: dict[str, str] = {}
        self.skips: list[str] = []
        self.completed: list[str] = []
        self.failures: list[str] = []

    @functools.cached_property
    def others(self) -> list[AnyDialect]:
        """The dialects of the same operation."""
        return [
            other
            for name in NAMES
            if (other := client_dialect(name)).operation == self.dialect.operation
            and name != self.dialect.name
        ]

    @functools.cached_property
    def request(self) -> Any:
        """The request as the gateway reads it, with what the path says of it."""
        self.dialect.check_request(self.exchange.request)
        request = self.dialect.decode_request(self.exchange.request)
        call = self.exchange.call
        if call.model and hasattr(request, "model"):
            request = msgspec.structs.replace(request, model=call.model)
        if isinstance(request, Request) and call.stream is not None:
            request = msgspec.structs.replace(request, stream=call.stream)
        return request

    @functools.cached_property
    def events(self) -> list[Event]:
        return decode_stream(self.dialect, [self.exchange.wire.body])

    @functools.cached_property
    def answer(self) -> Any:
        answer = self.dialect.decode_response(read_answer(self.dialect, self.exchange.wire.body))
        asked = self.request if self.has("request") else None
        return _of_floats(asked.complete(answer)) if isinstance(asked, Question) else answer

    def has(self, what: str) -> bool:
        """Whether `request`, `events` or `answer` could be read."""
        return what in self.__dict__

    def refuse(self, other: AnyDialect, what: str, error: DragomanError) -> None:
        self.refusals.setdefault(other.name, f"{what} refused: {plain(error.message)}")

    def verdict(self) -> Verdict:
        column = "passed"
        for name in ("refusals", "skips", "failures"):
            if getattr(self, name):
                column = {"refusals": "refused", "skips": "skipped", "failures": "failed"}[name]
        refused = tuple(self.refusals)
        return Verdict(
            column=column,
            reasons=tuple(dict.fromkeys([*self.refusals.values(), *self.skips, *self.completed])),
            said=tuple(other.name for other in self.others if other.name not in refused),
            refused=refused,
            failures=tuple(self.failures),
        )


def _of_floats(answer: Any) -> Any:
    """Of vectors asked for in several types, those of floats, which each SDK reads."""
    if isinstance(answer, EmbeddingResponse) and FLOATS.dtype in (f.dtype for f in answer.formats):
        return msgspec.structs.replace(answer, formats=(FLOATS,))
    return answer


def judge(exchange: Exchange) -> Verdict:
    """Every check on `exchange`; those that depend on one that failed are left out."""
    findings = Findings(exchange)
    for check in _checks(findings):
        try:
            check(findings)
        except Exception as error:  # whatever it is, it is this exchange that failed
            found = "".join(traceback.format_exception(error))
            findings.failures.append(f"{check.__name__}: {found}")
    return findings.verdict()


def plain(message: str) -> str:
    """A reason without the numbers that make each one different."""
    return re.sub(r"\[\d+\]", "[*]", message)[:140]


def _checks(findings: Findings) -> Iterator[Any]:
    if isinstance(findings.dialect, PassThrough):
        findings.completed.append("passes through as it is, to and from its provider")
        return
    yield request_is_read
    if findings.has("request"):
        yield from (request_survives, request_loses_nothing)
    if findings.exchange.is_error:
        yield error_is_kept
        return
    yield stream_is_read if findings.exchange.is_stream else answer_is_read
    if findings.has("events"):
        yield from (cuts_change_nothing, others_say_the_same)
    if findings.has("answer"):
        yield from (answer_survives, others_say_the_same)


# --- requests ---------------------------------------------------------------------------------


def request_is_read(findings: Findings) -> None:
    """A request is read, unless the provider refused it as well.

    What a provider took that its dialect's reference does not have goes to that provider as it is,
    unread; nobody else gets it, and the client is told the place.
    """
    try:
        findings.request  # noqa: B018 - read once, kept for the other checks
    except InvalidRequest as error:
        assert error.path, error
        what = "request, as by its provider,"
        if not findings.exchange.is_error:
            what = "request, in its provider's own variant,"
        for other in findings.others:
            findings.refuse(other, what, error)


def request_survives(findings: Findings) -> None:
    dialect, losses = findings.dialect, Losses(findings.dialect.name)
    body = findings.exchange.request

    output = dialect.encode_request(dialect.decode_request(body), losses)
    assert unpacked(output) == unpacked(body)
    assert losses.paths == []


def request_loses_nothing(findings: Findings) -> None:
    request = findings.request
    for other in findings.others:
        losses = Losses(other.name)
        try:
            output = other.encode_request(request, losses)
        except DragomanError as refusal:
            assert refusal.path, refusal
            assert refusal.path.startswith("$")
            findings.refuse(other, "request", refusal)
            continue
        named = {"model in the path": getattr(request, "model", ""), **opened(output)}
        original = unpacked(findings.exchange.request)
        assert unaccounted(original, named, losses.paths) == [], other.name


# --- answers ----------------------------------------------------------------------------------


def answer_is_read(findings: Findings) -> None:
    """A whole answer is read; one that is an error, whatever its status says, raises it."""
    try:
        findings.answer  # noqa: B018 - read once, kept for the other checks
    except UpstreamError as error:
        assert error.message
        findings.completed.append("the answer is an error of the provider's, its status is not")
    except (UpstreamProtocolError, InvalidJson, InvalidRequest) as error:
        _expect_unreadable(findings, error)


def _expect_unreadable(findings: Findings, error: DragomanError) -> None:
    """What we cannot read must be no answer to its own SDK either."""
    try:
        said = sdk.read(findings.dialect.name, findings.exchange.wire)
    except Exception:  # an SDK may stumble over anything
        said = sdk.Said()
    calls = [call for call in said.calls if call.id and call.name]
    if not (said.text or said.reasoning or calls):
        findings.skips.append(f"no answer, to its own SDK neither: {plain(error.message)}")
        return
    raise AssertionError(f"{error.message} ({said})") from error


def answer_survives(findings: Findings) -> None:
    losses = Losses(findings.dialect.name)
    raw = findings.exchange.wire.body
    answer = findings.dialect.decode_response(read_answer(findings.dialect, raw))
    output = msgspec.json.decode(
        msgspec.json.encode(findings.dialect.encode_response(answer, losses))
    )

    findings.completed += sorted(set(completions(json.loads(raw), output)))
    assert losses.paths == []


def completions(original: Any, output: Any, where: str = "$") -> Iterator[str]:
    """The reasons why `output` says more than `original`; anything else but equal is wrong."""
    if isinstance(original, dict) and isinstance(output, dict):
        assert original.keys() <= output.keys(), f"{where}: lost {original.keys() - output.keys()}"
        for name, value in output.items():
            if name in COMPLETED and value != original.get(name) and not original.get(name):
                yield COMPLETED[name]
                continue
            if name == "index" and "embedding" in original and value != original[name]:
                yield UNNUMBERED
                continue
            if name == "arguments" and isinstance(value, str) and original.get(name) != value:
                assert isinstance(original.get(name), dict), where
                assert json.loads(value) == original[name], where
                yield AS_TEXT
                continue
            assert name in original, f"{where}.{name}: made up"
            yield from completions(original[name], value, f"{where}.{name}")
        return
    if isinstance(original, list) and isinstance(output, list) and len(original) == len(output):
        original = _in_order(original)
        for i, (one, other) in enumerate(zip(original, output, strict=True)):
            yield from completions(one, other, f"{where}[{i}]")
        return
    assert output == original, where
    assert type(output) is type(original), where


def _in_order(items: list[Any]) -> list[Any]:
    """Embeddings by their indices; a ranking keeps its order."""
    numbered = all(isinstance(one, dict) and {"index", "embedding"} <= one.keys() for one in items)
    return sorted(items, key=lambda one: one["index"]) if numbered else items


def stream_is_read(findings: Findings) -> None:
    """The events keep the grammar. A stream with an error in it raises that error."""
    decoder, data = findings.dialect.stream_decoder(), findings.exchange.wire.body
    events: list[Event] = []
    try:
        decoder.feed(data, events)
    except UpstreamError as error:
        assert error.message
        findings.completed.append("the stream ends with an error of the provider's")
        return
    except UpstreamProtocolError as error:
        _expect_unreadable(findings, error)
        return
    try:
        decoder.close(events)
    except UpstreamError as error:
        assert error.message
        findings.completed.append("the stream ends with an error of the provider's")
        return
    except UpstreamProtocolError as error:
        findings.skips.append(f"the recorded stream is not whole: {plain(error.message)}")
        return
    check_grammar(events)
    findings.__dict__["events"] = events


def cuts_change_nothing(findings: Findings) -> None:
    """However the bytes are cut, the events are the same, and so is what is made of them."""
    dialect, data, whole = findings.dialect, findings.exchange.wire.body, findings.events
    pieces = _small_pieces(data)

    assert decode_stream(dialect, pieces) == whole
    for at in _cuts(len(data)):
        assert decode_stream(dialect, cut(data, [at])) == whole, at
        try:
            found = decode_stream(dialect, [data[:at]])
        except UpstreamProtocolError:
            continue
        if _without_counts(found) != _without_counts(whole):
            assert _ends_twice(data), f"truncated at {at}"
            findings.completed.append("it says more than once that it ends: a cut goes unnoticed")
            break
    _bytes_for_a_client_stay_the_same(findings, pieces)


def _without_counts(events: list[Event]) -> list[Event]:
    """Some providers count anew in each chunk: the last counts alone may go unnoticed."""
    return [event for event in events if not isinstance(event, UsageUpdate)]


def _ends_twice(data: bytes) -> bool:
    """Some models give a reason in every chunk."""
    return len(_REASON.findall(data)) > 1


def _bytes_for_a_client_stay_the_same(findings: Findings, pieces: list[bytes]) -> None:
    """One target for each stream, another for the next: events being equal, one is enough."""
    chosen = zlib.crc32(findings.exchange.id.encode()) % len(NAMES)
    target = client_dialect(NAMES[chosen])
    if target.operation != findings.dialect.operation:
        return
    try:
        whole = translate_stream(findings.dialect, target, [findings.exchange.wire.body])
    except DragomanError:
        return
    assert translate_stream(findings.dialect, target, pieces) == whole


def _small_pieces(data: bytes) -> list[bytes]:
    """Byte by byte; between the ends of a long stream in pieces, each at another place."""
    head, tail = BYTE_BY_BYTE, max(BYTE_BY_BYTE, len(data) - BYTE_BY_BYTE)
    edges = [*range(min(head, len(data))), *range(head, tail, PIECE), *range(tail, len(data))]
    return [data[a:b] for a, b in zip(edges, [*edges[1:], len(data)], strict=True)]


def _cuts(size: int) -> range:
    count = min(MOST_CUTS, max(LEAST_CUTS, BYTES_FED // max(1, size)))
    return range(1, size, max(1, size // count))


def others_say_the_same(findings: Findings) -> None:
    """Each official SDK reads in its own dialect what this one's reads in the original.

    For a long answer only some of them read it: the others must be able to say it, no more.
    """
    original = _read_original(findings)
    left = max(LEAST_READ, BYTES_FED // max(1, len(findings.exchange.wire.body)))
    for other in _in_turn(findings):
        wire = _translated(findings, other)
        if wire is None or original is None or left == 0 or not _has_reader(other):
            continue
        left -= 1
        names = (findings.dialect.name, other.name)
        found = sdk.comparable(sdk.read(other.name, wire), *names, like=original)
        expected = sdk.comparable(original, *names, like=original)
        assert found == expected, f"{other.name}: {_unlike(found, expected)}"


def _in_turn(findings: Findings) -> list[AnyDialect]:
    """The others, another one first in each exchange."""
    others = findings.others
    first = zlib.crc32(findings.exchange.id.encode()) % max(1, len(others))
    return others[first:] + others[:first]


def _unlike(found: sdk.Said, expected: sdk.Said) -> str:
    pairs = (
        (name, getattr(found, name), getattr(expected, name)) for name in found.__struct_fields__
    )
    return ", ".join(f"{name} {a!r:.300} for {b!r:.300}" for name, a, b in pairs if a != b)


def _read_original(findings: Findings) -> sdk.Said | None:
    """None, with the reason noted, where its own SDK cannot read what the provider sent."""
    if not _has_reader(findings.dialect) or findings.skips:
        return None
    wire = findings.exchange.wire
    try:
        said = sdk.read(findings.dialect.name, _as_events(findings.dialect, wire))
        heard = [word for call in said.calls for word in (call.id, call.name) if word]
        if wire.kind == _FRAMES or all(word.encode() in wire.body for word in heard):
            return said
        findings.skips.append("its own SDK reads calls that the original does not have")
        return None
    except Exception as error:  # an SDK may stumble over anything
        why = plain(f"{type(error).__name__}: {error}".split("\n")[0])[:70]
        findings.skips.append(f"its own SDK cannot read the original: {why}")
        return None


def _as_events(dialect: AnyDialect, wire: sdk.Wire) -> sdk.Wire:
    """A stream that came as one JSON array, or in Bedrock's frames, as the SDKs ask for one."""
    if dialect.name == "anthropic_messages" and wire.kind == _FRAMES:
        return sdk.Wire(b"".join(_unframed(wire.body)), status=wire.status, kind=_EVENTS)
    if wire.kind == _EVENTS and wire.body.startswith(BOM_UTF8):  # which the SDKs read as a word
        return msgspec.structs.replace(wire, body=wire.body.removeprefix(BOM_UTF8))
    if wire.kind != _EVENTS or not wire.body.startswith(b"["):
        return wire
    frames = (b"data: %b\n\n" % json.dumps(one).encode() for one in json.loads(wire.body))
    return sdk.Wire(b"".join(frames), status=wire.status, kind=wire.kind)


def _unframed(body: bytes) -> Iterator[bytes]:
    """The events in InvokeModel's chunks, which the SDK's own client for Bedrock unpacks so."""
    for message in EventStreamDecoder().feed(body):
        event = base64.b64decode(json.loads(message.payload)["bytes"])
        yield b"event: %b\ndata: %b\n\n" % (json.loads(event)["type"].encode(), event)


def _translated(findings: Findings, other: AnyDialect) -> sdk.Wire | None:
    """The answer in the other dialect; None where that refuses it."""
    try:
        if findings.exchange.is_stream:
            return sdk.stream(other.name, encode_stream(other, findings.events))
        body = other.encode_response(findings.answer, Losses(other.name))
        return sdk.Wire(msgspec.json.encode(body))
    except DragomanError as refusal:
        findings.refuse(other, "answer", refusal)
        return None


def _has_reader(dialect: AnyDialect) -> bool:
    return sdk.has_reader(dialect.name)


# --- errors -----------------------------------------------------------------------------------


def error_is_kept(findings: Findings) -> None:
    """Status and words of an error reach every client, as its own SDK reads them."""
    wire = findings.exchange.wire
    error = findings.dialect.decode_error(wire.status, wire.body)
    assert error.message
    assert error.status == wire.status
    if _is_json(wire.body):
        told = list(_leaves(json.loads(wire.body)))
        silent = error.message == findings.dialect.decode_error(wire.status, b"").message
        if not silent and not any(leaf and leaf in error.message for leaf in told):
            assert all(word in "\n".join(told) for word in re.findall(r"\w+", error.message))

    for dialect in (findings.dialect, *findings.others):
        answer = dialect.encode_error(error)
        if not _has_reader(dialect):
            continue
        again = sdk.Wire(answer.body, status=answer.status)
        status, message = sdk.read_error(dialect.name, again)
        assert status == wire.status, dialect.name
        assert error.message in message, dialect.name


def _leaves(value: Any) -> Iterator[str]:
    """All that an error might tell: its strings and numbers."""
    if isinstance(value, dict):
        for inner in value.values():
            yield from _leaves(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(inner)
    elif isinstance(value, str | int) and not isinstance(value, bool):
        yield str(value)


def _is_json(raw: bytes) -> bool:
    try:
        json.loads(raw)
    except ValueError:
        return False
    return True
