"""Content encodings: any cut, any form of the format, and nothing half or without bound."""

from __future__ import annotations

import gzip
import zlib

import pytest

from dragoman.errors import UpstreamProtocolError
from dragoman.wire.content_encoding import ACCEPTED, content_decoder

PLAIN = 'data: {"text": "é, 😀 and more"}\n\n'.encode() * 50
LIMIT = 10_000


def _raw_deflate(data: bytes) -> bytes:
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflate.compress(data) + deflate.flush()


CASES = {
    "gzip": ("gzip", gzip.compress(PLAIN)),
    "gzip, other name and case": ("X-GZIP ", gzip.compress(PLAIN)),
    "gzip in two members": ("gzip", gzip.compress(PLAIN[:99]) + gzip.compress(PLAIN[99:])),
    "gzip with empty members": ("gzip", gzip.compress(b"") * 3 + gzip.compress(PLAIN)),
    "deflate with header": ("deflate", zlib.compress(PLAIN)),
    "deflate without header": ("deflate", _raw_deflate(PLAIN)),
    "identity": ("identity", PLAIN),
    "no header": ("", PLAIN),
}


def _decode(encoding: str, pieces: list[bytes], max_bytes: int = LIMIT) -> bytes:
    decoder = content_decoder(encoding, max_bytes)
    return b"".join(map(decoder.feed, pieces)) + decoder.close()


@pytest.mark.parametrize(("encoding", "data"), CASES.values(), ids=CASES)
@pytest.mark.parametrize("size", [1, 2, 7, 100, 1_000_000])
def test_any_cut_gives_the_plain_bytes(encoding: str, data: bytes, size: int) -> None:
    pieces = [data[at : at + size] for at in range(0, len(data), size)]

    assert _decode(encoding, pieces) == PLAIN


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "identity", ""])
def test_an_empty_body_has_no_encoding_to_undo(encoding: str) -> None:
    assert _decode(encoding, []) == _decode(encoding, [b""]) == b""


def test_what_was_flushed_comes_out_at_once() -> None:
    """A stream must not wait for the end of its compression."""
    deflate = zlib.compressobj(wbits=16 + zlib.MAX_WBITS)
    decoder = content_decoder("gzip", LIMIT)

    for event in (b"data: 1\n\n", b"data: 2\n\n"):
        assert decoder.feed(deflate.compress(event) + deflate.flush(zlib.Z_SYNC_FLUSH)) == event
    assert decoder.feed(deflate.flush()) == decoder.close() == b""


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case[1] != PLAIN])
def test_a_truncated_body_raises_at_every_cut(name: str) -> None:
    encoding, data = CASES[name]
    if encoding == "gzip" and "members" in name:
        data = gzip.compress(PLAIN)  # between two members is no truncation

    for end in range(1, len(data)):
        with pytest.raises(UpstreamProtocolError, match="ended too early"):
            _decode(encoding, [data[:end]])


@pytest.mark.parametrize("encoding", ACCEPTED)
def test_corrupt_data_raises(encoding: str) -> None:
    with pytest.raises(UpstreamProtocolError, match="corrupt"):
        _decode(encoding, [b"\xff\xff not compressed at all"])


def test_data_after_the_end_raises() -> None:
    with pytest.raises(UpstreamProtocolError, match="corrupt"):
        _decode("gzip", [gzip.compress(PLAIN) + b"\0\0garbage"])
    with pytest.raises(UpstreamProtocolError, match="after its end"):
        _decode("deflate", [zlib.compress(PLAIN) + b"garbage"])


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "compress"])
def test_an_unknown_encoding_is_the_upstreams_fault(encoding: str) -> None:
    with pytest.raises(UpstreamProtocolError, match="gzip, deflate"):
        content_decoder(encoding, LIMIT)


@pytest.mark.parametrize(
    ("encoding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)]
)
@pytest.mark.parametrize("size", [1, 10_000])
def test_output_is_bounded(encoding: str, compress, size: int) -> None:  # noqa: ANN001 - two stdlib functions
    """1 MB from about 1 KB: refused before it is made; the very limit still passes."""
    bomb = compress(bytes(1_000_000))
    exact = compress(bytes(LIMIT))
    cut = lambda data: [data[at : at + size] for at in range(0, len(data), size)]  # noqa: E731 - local

    assert _decode(encoding, cut(exact)) == bytes(LIMIT)
    with pytest.raises(UpstreamProtocolError, match="larger than 10000 bytes"):
        _decode(encoding, cut(bomb))


def test_a_plain_body_has_no_limit_here() -> None:
    assert _decode("", [PLAIN], max_bytes=1) == PLAIN
