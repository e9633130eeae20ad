"""Whoever asks for too much gets less, and whoever else is there gets theirs."""

import pytest

from tests.extproc.machines import METHOD
from tests.extproc.wire import PREFACE, Wire, data, frame, greeted, grpc, headers, settings

CALM = ["GoAway 0 ENHANCE_YOUR_CALM"]
ZERO = b"\0\0\0\0"
FEW = {"idle_frames": 100, "idle_frames_per_second": 10}
USELESS = {
    "pings": frame(6, 0, 0, b"12345678"),
    "answers to pings": frame(6, 1, 0, b"12345678"),
    "settings": settings(),
    "priorities": frame(2, 0, 1, ZERO + b"\0"),
    "unknown frames": frame(0x99, 0, 0),
    "farewells": frame(7, 0, 0, ZERO * 2),
}


@pytest.mark.parametrize("kind", USELESS)
def test_a_flood_of_frames_without_use_ends_the_connection(kind):
    wire = greeted(**FEW)
    said = wire.say(USELESS[kind] * 120)
    assert said[-1:] == CALM


@pytest.mark.parametrize("kind", USELESS)
def test_as_many_over_a_longer_time_are_no_flood(kind):
    wire = greeted(**FEW)
    for _ in range(100):
        wire.now += 1
        assert CALM[0] not in wire.say(USELESS[kind] * 9)


def test_streams_opened_and_reset_at_once_end_the_connection():
    wire = greeted(**FEW)
    rapid = b"".join(headers(n) + frame(3, 0, n, ZERO) for n in range(1, 261, 2))
    assert wire.say(rapid)[-1].endswith("ENHANCE_YOUR_CALM")


def test_resets_of_answered_streams_are_what_envoy_does():
    wire = greeted(**FEW)
    for n in range(1, 1001, 2):
        assert len(wire.say(headers(n) + data(n, b"end"), frame(3, 0, n, b"\0\0\0\2"))) == 3
    assert wire.connection.open_streams == 0


def test_empty_data_ends_the_connection():
    wire = greeted(**FEW)
    assert wire.say(headers(1) + frame(0, 0, 1) * 120) == ["GoAway 1 ENHANCE_YOUR_CALM"]


def test_continuations_without_end():
    wire = greeted()
    assert wire.say(frame(1, 0, 1) + frame(9, 0, 1) * 70) == CALM


def test_a_header_block_above_the_limit():
    wire = greeted(block_bytes=1000)
    given = frame(1, 0, 1, b"\x82" * 500) + frame(9, 4, 1, b"\x82" * 501)
    assert wire.say(given) == CALM


def test_headers_above_the_limit_lose_their_stream_alone():
    wire = greeted(header_list_bytes=500)
    assert wire.say(headers(1, ("x", "y" * 400))) == ["RstStream 1 ENHANCE_YOUR_CALM"]
    assert wire.say(headers(3) + data(3, b"end"))[-1] == "Headers 3 0 end"


def test_more_streams_than_allowed_are_refused_and_may_be_tried_again():
    wire = greeted(streams=2)
    assert wire.say(headers(1) + headers(3) + headers(5)) == ["RstStream 5 REFUSED_STREAM"]
    assert wire.say(data(1, b"end", 1))[-1] == "Headers 1 0 end"
    assert wire.say(headers(7) + data(7, b"end"))[-1] == "Headers 7 0 end"


def test_more_data_than_a_streams_window():
    wire = greeted(stream_window_bytes=100)
    assert wire.say(headers(1) + frame(0, 0, 1, grpc(b"x" * 96))) == [
        "RstStream 1 FLOW_CONTROL_ERROR"
    ]


def test_padding_counts_against_the_window():
    wire = greeted(stream_window_bytes=100)
    padded = frame(0, 8, 1, b"\x63" + b"\0" * 99)
    assert wire.say(headers(1) + padded) == ["WindowUpdate 1 100"]
    assert wire.say(padded + frame(0, 8, 1, b"\0")) == ["RstStream 1 FLOW_CONTROL_ERROR"]


def test_more_data_than_the_connections_window():
    wire = greeted(connection_window_bytes=1 << 16)
    opened = headers(1) + headers(3)
    wire.connection.pause()  # or it would be renewed
    sent = [frame(0, 0, n, b"\0\0\0\xff\0" + b"x" * 16_379) for n in (1, 1, 3)]
    assert wire.say(opened + b"".join(sent)) == []
    assert wire.say(sent[0] + frame(0, 0, 1, b"x")) == ["GoAway 3 FLOW_CONTROL_ERROR"]


def test_half_sent_messages_are_bounded_all_together():
    wire = greeted(buffered_bytes=1000)
    half = b"\0\0\0\4\0" + b"x" * 400
    opened = b"".join(headers(n) + frame(0, 0, n, half) for n in (1, 3))
    assert wire.say(opened) == []
    said = wire.say(headers(5) + frame(0, 0, 5, half))
    assert said == ["Headers 5 200 8 end", "RstStream 5 NO_ERROR"]
    assert wire.say(frame(3, 0, 1, b"\0\0\0\x08")) == []
    assert wire.say(headers(7) + frame(0, 0, 7, half)) == []


def test_answers_that_nobody_fetches_are_bounded():
    wire = greeted(unsent_bytes=1000)
    wire.connection.pause()
    wire.calls.handle(wire.connection.receive(frame(6, 0, 0, b"12345678") * 200, 0.0))
    assert wire.read(wire.take())[-1:] == CALM


def test_a_window_opened_and_shut_again_and_again_costs_the_peer_its_connection():
    wire = greeted(idle_frames=200, idle_frames_per_second=1)
    for n in range(1, 401, 2):
        wire.say(headers(n))
    flips = (settings(window=0) + settings(window=1000)) * 30
    assert wire.say(flips)[-1] == "GoAway 399 ENHANCE_YOUR_CALM"


def test_data_behind_our_end_is_dropped_and_its_window_not_renewed():
    wire = greeted(stream_window_bytes=1 << 16)
    assert wire.say(headers(1) + data(1, b"end"))[-1] == "Headers 1 0 end"
    for _ in range(4):
        assert wire.say(frame(0, 0, 1, b"x" * 16_000)) == []
    assert wire.say(frame(0, 0, 1, b"x" * 16_000)) == ["RstStream 1 FLOW_CONTROL_ERROR"]


def test_a_lost_connection_leaves_nothing():
    wire = greeted()
    wire.say(*(headers(n) + frame(0, 0, n, b"\0\0\0\4\0half") for n in range(1, 21, 2)))
    wire.calls.close()
    assert (wire.calls._calls, wire.calls._waiting, wire.calls._held_bytes) == ({}, {}, 0)


@pytest.mark.parametrize("piece", [b"", PREFACE[:10], PREFACE, PREFACE + settings()[:5]])
def test_a_peer_that_says_half_a_word_is_waited_for(piece):
    wire = Wire()
    wire.take()
    assert wire.say(piece) == []
    whole = PREFACE + settings() + headers(1, (":path", METHOD)) + data(1, b"end")
    assert wire.say(whole[len(piece) :])[-1] == "Headers 1 0 end"
