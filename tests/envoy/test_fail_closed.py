"""Nothing reaches a provider but what the decide stage admitted."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from itertools import product
from typing import Any

import httpx
import pytest

from dragoman.simulator import Simulator
from tests.envoy.gateway import KEY, LIMITED_KEY, Gateway
from tests.envoy.test_routing import body, both_clients

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND")
PATHS = (
    "/v1/chat/completions",
    "/v1/messages",
    "/v1/models",
    "/v1/nothing",
    "/v1/chat/completions/",
    "//v1/chat/completions",
    "/v1/../v1/chat/completions?x=1",
    "/",
)
CHAT_BODY = json.dumps(body("o/echo")).encode()
BODIES: dict[str, bytes | None] = {"none": None, "empty": b"", "json": CHAT_BODY}
KEYS: dict[str, dict[str, str]] = {
    "no key": {},
    "wrong key": {"authorization": "Bearer wrong"},
    "empty key": {"authorization": "Bearer ", "x-api-key": ""},
    "forged": {"x-dragoman-admitted": "1", "x-envoy-original-path": "/v1/chat/completions"},
}


def send(
    gateway: Gateway, method: str, path: str, content: bytes | None, headers: dict[str, str]
) -> tuple[int, bytes, dict[str, str]]:
    """One request as it is given, also where a well-behaved client would not send it."""
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=10)
    try:
        kind = {"content-type": "application/json"} if content else {}
        connection.request(method, path, content, {**kind, **headers})
        answer = connection.getresponse()
        return answer.status, answer.read(), {k.lower(): v for k, v in answer.getheaders()}
    finally:
        connection.close()


def test_of_two_keys_none_is_taken(gateway: Gateway, simulator: Simulator) -> None:
    keys = [("authorization", f"Bearer {key}") for key in (KEY, "wrong")]
    for headers in (keys, keys[::-1]):
        answer = httpx.post(
            gateway.url + "/v1/chat/completions", json=body("o/echo"), headers=headers
        )
        assert answer.status_code == 401
    assert not simulator.control.requests()


def assert_shape(path: str, status: int, raw: bytes) -> dict[str, Any]:
    """The error in the dialect of the path."""
    found: dict[str, Any] = json.loads(raw)
    if path.startswith("/v1/messages"):
        assert found["type"] == "error", found
        assert set(found["error"]) >= {"type", "message"}, found
    elif path == "/" and "error_type" in found:  # Text Generation Inference's, from the service
        assert set(found) == {"error", "error_type"}, found
        assert found["error"]
        return found
    else:
        assert set(found) == {"error"}, found
        assert set(found["error"]) == {"message", "type", "param", "code"}, found
    assert found["error"]["message"]
    assert 400 <= status < 600
    return found


@pytest.mark.parametrize("method", METHODS)
def test_nothing_passes_without_a_key(gateway: Gateway, simulator: Simulator, method: str) -> None:
    statuses = set()
    for path, (name, content), headers in product(PATHS, BODIES.items(), KEYS.values()):
        status, raw, _ = send(gateway, method, path, content, headers)
        statuses.add(status)
        assert status in (400, 401, 404, 405), (method, path, name, headers, status, raw)
        if method != "HEAD" and ".." not in path and not path.startswith("//"):
            assert_shape(path, status, raw)
    assert 401 in statuses
    assert not simulator.control.requests()


def _raw(gateway: Gateway, request: bytes) -> bytes:
    """What comes back within a second; CONNECT and half a preface get nothing until they end."""
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=1) as sock:
        sock.sendall(request)
        received = b""
        while b"\r\n\r\n" not in received:
            try:
                data = sock.recv(65536)
            except TimeoutError:
                break
            if not data:
                break
            received += data
        return received


def _raw_requests() -> Iterator[bytes]:
    chunked = b"transfer-encoding: chunked\r\n"
    for method, path in product((b"GET", b"POST", b"DELETE"), (b"/v1/chat/completions", b"/v1/x")):
        head = method + b" " + path + b" HTTP/1.1\r\nhost: x\r\n"
        yield head + chunked + b"\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(CHAT_BODY), CHAT_BODY)
        yield head + chunked + b"\r\n0\r\n\r\n"
        yield head + chunked + b"\r\n0\r\nx-trailer: 1\r\n\r\n"
        yield head + b"connection: upgrade\r\nupgrade: websocket\r\n\r\n"
        yield head + b"content-length: 5\r\nexpect: 100-continue\r\n\r\nhello"
    yield b"CONNECT api.openai.com:443 HTTP/1.1\r\nhost: api.openai.com:443\r\n\r\n"
    yield b"GET http://api.openai.com/v1/models HTTP/1.1\r\nhost: api.openai.com\r\n\r\n"
    yield b"POST /v1/chat/completions HTTP/1.0\r\n\r\n"
    yield b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nnonsense"


def test_nothing_passes_however_it_is_framed(gateway: Gateway, simulator: Simulator) -> None:
    for request in _raw_requests():
        answer = _raw(gateway, request)
        first = answer.split(b"\r\n")[0]
        assert b" 200" not in first, (request[:60], first)
    assert not simulator.control.requests()


@pytest.mark.parametrize("method", METHODS)
def test_bodiless_methods_with_a_key(gateway: Gateway, simulator: Simulator, method: str) -> None:
    """A key does not open the way for what is no chat request."""
    headers = {"authorization": f"Bearer {KEY}"}
    for path, content in product(PATHS, BODIES.values()):
        is_chat = path.startswith(("/v1/chat/completions", "/v1/messages", "//", "/v1/.."))
        if method == "POST" and content and is_chat:
            continue
        status, raw, answer = send(gateway, method, path, content, headers)
        if path == "/v1/models" and method in ("GET", "HEAD"):
            assert status == 200
            continue
        assert status in (400, 404, 405), (method, path, content, status, raw)
        if status == 405:
            assert answer["allow"] in ("POST", "GET, HEAD")
        if path == "/v1/nothing" and method in ("GET", "DELETE"):
            assert status == 404
        if path in ("/v1/chat/completions", "/") and method in ("GET", "DELETE"):
            assert status == 405
    assert not simulator.control.requests()


@both_clients
def test_post_without_a_body(http: httpx.Client, simulator: Simulator, path: str) -> None:
    answer = http.post(path, content=b"")
    assert answer.status_code == 400
    assert "body" in assert_shape(path, 400, answer.content)["error"]["message"]
    assert not simulator.control.requests()


def test_unknown_path(http: httpx.Client) -> None:
    for path in ("/v1/unknown", "/v1/messages/unknown", "/nothing"):
        for answer in (http.get(path), http.post(path, json=body("o/echo"))):
            assert answer.status_code == 404
            assert_shape(path, 404, answer.content)


def test_models_need_a_key_and_show_what_it_grants(gateway: Gateway, http: httpx.Client) -> None:
    url = f"{gateway.url}/v1/models"
    assert httpx.get(url).status_code == 401
    limited = httpx.get(url, headers={"authorization": f"Bearer {LIMITED_KEY}"}).json()
    assert [model["id"] for model in limited["data"]] == ["o/*"]
    anthropic = http.get("/v1/models", headers={"anthropic-version": "2023-06-01"}).json()
    assert {"data", "has_more", "first_id", "last_id"} <= set(anthropic)


def test_model_that_is_not_granted(gateway: Gateway, simulator: Simulator) -> None:
    headers = {"authorization": f"Bearer {LIMITED_KEY}"}
    url = f"{gateway.url}/v1/chat/completions"
    answers = [
        httpx.post(url, json=body(m), headers=headers) for m in ("a/echo", "nothing", "o/echo")
    ]
    assert [answer.status_code for answer in answers] == [404, 404, 200]
    assert answers[0].json()["error"]["code"] == answers[1].json()["error"]["code"]
    assert len(simulator.control.requests()) == 1


SPOOFED = {
    "x-request-id": "spoofed-request-id",
    "x-forwarded-for": "203.0.113.7",
    "x-real-ip": "203.0.113.7",
    "x-dragoman-admitted": "1",
    "x-dragoman-provider": "anthropic",
    "x-dragoman-caller": "root",
    "x-envoy-max-retries": "0",
    "x-envoy-retry-on": "5xx",
    "x-envoy-upstream-rq-timeout-ms": "1",
    "x-envoy-upstream-rq-per-try-timeout-ms": "1",
    "x-envoy-decorator-operation": "spoofed",
    "x-envoy-external-address": "203.0.113.7",
    "x-envoy-attempt-count": "5",
    "x-envoy-original-path": "/spoofed",
}


def test_spoofed_headers(http: httpx.Client, gateway: Gateway, simulator: Simulator) -> None:
    """They change nothing, reach no provider, and name no entry of the ledger."""
    simulator.control.script(
        {"status": 503, "first_byte_delay_ms": 50}, {"listener": "openai"}, times=1
    )
    answer = http.post("/v1/chat/completions", json=body("fall/echo"), headers=SPOOFED)
    assert answer.status_code == 200
    for request in simulator.control.requests():
        strays = [n for n, _ in request.headers if n.startswith(("x-dragoman-", "x-envoy-"))]
        assert not strays
        values = "\n".join(value for _, value in request.headers)
        assert "203.0.113.7" not in values
        assert "spoofed" not in values
    assert "spoofed" not in json.dumps(gateway.ledger())
    assert not [n for n in answer.headers if n.startswith("x-envoy-")]


NESTED = b'{"model":"o/echo","messages":' + b"[" * 20_000 + b"]" * 20_000 + b"}"
MALFORMED: dict[str, tuple[bytes, str]] = {
    "empty object": (b"{}", "$.model"),
    "not JSON": (b"{nonsense", ""),
    "trailing": (CHAT_BODY + b"x", ""),
    "array": (b"[]", "$"),
    "null": (b"null", "$"),
    "deep": (NESTED, ""),
    "lone surrogate": (CHAT_BODY.replace(b"two", b"\\ud800"), ""),
    "not UTF-8": (CHAT_BODY.replace(b"two", b"\xff\xfe"), ""),
    "1e400": (CHAT_BODY[:-1] + b',"temperature":1e400}', ""),
    "NaN": (CHAT_BODY[:-1] + b',"temperature":NaN}', ""),
    "model is a number": (json.dumps(body("x") | {"model": 5}).encode(), "$.model"),
    "no messages": (json.dumps({"model": "o/echo"}).encode(), "$.messages"),
    "messages is a string": (
        json.dumps(body("x") | {"model": "a/echo", "messages": "hi"}).encode(),
        "$.messages",
    ),
    "stream is a string": (json.dumps(body("o/echo", stream="yes")).encode(), "$.stream"),
}
WRONG_INSIDE: dict[str, tuple[Any, str]] = {
    "message is a number": ([5], "$.messages[0]"),
    "content is a number": ([{"role": "user", "content": 5}], "$.messages[0].content"),
    "role is a list": ([{"role": [], "content": "x"}], "$.messages[0].role"),
    "text is missing": (
        [{"role": "user", "content": [{"type": "text"}]}],
        "$.messages[0].content[0].text",
    ),
}


@both_clients
@pytest.mark.parametrize("name", list(MALFORMED))
def test_malformed_bodies(http: httpx.Client, simulator: Simulator, path: str, name: str) -> None:
    content, place = MALFORMED[name]
    answer = http.post(path, content=content, headers={"content-type": "application/json"})
    assert answer.status_code == 400, answer.text
    message = assert_shape(path, 400, answer.content)["error"]["message"]
    assert place in message
    assert not simulator.control.requests()


@both_clients
@pytest.mark.parametrize("name", list(WRONG_INSIDE))
def test_wrong_types_name_their_path(
    http: httpx.Client, simulator: Simulator, path: str, name: str
) -> None:
    messages, place = WRONG_INSIDE[name]
    model = "a/echo" if path == "/v1/chat/completions" else "o/echo"
    answer = http.post(path, json=body(model) | {"messages": messages})
    assert answer.status_code == 400, answer.text
    assert place in answer.json()["error"]["message"]
    assert not simulator.control.requests()


def test_content_type_and_encoding(http: httpx.Client, simulator: Simulator) -> None:
    path = "/v1/chat/completions"
    for headers in ({"content-type": "text/plain"}, {"content-encoding": "gzip"}):
        answer = http.post(path, content=CHAT_BODY, headers=headers)
        assert answer.status_code == 415
        assert_shape(path, 415, answer.content)
    assert not simulator.control.requests()


def test_admin_shows_no_secret(gateway: Gateway) -> None:
    """Not even Envoy's own dump of its configuration holds a key."""
    dump = gateway.admin_get("/config_dump")
    assert "provider-key-of-" not in dump
    assert KEY not in dump


def test_prompts_are_not_logged(http: httpx.Client, gateway: Gateway) -> None:
    marker = "prompt-marker-4c1d"
    for path, model in product(("/v1/chat/completions", "/v1/messages"), ("o/echo", "a/echo")):
        assert http.post(path, json=body(model, marker)).status_code == 200
        http.post(path, json=body(model, marker), headers={"authorization": f"Bearer {marker}"})
        http.post(path, content=CHAT_BODY[:-1] + marker.encode())
        http.post(path, json=body(model) | {"messages": [{"role": marker, "content": 5}]})
    http.get(f"/v1/nothing?key={marker}")
    assert marker not in gateway.written()
