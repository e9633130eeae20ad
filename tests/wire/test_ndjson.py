"""Lines come out the same however the bytes were cut, in linear time, within a limit."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.errors import UpstreamProtocolError
from dragoman.wire.ndjson import NdjsonDecoder, encode_ndjson

CASES: dict[str, tuple[bytes, list[bytes]]] = {
    "one line": (b'{"a":1}\n', [b'{"a":1}']),
    "several lines": (b"{}\n[]\n1\n", [b"{}", b"[]", b"1"]),
    "CRLF": (b"{}\r\n[]\r\n", [b"{}", b"[]"]),
    "blank lines": (b"\n{}\n\n \n[]\n\n", [b"{}", b"[]"]),
    "no end of the last line": (b"{}\n[1", [b"{}", b"[1"]),
    "text across bytes": ('"é🙂"\n'.encode(), ['"é🙂"'.encode()]),
    "nothing": (b"", []),
}


@pytest.mark.parametrize(("wire", "expected"), CASES.values(), ids=CASES)
def test_any_two_cuts_give_the_same_lines(wire: bytes, expected: list[bytes]) -> None:
    for first in range(len(wire) + 1):
        for second in range(first, len(wire) + 1):
            decoder = NdjsonDecoder()
            pieces = (wire[:first], wire[first:second], wire[second:])
            found = [line for piece in pieces for line in decoder.feed(piece)]
            assert [*found, *decoder.close()] == expected


@given(st.lists(st.sampled_from([b"{}", b"x", b"\n", b"\r\n", b" "])), st.integers(1, 7))
def test_pieces_of_any_size_give_the_same_lines(words: list[bytes], size: int) -> None:
    wire = b"".join(words)
    whole, cut = NdjsonDecoder(), NdjsonDecoder()
    expected = [*whole.feed(wire), *whole.close()]
    pieces = [wire[i : i + size] for i in range(0, len(wire), size)]
    found = [line for piece in pieces for line in cut.feed(piece)]
    assert [*found, *cut.close()] == expected


@pytest.mark.parametrize("size", [1, 3, 40])
def test_the_limit_holds_for_a_line(size: int) -> None:
    wire = b"0123456789\n0123456789a\n"
    decoder = NdjsonDecoder(10)
    with pytest.raises(UpstreamProtocolError, match="more than 10 bytes"):
        for i in range(0, len(wire), size):
            decoder.feed(wire[i : i + size])


def test_many_lines_in_one_chunk_may_pass_the_limit_together() -> None:
    assert len(NdjsonDecoder(10).feed(b'{"a":1}\n' * 50)) == 50


def test_a_long_line_costs_no_more_for_being_cut_small() -> None:
    """Half a million pieces of one line: done in a moment, or, were it quadratic, in minutes."""
    decoder = NdjsonDecoder()
    for _ in range(500_000):
        decoder.feed(b"wwwwwww")
    (line,) = decoder.feed(b"\n")
    assert len(line) == 7 * 500_000


@pytest.mark.parametrize("text", ["é", "a\x85b\u2028c\u2029d", "…\xa0\u2027"])
def test_what_is_encoded_decodes(text: str) -> None:
    """And is one line to whoever splits text wherever Unicode has a line end."""
    wire = encode_ndjson(msgspec.json.encode(text))
    (line,) = NdjsonDecoder().feed(wire)
    assert msgspec.json.decode(line) == text
    assert len(wire.decode().splitlines()) == 1
