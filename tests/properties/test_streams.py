"""Streams: any cut gives the same bytes, they say what the body says, and half a one is none."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.dialects import ChatDialect
from dragoman.errors import UpstreamProtocolError
from dragoman.ir import Response, Text
from dragoman.ir.events import Event, UsageUpdate, fold
from dragoman.ir.losses import Losses
from tests import sdk
from tests.properties.cases import (
    DIALECTS,
    PAIRS,
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
by_pair = pytest.mark.parametrize(("source", "target"), PAIRS.values(), ids=PAIRS)


@by_pair
@given(streams(), st.lists(st.integers(0, 10**6), max_size=12))
def test_any_chunking_gives_the_same_bytes(
    source: ChatDialect, target: ChatDialect, events: list[Event], cuts: list[int]
) -> None:
    """The network may cut anywhere: inside a frame, a JSON string, a UTF-8 character."""
    events = sayable(events, source, target)
    wire = encode_stream(source, events)
    whole = translate_stream(source, target, [wire])

    assert translate_stream(source, target, cut(wire, cuts)) == whole
    assert translate_stream(source, target, each_byte(wire)) == whole


@by_pair
@given(streams())
def test_decoders_keep_the_grammar(
    source: ChatDialect, target: ChatDialect, events: list[Event]
) -> None:
    events = sayable(events, source, target)
    wire = translate_stream(source, target, [encode_stream(source, events)])

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
    from_body = sdk.read(dialect.name, sdk.Wire(sdk.json.dumps(body).encode()))

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


@by_pair
@given(streams())
def test_a_translated_answer_says_the_same(
    source: ChatDialect, target: ChatDialect, events: list[Event]
) -> None:
    """Each side's SDK reads its own dialect: body against body, stream against stream."""
    events = sayable(events, source, target)
    body = source.encode_response(fold(events), Losses(source.name))
    other = target.encode_response(source.decode_response(body), Losses(target.name))
    wire = encode_stream(source, events)

    _assert_alike(
        (source, sdk.Wire(sdk.json.dumps(body).encode())),
        (target, sdk.Wire(sdk.json.dumps(other).encode())),
    )
    told = translate_stream(source, target, [wire])
    _assert_alike((source, sdk.stream(source.name, wire)), (target, sdk.stream(target.name, told)))


def _assert_alike(one: tuple[ChatDialect, sdk.Wire], other: tuple[ChatDialect, sdk.Wire]) -> None:
    """Both say the same, but for what one of the two dialects has no field for."""
    names = (one[0].name, other[0].name)
    said = sdk.read(names[0], one[1])
    told = sdk.read(names[1], other[1])
    assert sdk.comparable(told, *names, like=said) == sdk.comparable(said, *names, like=said)
