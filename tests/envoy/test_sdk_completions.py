"""Prompts without turns through the real Envoy: clients and providers that only go on with a text."""

from __future__ import annotations

from typing import Any

import anthropic
import openai
import pytest

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
