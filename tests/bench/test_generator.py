"""The load generator reads answers right however they are cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bench.generator import Answer

SIZED = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\ncontent-type: application/json\r\n\r\nhello"
STREAM = (
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    b"8\r\ndata: 1\n\r\n10\r\ndata: 2\ndata: 3\n\r\ne\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"
)
CUT = STREAM.replace(b"[DONE]", b"[GONE]")


def feed(data, cuts):
    answer = Answer()
    ends = sorted({cut % len(data) for cut in cuts} | {len(data)} - {0})
    whole = [answer.feed(data[a:b]) for a, b in zip([0, *ends], ends, strict=False) if a < b]
    assert whole[-1]
    assert not any(whole[:-1])
    return answer


@given(st.lists(st.integers(0, 1000), max_size=6))
@pytest.mark.parametrize(
    ("data", "stream", "good"), [(SIZED, False, True), (STREAM, True, True), (CUT, True, False)]
)
def test_an_answer_ends_where_it_ends(data, stream, good, cuts):
    assert feed(data, cuts).is_good(stream=stream) == good


def test_events_are_counted_and_those_that_came_merged_are_seen():
    answer = feed(STREAM, [])
    assert (answer.events, answer.chunks) == (4, 3)


def test_an_error_is_no_good_answer():
    assert not feed(SIZED.replace(b"200", b"503"), []).is_good(stream=False)
