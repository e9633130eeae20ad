"""AWS's event stream, where its reader stops in the middle."""

from __future__ import annotations

from dragoman.wire.eventstream import EventStreamDecoder, encode_eventstream


def test_what_is_not_taken_comes_with_the_next() -> None:
    messages = [encode_eventstream({"n": str(i)}, b"x" * i) for i in range(4)]
    decoder = EventStreamDecoder()
    taken = decoder.feed(b"".join(messages[:3]) + messages[3][:5])
    assert next(taken).payload == b""
    taken.close()
    assert [m.payload for m in decoder.feed(messages[3][5:])] == [b"x", b"xx", b"xxx"]
    assert decoder.close() == []
