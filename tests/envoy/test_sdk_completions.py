"""Prompts without turns through the real Envoy: clients and providers that only go on with a text."""

from __future__ import annotations

from typing import Any

import anthropic
import httpx
import openai
import pytest

from dragoman.simulator import Simulator
from tests import sdk
from tests.envoy.gateway import KEY, Gateway, fresh_caller, wait_until

by_provider = pytest.mark.parametrize("p", ["c", "o", "a", "g", "b"])


@by_provider
def test_completions(openai_client: openai.OpenAI, p: str) -> None:
    answer = openai_client.completions.create(model=f"{p}/echo", prompt="one two", max_tokens=50)
    assert answer.object == "text_completion"
    assert answer.choices[0].text == "You said: one two"
    assert answer.usage
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (2, 4)
    chunks = list(
        openai_client.completions.create(
            model=f"{p}/echo",
            prompt="one two",
            max_tokens=50,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert "".join(c.choices[0].text for c in chunks if c.choices) == "You said: one two"
    assert chunks[-1].usage
    assert chunks[-1].usage.completion_tokens == 4


def test_a_chat_reaches_a_completions_provider(openai_client: openai.OpenAI) -> None:
    turns: Any = [{"role": "user", "content": "one two"}]
    answer = openai_client.chat.completions.create(model="c/echo", messages=turns)
    assert answer.choices[0].message.content == "You said: one two"
    with pytest.raises(openai.BadRequestError, match=r"\$\.messages\[1\].*one prompt"):
        openai_client.chat.completions.create(model="c/echo", messages=turns * 2)


def test_a_messages_client_reaches_a_completions_provider(
    anthropic_client: anthropic.Anthropic,
) -> None:
    turns: Any = [{"role": "user", "content": "one two"}]
    with anthropic_client.messages.stream(model="c/echo", max_tokens=50, messages=turns) as stream:
        assert stream.get_final_text() == "You said: one two"
    with pytest.raises(anthropic.BadRequestError, match=r"\$\.system"):
        anthropic_client.messages.create(
            model="c/echo", max_tokens=50, messages=turns, system="Be brief."
        )


def test_what_a_chat_cannot_say_is_refused_by_name(openai_client: openai.OpenAI) -> None:
    for more in ({"suffix": "."}, {"echo": True}):
        asked: Any = {"model": "a/echo", "prompt": "one", **more}
        with pytest.raises(openai.BadRequestError, match=next(iter(more))):
            openai_client.completions.create(**asked)
    answer = openai_client.completions.create(model="c/echo", prompt="one", suffix=".")
    assert answer.choices[0].text == "You said: one"


@pytest.mark.parametrize("asks", [False, True])
def test_kept_streams_are_counted(gateway: Gateway, *, asks: bool) -> None:
    """The usage chunk is asked for, counted by Envoy, and taken out where nobody wants it."""
    caller, key = fresh_caller()
    client = openai.OpenAI(api_key=key, base_url=f"{gateway.url}/v1", max_retries=0)
    options: Any = {"stream_options": {"include_usage": True}} if asks else {}
    with client:
        chunks = list(
            client.completions.create(model="c/echo", prompt="one two", stream=True, **options)
        )
    assert any(chunk.usage for chunk in chunks) is asks

    def entries() -> list[dict[str, Any]]:
        return [entry for entry in gateway.ledger() if caller in entry.values()]

    (entry,) = wait_until(entries, what="the ledger's entry")
    assert entry["dragoman.metering"] == "exact"
    assert (entry["gen_ai.usage.input_tokens"], entry["gen_ai.usage.output_tokens"]) == (2, 4)


def test_errors(gateway: Gateway) -> None:
    with openai.OpenAI(api_key=KEY, base_url=f"{gateway.url}/v1", max_retries=0) as client:
        with pytest.raises(openai.NotFoundError):
            client.completions.create(model="nothing", prompt="x")
        with pytest.raises(openai.BadRequestError, match=r"\$\.prompt"):
            client.completions.create(model="c/echo", prompt=7)  # type: ignore[call-overload]


def _tgi(gateway: Gateway, path: str, body: Any, key: str = KEY) -> httpx.Response:
    headers = {"authorization": f"Bearer {key}"}
    return httpx.post(gateway.url + path, json=body, headers=headers, timeout=20)


def _asked(**parameters: Any) -> Any:
    return {"inputs": "one two", "parameters": {"max_new_tokens": 50, **parameters}}


@pytest.mark.parametrize("p", ["tgi", "c", "o", "a"])
def test_generate(gateway: Gateway, p: str) -> None:
    answer = _tgi(gateway, f"/models/{p}/echo/generate", _asked())
    said = sdk.read("tgi_generate", sdk.Wire(answer.content, answer.status_code))
    assert (said.text, said.finish, said.output_tokens) == ("You said: one two", "stop", 4)
    streamed = _tgi(gateway, f"/models/{p}/echo/generate_stream", _asked())
    kind = streamed.headers["content-type"]
    said = sdk.read("tgi_generate", sdk.Wire(streamed.content, streamed.status_code, kind))
    assert (said.text, said.input_tokens, said.output_tokens) == ("You said: one two", 2, 4)


def test_the_bare_paths_ask_for_the_model_tgi(gateway: Gateway, simulator: Simulator) -> None:
    assert _tgi(gateway, "/generate", _asked()).json()["generated_text"] == "You said: one two"
    (listed,) = _tgi(gateway, "/", _asked()).json()
    assert listed["generated_text"] == "You said: one two"
    streamed = _tgi(gateway, "/", {**_asked(), "stream": True})
    assert b'"generated_text":"You said: one two"' in streamed.content
    paths = [request.target for request in simulator.control.requests()]
    assert paths == ["/generate", "/generate", "/generate_stream"]
    bodies = [simulator.control.body(r.number) for r in simulator.control.requests()]
    assert not [body for body in bodies if b'"model"' in body or b'"stream"' in body]


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
def test_other_clients_reach_tgi(
    openai_client: openai.OpenAI, anthropic_client: anthropic.Anthropic, path: str
) -> None:
    turns: Any = [{"role": "user", "content": "one two"}]
    if path == "/v1/messages":
        with anthropic_client.messages.stream(
            model="tgi/echo", max_tokens=50, messages=turns
        ) as stream:
            assert stream.get_final_text() == "You said: one two"
        return
    answer = openai_client.chat.completions.create(model="tgi/echo", messages=turns)
    assert answer.choices[0].message.content == "You said: one two"
    with pytest.raises(openai.BadRequestError, match=r"\$\.tools\[0\]"):
        tool: Any = {"type": "function", "function": {"name": "f"}}
        openai_client.chat.completions.create(model="tgi/echo", messages=turns, tools=[tool])


def test_tgis_errors(gateway: Gateway, simulator: Simulator) -> None:
    answer = _tgi(gateway, "/models/nothing/generate", _asked())
    assert (answer.status_code, answer.json()["error_type"]) == (404, "validation")
    answer = _tgi(gateway, "/generate", {"inputs": 7})
    assert (answer.status_code, answer.json()["error_type"]) == (400, "validation")
    simulator.control.script({"status": 429, "message": "Model is overloaded"})
    answer = _tgi(gateway, "/models/a/echo/generate", _asked())
    error = {"error": "Model is overloaded", "error_type": "overloaded"}
    assert (answer.status_code, answer.json()) == (429, error)


def test_tgis_streams_are_counted(gateway: Gateway) -> None:
    caller, key = fresh_caller()
    assert _tgi(gateway, "/models/tgi/echo/generate_stream", _asked(), key).status_code == 200

    def entries() -> list[dict[str, Any]]:
        return [entry for entry in gateway.ledger() if caller in entry.values()]

    (entry,) = wait_until(entries, what="the ledger's entry")
    assert entry["dragoman.metering"] == "exact"
    assert (entry["gen_ai.usage.input_tokens"], entry["gen_ai.usage.output_tokens"]) == (2, 4)
