"""The lean transport against `h2`, an HTTP/2 of other hands: no socket, any cut, any window."""

import h2.config
import h2.connection
import h2.events
import h2.settings
from hypothesis import given
from hypothesis import strategies as st

from tests.extproc.machines import METHOD, Joining
from tests.extproc.wire import REQUEST, Wire, data, frame, grpc

Code = h2.settings.SettingCodes


class Peer:
    """A client by h2, joined to a server's machines; bytes go over in pieces of any size."""

    def __init__(self, wire: Wire, settings=None, cuts=(1 << 20,), window=None):
        config = h2.config.H2Configuration(client_side=True, header_encoding="utf-8")
        self.h2 = h2.connection.H2Connection(config)
        values = dict(self.h2.local_settings) | (settings or {})
        self.h2.local_settings = h2.settings.Settings(client=True, initial_values=values)
        self.h2.initiate_connection()
        self.wire = wire
        self.cuts = cuts
        self.window = window
        """Given back at once if None; else only by `fetch`."""
        self.got: dict[int, bytearray] = {}
        self.trailers: dict[int, dict[str, str]] = {}
        self.ended: set[int] = set()
        self.resets: dict[int, int] = {}
        self.farewells: list[h2.events.ConnectionTerminated] = []
        self.talk()

    def talk(self):
        """Carry bytes to and fro until nobody has any."""
        while True:
            out = self.h2.data_to_send()
            for piece in self._cut(out):
                self._receive(self.wire.send(piece))
            answer = self.wire.take()
            self._receive(answer)
            if not out and not answer:
                return

    def _cut(self, data):
        at = n = 0
        while at < len(data):
            size = self.cuts[n % len(self.cuts)]
            yield data[at : at + size]
            at, n = at + size, n + 1

    def _receive(self, data):
        for event in self.h2.receive_data(data) if data else ():
            match event:
                case h2.events.DataReceived():
                    self.got.setdefault(event.stream_id, bytearray()).extend(event.data)
                    if self.window is None:
                        size = event.flow_controlled_length
                        self.h2.acknowledge_received_data(size, event.stream_id)
                case h2.events.TrailersReceived():
                    self.trailers[event.stream_id] = dict(event.headers)
                case h2.events.StreamEnded():
                    self.ended.add(event.stream_id)
                case h2.events.StreamReset():
                    self.resets[event.stream_id] = event.error_code
                case h2.events.ConnectionTerminated():
                    self.farewells.append(event)

    def open(self, path=METHOD, more=(), ends=False):
        stream = self.h2.get_next_available_stream_id()
        fields = dict(REQUEST) | {":path": path}
        self.h2.send_headers(stream, [*fields.items(), *more], end_stream=ends)
        return stream

    def send(self, stream, data, *, ends=False, padding=None):
        """All of `data`, as the server's windows let it go."""
        view = memoryview(data)
        while view:
            room = self.h2.local_flow_control_window(stream)
            size = min(len(view), room, self.h2.max_outbound_frame_size - 256)
            if size <= 0:
                self.talk()
                assert self.h2.local_flow_control_window(stream) > 0, "the window stays shut"
                continue
            last = ends and size == len(view)
            padded = padding if padding and size + padding < room else None
            self.h2.send_data(stream, bytes(view[:size]), end_stream=last, pad_length=padded)
            view = view[size:]
        if ends and not data:
            self.h2.end_stream(stream)
        self.talk()

    def messages(self, stream):
        data, found = bytes(self.got.get(stream, b"")), []
        while len(data) >= 5:
            end = 5 + int.from_bytes(data[1:5], "big")
            assert len(data) >= end
            found.append(data[5:end])
            data = data[end:]
        return found


messages = st.lists(st.binary(max_size=300), max_size=6)
cuts = st.lists(st.integers(1, 400), min_size=1, max_size=8)


@given(
    calls=st.lists(messages, min_size=1, max_size=4),
    cuts=cuts,
    padding=st.none() | st.integers(1, 90),
)
def test_any_cut_of_the_bytes_says_the_same(calls, cuts, padding):
    peer = Peer(Wire(), cuts=cuts)
    streams = [
        peer.open(more=[("x-call", str(n)), ("x-same", "y" * 60)]) for n in range(len(calls))
    ]
    for stream, sent in zip(streams, calls, strict=True):
        peer.send(stream, b"".join(map(grpc, sent)), padding=padding)
    for stream in streams:
        peer.send(stream, b"", ends=True)
    for stream, sent in zip(streams, calls, strict=True):
        until = sent[: sent.index(b"end") + 1] if b"end" in sent else [*sent, b"closed"]
        assert peer.messages(stream) == until
        assert peer.trailers[stream] == {"grpc-status": "0"}
    assert not peer.farewells
    assert peer.wire.connection.open_streams == 0


@given(
    window=st.integers(1, 70_000),
    changed=st.integers(0, 3000),
    frame=st.integers(1 << 14, 1 << 16),
    size=st.integers(0, 30_000),
)
def test_replies_wait_for_any_window_and_come_whole(window, changed, frame, size):
    first = {Code.INITIAL_WINDOW_SIZE: window, Code.MAX_FRAME_SIZE: frame}
    peer = Peer(Wire(), settings=first)
    message = bytes(i & 0xFF for i in range(size))
    streams = [peer.open() for _ in range(3)]
    for stream in streams:
        peer.send(stream, grpc(message) + grpc(b"x"))
    peer.h2.update_settings({Code.INITIAL_WINDOW_SIZE: changed})
    peer.talk()
    peer.h2.update_settings({Code.INITIAL_WINDOW_SIZE: 70_000})
    for stream in streams:
        peer.send(stream, b"", ends=True)
        assert peer.messages(stream) == [message, b"x", b"closed"]
    assert peer.wire.connection.open_streams == 0


def test_a_window_that_shrinks_below_nothing_is_waited_for():
    peer = Peer(Wire(), settings={Code.INITIAL_WINDOW_SIZE: 1000}, window="shut")
    stream = peer.open()
    peer.send(stream, grpc(b"a" * 600) + grpc(b"b" * 600))
    assert len(peer.got[stream]) == 1000
    peer.h2.update_settings({Code.INITIAL_WINDOW_SIZE: 0})
    peer.talk()
    peer.h2.increment_flow_control_window(1000, stream)
    peer.talk()
    assert len(peer.got[stream]) == 1000
    peer.h2.increment_flow_control_window(1, stream)
    peer.talk()
    assert len(peer.got[stream]) == 1001
    peer.h2.increment_flow_control_window(10_000, stream)
    peer.talk()
    assert peer.messages(stream) == [b"a" * 600, b"b" * 600]


def test_a_body_far_above_the_windows_comes_whole_both_ways():
    message = bytes(range(256)) * (20 << 12)
    limits = {
        "message_bytes": 32 << 20,
        "stream_window_bytes": 1 << 16,
        "connection_window_bytes": 1 << 17,
    }
    peer = Peer(Wire(**limits))
    stream = peer.open()
    peer.send(stream, grpc(message), ends=True)
    assert peer.messages(stream) == [message, b"closed"]


def test_a_stalled_reader_stalls_itself_alone_and_bounds_what_is_kept():
    window = 1 << 16
    wire = Wire(stream_window_bytes=window)
    peer = Peer(wire, settings={Code.INITIAL_WINDOW_SIZE: 100}, window="shut")
    stalled, other = peer.open(), peer.open()
    sent = 0
    while peer.h2.local_flow_control_window(stalled) > 2000:
        peer.h2.send_data(stalled, grpc(b"m" * 1000))
        sent += 1
        peer.talk()
    assert sent < window // 1000, "its window is renewed while its replies wait"
    peer.send(other, grpc(b"end"))
    assert peer.messages(other) == [b"end"]
    peer.h2.increment_flow_control_window(1 << 20, stalled)
    peer.talk()
    assert peer.messages(stalled) == [b"m" * 1000] * sent
    assert peer.h2.local_flow_control_window(stalled) > window // 2


def test_streams_that_wait_for_the_connection_take_turns():
    wire = Wire()
    peer = Peer(wire, settings={Code.INITIAL_WINDOW_SIZE: 1 << 20}, window="shut")
    streams = [peer.open() for _ in range(3)]
    for stream in streams:
        peer.send(stream, grpc(b"m" * 100_000))
    assert sum(len(peer.got.get(stream, b"")) for stream in streams) == 65_535
    peer.h2.increment_flow_control_window(16_384 * 3)
    before = {stream: len(peer.got.get(stream, b"")) for stream in streams}
    peer.talk()
    gained = [len(peer.got.get(stream, b"")) - before[stream] for stream in streams]
    assert min(gained) > 0
    peer.h2.increment_flow_control_window(1 << 20)
    peer.talk()
    assert all(peer.messages(stream) == [b"m" * 100_000] for stream in streams)


def test_messages_that_wait_behind_a_full_window_are_fed_together():
    wire = Wire()
    peer = Peer(wire, settings={Code.INITIAL_WINDOW_SIZE: 8}, window="shut")
    stream = peer.open(Joining.METHOD)
    peer.send(stream, grpc(b"long enough to wait"))
    for word in (b"one", b"two", b"three"):
        peer.send(stream, grpc(word))
    peer.h2.increment_flow_control_window(1000, stream)
    peer.talk()
    assert peer.messages(stream) == [b"long enough to wait", b"onetwothree"]


def test_while_the_socket_is_full_nothing_is_fed_and_then_all():
    wire = Wire()
    peer = Peer(wire)
    stream = peer.open(Joining.METHOD)
    peer.talk()
    wire.connection.pause()
    for word in (b"one", b"two"):
        peer.send(stream, grpc(word))
    assert peer.messages(stream) == []
    wire.calls.handle(wire.connection.resume())
    wire.calls.resume()
    peer.talk()
    assert peer.messages(stream) == [b"onetwo"]


def test_headers_too_long_for_a_frame_go_on_in_the_next():
    peer = Peer(Wire(frame_bytes=1 << 14))
    stream = peer.open(more=[(f"x-{n}", "\x7f" * 900) for n in range(15)])
    peer.send(stream, grpc(b"end"))
    assert peer.messages(stream) == [b"end"]


def test_a_drain_is_told_waits_for_the_open_calls_and_ends():
    peer = Peer(Wire())
    stream = peer.open()
    peer.send(stream, grpc(b"a"))
    peer.wire.connection.shut_down()
    out = peer.wire.take()
    assert peer.wire.read(out) == ["GoAway 2147483647 NO_ERROR", "Ping"]
    # h2 opens nothing after a GOAWAY, so what crosses it on its way is written by hand
    assert peer.wire.say(frame(6, 1, 0, b"dragoman")) == [f"GoAway {stream} NO_ERROR"]
    assert not peer.wire.connection.drained
    assert peer.wire.send(data(stream, b"end"))
    assert not peer.wire.connection.drained  # the client's side is open
    peer.wire.send(frame(3, 0, stream, b"\0\0\0\0"))
    assert peer.wire.connection.drained
