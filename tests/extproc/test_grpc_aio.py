"""The reference transport, by a real gRPC client on a Unix socket."""

import asyncio
import io
import json

import grpc
import grpc.aio
import pytest
import structlog

from dragoman.extproc import health
from dragoman.extproc.transports.grpc_aio import GrpcAioTransport

METHOD = "/test.Echo/Run"


class Echo:
    """Answers each message with itself; ends on `end`; breaks on `bug`."""

    def __init__(self):
        self.finished = False

    def feed(self, message):
        if message == b"bug":
            raise ValueError("the prompt was: secret")
        self.finished = message == b"end"
        return [message]

    def close(self):
        return [b"closed"]

    def fail(self):
        return [b"failed"]


class Mute(Echo):
    def fail(self):
        return []


def on_server(tmp_path, scenario):
    """Run `scenario(channel)` against a server; returns what was logged."""
    written = io.StringIO()
    log = structlog.wrap_logger(
        structlog.WriteLogger(written), processors=[structlog.processors.JSONRenderer()]
    )

    async def run():
        path = str(tmp_path / "s.sock")
        streams = {METHOD: Echo, "/test.Echo/Mute": Mute, health.METHOD: health.HealthStream}
        server = await GrpcAioTransport(log, 1 << 20).serve(path, streams)
        async with grpc.aio.insecure_channel(f"unix:{path}") as channel:
            await asyncio.wait_for(scenario(channel), 20)
        await server.close(0)

    asyncio.run(run())
    return [json.loads(line) for line in written.getvalue().splitlines()]


async def talk(channel, messages, method=METHOD):
    call = channel.stream_stream(method)(iter(messages))
    return [reply async for reply in call]


def test_messages_go_in_and_out_until_the_machine_has_finished(tmp_path):
    async def scenario(channel):
        assert await talk(channel, [b"a", b"b", b"end"]) == [b"a", b"b", b"end"]
        assert await talk(channel, [b"a"]) == [b"a", b"closed"]

    assert on_server(tmp_path, scenario) == []


def test_health_answers_on_the_same_socket(tmp_path):
    async def scenario(channel):
        assert await channel.unary_unary(health.METHOD)(b"") == b"\x08\x01"

    on_server(tmp_path, scenario)


def test_many_streams_at_once_do_not_mix(tmp_path):
    async def scenario(channel):
        sent = [[f"{i}-{j}".encode() for j in range(3)] for i in range(50)]
        got = await asyncio.gather(*(talk(channel, messages) for messages in sent))
        assert got == [[*messages, b"closed"] for messages in sent]

    on_server(tmp_path, scenario)


def test_a_client_that_cancels_disturbs_nobody(tmp_path):
    async def scenario(channel):
        call = channel.stream_stream(METHOD)()
        await call.write(b"a")
        assert await call.read() == b"a"
        call.cancel()
        assert await talk(channel, [b"end"]) == [b"end"]

    assert on_server(tmp_path, scenario) == []


def test_a_bug_is_told_and_logged_without_its_text_and_the_server_lives(tmp_path):
    async def scenario(channel):
        assert await talk(channel, [b"a", b"bug"]) == [b"a", b"failed"]
        assert await talk(channel, [b"end"]) == [b"end"]

    [line] = on_server(tmp_path, scenario)
    assert (line["event"], line["error_type"]) == ("stream_failed", "ValueError")
    assert any("feed" in frame for frame in line["stack"])
    assert "secret" not in json.dumps(line)


def test_a_bug_that_comes_too_late_to_tell_ends_the_stream_with_an_error(tmp_path):
    async def scenario(channel):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await talk(channel, [b"bug"], "/test.Echo/Mute")
        assert raised.value.code() == grpc.StatusCode.INTERNAL

    on_server(tmp_path, scenario)


def test_a_socket_that_cannot_be_bound_is_an_os_error(tmp_path):
    async def run():
        transport = GrpcAioTransport(structlog.get_logger(), 1 << 20)
        with pytest.raises(OSError, match="cannot listen on"):
            await transport.serve(str(tmp_path / "missing" / "s.sock"), {})

    asyncio.run(run())
