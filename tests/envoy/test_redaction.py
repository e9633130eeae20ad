"""Redaction through the real Envoy: the provider sees no original, the caller gets its own back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from dragoman.dialects.registry import client_dialect
from dragoman.ir.events import fold
from dragoman.simulator import Simulator
from tests.envoy.gateway import KEY, Gateway, run_gateway, wait_until
from tests.properties.cases import decode_stream

MAIL, CARD, TOKEN = "alice.cooper@example.com", "4111 1111 1111 1111", "AKIAIOSFODNN7EXAMPLE"
SSN = "536-90-4399"
ORIGINALS = (MAIL, CARD, SSN, "536904399")
TEXT = f"Mail {MAIL}, card {CARD}, and again {MAIL}; ssn {SSN}."
HEADERS = {"authorization": f"Bearer {KEY}"}
REDACTION = {
    "default": "strict",
    "profiles": {
        "strict": {"entities": {"personal": "replace", "secret": "block", "url": "report"}},
        "guarded": {"entities": {"email": "mask"}, "answers": True},
    },
}


@pytest.fixture(scope="module")
def running(all_providers: Simulator) -> Iterator[Gateway]:
    with run_gateway(all_providers, workers=2, redaction=REDACTION) as gateway:
        yield gateway


@pytest.fixture
def strict(running: Gateway, simulator: Simulator) -> Gateway:
    del simulator
    return running


def _messages(model: str, text: str, **more: Any) -> dict[str, Any]:
    turns = [{"role": "user", "content": text}]
    return {"model": model, "max_tokens": 200, "messages": turns, **more}


def _gemini(model: str, text: str, **more: Any) -> dict[str, Any]:
    del model
    return {"contents": [{"role": "user", "parts": [{"text": text}]}], **more}


def _converse(model: str, text: str, **more: Any) -> dict[str, Any]:
    del model
    return {"messages": [{"role": "user", "content": [{"text": text}]}], **more}


CLIENTS: dict[str, tuple[str, str, Any]] = {
    "openai_chat": ("/v1/chat/completions", "/v1/chat/completions", _messages),
    "anthropic_messages": ("/v1/messages", "/v1/messages", _messages),
    "openai_responses": (
        "/v1/responses",
        "/v1/responses",
        lambda model, text, **more: {"model": model, "input": text, **more},
    ),
    "openai_completions": (
        "/v1/completions",
        "/v1/completions",
        lambda model, text, **more: {"model": model, "prompt": text, "max_tokens": 200, **more},
    ),
    "gemini_generate": (
        "/v1beta/models/{model}:generateContent",
        "/v1beta/models/{model}:streamGenerateContent?alt=sse",
        _gemini,
    ),
    "bedrock_converse": ("/model/{model}/converse", "/model/{model}/converse-stream", _converse),
    "tgi_generate": (
        "/models/{model}/generate",
        "/models/{model}/generate_stream",
        lambda model, text, **more: {"inputs": text, "parameters": {"max_new_tokens": 200}, **more},
    ),
    "cohere_chat": ("/v2/chat", "/v2/chat", _messages),
    "ollama_chat": ("/api/chat", "/api/chat", lambda model, text, **more: {
        "model": model, "messages": [{"role": "user", "content": text}], "stream": False, **more
    }),
}  # fmt: skip
IN_PATH = ("gemini_generate", "bedrock_converse", "tgi_generate")
OWN = {
    "openai_chat": "o",
    "anthropic_messages": "a",
    "openai_responses": "p",
    "openai_completions": "c",
    "gemini_generate": "g",
    "bedrock_converse": "b",
    "cohere_chat": "k",
    "ollama_chat": "l",
    "tgi_generate": "tgi",
}
PAIRS = [
    (client, provider) for client in CLIENTS for provider in dict.fromkeys((OWN[client], "o", "a"))
]


def send(
    gateway: Gateway, client: str, model: str, text: str, *, stream: bool, **more: Any
) -> httpx.Response:
    path, stream_path, make = CLIENTS[client]
    body = make(model, text, **more)
    if client not in IN_PATH and (stream or client == "ollama_chat"):
        body["stream"] = stream
    where = (stream_path if stream else path).replace("{model}", model.replace("/", "%2F"))
    return httpx.post(gateway.url + where, json=body, headers=HEADERS, timeout=30)


def text_of(client: str, answer: httpx.Response, *, stream: bool) -> str:
    dialect = client_dialect(client)
    if stream:
        response = fold(decode_stream(dialect, [answer.content]))
    else:
        response = dialect.decode_response(answer.json())
    parts = response.choices[0].parts
    return "".join(getattr(part, "content", "") for part in parts)


def assert_no_original_left(simulator: Simulator, answered: int = 1) -> None:
    received = simulator.control.requests()
    assert len(received) == answered
    for request in received:
        seen = (request.body_text or "") + request.target + str(request.headers)
        assert not [one for one in ORIGINALS if one in seen]
        assert "[EMAIL_" in seen


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
@pytest.mark.parametrize(("client", "provider"), PAIRS, ids=[f"{c}-{p}" for c, p in PAIRS])
def test_round_trip(
    strict: Gateway, simulator: Simulator, client: str, provider: str, stream: bool
) -> None:
    """`pieces-7` cuts the provider's bytes within placeholders, frames and escapes."""
    answer = send(strict, client, f"{provider}/echo+pieces-7", TEXT, stream=stream)
    assert answer.status_code == 200, answer.text
    assert_no_original_left(simulator)
    assert text_of(client, answer, stream=stream) == f"You said: {TEXT}"


def test_gemini_array_stream(strict: Gateway, simulator: Simulator) -> None:
    url = f"{strict.url}/v1beta/models/g%2Fecho:streamGenerateContent"
    answer = httpx.post(url, json=_gemini("", TEXT), headers=HEADERS, timeout=30)
    assert_no_original_left(simulator)
    parts = [part for item in answer.json() for part in item["candidates"][0]["content"]["parts"]]
    assert "".join(part.get("text", "") for part in parts) == f"You said: {TEXT}"


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
@pytest.mark.parametrize("provider", ["o", "a", "g"])
def test_tool_arguments(strict: Gateway, simulator: Simulator, provider: str, stream: bool) -> None:
    shape = {"type": "object", "properties": {"to": {"type": "string"}}, "required": ["to"]}
    tool = {"type": "function", "function": {"name": "mail", "parameters": shape}}
    text = f'Call the tool with {{"to": "{MAIL}"}}'
    body = _messages(f"{provider}/echo", text, tools=[tool], stream=stream)
    answer = httpx.post(f"{strict.url}/v1/chat/completions", json=body, headers=HEADERS, timeout=30)
    assert answer.status_code == 200, answer.text
    assert_no_original_left(simulator)
    dialect = client_dialect("openai_chat")
    if stream:
        response = fold(decode_stream(dialect, [answer.content]))
    else:
        response = dialect.decode_response(answer.json())
    (call,) = response.choices[0].parts
    found = call.arguments
    assert (json.loads(found) if isinstance(found, str) else found) == {"to": MAIL}


def test_a_whole_conversation_keeps_its_placeholders(strict: Gateway, simulator: Simulator) -> None:
    """The second request begins with the very bytes of the first: prompt caches hit."""
    turns: list[Any] = [{"role": "user", "content": TEXT}]
    body = {"model": "o/echo", "messages": turns}
    first = httpx.post(f"{strict.url}/v1/chat/completions", json=body, headers=HEADERS)
    turns += [first.json()["choices"][0]["message"], {"role": "user", "content": f"So {MAIL}?"}]
    httpx.post(f"{strict.url}/v1/chat/completions", json=body, headers=HEADERS)
    one, two = (json.loads(r.body_text or "")["messages"] for r in simulator.control.requests())
    assert two[: len(one)] == one
    assert one[0]["content"].split()[1] in two[1]["content"]
    assert_no_original_left(simulator, 2)


def test_a_fallback_hides_as_much(strict: Gateway, simulator: Simulator) -> None:
    simulator.control.script({"status": 503}, {"listener": "openai"})
    answer = send(strict, "openai_chat", "fall/echo", TEXT, stream=False)
    assert text_of("openai_chat", answer, stream=False) == f"You said: {TEXT}"
    assert_no_original_left(simulator, 2)


@pytest.mark.parametrize("client", CLIENTS)
def test_a_secret_is_blocked(strict: Gateway, simulator: Simulator, client: str) -> None:
    answer = send(strict, client, f"{OWN[client]}/echo", f"key {TOKEN}", stream=False)
    assert answer.status_code == 400
    assert "api_key" in answer.text
    assert TOKEN not in answer.text
    assert not simulator.control.requests()


def test_clean_requests_do_not_enter_the_respond_stage(
    strict: Gateway, simulator: Simulator
) -> None:
    del simulator
    entered = "cluster.dragoman_respond.upstream_rq_total"
    before = strict.stats(entered)
    for stream in (False, True):
        answer = send(strict, "openai_chat", "o/echo", "nothing to hide", stream=stream)
        assert answer.status_code == 200
    assert strict.stats(entered) == before
    send(strict, "openai_chat", "o/echo", TEXT, stream=False)
    assert strict.stats(entered)[entered] == before[entered] + 1


def test_findings_are_counted_and_never_written(strict: Gateway, simulator: Simulator) -> None:
    del simulator
    secret = "zelda.unmistakable@example.org"
    answer = send(
        strict, "openai_chat", "o/echo", f"{secret} https://a.example.com/p", stream=False
    )
    wanted = {"email": 1, "url": 1}
    assert answer.status_code == 200
    entry = wait_until(
        lambda: next((e for e in strict.ledger() if e.get("dragoman.redacted") == wanted), None)
    )
    assert entry["http.response.status_code"] == 200

    def counted(entity: str) -> bool:
        wanted = {("entity", entity), ("where", "request")}
        return any(v >= 1 for who, v in strict.series("redactions").items() if wanted <= set(who))

    wait_until(lambda: counted("email") and counted("url"), what="statistics")
    assert secret not in strict.written()
    assert secret not in strict.admin_get("/config_dump")


def test_the_models_own_words(all_providers: Simulator, simulator: Simulator) -> None:
    with run_gateway(all_providers, redaction={**REDACTION, "default": "guarded"}) as gateway:
        frames = [
            "data: " + json.dumps({"choices": [{"index": 0, "delta": {"content": piece}}]}) + "\n\n"
            for piece in ("Write to zel", "da@exam", "ple.org please")
        ]
        simulator.control.script({"sse_raw": [*frames, "data: [DONE]\n\n"]})
        answer = send(gateway, "openai_chat", "o/echo", "hello", stream=True)
        assert "zelda" not in answer.text.replace('"', "")
        assert text_of_lines(answer.text) == "Write to [EMAIL] please"
        wait_until(
            lambda: [
                e for e in gateway.ledger() if e.get("dragoman.redacted.answer") == {"email": 1}
            ]
        )


def text_of_lines(text: str) -> str:
    events = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]
    return "".join(event["choices"][0]["delta"].get("content", "") for event in events)
