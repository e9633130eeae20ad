"""Each rule of RFC 9113 and of gRPC as a row: these bytes in, these frames out."""

import pytest

from dragoman.extproc.transports.lean.limits import Limits
from tests.extproc.machines import METHOD, MUTE, Joining
from tests.extproc.wire import (
    HELLO,
    PREFACE,
    Wire,
    block,
    data,
    frame,
    greeted,
    grpc,
    headers,
    settings,
)

WORD = b"\0\0\0\1"
ZERO = b"\0\0\0\0"
OPEN = headers(1)
ENDED = [r"Data 1 '\x00\x00\x00\x00\x03end'", "Headers 1 0 end"]
ANSWER = ["Headers 1 200", *ENDED]
END = data(1, b"end")
DONE = OPEN + data(1, b"end", 1)


def refused(code: str, last: int = 0) -> list[str]:
    return [f"GoAway {last} {code}"]


def reset(code: str, stream: int = 1) -> list[str]:
    return [f"RstStream {stream} {code}"]


CONNECTION_RULES = {
    "settings are answered": (settings(frame=20_000, list=9), ["Settings ack"]),
    "an unknown setting is none": (frame(4, 0, 0, b"\0\x99" + WORD), ["Settings ack"]),
    "an answer to settings": (frame(4, 1, 0), []),
    "an answer to settings with settings": (frame(4, 1, 0, b"\0\1" + WORD), refused("FRAME_SIZE_ERROR")),
    "settings on a stream": (frame(4, 0, 1), refused("PROTOCOL_ERROR")),
    "settings cut short": (frame(4, 0, 0, b"\0\1\0"), refused("FRAME_SIZE_ERROR")),
    "push neither on nor off": (settings(push=2), refused("PROTOCOL_ERROR")),
    "a window too large": (settings(window=1 << 31), refused("FLOW_CONTROL_ERROR")),
    "frames too small": (settings(frame=(1 << 14) - 1), refused("PROTOCOL_ERROR")),
    "frames too large": (settings(frame=1 << 24), refused("PROTOCOL_ERROR")),
    "a ping is answered": (frame(6, 0, 0, b"12345678"), ["Ping ack"]),
    "an answer nobody waits for": (frame(6, 1, 0, b"12345678"), []),
    "a ping on a stream": (frame(6, 0, 1, b"12345678"), refused("PROTOCOL_ERROR")),
    "a short ping": (frame(6, 0, 0, b"1234567"), refused("FRAME_SIZE_ERROR")),
    "a farewell": (frame(7, 0, 0, ZERO * 2), []),
    "a farewell on a stream": (frame(7, 0, 1, ZERO * 2), refused("PROTOCOL_ERROR")),
    "a short farewell": (frame(7, 0, 0, ZERO), refused("FRAME_SIZE_ERROR")),
    "an unknown frame": (frame(0x77, 0xFF, 5, b"anything"), []),
    "a promise by the client": (frame(5, 4, 1, WORD), refused("PROTOCOL_ERROR")),
    "a frame above the limit": (frame(0, 0, 1, b"x" * 65_537), refused("FRAME_SIZE_ERROR")),
    "a priority": (OPEN + frame(2, 0, 1, ZERO + b"\1"), []),
    "a priority for a stream to come": (frame(2, 0, 9, ZERO + b"\1"), []),
    "a priority for nothing": (frame(2, 0, 0, ZERO + b"\1"), refused("PROTOCOL_ERROR")),
    "a short priority": (OPEN + frame(2, 0, 1, ZERO), reset("FRAME_SIZE_ERROR")),
    "a short priority for a stream to come": (frame(2, 0, 9, ZERO), refused("FRAME_SIZE_ERROR")),
    "a window for the connection": (frame(8, 0, 0, WORD), []),
    "a window of nothing": (frame(8, 0, 0, ZERO), refused("PROTOCOL_ERROR")),
    "a window that overflows": (frame(8, 0, 0, b"\x7f\xff\xff\xff"), refused("FLOW_CONTROL_ERROR")),
    "a short window": (frame(8, 0, 0, b"\0"), refused("FRAME_SIZE_ERROR")),
    "a window for a stream not opened": (frame(8, 0, 1, WORD), refused("PROTOCOL_ERROR")),
    "a window for a stream of ours": (frame(8, 0, 2, WORD), refused("PROTOCOL_ERROR")),
    "data of the connection": (frame(0, 0, 0, b"x"), refused("PROTOCOL_ERROR")),
    "data on a stream not opened": (frame(0, 0, 1, b"x"), refused("PROTOCOL_ERROR")),
    "headers of the connection": (headers(0), refused("PROTOCOL_ERROR")),
    "headers on a stream of ours": (headers(2), refused("PROTOCOL_ERROR")),
    "a reset of the connection": (frame(3, 0, 0, ZERO), refused("PROTOCOL_ERROR")),
    "a reset of a stream not opened": (frame(3, 0, 1, ZERO), refused("PROTOCOL_ERROR")),
    "a short reset": (frame(3, 0, 1, b"\0"), refused("FRAME_SIZE_ERROR")),
    "a continuation of nothing": (frame(9, 4, 1), refused("PROTOCOL_ERROR")),
    "headers that are no block": (frame(1, 4, 1, b"\xff\xff\xff\xff\xff\xff"), refused("COMPRESSION_ERROR", 0)),
    "a frame inside a block": (frame(1, 0, 1, block()) + frame(6, 0, 0, b"12345678"), refused("PROTOCOL_ERROR")),
    "a block that goes on elsewhere": (frame(1, 0, 1) + frame(9, 4, 3), refused("PROTOCOL_ERROR")),
    "all padding": (OPEN + frame(0, 8, 1, b"\4abcd")[:-1], []),
    "more padding than data": (OPEN + frame(0, 8, 1, b"\5abcd"), refused("PROTOCOL_ERROR", 1)),
    "padding without its length": (OPEN + frame(0, 8, 1), refused("PROTOCOL_ERROR", 1)),
    "headers without their priority": (frame(1, 0x24, 1, b"\0"), refused("FRAME_SIZE_ERROR")),
    "headers on an earlier stream": (headers(5) + headers(3), refused("STREAM_CLOSED", 5)),
}  # fmt: skip
STREAM_RULES = {
    "a call": (OPEN + END, ANSWER),
    "a call that the client ends": (OPEN + data(1, b"a", 1), ["Headers 1 200", r"Data 1 '\x00\x00\x00\x00\x01a'", r"Data 1 '\x00\x00\x00\x00\x06closed'", "Headers 1 0 end"]),
    "a call without messages": (headers(1, flags=5), ["Headers 1 200", r"Data 1 '\x00\x00\x00\x00\x06closed'", "Headers 1 0 end"]),
    "a call in small pieces": (OPEN + b"".join(frame(0, 0, 1, bytes([b])) for b in grpc(b"end")), ANSWER),
    "two messages in one frame": (headers(1, (":path", Joining.METHOD)) + frame(0, 0, 1, grpc(b"en") + grpc(b"d")), ["Headers 1 200", r"Data 1 '\x00\x00\x00\x00\x03end'"]),
    "a message without bytes": (OPEN + frame(0, 0, 1, grpc(b"")), ["Headers 1 200", r"Data 1 '\x00\x00\x00\x00\x00'"]),
    "padded data": (OPEN + frame(0, 8, 1, b"\3" + grpc(b"end") + b"\0\0\0"), ANSWER),
    "padded headers": (frame(1, 0xC, 1, b"\2" + block() + b"\0\0") + END, ANSWER),
    "headers with a priority": (frame(1, 0x24, 1, ZERO + b"\1" + block()) + END, ANSWER),
    "headers in pieces": (frame(1, 0, 1, block()[:9]) + frame(9, 0, 1, block()[9:20]) + frame(9, 4, 1, block()[20:]) + END, ANSWER),
    "a call with trailers": (OPEN + frame(0, 0, 1, grpc(b"a")) + frame(1, 5, 1, b"\0\1x\1y"), ["Headers 1 200", r"Data 1 '\x00\x00\x00\x00\x01a'", r"Data 1 '\x00\x00\x00\x00\x06closed'", "Headers 1 0 end"]),
    "trailers that end nothing": (OPEN + frame(1, 4, 1, b"\0\1x\1y"), reset("PROTOCOL_ERROR")),
    "trailers of a second request": (OPEN + headers(1, flags=5), reset("PROTOCOL_ERROR")),
    "data behind the end": ((DONE, END), [*ANSWER, *reset("STREAM_CLOSED")]),
    "data behind our end": (OPEN + END + END, ANSWER),
    "headers on a closed stream": ((DONE, headers(1)), [*ANSWER, *refused("STREAM_CLOSED", 1)]),
    "a window for a closed stream": (DONE + frame(8, 0, 1, WORD), ANSWER),
    "a reset of a closed stream": ((DONE, frame(3, 0, 1, ZERO)), ANSWER),
    "a window of nothing for a stream": (OPEN + frame(8, 0, 1, ZERO), reset("PROTOCOL_ERROR")),
    "a window for a stream that overflows": (OPEN + frame(8, 0, 1, b"\x7f\xff\xff\xff"), reset("FLOW_CONTROL_ERROR")),
    "settings that overflow a stream's": (OPEN + frame(8, 0, 1, b"\0\1\0\0") + settings(window=(1 << 31) - 1), refused("FLOW_CONTROL_ERROR", 1)),
    "frames of a stream we have reset": (OPEN + frame(8, 0, 1, ZERO) + END + headers(1) + headers(3) + data(3, b"end"), [*reset("PROTOCOL_ERROR"), "Headers 3 200", r"Data 3 '\x00\x00\x00\x00\x03end'", "Headers 3 0 end"]),
    "a reset between two calls": (OPEN + frame(3, 0, 1, ZERO) + headers(3) + data(3, b"end"), ["Headers 3 200", r"Data 3 '\x00\x00\x00\x00\x03end'", "Headers 3 0 end"]),
    "the length said": (headers(1, ("content-length", "8")) + data(1, b"end", 1), ANSWER),
    "more than the length said": (headers(1, ("content-length", "7")) + END, reset("PROTOCOL_ERROR")),
    "less than the length said": (headers(1, ("content-length", "9")) + data(1, b"end", 1), reset("PROTOCOL_ERROR")),
    "no data, but a length": (headers(1, ("content-length", "9"), flags=5), reset("PROTOCOL_ERROR")),
    "a length that is none": (headers(1, ("content-length", "x")), reset("PROTOCOL_ERROR")),
    "a bug": (OPEN + data(1, b"bug"), ["Headers 1 200", r"Data 1 '\x00\x00\x00\x00\x06failed'", "Headers 1 0 end"]),
    "a bug with nothing to say": (headers(1, (":path", MUTE)) + data(1, b"bug"), ["Headers 1 200 13 end", *reset("NO_ERROR")]),
    "a bug in the middle": (headers(1, (":path", MUTE)) + data(1, b"a") + data(1, b"bug"), ["Headers 1 200", r"Data 1 '\x00\x00\x00\x00\x01a'", "Headers 1 13 end", *reset("NO_ERROR")]),
    "an unknown method": (headers(1, (":path", "/none")), ["Headers 1 200 12 end", *reset("NO_ERROR")]),
    "an unknown method, all sent": (headers(1, (":path", "/none"), flags=5), ["Headers 1 200 12 end"]),
    "another content type": (headers(1, ("content-type", "application/json")), ["Headers 1 415 2 end", *reset("NO_ERROR")]),
    "a content type that only begins so": (headers(1, ("content-type", "application/grpcx")), ["Headers 1 415 2 end", *reset("NO_ERROR")]),
    "a content type with its codec": (headers(1, ("content-type", "application/grpc+proto")) + END, ANSWER),
    "no content type": (headers(1, without="content-type"), ["Headers 1 415 2 end", *reset("NO_ERROR")]),
    "another method": (headers(1, (":method", "GET")), ["Headers 1 405 13 end", *reset("NO_ERROR")]),
    "a compressed message": (OPEN + frame(0, 0, 1, grpc(b"end", 1)), ["Headers 1 200 12 end", *reset("NO_ERROR")]),
    "no message at all": (OPEN + frame(0, 0, 1, grpc(b"end", 9)), ["Headers 1 200 13 end", *reset("NO_ERROR")]),
    "a message above the limit": (OPEN + frame(0, 0, 1, b"\0\0\x10\0\1"), ["Headers 1 200 8 end", *reset("NO_ERROR")]),
    "a message cut short": (OPEN + frame(0, 1, 1, b"\0\0\0\0\5abc"), ["Headers 1 200 13 end"]),
    "a prefix cut short": (OPEN + frame(0, 1, 1, b"\0\0"), ["Headers 1 200 13 end"]),
}  # fmt: skip
MALFORMED = {
    "no headers": frame(1, 4, 1),
    "no method": headers(1, without=":method"),
    "no path": headers(1, without=":path"),
    "an empty path": headers(1, (":path", "")),
    "no scheme": headers(1, without=":scheme"),
    "an unknown pseudo-header": headers(1, (":other", "x")),
    "an answer's pseudo-header": headers(1, (":status", "200")),
    "a pseudo-header behind another": frame(1, 4, 1, b"\0\1x\1y" + block()),
    "a pseudo-header twice": frame(1, 4, 1, b"\x83" + block()),
    "an upper-case name": headers(1, ("X-Upper", "x")),
    "a space in a name": headers(1, ("x y", "x")),
    "a name without letters": headers(1, ("", "x")),
    "a line break in a value": headers(1, ("x", "a\nb")),
    "a value that begins with a space": headers(1, ("x", " a")),
    "a header of the connection": headers(1, ("connection", "close")),
    "another te": headers(1, ("te", "gzip")),
}


def _pieces(given):
    return given if isinstance(given, tuple) else (given,)


@pytest.mark.parametrize("rule", CONNECTION_RULES)
def test_a_rule_of_the_connection(rule):
    given, expected = CONNECTION_RULES[rule]
    wire = greeted()
    assert wire.say(given) == expected
    assert (wire.connection.failed is not None) is any("GoAway" in one for one in expected)


@pytest.mark.parametrize("rule", STREAM_RULES)
def test_a_rule_of_streams(rule):
    given, expected = STREAM_RULES[rule]
    assert greeted().say(*_pieces(given)) == expected


@pytest.mark.parametrize("rule", MALFORMED)
def test_malformed_headers_reset_their_stream_alone(rule):
    wire = greeted()
    assert wire.say(MALFORMED[rule]) == reset("PROTOCOL_ERROR")
    assert wire.say(headers(3) + data(3, b"end"))[-1] == "Headers 3 0 end"


@pytest.mark.parametrize("rule", [*CONNECTION_RULES, *STREAM_RULES])
def test_a_rule_holds_byte_by_byte(rule):
    given, expected = (CONNECTION_RULES | STREAM_RULES)[rule]
    wire = Wire()
    wire.take()
    said = wire.say(*(bytes([byte]) for byte in HELLO + b"".join(_pieces(given))))
    assert said == ["Settings ack", *expected]


def test_the_greeting_says_the_limits():
    wire = Wire(message_bytes=9)
    greeting = wire.frames(wire.take())
    limits = Limits(message_bytes=9)
    assert dict(greeting[0].settings) == {
        3: limits.streams,
        4: limits.stream_window_bytes,
        5: limits.frame_bytes,
        6: limits.header_list_bytes,
    }
    assert greeting[1].window_increment == limits.connection_window_bytes - 65_535


@pytest.mark.parametrize(
    "given", [b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", PREFACE + frame(6, 0, 0, b"12345678")]
)
def test_what_does_not_begin_as_http2_is_sent_away(given):
    wire = Wire()
    wire.take()
    assert wire.say(given) == refused("PROTOCOL_ERROR")
    assert wire.say(HELLO) == []


def test_a_fault_of_the_connection_closes_every_machine(monkeypatch):
    from tests.extproc.machines import Counted

    monkeypatch.setattr(Counted, "closed", 0)
    wire = greeted()
    wire.say(*(headers(n, (":path", Counted.METHOD)) for n in (1, 3, 5)))
    assert wire.say(frame(8, 0, 0, ZERO)) == refused("PROTOCOL_ERROR", 5)
    assert Counted.closed == 3


def test_a_bug_is_logged_without_its_text():
    wire = greeted()
    wire.say(OPEN + data(1, b"bug"))
    [line] = wire.log
    assert (line["event"], line["method"], line["error_type"]) == (
        "stream_failed",
        METHOD,
        "ValueError",
    )
    assert "secret" not in str(line)
