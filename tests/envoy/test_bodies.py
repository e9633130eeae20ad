"""Large bodies, compressed answers, and what Envoy must get right about their length."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import socket
from typing import Any

import httpx
import pytest

from dragoman.simulator import Simulator
from tests.envoy.gateway import KEY, Gateway
from tests.envoy.test_fail_closed import assert_shape
from tests.envoy.test_routing import body, both_clients, said

MIB = 2**20
providers = pytest.mark.parametrize("model", ["o/echo", "a/echo"])


@both_clients
@providers
@pytest.mark.parametrize("chunked", [False, True])
def test_length_of_what_the_provider_gets(
    http: httpx.Client, simulator: Simulator, path: str, model: str, *, chunked: bool
) -> None:
    content = json.dumps(body(model, "Grüße, 世界 👋")).encode()
    sent: Any = iter([content[:20], content[20:]]) if chunked else content
    answer = http.post(path, content=sent, headers={"content-type": "application/json"})
    assert said(path, answer) == "You said: Grüße, 世界 👋"
    (request,) = simulator.control.requests()
    assert request.header("content-length") == str(request.body_bytes)
    assert request.header("transfer-encoding") is None
    assert int(answer.headers["content-length"]) == len(answer.content)


@providers
def test_a_client_of_http_1_0(gateway: Gateway, simulator: Simulator, model: str) -> None:
    """As nginx is, unless told otherwise; and one that names no host."""
    asked = json.dumps(body(model, "Hello")).encode()
    headers = (
        f"authorization: Bearer {KEY}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(asked)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as sock:
        sock.sendall(b"POST /v1/chat/completions HTTP/1.0\r\n" + headers.encode() + asked)
        answer = b"".join(iter(lambda: sock.recv(65536), b""))
    head, _, text = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.0 200 OK\r\n")
    assert json.loads(text)["choices"][0]["message"]["content"] == "You said: Hello"
    assert len(simulator.control.requests()) == 1


def test_pass_through_keeps_every_byte(http: httpx.Client, simulator: Simulator) -> None:
    """Only the model changes; spacing, order and numbers of the rest stay as the client wrote."""
    rest = b'"messages" : [ {"content":"\\u0041 b","role":"user"}], "temperature":1.0, "n":1'
    content = b'{ "model" : "o/echo", ' + rest + b' , "zebra":[1.50,1e3]}'
    http.post("/v1/chat/completions", content=content).raise_for_status()
    received = simulator.control.requests()[0].body_text or ""
    for piece in (b'[ {"content":"\\u0041 b","role":"user"}]', b"1.0", b"[1.50,1e3]"):
        assert piece.decode() in received


def _image(size: int) -> str:
    return base64.b64encode(hashlib.shake_256(b"image").digest(size)).decode()


def _with_images(path: str, model: str, count: int, size: int) -> dict[str, Any]:
    data = _image(size)
    if path == "/v1/messages":
        source = {"type": "base64", "media_type": "image/png", "data": data}
        part: dict[str, Any] = {"type": "image", "source": source}
    else:
        part = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}
    turns = [{"role": "user", "content": [{"type": "text", "text": "look"}, *[part] * count]}]
    return {"model": model, "max_tokens": 50, "messages": turns}


@both_clients
@providers
def test_twenty_megabytes_with_images(
    http: httpx.Client, simulator: Simulator, path: str, model: str
) -> None:
    answer = http.post(path, json=_with_images(path, model, 4, 15 * MIB // 4))
    assert answer.status_code == 200, answer.text[:300]
    assert said(path, answer) == "You said: look I received 4 images."
    (request,) = simulator.control.requests()
    assert request.body_bytes > 20_000_000
    assert request.header("content-length") == str(request.body_bytes)
    assert _image(15 * MIB // 4).encode() in simulator.control.body(request.number)


@both_clients
def test_large_bodies_are_retried_too(http: httpx.Client, simulator: Simulator, path: str) -> None:
    """Envoy's own limit for retries is 1 MiB, and beyond it they silently end."""
    simulator.control.script({"status": 503}, {"listener": "openai"})
    answer = http.post(path, json=_with_images(path, "fall/echo", 1, 3 * MIB))
    assert answer.status_code == 200
    assert [r.listener for r in simulator.control.requests()] == ["openai", "anthropic"]
    assert all(request.body_bytes > 4 * MIB for request in simulator.control.requests())


@both_clients
def test_above_the_limit(gateway: Gateway, simulator: Simulator, path: str) -> None:
    content = b'{"model":"o/echo","messages":"' + b"x" * (32 * MIB) + b'"}'
    answer = httpx.post(gateway.url + path, content=content, headers={"x-api-key": KEY}, timeout=30)
    assert answer.status_code == 413
    error = assert_shape(path, 413, answer.content)["error"]
    assert "larger" in error["message"]
    if path == "/v1/messages":
        assert error["type"] == "request_too_large"
    assert not simulator.control.requests()


@both_clients
@providers
@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
def test_compressed_answers(
    http: httpx.Client, simulator: Simulator, path: str, model: str, *, stream: bool
) -> None:
    simulator.control.script({"gzip": True})
    answer = http.post(path, json=body(model, stream=stream))
    assert said(path, answer) == "You said: one two three"
    assert simulator.control.requests()[0].header("accept-encoding") is None


@both_clients
@providers
def test_compressed_error(http: httpx.Client, simulator: Simulator, path: str, model: str) -> None:
    simulator.control.script({"gzip": True, "status": 422, "message": "no way"})
    answer = http.post(path, json=body(model))
    assert answer.status_code == 422
    assert answer.json()["error"]["message"] == "no way"


@pytest.mark.parametrize("raw", ["<html>bad gateway</html>", "{}", "[]", "", '{"choices":5}'])
@both_clients
def test_answers_that_are_not_the_dialects(
    http: httpx.Client, simulator: Simulator, path: str, raw: str
) -> None:
    """Where we translate, an unreadable 200 is the upstream's fault, and says so."""
    model = "a/echo" if path == "/v1/chat/completions" else "o/echo"
    simulator.control.script({"status": 200, "raw_body": raw})
    answer = http.post(path, json=body(model))
    assert answer.status_code == 502, answer.text
    assert_shape(path, 502, answer.content)


@both_clients
def test_html_error_keeps_its_status(http: httpx.Client, simulator: Simulator, path: str) -> None:
    model = "a/echo" if path == "/v1/chat/completions" else "o/echo"
    simulator.control.script(
        {"status": 403, "raw_body": "<html>denied</html>", "content_type": "text/html"}
    )
    answer = http.post(path, json=body(model))
    assert answer.status_code == 403
    assert_shape(path, 403, answer.content)


def test_request_trailing_gzip_is_refused(http: httpx.Client, simulator: Simulator) -> None:
    content = gzip.compress(json.dumps(body("o/echo")).encode())
    answer = http.post(
        "/v1/chat/completions", content=content, headers={"content-encoding": "gzip"}
    )
    assert answer.status_code == 415
    assert not simulator.control.requests()
