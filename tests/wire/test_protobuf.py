"""Protobuf by hand says the same as the library, on anything."""

from contextlib import suppress

import pytest
from google.protobuf.message import DecodeError
from google.protobuf.struct_pb2 import Struct
from hypothesis import given
from hypothesis import strategies as st

from dragoman.actions import Chunk, Mutate, Shared, amend
from dragoman.extproc import messages
from dragoman.extproc.pb.ext_proc_pb2 import ProcessingRequest, ProcessingResponse
from dragoman.wire.protobuf import Malformed, encode_struct, read_struct, read_values

OURS = "envoy.filters.http.ext_proc"
text = st.text(max_size=300)
scalars = (
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False) | text
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4)
)
objects = st.dictionaries(text, values, max_size=6)
attributes = st.dictionaries(text, text | st.integers(0, 2**50), max_size=6)


@given(objects)
def test_a_struct_is_written_as_the_library_reads_it(fields):
    expected = Struct()
    expected.update(fields)
    assert Struct.FromString(encode_struct(fields)) == expected


@given(attributes)
def test_a_struct_is_read_as_the_library_writes_it(fields):
    raw = Struct()
    raw.update(fields)
    written = raw.SerializeToString()
    assert read_struct(written, 0, len(written)) == {
        name: value if isinstance(value, str) else str(value) for name, value in fields.items()
    }


def scalars_of(fields):
    return {
        name: value
        for name, value in fields.items()
        if isinstance(value, str | int | float) and not isinstance(value, bool)
    }


@given(objects, st.randoms(use_true_random=False))
def test_the_texts_and_numbers_of_a_struct_are_read_in_any_order(fields, chance):
    known = scalars_of(fields) | {
        name: scalars_of(value) for name, value in fields.items() if isinstance(value, dict)
    }
    for _ in range(2):
        shuffled = chance.sample(list(fields.items()), len(fields))
        assert read_values(encode_struct(dict(shuffled))) == known


def test_what_is_remembered_of_structs_is_bounded():
    for number in range(3000):
        assert read_values(encode_struct({"n": str(number)})) == {"n": str(number)}


@given(st.binary(max_size=40))
def test_any_bytes_are_a_struct_or_malformed(raw):
    with suppress(Malformed, IndexError, UnicodeDecodeError):
        read_values(raw)


@pytest.mark.parametrize("raw", ["0800", "08", "0a", "0a05", "0b"])
def test_what_is_no_entry_of_a_struct_is_none(raw):
    with pytest.raises((Malformed, IndexError)):
        read_values(bytes.fromhex(raw))


@given(objects, st.data())
def test_a_struct_cut_short_is_no_struct(fields, data):
    raw = encode_struct(fields)
    read_values(raw)
    cut = raw[: data.draw(st.integers(0, len(raw)))]
    try:
        Struct.FromString(cut)
    except DecodeError:
        with pytest.raises((Malformed, IndexError, UnicodeDecodeError)):
            read_values(cut)


@given(
    st.sampled_from(["request_body", "response_body", "request_headers", "response_headers"]),
    st.binary(max_size=300),
    st.booleans(),
    attributes,
    st.booleans(),
)
def test_a_message_is_read_as_the_library_writes_it(kind, body, ended, given_attributes, gathered):
    request = ProcessingRequest()
    part = getattr(request, kind)
    part.SetInParent()
    part.end_of_stream = ended
    if kind.endswith("body"):
        part.body = body
    else:
        part.headers.headers.add(key="x", raw_value=body)
        part.headers.headers.add(key="x", value="y")
    if given_attributes:
        request.attributes[OURS].update(given_attributes)
    request.attributes["another"].update({"a": "b"})
    raw = request.SerializeToString()
    read = messages.read_message(bytearray(raw) if gathered else raw)
    assert (read.kind, read.end_of_stream) == (kind, ended)
    assert type(read.body) is bytes
    if kind.endswith("body"):
        assert read.body == body
    else:
        said = body.decode("utf-8", "surrogateescape")
        assert messages.read_headers(read) == {"x": f"{said}, y"}
    assert read.attributes == {
        name: value if isinstance(value, str) else str(value)
        for name, value in given_attributes.items()
    }


@pytest.mark.parametrize(("size", "is_kept"), [(20, True), (2000, False)])
def test_attributes_said_again_are_read_once_where_they_are_short(size, is_kept):
    request = ProcessingRequest()
    request.attributes[OURS].update({"request.path": "/" * size})
    raw = request.SerializeToString()
    first, again = (messages.read_message(raw).attributes for _ in range(2))
    assert first == again == {"request.path": "/" * size}
    assert (first is again) is is_kept


@given(st.binary(max_size=80))
def test_any_bytes_are_a_message_or_malformed(raw):
    try:
        messages.read_message(raw)
    except Malformed:
        return


@given(st.sampled_from(["request_body", "response_body"]), st.binary(max_size=300), st.data())
def test_a_message_cut_short_is_malformed(kind, body, data):
    request = ProcessingRequest()
    getattr(request, kind).body = body
    request.attributes[OURS].update({"name": "value"})
    raw = request.SerializeToString()
    cut = raw[: data.draw(st.integers(1, len(raw) - 1))]
    try:
        ProcessingRequest.FromString(cut)
    except DecodeError:
        with pytest.raises(Malformed):
            messages.read_message(cut)


@pytest.mark.parametrize("raw", ["0b", "0c", "22ffffffffffffffffffff01", "4a020a05", "0d0000"])
def test_what_is_no_field_is_malformed(raw):
    with pytest.raises(Malformed):
        messages.read_message(bytes.fromhex(raw))


@given(st.none() | st.binary(max_size=300), objects, st.booleans())
def test_a_decision_is_written_as_the_library_reads_it(body, fields, clears):
    action = Mutate(body=body, metadata={"space": fields}, clear_route_cache=clears)
    for kind in ("request_body", "request_headers"):
        reply = ProcessingResponse.FromString(messages.decide_reply(action, kind))
        assert reply.WhichOneof("response") == kind
        common = getattr(reply, kind).response
        assert common.HasField("body_mutation") is (body is not None)
        assert common.body_mutation.body == (body or b"")
        assert common.clear_route_cache is clears
        expected = Struct()
        expected.update({"space": fields})
        assert reply.dynamic_metadata == expected


@given(st.binary(max_size=300), st.booleans())
def test_a_chunk_is_written_as_the_library_reads_it(body, ends):
    [raw] = messages.answer_replies([Chunk(body=body, end_of_stream=ends)])
    mutation = ProcessingResponse.FromString(raw).response_body.response.body_mutation
    piece = mutation.streamed_response
    assert (piece.body, piece.end_of_stream) == (body, ends)


def test_shared_metadata_is_written_once_and_nothing_else_is_taken_for_it():
    shared = Shared(space={"a": "b"})
    first = messages.decide_reply(Mutate(metadata=shared), "request_body")
    assert messages.decide_reply(Mutate(metadata=shared), "request_body") == first
    for n in range(3000):
        other = Shared(space={"n": str(n)})
        raw = messages.decide_reply(Mutate(metadata=other), "request_body")
        metadata = ProcessingResponse.FromString(raw).dynamic_metadata
        assert metadata["space"]["n"] == str(n)


SPACES = st.dictionaries(st.sampled_from("abc"), objects, max_size=3)


@given(SPACES, SPACES, SPACES)
def test_amended_metadata_is_written_as_what_it_says(first, second, third):
    plain = amend(amend(first, second), third)
    for spaces in (first, Shared(first)):
        amended = amend(amend(spaces, second), third)
        assert amended == plain
        for _ in range(2):
            raw = messages.decide_reply(Mutate(metadata=amended), "request_body")
            expected = Struct()
            expected.update(plain)
            assert ProcessingResponse.FromString(raw).dynamic_metadata == expected
