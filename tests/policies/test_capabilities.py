"""What a model's profile lets a request ask, and what becomes of the rest."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dragoman.actions import Mutate, Respond
from dragoman.catalog.profiles import Profile, find_table
from dragoman.config.load import parse
from dragoman.dialects.registry import CHAT_NAMES, client_dialect
from dragoman.errors import NotTaken
from dragoman.exchange.decide import Decide
from dragoman.exchange.heads import AttemptHead, RequestHead
from dragoman.exchange.translate import DROPPED_HEADER, Translate
from dragoman.ir import ReasoningStyle, Request
from dragoman.ir.losses import Losses
from dragoman.policies.capabilities import check_media, find_media, fit, refuses_media

SOUND = {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}
IMAGE = {"type": "image_url", "image_url": {"url": "https://a.test/i.png"}}


def read(**fields: Any) -> Request:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], **fields}
    return client_dialect("openai_chat").decode_request(body)


def media(*parts: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}, *parts]}]}


def fitted(profile: Profile, *, clamp: bool = False, **fields: Any) -> tuple[Request, list[str]]:
    losses = Losses("openai_chat", clamp=clamp)
    return fit(read(**fields), profile, "m", losses), losses.paths


def refused(profile: Profile, **fields: Any) -> str:
    with pytest.raises(NotTaken) as caught:
        fitted(profile, **fields)
    assert caught.value.path is not None
    assert str(caught.value).startswith(f"{caught.value.path}: m takes")
    return caught.value.path


def test_a_medium_that_it_does_not_take_is_refused_by_its_place() -> None:
    seeing = Profile(input=("text", "image"))
    assert refused(seeing, **media(IMAGE, SOUND)) == "$.messages[0].content[2]"
    fitted(seeing, **media(IMAGE))
    fitted(Profile(), **media(SOUND))
    anthropic = client_dialect("anthropic_messages")
    source = {"type": "url", "url": "https://a.test/i.png"}
    result = {
        "type": "tool_result",
        "tool_use_id": "c",
        "content": [{"type": "image", "source": source}],
    }
    asked = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": [result]}]}
    with pytest.raises(NotTaken, match=r"content\[0\]\.content\[0\]"):
        check_media(anthropic.decode_request(asked), Profile(input=("text",)), "m")


def test_a_hint_is_left_out_and_reported_and_the_rest_refused() -> None:
    profile = Profile(
        refuses=("top_k", "frequency_penalty", "stop_sequences", "temperature", "choice_count")
    )
    request, dropped = fitted(profile, frequency_penalty=0, n=1)
    assert (request.frequency_penalty, dropped) == (None, ["$.frequency_penalty"])
    assert refused(profile, stop=["x"]) == "$.stop"
    assert refused(profile, n=2) == "$.n"
    assert refused(profile, temperature=0) == "$.temperature"
    request, dropped = fitted(profile, clamp=True, temperature=0)
    assert (request.temperature, dropped) == (None, ["$.temperature"])


def test_the_one_value_it_takes_goes_without_saying() -> None:
    profile = Profile(fixed={"temperature": 1})
    assert fitted(profile, temperature=1)[0].temperature is None
    assert fitted(profile, temperature=1)[1] == []
    assert refused(profile, temperature=0.5) == "$.temperature"


def test_of_two_that_exclude_each_other_the_second_is_refused() -> None:
    profile = Profile(not_both=("temperature", "top_p"))
    assert refused(profile, temperature=0.5, top_p=0.5) == "$.top_p"
    assert fitted(profile, top_p=0.5)[0].top_p == 0.5


def test_some_it_refuses_only_while_it_reasons() -> None:
    profile = Profile(refuses_reasoning=("temperature",))
    assert refused(profile, temperature=0.5, reasoning_effort="low") == "$.temperature"
    for effort in ("none", None):
        assert fitted(profile, temperature=0.5, reasoning_effort=effort)[1] == []


@pytest.mark.parametrize(
    ("asked", "taken", "became"),
    [
        ("minimal", ("low", "high"), "low"),
        ("xhigh", ("low", "high"), "high"),
        ("medium", ("none", "low", "high"), "low"),
        ("none", ("low", "high"), None),
    ],
)
def test_an_effort_it_does_not_have_becomes_the_nearest(
    asked: str, taken: Any, became: str | None
) -> None:
    style = ReasoningStyle(ways=("effort",), efforts=taken)
    request, dropped = fitted(Profile(reasoning=style), reasoning_effort=asked)
    assert request.reasoning_style == style
    assert (request.reasoning.effort if request.reasoning else None) == became
    assert dropped == ["$.reasoning_effort"]
    budget = ReasoningStyle(ways=("budget",), efforts=taken)
    assert fitted(Profile(reasoning=budget), reasoning_effort=asked)[1] == []


MEDIA = {
    "openai_chat": {"messages": [{"role": "user", "content": [SOUND]}]},
    "gemini_generate": {
        "contents": [{"parts": [{"inlineData": {"mimeType": "audio/wav", "data": "AA=="}}]}]
    },
    "bedrock_converse": {
        "messages": [
            {
                "role": "user",
                "content": [{"audio": {"format": "wav", "source": {"bytes": "AA=="}}}],
            }
        ]
    },
}


@pytest.mark.parametrize("dialect", MEDIA)
def test_a_body_with_a_medium_is_never_taken_for_one_without(dialect: str) -> None:
    assert dialect in CHAT_NAMES
    body = MEDIA[dialect]
    for raw in (json.dumps(body).encode(), json.dumps(body, indent=1).encode()):
        assert "audio" in find_media(raw)
        assert refuses_media(Profile(input=("text", "document")), find_media(raw))
    with pytest.raises(NotTaken):
        request = client_dialect(dialect).decode_request({"model": "m", **body})
        check_media(request, Profile(input=("text", "image")), "m")


def test_most_bodies_need_no_second_look() -> None:
    raw = json.dumps(
        {"messages": [{"role": "user", "content": "an image, audio, a file"}]}
    ).encode()
    assert find_media(raw) == frozenset()
    assert not refuses_media(Profile(), frozenset({"audio"}))
    assert not refuses_media(Profile(input=("text", "audio")), frozenset({"audio"}))


POLICY = parse(
    """
callers: {demo: {keys: [f6f53a67068fc28321efe05e4c062947ad3d72121c670e11a0bde6a52d363974]}}
providers: {openai: {}, anthropic: {}, mistral: {}}
models:
  old: {targets: [{provider: openai, model: gpt-4}]}
  mixed: {targets: [{provider: openai, model: gpt-4}, {provider: openai, model: gpt-4o}]}
  opus: {targets: [{provider: anthropic, model: claude-opus-4-7}]}
  plain: {targets: [{provider: anthropic, model: claude-haiku-4-5}]}
  reasoner: {targets: [{provider: openai, model: o3}]}
""",
    "p.yaml",
    {"OPENAI_API_KEY": "1", "ANTHROPIC_API_KEY": "2", "MISTRAL_API_KEY": "3"},
)
HEADERS = {"authorization": "Bearer dragoman-demo", "content-type": "application/json"}


def decide(path: str, body: dict[str, Any]) -> Mutate | Respond:
    head = RequestHead(method="POST", path=path, headers=HEADERS)
    return Decide(POLICY, lambda: 0.0).on_request(head, json.dumps(body).encode())


def chat(model: str, **fields: Any) -> Mutate | Respond:
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}], **fields}
    return decide("/v1/chat/completions", body)


def test_a_target_that_takes_no_image_is_skipped_also_in_its_own_dialect() -> None:
    action = chat("mixed", **media(IMAGE))
    assert isinstance(action, Mutate), action
    assert action.metadata["dragoman"]["targets"] == '[["openai","gpt-4o"]]'
    action = chat("mixed")
    assert isinstance(action, Mutate)
    assert 'gpt-4"' in str(action.metadata["dragoman"]["targets"])


def test_where_no_target_takes_it_the_part_is_named() -> None:
    action = chat("old", **media(IMAGE))
    assert isinstance(action, Respond), action
    assert action.status == 400
    message = json.loads(action.body)["error"]["message"]
    assert message == "$.messages[0].content[1]: gpt-4 takes no image"


def test_parameters_are_judged_where_another_dialect_is_spoken() -> None:
    body = {"model": "reasoner", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}
    action = decide("/v1/messages", {**body, "stop_sequences": ["x"]})
    assert isinstance(action, Respond), action
    assert "$.stop_sequences: o3 takes no stop_sequences" in action.body.decode()
    assert isinstance(decide("/v1/messages", {**body, "temperature": 1}), Mutate)
    own = chat("reasoner", stop=["x"])
    assert isinstance(own, Mutate), "its own provider says so in its own words"


def sent(model: str, target: str, **fields: Any) -> tuple[dict[str, Any], str]:
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}], **fields}
    head = AttemptHead(
        cluster="anthropic", model=target, metadata={"client_dialect": "openai_chat"}
    )
    stage = Translate(POLICY, head)
    action = stage.on_request(json.dumps(body).encode())
    assert isinstance(action, Mutate), action
    answer = {"id": "m", "model": "c", "content": [], "stop_reason": "end_turn"}
    stage.on_headers({":status": "200", "content-type": "application/json"}, end_of_stream=False)
    edited = stage.on_body(json.dumps(answer).encode(), end_of_stream=True)
    assert isinstance(edited[0], Mutate)
    return json.loads(action.body or b""), edited[0].set_headers.get(DROPPED_HEADER, "")


def test_the_profile_says_how_claude_is_asked_to_think() -> None:
    body, dropped = sent("opus", "claude-opus-4-7", reasoning_effort="xhigh", temperature=1)
    assert body["thinking"] == {"type": "adaptive"}
    assert body["output_config"] == {"effort": "xhigh"}
    assert "temperature" not in body
    assert dropped == ""
    body, dropped = sent("opus", "claude-opus-4-7", reasoning_effort="minimal")
    assert (body["output_config"], dropped) == ({"effort": "low"}, "$.reasoning_effort")
    body, _ = sent("plain", "claude-haiku-4-5", reasoning_effort="low")
    assert body["thinking"]["type"] == "enabled"
    assert "output_config" not in body


def test_a_budget_becomes_a_level_where_no_budget_is_taken() -> None:
    style = find_table("claude-opus-4-7")
    both = find_table("claude-opus-4-6")
    assert style and both
    asked = {
        "contents": [{"parts": [{"text": "x"}]}],
        "generationConfig": {"thinkingConfig": {"thinkingBudget": 8000}},
    }
    request = client_dialect("gemini_generate").decode_request(asked)

    def thinking(profile: Profile, dialect: str) -> Any:
        losses = Losses(dialect)
        body = client_dialect(dialect).encode_request(fit(request, profile, "m", losses), losses)
        return body.get("additionalModelRequestFields", body)

    for dialect in ("anthropic_messages", "bedrock_converse"):
        found = thinking(style, dialect)
        assert found["thinking"] == {"type": "adaptive"}
        assert found["output_config"] == {"effort": "medium"}
        assert thinking(both, dialect)["thinking"] == {"type": "enabled", "budget_tokens": 8000}
