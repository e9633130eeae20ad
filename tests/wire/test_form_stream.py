"""Forms in pieces: files go on, fields are kept, and nothing else is held."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from dragoman.errors import InvalidRequest
from dragoman.wire.form_stream import FormSplitter
from dragoman.wire.multipart import find_fields, replace_field, text_parts
from tests.properties.cases import cut, each_byte

B = b"--b0und"
FILE = b'content-disposition: form-data; name="file"; filename="a.wav"\r\ncontent-type: audio/wav'
LIMIT = 1 << 16


def form(*parts: tuple[bytes, bytes], end: bytes = b"--\r\n") -> bytes:
    return b"".join(B + b"\r\n" + head + b"\r\n\r\n" + value + b"\r\n" for head, value in parts) + (
        B + end
    )


def field(name: str, value: bytes) -> tuple[bytes, bytes]:
    return f'Content-Disposition: form-data; name="{name}"'.encode(), value


def split(pieces: list[bytes]) -> tuple[bytes, bytes]:
    splitter = FormSplitter(LIMIT)
    return b"".join(map(splitter.feed, pieces)), splitter.close()


values = st.lists(
    st.sampled_from([b"\r", b"\n", b"--", B, b"\r\n--b0un", b"\r\n", b"x", b"\0\xff"]), max_size=9
).map(b"".join)
parts = st.lists(st.tuples(st.booleans(), values), max_size=5)
cuts = st.lists(st.integers(0, 10_000), max_size=12)


def _has_boundary(value: bytes) -> bool:
    return b"\r\n" + B in b"\r\n" + value  # a value that begins with it would be one part more


@given(parts, cuts)
def test_whatever_the_cuts_files_go_first_and_fields_behind(
    given_parts: list[tuple[bool, bytes]], places: list[int]
) -> None:
    told = [(is_file, value) for is_file, value in given_parts if not _has_boundary(value)]
    assume(told)
    wire = [(FILE, value) if is_file else field("f", value) for is_file, value in told]
    files = [part for part, (is_file, _) in zip(wire, told, strict=True) if is_file]
    fields = [part for part, (is_file, _) in zip(wire, told, strict=True) if not is_file]
    raw = form(*wire)
    wanted = form(*files, end=b""), form(*fields)

    passed, rest = split(cut(raw, places))
    assert (passed, rest) == (wanted[0].removesuffix(B), wanted[1])
    assert split(each_byte(raw)) == (passed, rest)
    assert text_parts(passed + rest) == text_parts(form(*files, *fields))


def test_a_piece_of_a_file_is_passed_as_it_is_and_nothing_is_held() -> None:
    splitter = FormSplitter(LIMIT)
    splitter.feed(form((FILE, b""), end=b"")[: -len(B) - 2])
    piece = b"sound" * 100_000
    assert splitter.feed(piece) is piece
    assert splitter.feed(piece + b"\r") == piece
    assert splitter.feed(b"\n" + piece) == b"\r\n" + piece


def test_a_form_without_fields_gets_its_model_all_the_same() -> None:
    passed, rest = split([form((FILE, b"sound"))])
    assert find_fields(rest, ("model",)) == {}
    whole = passed + replace_field(rest, "model", "dall-e-2")
    assert whole[find_fields(whole, ("model",))["model"]] == b"dall-e-2"
    assert whole[find_fields(whole, ("file",))["file"]] == b"sound"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"no form",
        b"--" + b"b" * 80 + b"\r\n",
        B + b"\r\n" + b"x" * 5000,
        form(field("a", b"x"), end=b""),
        form((FILE, b"x"))[:-5],
        form(field("a", b"x")).replace(b"\r\n--b0und--", b"\r\n--b0undx--"),
        form(field("a", b"x" * (LIMIT + 1))),
        form((b"x" * 4093, b"")),
    ],
)
@pytest.mark.parametrize("pieces", [lambda raw: [raw], each_byte])
def test_what_is_no_form_is_refused(raw: bytes, pieces: object) -> None:
    with pytest.raises(InvalidRequest):
        split(pieces(raw))  # type: ignore[operator]
