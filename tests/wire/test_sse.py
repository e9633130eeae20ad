"""Frames come out the same however the bytes were cut, in linear time, within a limit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.errors import UpstreamProtocolError
from dragoman.wire.sse import SseDecoder, SseEvent, encode_sse

CASES: dict[str, tuple[bytes, list[SseEvent]]] = {
    "one frame": (b'data: {"a":1}\n\n', [SseEvent("", '{"a":1}')]),
    "several frames": (b"data: a\n\ndata: b\n\n", [SseEvent("", "a"), SseEvent("", "b")]),
    "named": (b"event: ping\ndata: {}\n\n", [SseEvent("ping", "{}")]),
    "named, then not": (
        b"event: x\ndata: a\n\ndata: b\n\n",
        [SseEvent("x", "a"), SseEvent("", "b")],
    ),
    "name without data": (b"event: x\n\ndata: b\n\n", [SseEvent("", "b")]),
    "many data lines": (b"data: a\ndata: b\n\n", [SseEvent("", "a\nb")]),
    "CRLF": (b"data: a\r\n\r\ndata: b\r\n\r\n", [SseEvent("", "a"), SseEvent("", "b")]),
    "CR": (b"data: a\r\rdata: b\r\r", [SseEvent("", "a"), SseEvent("", "b")]),
    "mixed ends": (b"data: a\r\n\ndata: b\n\r", [SseEvent("", "a"), SseEvent("", "b")]),
    "byte order mark": (b"\xef\xbb\xbfdata: a\n\n", [SseEvent("", "a")]),
    "mark within": (b"data: \xef\xbb\xbfa\n\n", [SseEvent("", "\ufeffa")]),
    "comments": (b": OPENROUTER PROCESSING\n\n:\n\ndata: a\n\n", [SseEvent("", "a")]),
    "no space": (b"data:a\n\n", [SseEvent("", "a")]),
    "two spaces": (b"data:  a\n\n", [SseEvent("", " a")]),
    "empty data": (b"data\n\ndata:\n\ndata: \n\n", [SseEvent("", "")] * 3),
    "blank lines between": (b"data: a\n\n\n\ndata: b\n\n", [SseEvent("", "a"), SseEvent("", "b")]),
    "other fields": (b"id: 1\nretry: 5\nfoo\ndata: a\n\n", [SseEvent("", "a")]),
    "text across bytes": ("data: é\u2028🙂\x85\n\n".encode(), [SseEvent("", "é\u2028🙂\x85")]),
    "not UTF-8": (b"data: a\xff\n\n", [SseEvent("", "a\ufffd")]),
    "no blank line at the end": (b"data: a\n\ndata: b", [SseEvent("", "a"), SseEvent("", "b")]),
    "nothing": (b"", []),
}


@pytest.mark.parametrize(("wire", "expected"), CASES.values(), ids=CASES)
def test_any_two_cuts_give_the_same_events(wire: bytes, expected: list[SseEvent]) -> None:
    for first in range(len(wire) + 1):
        for second in range(first, len(wire) + 1):
            decoder = SseDecoder()
            found = [
                *decoder.feed(wire[:first]),
                *decoder.feed(wire[first:second]),
                *decoder.feed(wire[second:]),
                *decoder.close(),
            ]
            assert found == expected


@given(
    st.lists(
        st.sampled_from([b"data: ", b"data:", b"event: ", b"x", b"\r", b"\n", b"\r\n", b": "])
    ),
    st.integers(1, 7),
)
def test_pieces_of_any_size_give_the_same_events(words: list[bytes], size: int) -> None:
    wire = b"".join(words)
    whole, cut = SseDecoder(), SseDecoder()
    expected = [*whole.feed(wire), *whole.close()]
    pieces = [wire[i : i + size] for i in range(0, len(wire), size)]
    found = [event for piece in pieces for event in cut.feed(piece)]
    assert [*found, *cut.close()] == expected


@pytest.mark.parametrize("size", [1, 3, 40])
@pytest.mark.parametrize("wire", [b"data: 0123456789\n\n", b"data: 0123\ndata: 456789a\n\n"])
def test_the_limit_holds_for_a_line_and_for_an_event(wire: bytes, size: int) -> None:
    decoder = SseDecoder(10)
    with pytest.raises(UpstreamProtocolError, match="more than 10 bytes"):
        for i in range(0, len(wire), size):
            decoder.feed(wire[i : i + size])


def test_many_frames_in_one_chunk_may_pass_the_limit_together() -> None:
    assert len(SseDecoder(10).feed(b"data: abc\n\n" * 50)) == 50


def test_a_long_line_costs_no_more_for_being_cut_small() -> None:
    """Half a million pieces of one line: done in a moment, or, were it quadratic, in minutes."""
    decoder = SseDecoder()
    for _ in range(500_000):
        decoder.feed(b"data: x"[:7])
    (event,) = decoder.feed(b"\n\n")
    assert len(event.data) == 7 * 500_000 - 6


@pytest.mark.parametrize("event", ["", "message_start"])
def test_what_is_encoded_decodes(event: str) -> None:
    (found,) = SseDecoder().feed(encode_sse('{"a":"é"}'.encode(), event))
    assert found == SseEvent(event, '{"a":"é"}')
