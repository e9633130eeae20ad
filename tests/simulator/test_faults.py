"""Scripted faults, the request log and the process itself."""

import hashlib
import json
import signal
import socket
import subprocess
import sys
import time
import zlib

import anthropic
import httpx
import openai
import pytest

from dragoman.simulator.control_client import ControlError, SimulatorControl

CHAT = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello there"}]}
HEADERS = {"authorization": "Bearer k"}


def post(simulator, body=None, *, listener="openai", path="/v1/chat/completions", **more):
    url = f"{simulator.url(listener)}{path}"
    with httpx.Client(timeout=3, headers=HEADERS) as client:
        return client.post(url, json=body or CHAT, **more)


def stream_of(model="gpt-4o"):
    return {**CHAT, "model": model, "stream": True}


def test_rules_are_used_up_in_order(simulator):
    simulator.control.script({"status": 429, "retry_after": 7}, times=1)
    simulator.control.script({"status": 503}, {"listener": "openai"}, skip=1, times=1)
    answers = [post(simulator) for _ in range(4)]
    assert [a.status_code for a in answers] == [429, 200, 503, 200]
    assert answers[0].headers["retry-after"] == "7"
    assert answers[0].json()["error"]["code"] == "rate_limit_exceeded"
    assert [count for _, count in simulator.control.rules()] == [1, 2]


@pytest.mark.parametrize(
    "match, hit",
    [
        ({"path": "/v1/*"}, True),
        ({"path": "/v2/*"}, False),
        ({"model": "gpt-*"}, True),
        ({"listener": "anthropic"}, False),
        ({"host": "127.*"}, True),
        ({"headers": {"authorization": "*k"}}, True),
        ({"body_contains": "hello"}, True),
        ({"body_contains": "bye"}, False),
        ({"method": "GET"}, False),
    ],
)
def test_matching(simulator, match, hit):
    simulator.control.script({"status": 500}, match)
    assert post(simulator).status_code == (500 if hit else 200)


def test_replaced_bodies(simulator):
    control = simulator.control
    for then in (
        {"body": {"a": 1}, "headers": {"X-Request-Id": "mine"}},
        {"raw_body": "plain", "content_type": "text/plain", "status": 418},
        {"sse_raw": ["data: 1\n\n", "data: 2\n\n"]},
        {"chunks": ["a", "b"], "content_type": "text/html"},
    ):
        control.script(then, times=1)
    first, second, third, fourth = (post(simulator) for _ in range(4))
    assert (first.json(), first.headers["x-request-id"]) == ({"a": 1}, "mine")
    assert (second.status_code, second.text) == (418, "plain")
    assert (third.headers["content-type"], third.text) == (
        "text/event-stream; charset=utf-8",
        "data: 1\n\ndata: 2\n\n",
    )
    assert (fourth.headers["content-type"], fourth.text) == ("text/html", "ab")


@pytest.mark.parametrize("body", [CHAT, stream_of()])
def test_gzip(simulator, body):
    plain = post(simulator, body).content
    simulator.control.script({"gzip": True})
    answer = post(simulator, body)
    assert answer.headers["content-encoding"] == "gzip"
    assert len(answer.content) == len(plain)
    with (
        httpx.Client(headers=HEADERS) as client,
        client.stream("POST", f"{simulator.url('openai')}/v1/chat/completions", json=body) as raw,
    ):
        data = b"".join(raw.iter_raw())
    assert len(zlib.decompress(data, wbits=31)) == len(plain)


@pytest.mark.parametrize("body", [CHAT, stream_of()])
def test_small_pieces(simulator, body):
    plain = post(simulator, body).text
    simulator.control.script({"chunk_bytes": 7, "chunk_pause_ms": 0})
    assert len(post(simulator, body).text) == len(plain)


def test_delays(simulator):
    simulator.control.script({"first_byte_delay_ms": 40}, times=1)
    started = time.monotonic()
    assert post(simulator).status_code == 200
    assert time.monotonic() - started > 0.035


@pytest.mark.parametrize(
    "then, outcome",
    [
        ({"reset_before_headers": True}, "reset"),
        ({"cut_after_bytes": 10}, "cut"),
        ({"cut_after_bytes": 0, "cut_by_reset": True}, "cut"),
    ],
)
def test_broken_connections(simulator, then, outcome):
    simulator.control.script(then, times=1)
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        post(simulator)
    assert simulator.control.requests()[0].outcome == outcome
    assert post(simulator).status_code == 200


@pytest.mark.parametrize("then", [{"stall": True}, {"stall": True, "cut_after_bytes": 10}])
def test_stall_until_the_client_leaves(simulator, then):
    simulator.control.script(then)
    with pytest.raises(httpx.ReadTimeout):
        post(simulator, timeout=0.05)
    assert simulator.control.wait_for_requests(1, settled=True)[0].outcome == "client_gone"


def test_errors_in_the_middle_of_a_stream(simulator):
    simulator.control.script({"stream_error_after": 3, "message": "boom"})
    url = simulator.url("openai")
    with openai.OpenAI(base_url=f"{url}/v1", api_key="k", max_retries=0) as client:
        with pytest.raises(openai.APIError, match="boom"):
            list(client.chat.completions.create(**stream_of()))
    with anthropic.Anthropic(base_url=url, api_key="k", max_retries=0) as client:
        with pytest.raises(anthropic.APIStatusError, match="boom"):
            list(client.messages.create(**stream_of(), max_tokens=9))


@pytest.mark.parametrize(
    "model, status",
    [
        ("sim/fail-529", 529),
        ("sim/fail-429+retry-after-3", 429),
        ("sim/nonsense", 404),
        ("sim/echo", 200),
        ("sim/think", 200),
        ("sim/chunks-5", 200),
        ("sim/bytes-100", 200),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_directives(simulator, model, status, stream):
    assert post(simulator, {**stream_of(model), "stream": stream}).status_code == status


@pytest.mark.parametrize("usage", [False, True])
def test_precomputed_streams(simulator, usage):
    url = simulator.url("openai")
    with openai.OpenAI(base_url=f"{url}/v1", api_key="k") as client:
        options = {"stream_options": {"include_usage": True}} if usage else {}
        chunks = list(client.chat.completions.create(**stream_of("sim/chunks-20"), **options))
    assert sum(bool(c.choices and c.choices[0].delta.content) for c in chunks) == 20
    assert bool(chunks[-1].usage) is usage
    with anthropic.Anthropic(base_url=url, api_key="k") as client:
        asked = {"model": "sim/bytes-2000", "max_tokens": 9, "messages": CHAT["messages"]}
        assert len(client.messages.create(**asked).content[0].text) == 2000
        with client.messages.stream(**asked) as stream:
            assert len(stream.get_final_text()) == 2000


def test_what_is_logged(simulator):
    post(simulator, headers={"X-Twice": "1"})
    post(simulator, path="/nowhere", listener="anthropic")
    first, second = simulator.control.requests()
    assert (first.method, first.path, first.listener) == ("POST", "/v1/chat/completions", "openai")
    assert first.header("authorization") == "Bearer k" and first.header_values("x-twice") == ["1"]
    assert first.json() == CHAT
    assert first.body_sha256 == hashlib.sha256(simulator.control.body(first.number)).hexdigest()
    assert (second.port, second.status) == (simulator.ports["anthropic"], 404)
    assert [r.number for r in simulator.control.requests(listener="anthropic")] == [second.number]
    simulator.control.clear_requests()
    assert simulator.control.requests() == []


def test_control_refuses_nonsense(simulator):
    with pytest.raises(ControlError, match="unknown field"):
        simulator.control.script({"statsu": 1})
    with pytest.raises(ControlError):
        simulator.control.body(10**9)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b"[" * 5000, b'{"a":"\\ud800"}'])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
def test_bad_bodies(simulator, body, path):
    headers = {**HEADERS, "anthropic-version": "2023-06-01"}
    with httpx.Client(headers=headers) as client:
        assert client.post(f"{simulator.url()}{path}", content=body).status_code == 400


def test_methods_and_size(simulator):
    with httpx.Client(headers=HEADERS) as client:
        assert client.put(f"{simulator.url()}/v1/chat/completions").status_code == 405
        assert client.get(f"{simulator.url()}/v2").status_code == 404
        big = client.post(f"{simulator.url()}/v1/messages", content=b"x" * 1_100_000)
        assert big.status_code == 413


def test_pipelined_chunked_and_split_requests(simulator):
    body = json.dumps(CHAT).encode()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nauthorization: Bearer k\r\n"
    whole = head + b"content-length: %d\r\n\r\n%b" % (len(body), body)
    chunked = head + b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    simulator.control.script({"first_byte_delay_ms": 5}, times=1)
    with socket.create_connection(("127.0.0.1", simulator.ports["openai"])) as sock:
        data = whole * 20 + chunked
        sock.sendall(data[:50])
        sock.sendall(data[50:])
        received = b""
        while received.count(b"HTTP/1.1 200 OK") < 21 or not received.endswith(b"}"):
            received += sock.recv(65536)
    assert simulator.control.wait_for_requests(21, settled=True)[-1].body_bytes == len(body)


def test_the_process(tmp_path):
    command = [sys.executable, "-m", "dragoman.simulator", "--listen", "a=0", "--listen", "b=0"]
    for number in (signal.SIGTERM, signal.SIGINT):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            ready = process.stdout.readline().split()
            assert [word.partition("=")[0] for word in ready] == ["ready", "a", "b"]
            control = SimulatorControl(int(ready[2].rpartition(":")[2]))
            assert control.total() == 0
            process.send_signal(number)
            assert process.wait(5) == 0


def test_the_log_is_bounded():
    from dragoman.simulator.messages import ReceivedRequest
    from dragoman.simulator.request_log import RequestLog, list_entry

    log = RequestLog(max_entries=4, max_body_bytes=250)
    for number in range(6):
        log.append(
            ReceivedRequest(
                method="POST",
                target="/",
                headers=[],
                body=b"%d" % number * 100,
                listener="x",
                port=1,
                received_at=0,
            )
        )
    entries = [list_entry(entry) for entry in log]
    assert [entry.number for entry in entries] == [3, 4, 5, 6]
    assert [entry.body_text is None for entry in entries] == [True, True, False, False]
    assert entries[0].body_sha256 == hashlib.sha256(b"2" * 100).hexdigest()
    assert (log.total, entries[0].body_bytes) == (6, 100)


@pytest.mark.parametrize("wrong", [None, 1, "x", True, [], {}, [1], {"type": "x"}])
def test_wrong_types_anywhere_never_break_the_simulator(simulator, wrong):
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
    chat = {
        **CHAT,
        "tools": [tool],
        "tool_choice": "auto",
        "stop": ["x"],
        "response_format": wanted,
    }
    say = {**CHAT, "max_tokens": 9, "tools": [{"name": "f", "input_schema": {"type": "object"}}]}
    headers = {**HEADERS, "anthropic-version": "2023-06-01"}
    with httpx.Client(base_url=simulator.url(), headers=headers) as client:
        for path, body in (("/v1/chat/completions", chat), ("/v1/messages", say)):
            for at in list(paths(body)):
                assert client.post(path, json=put(body, at, wrong)).status_code in (200, 400)


def paths(value, at=()):
    yield at
    items = value.items() if isinstance(value, dict) else ()
    items = enumerate(value) if isinstance(value, list) else items
    for key, item in items:
        yield from paths(item, (*at, key))


def put(value, at, new):
    if not at:
        return new
    copied = value.copy()
    copied[at[0]] = put(value[at[0]], at[1:], new)
    return copied
