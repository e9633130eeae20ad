"""Streams: slow, silent, cut, abandoned."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
import yaml

from dragoman.simulator import Simulator
from tests.envoy.gateway import KEY, Gateway, fresh_caller, policy, wait_until
from tests.envoy.test_fail_closed import assert_shape
from tests.envoy.test_routing import CHAT, body, both_clients, said

providers = pytest.mark.parametrize("p", ["o", "a"])
HEADERS = {"x-api-key": KEY}


def post(gateway: Gateway, path: str, model: str, **more: Any) -> httpx.Response:
    return httpx.post(gateway.url + path, json=body(model, **more), headers=HEADERS, timeout=20)


def ended_well(path: str, text: str) -> bool:
    """The stream says itself that it is whole."""
    if CHAT[path] == "openai":
        return text.rstrip().endswith("data: [DONE]")
    return "event: message_stop" in text


def told_error(path: str, text: str) -> bool:
    """The stream ends with an error in its dialect."""
    last = text.strip().split("\n\n")[-1]
    lines = [line for line in last.splitlines() if line.startswith("data: {")]
    if not lines or '{"error":' not in lines[-1].replace('{"type":"error","error":', '{"error":'):
        return False
    return CHAT[path] == "openai" or last.startswith("event: error")


@both_clients
@providers
@pytest.mark.parametrize("where", ["first_byte_delay_ms", "body_delay_ms"])
def test_slow_first_token_below_the_limit(
    impatient: Gateway, simulator: Simulator, path: str, p: str, where: str
) -> None:
    simulator.control.script({where: 600})
    answer = post(impatient, path, f"{p}/echo", stream=True)
    assert said(path, answer) == "You said: one two three"
    assert ended_well(path, answer.text)
    assert len(simulator.control.requests()) == 1


@both_clients
def test_no_first_token_at_all(impatient: Gateway, simulator: Simulator, path: str) -> None:
    simulator.control.script({"stall": True})
    answer = post(impatient, path, "fall/echo", stream=True)
    assert answer.status_code == 504
    error = answer.json()["error"]
    assert error["type"] == ("server_error" if CHAT[path] == "openai" else "timeout_error")
    assert len(simulator.control.requests()) == 2


def test_each_target_has_its_time_however_many_hung_before_it(
    start: Callable[..., Any], simulator: Simulator
) -> None:
    """Their time-outs together are longer than what one attempt may take."""
    names = ("openai", "openai-b", "anthropic", "anthropic-b")
    *hung, last = names
    targets = [{"provider": name, "model": "sim/echo"} for name in names]
    for listener in hung:
        simulator.control.script({"stall": True}, {"listener": listener})
    settings = {"first_byte_seconds": 2.5, "idle_seconds": 2.5}
    with start(timeouts=settings, models={"hung": {"targets": targets}}) as gateway:
        answer = post(gateway, "/v1/messages", "hung")
    assert said("/v1/messages", answer) == "You said: one two three"
    assert [request.listener for request in simulator.control.requests()] == [*hung, last]


def test_pauses_below_the_limit_are_not_cut(impatient: Gateway, simulator: Simulator) -> None:
    """Longer in all than every time-out of this gateway: only silence may end a stream."""
    simulator.control.script({"chunk_pause_ms": 300})

    def paused(path: str, model: str) -> None:
        started = time.monotonic()
        answer = post(impatient, path, model, stream=True)
        assert time.monotonic() - started > 2
        assert said(path, answer) == "You said: one two three"
        assert ended_well(path, answer.text)

    _each_at_once(paused)


def test_silence_above_the_limit_is_cut(impatient: Gateway, simulator: Simulator) -> None:
    simulator.control.script({"cut_after_bytes": 900, "stall": True})

    def silent(path: str, model: str) -> None:
        started = time.monotonic()
        text, failed = _read(impatient, path, model)
        assert time.monotonic() - started < 8
        assert not ended_well(path, text)
        assert told_error(path, text) or failed

    _each_at_once(silent)


def _each_at_once(check: Callable[[str, str], None]) -> None:
    """Each client dialect with each provider: they wait, and may as well do so together."""
    with ThreadPoolExecutor() as pool:
        checks = [pool.submit(check, path, f"{p}/echo") for path in CHAT for p in ("o", "a")]
    for one in checks:
        one.result()


def _read(gateway: Gateway, path: str, model: str) -> tuple[str, bool]:
    """What came of a stream, and whether HTTP itself says that it failed."""
    text = ""
    with httpx.stream(
        "POST", gateway.url + path, json=body(model, stream=True), headers=HEADERS, timeout=20
    ) as answer:
        try:
            for piece in answer.iter_text():
                text += piece
        except httpx.RemoteProtocolError:
            return text, True
    if answer.status_code != 200:
        assert_shape(path, answer.status_code, text.encode())
    return text, answer.status_code != 200


@both_clients
@providers
@pytest.mark.parametrize("cut", [900, 1100])
def test_upstream_cuts_a_stream(
    gateway: Gateway, simulator: Simulator, path: str, p: str, cut: int
) -> None:
    """The client must be able to tell: an error event, a status, or a body cut short."""
    simulator.control.script({"cut_after_bytes": cut})
    text, failed = _read(gateway, path, f"{p}/echo")
    assert text
    assert not ended_well(path, text)
    assert told_error(path, text) or failed


@both_clients
@providers
def test_upstream_ends_a_stream_too_early(
    gateway: Gateway, simulator: Simulator, path: str, p: str
) -> None:
    """Whole HTTP, half a stream: where we translate, the client gets an error event."""
    own = {"o": "openai", "a": "anthropic"}[p]
    events = {
        "openai": 'data: {"id":"x","object":"chat.completion.chunk","created":1,"model":"m",'
        '"choices":[{"index":0,"delta":{"role":"assistant","content":"half"},'
        '"finish_reason":null}]}\n\n',
        "anthropic": 'event: message_start\ndata: {"type":"message_start","message":{"id":"x",'
        '"type":"message","role":"assistant","model":"m","content":[],"stop_reason":null,'
        '"stop_sequence":null,"usage":{"input_tokens":1,"output_tokens":1}}}\n\n'
        'event: content_block_start\ndata: {"type":"content_block_start","index":0,'
        '"content_block":{"type":"text","text":""}}\n\n'
        'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
        '"delta":{"type":"text_delta","text":"half"}}\n\n',
    }
    simulator.control.script({"sse_raw": events[own]})
    text, _ = _read(gateway, path, f"{p}/echo")
    assert "half" in text
    assert not ended_well(path, text)
    if CHAT[path] != own:
        assert told_error(path, text)


@both_clients
@providers
@pytest.mark.parametrize("size", [1, 7, 64])
def test_any_cut_of_the_bytes_gives_the_same_stream(
    gateway: Gateway, simulator: Simulator, path: str, p: str, size: int
) -> None:
    simulator.control.script({"chunk_bytes": size, "chunk_pause_ms": 0})
    answer = post(gateway, path, f"{p}/echo", stream=True)
    assert said(path, answer) == "You said: one two three"
    assert ended_well(path, answer.text)
    assert '"choices":[]' not in answer.text


@both_clients
@providers
def test_tokens_arrive_as_they_are_made(
    gateway: Gateway, simulator: Simulator, path: str, p: str
) -> None:
    """Nothing holds a stream back: its pieces come spread over the time it takes."""
    simulator.control.script({"chunk_pause_ms": 60})
    times: list[float] = []
    with httpx.stream(
        "POST",
        gateway.url + path,
        json=body(f"{p}/echo", stream=True),
        headers=HEADERS,
        timeout=20,
    ) as answer:
        for piece in answer.iter_text():
            if "delta" in piece:
                times.append(time.monotonic())
    assert len(times) >= 5
    assert times[-1] - times[0] > 0.25


@both_clients
@providers
def test_client_goes_away(gateway: Gateway, simulator: Simulator, path: str, p: str) -> None:
    """The provider is told at once, and the ledger has an entry that says it is an estimate."""
    simulator.control.script({"chunk_pause_ms": 250})
    caller, key = fresh_caller()
    content = json.dumps(body(f"{p}/echo", "a b c d e f g h", stream=True)).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\n"
    head += f"content-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as sock:
        sock.sendall(head.encode() + content)
        received = b""
        while b"said" not in received and b"You" not in received:
            received += sock.recv(65536)
    wait_until(lambda: simulator.control.requests()[0].outcome == "client_gone", 5, "provider told")

    def entries() -> list[dict[str, Any]]:
        return [e for e in gateway.ledger() if e.get("dragoman.caller") == caller]

    (entry,) = wait_until(entries, 5, "ledger entry")
    assert entry["dragoman.metering"] == "estimated"
    assert entry["gen_ai.request.model"] == f"{p}/echo"
    assert entry["gen_ai.usage.input_tokens"] > 0


def test_shipped_defaults_are_patient(simulator: Simulator, tmp_path: Any) -> None:
    """First token after 60 s, streams of ten minutes with pauses: nothing in Envoy ends them."""
    file = tmp_path / "dragoman.yaml"
    file.write_text(yaml.safe_dump(policy(simulator, tmp_path)))
    arguments = [sys.executable, "-m", "dragoman", "envoy", "-c", str(file)]
    printed = subprocess.run(arguments, capture_output=True, text=True, check=True)  # noqa: S603
    document = yaml.safe_load(printed.stdout)
    (listener,) = document["static_resources"]["listeners"]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    hosts = manager["route_config"]["virtual_hosts"]
    actions = [r["route"] for host in hosts for r in host["routes"] if "route" in r]
    assert actions
    for action in actions:
        assert action["timeout"] == "0s"
        assert "max_stream_duration" not in action
        assert _seconds(action["idle_timeout"]) >= 120
        if retries := action.get("retry_policy"):  # bodies that nobody reads cannot be sent again
            assert _seconds(retries["per_try_timeout"]) >= 60
            assert _seconds(retries["per_try_idle_timeout"]) >= 120
    assert _seconds(manager["stream_idle_timeout"]) >= 120
    assert "max_stream_duration" not in json.dumps(document)
    assert "max_connection_duration" not in json.dumps(document)


def _seconds(text: str) -> float:
    return float(text.removesuffix("s"))
