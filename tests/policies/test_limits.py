"""How large requests may be, by who asks."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dragoman.actions import Mutate, Respond
from dragoman.config.governance import RequestLimits
from dragoman.config.load import parse
from dragoman.config.policy import Caller
from dragoman.config.schema import RoleEntry
from dragoman.dialects import CHAT
from dragoman.dialects.registry import NAMES, client_dialect
from dragoman.errors import LimitExceeded
from dragoman.exchange.decide import Decide
from dragoman.exchange.heads import RequestHead
from dragoman.policies.limits import limit_output, limits_of

TEXT = """
callers:
  demo:
    keys: [f6f53a67068fc28321efe05e4c062947ad3d72121c670e11a0bde6a52d363974]
    limits: {output_tokens: 500}
    roles: [small, smaller]
roles:
  small: {limits: {body_bytes: 4000, output_tokens: 100}}
  smaller: {limits: {input_tokens: 200, output_tokens: 300}}
providers: {openai: {}, anthropic: {}, gemini: {}, mistral: {}}
models:
  o: {targets: [{provider: openai, model: gpt}]}
  a: {targets: [{provider: anthropic, model: claude}]}
  g: {targets: [{provider: gemini, model: gemini}]}
  m: {targets: [{provider: mistral, model: mistral-x}]}
profiles: [{provider: mistral, model: mistral-x, token_ratio: 4}]
"""
ENVIRONMENT = {f"{name}_API_KEY": "1" for name in ("OPENAI", "ANTHROPIC", "GEMINI", "MISTRAL")}
DECIDE = Decide(parse(TEXT, "p.yaml", ENVIRONMENT), lambda: 0.0)
CHAT_PATH, MESSAGES = "/v1/chat/completions", "/v1/messages"
TURNS = [{"role": "user", "parts": [{"text": "hi"}]}]
GEMINI = "/v1beta/models/{}:generateContent"


def ask(path: str, body: dict[str, Any]) -> Mutate | Respond:
    headers = {"x-api-key": "dragoman-demo", "content-type": "application/json"}
    head = RequestHead(method="POST", path=path, headers=headers)
    found = DECIDE.on_request(head, json.dumps(body).encode())
    assert isinstance(found, Mutate | Respond)
    return found


def chat(model: str = "o", text: str = "hi", **fields: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": text}], **fields}


def error(found: Mutate | Respond) -> tuple[int, str]:
    assert isinstance(found, Respond)
    return found.status, json.loads(found.body)["error"]["message"]


def test_the_least_of_the_callers_and_its_roles_limits_holds() -> None:
    roles = {
        "a": RoleEntry(limits=RequestLimits(input_tokens=5)),
        "b": RoleEntry(limits=RequestLimits(input_tokens=7, body_bytes=9)),
        "c": RoleEntry(),
    }
    own = RequestLimits(body_bytes=20, output_tokens=3)
    caller = Caller(name="x", models=("*",), roles=roles, limits=own)
    assert limits_of(caller) == RequestLimits(body_bytes=9, input_tokens=5, output_tokens=3)
    assert limits_of(Caller(name="x", models=("*",), roles={"c": RoleEntry()})) is None


def test_a_body_that_is_too_large_is_refused_with_413() -> None:
    status, said = error(ask(CHAT_PATH, chat(text="x" * 4000, max_tokens=5)))
    assert (status, "4000" in said) == (413, True)
    assert error(ask(MESSAGES, chat("a", "x" * 4000, max_tokens=5)))[0] == 413


def test_an_input_that_is_too_long_is_refused_by_the_model_that_counts_most() -> None:
    text = "x" * 600
    assert isinstance(ask(CHAT_PATH, chat("o", text)), Mutate)
    for model, words in (("o", "x" * 900), ("m", text)):
        status, said = error(ask(CHAT_PATH, chat(model, words)))
        assert (status, "200" in said) == (400, True)


@pytest.mark.parametrize(
    ("path", "body", "at"),
    [
        (CHAT_PATH, chat(max_tokens=101), "$.max_tokens"),
        (CHAT_PATH, chat(max_completion_tokens=101), "$.max_completion_tokens"),
        (CHAT_PATH, chat(max_completion_tokens=5, max_tokens=101), "$.max_tokens"),
        (MESSAGES, chat("a", max_tokens=101), "$.max_tokens"),
        (
            GEMINI.format("g"),
            {"contents": TURNS, "generationConfig": {"maxOutputTokens": 101}},
            "$.generationConfig.maxOutputTokens",
        ),
        (
            GEMINI.format("g"),
            {"contents": TURNS, "generation_config": {"max_output_tokens": 101}},
            "$.generation_config.max_output_tokens",
        ),
    ],
)
def test_a_longer_answer_than_may_be_is_refused_by_its_path(
    path: str, body: dict[str, Any], at: str
) -> None:
    status, said = error(ask(path, body))
    assert (status, said.startswith(f"{at}: 101 is above the 100")) == (400, True)


def sent(found: Mutate | Respond) -> dict[str, Any]:
    assert isinstance(found, Mutate)
    assert found.body is not None
    assert "output_tokens=100" in str(found.metadata["dragoman"]["decision"])
    return dict(json.loads(found.body))


def test_where_the_client_says_nothing_the_limit_is_written_and_named() -> None:
    assert sent(ask(CHAT_PATH, chat()))["max_completion_tokens"] == 100
    mistral = sent(ask(CHAT_PATH, chat("m")))
    assert (mistral["max_tokens"], "max_completion_tokens" in mistral) == (100, False)
    camel = sent(ask(GEMINI.format("g"), {"contents": TURNS, "generationConfig": {"topK": 3}}))
    assert camel["generationConfig"] == {"topK": 3, "maxOutputTokens": 100}
    snake = sent(ask(GEMINI.format("g"), {"contents": TURNS, "generation_config": {"top_k": 3}}))
    assert snake["generation_config"] == {"top_k": 3, "max_output_tokens": 100}
    assert sent(ask(GEMINI.format("o"), {"contents": TURNS}))["generationConfig"] == {
        "maxOutputTokens": 100
    }


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        (CHAT_PATH, chat("o", max_tokens=51, n=2), "$.max_tokens: 51 is above the 100 you may ask"),
        (CHAT_PATH, chat("o", max_tokens=1, n=101), "$.n: 101 answers are above the 100 tokens"),
        (
            GEMINI.format("g"),
            {"contents": TURNS, "generationConfig": {"maxOutputTokens": 51, "candidateCount": 2}},
            "$.generationConfig.maxOutputTokens: 51 is above the 100 you may ask",
        ),
    ],
)
def test_several_answers_share_the_limit(path: str, body: dict[str, Any], said: str) -> None:
    status, message = error(ask(path, body))
    assert (status, message.startswith(said)) == (400, True), message


def test_where_several_are_asked_for_each_gets_its_part() -> None:
    assert sent(ask(CHAT_PATH, chat(n=3)))["max_completion_tokens"] == 33


def test_what_the_client_says_within_the_limit_stays_as_it_is() -> None:
    found = ask(CHAT_PATH, chat("o", max_tokens=100))
    assert isinstance(found, Mutate)
    assert "max_completion_tokens" not in json.loads(found.body or b"{}")
    assert "output_tokens" not in str(found.metadata["dragoman"]["decision"])


@pytest.mark.parametrize("name", [n for n in NAMES if client_dialect(n).operation == CHAT])
def test_each_dialect_reads_what_is_written(name: str) -> None:
    try:
        edits = limit_output(name, {}, None, 77)
    except LimitExceeded as refused:
        assert name in {"openai_completions", "tgi_generate"}
        assert refused.path
        return
    content: Any = [{"text": "hi"}] if name == "bedrock_converse" else "hi"
    body: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": content}]}
    if name == "gemini_generate":
        body = {"contents": TURNS}
    elif name == "openai_responses":
        body = {"model": "m", "input": "hi"}
    assert client_dialect(name).decode_request(body | edits).max_tokens == 77


def test_a_client_whose_api_has_a_limit_of_its_own_has_to_say() -> None:
    status, said = error(ask("/v1/completions", {"model": "o", "prompt": "hi"}))
    assert (status, said.startswith("$.max_tokens: say how long")) == (400, True)
