"""Header compression against another implementation, and against those who would misuse it."""

import hpack
import pytest
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hypothesis import given
from hypothesis import strategies as st

from dragoman.extproc.transports.lean.hpack import Decoder, HeadersTooLarge, InvalidBlock, encode
from dragoman.extproc.transports.lean.huffman import InvalidHuffman
from dragoman.extproc.transports.lean.huffman import decode as decode_huffman

KIB = 1 << 10
text = st.sampled_from([b"", b"a", b"x-same", b":path", b"content-type", b"gzip, deflate"])
text |= st.binary(max_size=40)
lists = st.lists(st.tuples(text, text), max_size=8)


def decoder(**limits):
    return Decoder(limits.get("bytes", 64 * KIB), limits.get("headers", 100))


@given(st.lists(st.tuples(lists, st.booleans(), st.none() | st.integers(0, 4096)), max_size=6))
def test_what_another_writes_is_read(blocks):
    writer, reader = hpack.Encoder(), decoder()
    for headers, huffman, size in blocks:
        if size is not None:
            writer.header_table_size = size
        block = writer.encode(headers, huffman=huffman)
        assert reader.decode(block) == tuple(headers)


@given(st.lists(lists, max_size=4))
def test_what_we_write_is_read_by_another(blocks):
    reader = hpack.Decoder()
    for headers in blocks:
        assert reader.decode(encode(headers), raw=True) == headers


@given(st.binary(max_size=200))
def test_huffman_is_read(data):
    encoded = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH).encode(data)
    assert decode_huffman(encoded) == data


@pytest.mark.parametrize("bits", ["ffffffff", "ff", "fe", "00", "fffffffc"])
def test_huffman_that_ends_wrongly_is_refused(bits):
    """The end's own code; eight bits of padding; padding that is not ones."""
    with pytest.raises(InvalidHuffman):
        decode_huffman(bytes.fromhex(bits))


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(data):
    reader = decoder(bytes=KIB)
    for _ in range(2):
        try:
            reader.decode(data)
        except (InvalidBlock, HeadersTooLarge):
            pass


BROKEN = {
    "index nothing": "80",
    "index beyond the table": "be",
    "an integer without end": "ffffffffffff",
    "an integer of six bytes": "ff808080808001",
    "a string cut short": "0003612d",
    "a value cut short": "000161",
    "a table larger than agreed": "3fe21f",
    "a new size behind a header": "8220",
    "a name's index beyond the table": "7f0a0161",
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_block_is_refused(case):
    with pytest.raises(InvalidBlock):
        decoder().decode(bytes.fromhex(BROKEN[case]))


def test_an_entry_larger_than_the_table_empties_it():
    reader, writer = decoder(), hpack.Encoder()
    reader.decode(writer.encode([(b"a", b"b")]))
    reader.decode(b"\x40\x01a" + b"\x7f\xe1\x1e" + b"v" * 4064)
    with pytest.raises(InvalidBlock):
        reader.decode(b"\xbe")


def test_a_bomb_is_measured_and_not_built():
    reader = decoder()
    reader.decode(b"\x40\x01a" + b"\x7f\xe0\x1e" + b"v" * 4063)
    with pytest.raises(HeadersTooLarge):
        reader.decode(b"\xbe" * 60_000)
    assert reader.decode(b"\xbe")[0][0] == b"a"  # the table is as the peer's


def test_too_many_headers_are_refused_and_the_table_goes_on():
    reader = decoder(headers=3)
    with pytest.raises(HeadersTooLarge):
        reader.decode(b"\x40\x01a\x01b" + b"\x82" * 4)
    assert reader.decode(b"\xbe") == ((b"a", b"b"),)


def test_a_block_that_came_before_is_not_read_twice_until_the_table_changes():
    reader = decoder()
    first = reader.decode(b"\x82\x84")
    assert reader.decode(b"\x82\x84") is first
    reader.decode(b"\x40\x01a\x01b")
    assert reader.decode(b"\xbe") == ((b"a", b"b"),)
    assert reader.decode(b"\x40\x01a\x01c") == ((b"a", b"c"),)
    assert reader.decode(b"\xbe") == ((b"a", b"c"),)
    assert reader.decode(b"\x82\x84") == first


def test_blocks_that_all_differ_are_not_kept_without_end():
    reader = decoder()
    for n in range(10_000):
        reader.decode(b"\x00\x01a" + bytes([len(str(n))]) + str(n).encode())
    assert len(reader._kept) <= 64
