"""Streams: any cut gives the same bytes, they say what the body says, and half a one is none."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import given, note
from hypothesis import strategies as st

from dragoman.dialects import ChatDialect
from dragoman.errors import UpstreamProtocolError
from dragoman.ir import Json, Response, Text
from dragoman.ir.events import Event, UsageUpdate, fold
from dragoman.ir.losses import Losses
from tests import sdk
from tests.properties.cases import (
    DIALECTS,
    TO_ALL,
    cut,
    decode_stream,
    each_byte,
    encode_stream,
    sayable,
    translate_stream,
)
from tests.properties.grammar import check
from tests.strategies import responses, streams

by_dialect = pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)
by_source = pytest.mark.parametrize("source", DIALECTS.values(), ids=DIALECTS)


def each_target(
    source: ChatDialect, events: list[Event]
) -> Iterator[tuple[ChatDialect, list[Event]]]:
    """Every dialect, with what of `events` an answer of both has a place for."""
    for target in DIALECTS.values():
        note(f"to {target.name}")
        yield target, sayable(events, source, target)


@by_source
@given(streams(), st.lists(st.integers(0, 10**6), max_size=12))
def test_any_chunking_gives_the_same_bytes(
    source: ChatDialect, events: list[Event], cuts: list[int]
) -> None:
    """The network may cut anywhere: inside a frame, a JSON string, a UTF-8 character."""
    for target, said in each_target(source, events):
        wire = encode_stream(source, said)
        whole = translate_stream(source, target, [wire])

        assert translate_stream(source, target, cut(wire, cuts)) == whole
        assert translate_stream(source, target, each_byte(wire)) == whole


@by_source
@TO_ALL
@given(streams())
def test_decoders_keep_the_grammar(source: ChatDialect, events: list[Event]) -> None:
    for target, said in each_target(source, events):
        wire = translate_stream(source, target, [encode_stream(source, said)])

        check(decode_stream(target, [wire]))


@by_dialect
@given(streams(), st.integers(0, 10**6))
def test_a_truncated_stream_raises(dialect: ChatDialect, events: list[Event], cut_at: int) -> None:
    """Cut at any byte, a stream raises, or nothing of the answer was missing."""
    events = sayable(events, dialect)
    wire = encode_stream(dialect, events)
    whole = decode_stream(dialect, [wire])

    _assert_truncated(dialect, wire[: cut_at % len(wire)], whole)


@by_dialect
@given(streams())
def test_a_stream_without_its_last_frames_raises(dialect: ChatDialect, events: list[Event]) -> None:
    """Every cut between frames, where nothing but the meaning tells that more must follow."""
    events = sayable(events, dialect)
    wire = encode_stream(dialect, events)
    whole = decode_stream(dialect, [wire])

    for end in range(len(wire)):
        if wire.endswith(b"\n", 0, end):
            _assert_truncated(dialect, wire[:end], whole)


def _assert_truncated(dialect: ChatDialect, part: bytes, whole: list[Event]) -> None:
    try:
        events = decode_stream(dialect, [part])
    except UpstreamProtocolError:
        return
    assert _uncounted(events) == _uncounted(whole)


def _uncounted(events: list[Event]) -> list[Event]:
    """Usage may be missing: an answer of this many choices is whole without, and some providers
    count nothing."""
    return [event for event in events if not isinstance(event, UsageUpdate)]


@by_dialect
@given(streams())
def test_a_stream_says_what_its_body_says(dialect: ChatDialect, events: list[Event]) -> None:
    """Both read by the official SDK."""
    events = sayable(events, dialect)
    body = dialect.encode_response(fold(events), Losses(dialect.name))
    from_body = sdk.read(dialect.name, _whole(body))

    assert (
        sdk.read(dialect.name, sdk.stream(dialect.name, encode_stream(dialect, events)))
        == from_body
    )


@by_dialect
@given(responses())
def test_a_response_survives_its_own_dialect(dialect: ChatDialect, response: Response) -> None:
    """What was written is read, and written again the same."""
    if sdk.says_only_text(dialect.name):
        parts = tuple(p for p in response.choices[0].parts if isinstance(p, Text))
        choice = msgspec.structs.replace(response.choices[0], parts=parts)
        response = msgspec.structs.replace(response, choices=(choice,))
    body = dialect.encode_response(response, Losses(dialect.name))
    losses = Losses(dialect.name)

    assert dialect.encode_response(dialect.decode_response(body), losses) == body
    assert losses.paths == []


@by_source
@given(streams())
def test_a_translated_answer_says_the_same(source: ChatDialect, events: list[Event]) -> None:
    """Each side's SDK reads its own dialect, body against body, stream against stream: both say the
    same, but for what one of the two has no field for."""
    read = functools.cache(sdk.read)
    for target, said in each_target(source, events):
        names = source.name, target.name
        body = source.encode_response(fold(said), Losses(source.name))
        other = target.encode_response(source.decode_response(body), Losses(target.name))
        wire = encode_stream(source, said)
        told = translate_stream(source, target, [wire])

        for own, its in (
            (_whole(body), _whole(other)),
            (sdk.stream(source.name, wire), sdk.stream(target.name, told)),
        ):
            mine, theirs = read(source.name, own), sdk.read(target.name, its)
            found = sdk.comparable(theirs, *names, like=mine)
            assert found == sdk.comparable(mine, *names, like=mine)


def _whole(body: Json) -> sdk.Wire:
    return sdk.Wire(sdk.json.dumps(body).encode())
