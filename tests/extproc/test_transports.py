"""Both transports, by a real gRPC client on a Unix socket: what one does, the other does."""

import asyncio
import io
import json

import grpc
import grpc.aio
import pytest
import structlog
import uvloop

from dragoman.extproc import health
from dragoman.extproc.transports.grpc_aio import GrpcAioTransport
from dragoman.extproc.transports.lean.limits import Limits
from dragoman.extproc.transports.lean.server import LeanTransport
from tests.extproc.machines import METHOD, MUTE, STREAMS, Counted, Later

MAX_MESSAGE_BYTES = 8 << 20
TRANSPORTS = {
    "grpc": lambda log: GrpcAioTransport(log, MAX_MESSAGE_BYTES),
    "lean": lambda log: LeanTransport(log, Limits(message_bytes=MAX_MESSAGE_BYTES)),
}
REFUSED = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
LARGEST = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


@pytest.fixture(params=TRANSPORTS)
def transport(request):
    return TRANSPORTS[request.param]


@pytest.fixture
def on_server(tmp_path, transport):
    """Runs `scenario(channel)`, or `(channel, server)`, against a server; returns what was logged."""
    written = io.StringIO()
    log = structlog.wrap_logger(
        structlog.WriteLogger(written), processors=[structlog.processors.JSONRenderer()]
    )

    async def run(scenario, *, with_server):
        path = str(tmp_path / "s.sock")
        server = await transport(log).serve(path, STREAMS)
        try:
            async with grpc.aio.insecure_channel(f"unix:{path}", LARGEST) as channel:
                given = (channel, server) if with_server else (channel,)
                await asyncio.wait_for(scenario(*given), 20)
        finally:
            await server.close(0)

    def on_loop(scenario, *, with_server=False):
        uvloop.run(run(scenario, with_server=with_server))
        return [json.loads(line) for line in written.getvalue().splitlines()]

    return on_loop


async def talk(channel, messages, method=METHOD):
    call = channel.stream_stream(method)(iter(messages))
    return [reply async for reply in call]


def test_messages_go_in_and_out_until_the_machine_has_finished(on_server):
    async def scenario(channel):
        assert await talk(channel, [b"a", b"b", b"end"]) == [b"a", b"b", b"end"]
        assert await talk(channel, [b"a"]) == [b"a", b"closed"]

    assert on_server(scenario) == []


def test_health_answers_on_the_same_socket(on_server):
    async def scenario(channel):
        assert await channel.unary_unary(health.METHOD)(b"") == b"\x08\x01"

    on_server(scenario)


def test_many_streams_at_once_do_not_mix(on_server):
    async def scenario(channel):
        sent = [[f"{i}-{j}".encode() for j in range(3)] for i in range(50)]
        got = await asyncio.gather(*(talk(channel, messages) for messages in sent))
        assert got == [[*messages, b"closed"] for messages in sent]

    on_server(scenario)


def test_a_client_that_cancels_disturbs_nobody(on_server):
    async def scenario(channel):
        call = channel.stream_stream(METHOD)()
        await call.write(b"a")
        assert await call.read() == b"a"
        call.cancel()
        assert await talk(channel, [b"end"]) == [b"end"]

    assert on_server(scenario) == []


def test_a_bug_is_told_and_logged_without_its_text_and_the_server_lives(on_server):
    async def scenario(channel):
        assert await talk(channel, [b"a", b"bug"]) == [b"a", b"failed"]
        assert await talk(channel, [b"end"]) == [b"end"]

    [line] = on_server(scenario)
    assert (line["event"], line["error_type"]) == ("stream_failed", "ValueError")
    assert any("feed" in frame for frame in line["stack"])
    assert "secret" not in json.dumps(line)


def test_a_bug_that_comes_too_late_to_tell_ends_the_stream_with_an_error(on_server):
    async def scenario(channel):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await channel.unary_unary(MUTE)(b"bug")
        assert raised.value.code() == grpc.StatusCode.INTERNAL

    on_server(scenario)


def test_a_socket_that_cannot_be_bound_is_an_os_error(tmp_path, transport):
    async def run():
        with pytest.raises(OSError, match="cannot listen on"):
            await transport(structlog.get_logger()).serve(str(tmp_path / "missing" / "s.sock"), {})

    uvloop.run(run())


def test_replies_that_are_awaited_come_in_their_order(on_server):
    async def scenario(channel):
        sent = [b"a", b"b", b"c", b"end"]
        calls = [talk(channel, sent, Later.METHOD) for _ in range(20)]
        assert await asyncio.gather(*calls) == [sent] * 20
        assert await talk(channel, [b"a"], Later.METHOD) == [b"a", b"closed"]

    assert on_server(scenario) == []


def test_a_bug_in_what_is_awaited_is_told_and_logged(on_server):
    async def scenario(channel):
        assert await talk(channel, [b"bug", b"a"], Later.METHOD) == [b"failed"]

    [line] = on_server(scenario)
    assert (line["event"], line["error_type"]) == ("stream_failed", "ValueError")


def test_what_nobody_waits_for_any_more_is_cancelled(on_server):
    Later.begun = Later.cancelled = 0

    async def scenario(channel):
        call = channel.stream_stream(Later.METHOD)()
        await call.write(b"never")
        while not Later.begun:
            await asyncio.sleep(0)
        call.cancel()
        while not Later.cancelled:
            await asyncio.sleep(0)

    assert on_server(scenario) == []


def test_an_unknown_method_is_unimplemented(on_server):
    async def scenario(channel):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await channel.unary_unary("/test.Echo/Nothing")(b"a")
        assert raised.value.code() == grpc.StatusCode.UNIMPLEMENTED

    assert on_server(scenario) == []


def test_a_message_up_to_the_limit_goes_both_ways_and_one_above_it_is_refused(on_server):
    largest = bytes(range(256)) * (MAX_MESSAGE_BYTES // 256)

    async def scenario(channel):
        assert await talk(channel, [largest, b"a", largest]) == [largest, b"a", largest, b"closed"]
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await channel.unary_unary(METHOD)(largest + b"x")
        assert raised.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await talk(channel, [b"end"]) == [b"end"]

    assert on_server(scenario) == []


def test_a_slow_reader_gets_everything_and_holds_nobody_up(on_server):
    message = b"m" * 100_000

    async def scenario(channel):
        slow = channel.stream_stream(METHOD)(iter([message] * 100))
        assert await slow.read() == message
        assert await talk(channel, [b"end"]) == [b"end"]
        assert [await slow.read() for _ in range(101)] == [
            *[message] * 99,
            b"closed",
            grpc.aio.EOF,
        ]

    assert on_server(scenario) == []


@pytest.mark.parametrize("how", ["cancelled", "hung up", "half closed"])
def test_a_machine_is_closed_once_however_its_stream_ends(on_server, how):
    Counted.closed = 0

    async def scenario(channel, server):
        call = channel.stream_stream(Counted.METHOD)()
        await call.write(b"a")
        assert await call.read() == b"a"
        if how == "cancelled":
            call.cancel()
        elif how == "half closed":
            await call.done_writing()
            assert await call.read() == grpc.aio.EOF
        else:
            await channel.close()
        while not Counted.closed:
            await asyncio.sleep(0)

    assert on_server(scenario, with_server=True) == []
    assert Counted.closed == 1


def test_a_drain_lets_open_streams_end_and_takes_no_new_ones(on_server):
    async def scenario(channel, server):
        call = channel.stream_stream(METHOD)()
        await call.write(b"a")
        assert await call.read() == b"a"
        closing = asyncio.create_task(server.close(15))
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            while True:
                await channel.unary_unary(METHOD)(b"end")
        assert raised.value.code() in REFUSED
        await call.write(b"b")
        assert await call.read() == b"b"
        assert not closing.done()
        await call.done_writing()
        assert [await call.read(), await call.read()] == [b"closed", grpc.aio.EOF]
        await closing

    assert on_server(scenario, with_server=True) == []


def test_a_drain_cuts_what_does_not_end_in_time(on_server):
    async def scenario(channel, server):
        call = channel.stream_stream(METHOD)()
        await call.write(b"a")
        assert await call.read() == b"a"
        await server.close(0)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await call.read()
        assert raised.value.code() in REFUSED

    assert on_server(scenario, with_server=True) == []
