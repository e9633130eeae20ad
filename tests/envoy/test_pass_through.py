"""Operations that go to a provider of the client's own dialect, through the real Envoy."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest

from dragoman.simulator import Simulator
from tests.envoy.gateway import KEY, LIMITED_KEY, Gateway

EMBEDDED = {
    "object": "list",
    "model": "m",
    "data": [{"object": "embedding", "index": 0, "embedding": [0.5, -1.0]}],
    "usage": {"prompt_tokens": 7, "total_tokens": 7},
}
LISTED = {"object": "list", "data": [], "has_more": False}
STORED = {
    "id": "file-1",
    "object": "file",
    "bytes": 3,
    "created_at": 1,
    "filename": "a.jsonl",
    "purpose": "batch",
    "status": "processed",
}
LARGE = 40 * 2**20
"""More than the policy lets any body that is read have."""


@pytest.fixture
def client(gateway: Gateway) -> openai.OpenAI:
    return openai.OpenAI(api_key=KEY, base_url=gateway.url + "/v1", max_retries=0)


def answer(simulator: Simulator, body: dict[str, Any]) -> None:
    simulator.control.script({"status": 200, "body": body})


def seen(simulator: Simulator) -> list[tuple[str, str, str]]:
    return [(r.listener, r.method, r.target) for r in simulator.control.requests()]


def test_embeddings_with_fallback(client: openai.OpenAI, simulator: Simulator) -> None:
    simulator.control.script({"status": 503}, {"listener": "openai"})
    simulator.control.script({"status": 200, "body": EMBEDDED}, {"listener": "openai-b"})
    found = client.embeddings.create(model="same/echo", input="hi", encoding_format="float")
    assert found.data[0].embedding == [0.5, -1.0]
    assert [where for where, _, _ in seen(simulator)] == ["openai", "openai-b"]


def test_embeddings_of_a_provider_without_them(client: openai.OpenAI, simulator: Simulator) -> None:
    with pytest.raises(openai.BadRequestError, match="offers no embeddings"):
        client.embeddings.create(model="a/echo", input="hi")
    assert not simulator.control.requests()


def test_count_tokens(gateway: Gateway, simulator: Simulator) -> None:
    answer(simulator, {"input_tokens": 12})
    asked = anthropic.Anthropic(api_key=KEY, base_url=gateway.url, max_retries=0)
    found = asked.messages.count_tokens(
        model="a/echo", messages=[{"role": "user", "content": "hi"}]
    )
    assert found.input_tokens == 12
    assert seen(simulator) == [("anthropic", "POST", "/v1/messages/count_tokens")]


def test_transcription_keeps_the_file_and_changes_the_model(
    client: openai.OpenAI, simulator: Simulator
) -> None:
    answer(simulator, {"text": "hello"})
    sound = io.BytesIO(b"RIFF\x00\xff--not-the-boundary\r\n")
    found = client.audio.transcriptions.create(model="o/echo", file=("a.wav", sound))
    assert found.text == "hello"
    (request,) = simulator.control.requests()
    body = simulator.control.body(request.number)
    assert b"RIFF\x00\xff--not-the-boundary\r\n" in body
    assert b'name="model"\r\n\r\nsim/echo\r\n' in body


USED = {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}


def test_sound(client: openai.OpenAI, simulator: Simulator) -> None:
    """Each of the SDK's ways with it, at a provider of the same dialect, by its own model's name."""
    simulator.control.script(
        {"status": 200, "raw_body": "ID3sound", "content_type": "audio/mpeg"},
        {"path": "*/speech"},
    )
    told = {"status": 200, "body": {"text": "hello"}}
    simulator.control.script(told, {"path": "*/translations"})
    events = [
        {"type": "transcript.text.delta", "delta": "hel"},
        {"type": "transcript.text.delta", "delta": "lo"},
        {"type": "transcript.text.done", "text": "hello", "usage": {"type": "tokens", **USED}},
    ]
    lines = [f"data: {json.dumps(event)}\n\n" for event in events]
    simulator.control.script({"status": 200, "sse_raw": lines}, {"path": "*/transcriptions"})
    spoken = client.audio.speech.create(model="o/echo", voice="alloy", input="hello")
    assert spoken.content == b"ID3sound"
    sound = ("a.wav", io.BytesIO(b"RIFF" * 99))
    with pytest.deprecated_call():
        assert client.audio.translations.create(model="o/echo", file=sound).text == "hello"
    stream = client.audio.transcriptions.create(model="o/echo", file=sound, stream=True)
    assert [event.type for event in stream] == [event["type"] for event in events]
    assert [path.rpartition("/")[2] for _, _, path in seen(simulator)] == [
        "speech",
        "translations",
        "transcriptions",
    ]
    bodies = [simulator.control.body(r.number) for r in simulator.control.requests()]
    assert all(b"sim/echo" in body and b"o/echo" not in body for body in bodies)


def test_pictures(client: openai.OpenAI, simulator: Simulator) -> None:
    answer(
        simulator,
        {
            "created": 1,
            "data": [{"b64_json": "AAAA"}],
            "usage": USED | {"input_tokens_details": {"image_tokens": 1, "text_tokens": 2}},
        },
    )
    picture = ("a.png", io.BytesIO(b"\x89PNG"))
    images = client.images
    made = [
        images.generate(model="o/echo", prompt="a fox"),
        images.edit(model="o/echo", prompt="a fox", image=picture),
        images.edit(model="o/echo", prompt="a fox", image=[picture, picture], mask=picture),
    ]
    with pytest.deprecated_call():
        made.append(images.create_variation(model="o/echo", image=picture))
    assert [one.data and one.data[0].b64_json for one in made] == ["AAAA"] * 4
    bodies = [simulator.control.body(r.number) for r in simulator.control.requests()]
    assert [body.count(b"\x89PNG") for body in bodies] == [0, 1, 3, 1]
    assert all(body.count(b"sim/echo") == 1 for body in bodies)


def test_moderation(client: openai.OpenAI, simulator: Simulator) -> None:
    answer(simulator, {"id": "m", "model": "x", "results": []})
    assert client.moderations.create(model="o/echo", input="hello").results == []
    assert seen(simulator) == [("openai", "POST", "/v1/moderations")]


@pytest.mark.parametrize("p", ["a", "g", "k"])
def test_what_other_dialects_lack_is_refused(
    client: openai.OpenAI, simulator: Simulator, p: str
) -> None:
    sound = ("a.wav", io.BytesIO(b"RIFF" * 99))
    with pytest.raises(openai.BadRequestError, match="offers no transcriptions"):
        client.audio.transcriptions.create(model=f"{p}/echo", file=sound)
    with pytest.raises(openai.BadRequestError, match="offers no speech"):
        client.audio.speech.create(model=f"{p}/echo", voice="alloy", input="hello")
    with pytest.raises(openai.BadRequestError, match="offers no images"):
        client.images.generate(model=f"{p}/echo", prompt="a fox")
    assert not simulator.control.requests()


@pytest.mark.parametrize("status", [400, 429, 503])
def test_sounds_errors(client: openai.OpenAI, simulator: Simulator, status: int) -> None:
    body = {"error": {"message": "not now", "type": "x", "param": None, "code": None}}
    simulator.control.script({"status": status, "retry_after": "7", "body": body})
    sound = ("a.wav", io.BytesIO(b"RIFF" * 99))
    with pytest.raises(openai.APIStatusError, match="not now") as caught:
        client.audio.transcriptions.create(model="o/echo", file=sound)
    assert (caught.value.status_code, caught.value.response.headers["retry-after"]) == (status, "7")


def test_the_model_may_stand_behind_the_file(gateway: Gateway, simulator: Simulator) -> None:
    """As curl sends it in OpenAI's own example."""
    answer(simulator, {"text": "hello"})
    form: Any = [("file", ("a.wav", b"RIFF" * 99_999)), ("model", (None, "o/echo"))]
    url, headers = f"{gateway.url}/v1/audio/transcriptions", {"authorization": f"Bearer {KEY}"}
    assert httpx.post(url, files=form, headers=headers).json() == {"text": "hello"}
    (request,) = simulator.control.requests()
    body = simulator.control.body(request.number)
    assert b"RIFF" * 99_999 in body
    assert b'name="model"\r\n\r\nsim/echo\r\n' in body
    assert request.header("content-length") == str(len(body))
    assert request.header("transfer-encoding") is None


def test_a_form_falls_back_whole(client: openai.OpenAI, simulator: Simulator) -> None:
    simulator.control.script({"status": 503}, {"listener": "openai"})
    simulator.control.script({"status": 200, "body": {"text": "hello"}}, {"listener": "openai-b"})
    sound = io.BytesIO(b"RIFF" * 2**20)
    found = client.audio.transcriptions.create(model="same/echo", file=("a.wav", sound))
    assert found.text == "hello"
    bodies = [simulator.control.body(r.number) for r in simulator.control.requests()]
    assert bodies[0] == bodies[1]
    assert sound.getvalue() in bodies[1]


def _peak(pid: int) -> int:
    """The most memory the process has had resident since it was last asked to forget, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    peak = int(status.partition("VmHWM:")[2].split()[0]) * 1024
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    return peak


def test_no_worker_holds_a_file(
    gateway: Gateway, client: openai.OpenAI, simulator: Simulator
) -> None:
    """Held, one costs five times its size; it is seen in the pieces that Envoy reads it in, which
    are the larger the faster it comes."""
    answer(simulator, {"text": "hello"})
    (worker,) = gateway.workers()
    _peak(worker)
    before = _peak(worker)
    sound = io.BytesIO(bytes(30 * 2**20))
    client.audio.transcriptions.create(model="o/echo", file=("a.wav", sound))
    assert _peak(worker) - before < 100 * 2**20
    assert simulator.control.requests()[0].body_bytes > 30 * 2**20


@pytest.mark.parametrize("path", ["/v1/audio/transcriptions", "/openai/v1/images/edits"])
def test_forms_are_refused_in_their_shapes(
    gateway: Gateway, simulator: Simulator, path: str
) -> None:
    url = gateway.url + path
    files = {"file": ("a.wav", b"RIFF" * 99_999)}
    known, unknown = {"authorization": f"Bearer {KEY}"}, {"authorization": "Bearer x"}
    refused = [
        (401, httpx.post(url, files=files, data={"model": "o/echo"}, headers=unknown)),
        (404, httpx.post(url, files=files, data={"model": "nothing"}, headers=known)),
        (415, httpx.post(url, json={"model": "o/echo"}, headers=known)),
        (400, httpx.post(url, content=b"", headers=known)),
        (413, httpx.post(url, files={"file": ("a", bytes(33 * 2**20))}, headers=known, timeout=30)),
    ]
    for status, found in refused:
        assert found.status_code == status, found.text
        assert found.json()["error"]["message"]
    assert not simulator.control.requests()


def test_files_go_to_the_callers_first_provider(
    client: openai.OpenAI, simulator: Simulator
) -> None:
    answer(simulator, STORED)
    assert client.files.create(file=b"abc", purpose="batch").id == "file-1"
    assert client.files.retrieve("file-1").id == "file-1"
    assert client.files.content("file-1").content
    assert seen(simulator) == [
        ("openai-b", "POST", "/v1/files"),
        ("openai-b", "GET", "/v1/files/file-1"),
        ("openai-b", "GET", "/v1/files/file-1/content"),
    ]


def test_a_file_larger_than_any_body_that_is_read(
    client: openai.OpenAI, simulator: Simulator
) -> None:
    answer(simulator, STORED)
    client.files.create(file=b"x" * LARGE, purpose="batch")
    (request,) = simulator.control.requests()
    assert request.body_bytes > LARGE


def test_a_header_names_the_provider(client: openai.OpenAI, simulator: Simulator) -> None:
    answer(simulator, LISTED)
    client.batches.list(extra_headers={"dragoman-provider": "openai"})
    with pytest.raises(openai.PermissionDeniedError):
        client.batches.list(extra_headers={"dragoman-provider": "mistral"})
    (request,) = simulator.control.requests()
    assert request.listener == "openai"
    assert "dragoman-provider" not in dict(request.headers)  # it is no business of a provider's


def test_anthropic_batches(gateway: Gateway, simulator: Simulator) -> None:
    answer(simulator, {"data": [], "has_more": False, "first_id": None, "last_id": None})
    asked = anthropic.Anthropic(api_key=KEY, base_url=gateway.url, max_retries=0)
    assert list(asked.messages.batches.list()) == []
    assert seen(simulator)[0][:2] == ("anthropic", "GET")


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_a_path_the_operator_lets_through(
    gateway: Gateway, simulator: Simulator, method: str
) -> None:
    answer(simulator, {"ok": True})
    url = gateway.url + "/v1/realtime/calls?a=1"
    headers = {"authorization": f"Bearer {KEY}"}
    found = httpx.request(method, url, headers=headers, json={"x": 1} if method == "POST" else None)
    assert (found.status_code, found.json()) == (200, {"ok": True})
    assert seen(simulator) == [("openai", method, "/v1/realtime/calls?a=1")]


@pytest.mark.parametrize("path", ["/v1/files", "/v1/batches/b", "/v1/realtime/calls"])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
def test_nobody_passes_without_the_grant(
    gateway: Gateway, simulator: Simulator, path: str, method: str
) -> None:
    for headers in ({}, {"authorization": f"Bearer {LIMITED_KEY}"}):
        found = httpx.request(method, gateway.url + path, headers=headers, content=b"{}")
        assert found.status_code in (401, 403, 404), found.text
        assert "error" in found.json()
    assert not simulator.control.requests()


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/files/%2e%2e%2fchat/completions", 404),
        ("/v1/files/x%2F..%2F..%2Fmodels", 404),
        ("/v1/realtime/%2e%2e%5Cchat%5Ccompletions", 404),
        ("/v1beta/models/g%2F..%2F..%2Fv1%2Fx:generateContent", 400),
        ("/model/b%2F..%2F..%2Fx/converse", 400),
    ],
)
def test_no_path_leads_out_of_its_own(
    http: httpx.Client, simulator: Simulator, path: str, status: int
) -> None:
    """At a provider that unescapes it before it resolves it."""
    turn = {"role": "user", "parts": [{"text": "x"}], "content": [{"text": "x"}]}
    answer = http.post(path, json={"contents": [turn], "messages": [turn]})
    assert answer.status_code == status
    assert not simulator.control.requests()


def test_an_escaped_slash_is_one(http: httpx.Client, simulator: Simulator) -> None:
    http.post("/v1/realtime/a%2Fb", json={})
    assert [target for _, _, target in seen(simulator)] == ["/v1/realtime/a%2Fb"]
