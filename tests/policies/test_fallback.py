"""Answers that the next target is asked for: errors by their words, answers by what they hold."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dragoman.dialects.registry import provider_dialect
from dragoman.errors import UpstreamError
from dragoman.ir import Choice, Reasoning, Refusal, Response, ResponseFormat, Text, ToolCall
from dragoman.policies.route.fallback import AnswerRefused, Criteria, judge_answer, judge_error

ALL = {"context_length", "content_filter", "empty", "invalid"}
QUALITY = frozenset({"refusal", "truncated", "shorter_than"})
JSON_SHAPE = ResponseFormat(kind="json")


def openai(message: str, code: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", "code": code}}


def anthropic(message: str) -> dict[str, Any]:
    return {"type": "error", "error": {"type": "invalid_request_error", "message": message}}


def gemini(message: str) -> dict[str, Any]:
    return {"error": {"code": 400, "message": message, "status": "INVALID_ARGUMENT"}}


# What providers say, in words of their documentation or of errors that users report.
TOO_LONG: list[tuple[str, int, dict[str, Any]]] = [
    ("openai_chat", 400, openai("Too many.", "context_length_exceeded")),
    ("openai_chat", 400, openai("This model's maximum context length is 8192 tokens. However, you requested 9000 tokens.")),
    ("openai_chat", 400, openai("Please reduce the length of the messages or completion.")),
    ("openai_chat", 422, openai("Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096.")),
    ("openai_chat", 400, openai("the request exceeds the available context size, try increasing it")),
    ("openai_chat", 400, openai("Range of input length should be [1, 30720]")),
    ("anthropic_messages", 400, anthropic("prompt is too long: 210000 tokens > 200000 maximum")),
    ("anthropic_messages", 413, anthropic("Request exceeds the maximum size")),
    ("anthropic_messages", 400, anthropic("input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000")),
    ("gemini_generate", 400, gemini("The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).")),
    ("bedrock_converse", 400, {"message": "Input is too long for requested model."}),
    ("cohere_chat", 400, {"message": "too many tokens: total number of tokens in the prompt cannot exceed 4081"}),
]  # fmt: skip
FILTERED: list[tuple[str, int, dict[str, Any]]] = [
    ("openai_chat", 400, openai("The response was filtered due to the prompt triggering Azure OpenAI's content management policy.", "content_filter")),
    ("openai_chat", 400, openai("Your request was rejected by the safety system.", "content_policy_violation")),
    ("openai_chat", 403, openai("Your input was flagged by moderation.")),
    ("openai_chat", 400, openai("Input data may contain inappropriate content.", "data_inspection_failed")),
    ("anthropic_messages", 400, anthropic("Output blocked by content filtering policy")),
]  # fmt: skip
OTHERS: list[tuple[str, int, dict[str, Any]]] = [
    ("openai_chat", 400, openai("Unrecognized request argument supplied: seeed")),
    ("openai_chat", 400, openai("max_tokens is too large: 99999. This model supports at most 16384 completion tokens")),
    ("openai_chat", 401, openai("Incorrect API key provided. See our usage policies.")),
    ("anthropic_messages", 400, anthropic("messages: roles must alternate")),
    ("gemini_generate", 400, gemini("Invalid value at 'contents[0].parts'")),
]  # fmt: skip


def reason_of(
    dialect: str, status: int, body: dict[str, Any], wanted: set[str] = ALL
) -> str | None:
    error = provider_dialect(dialect, {}).decode_error(status, json.dumps(body).encode())
    assert isinstance(error, UpstreamError)
    try:
        judge_error(error, wanted)
    except AnswerRefused as refused:
        return refused.reason
    return None


@pytest.mark.parametrize(("dialect", "status", "body"), TOO_LONG)
def test_a_prompt_that_is_too_long_is_known_by_what_the_provider_says(
    dialect: str, status: int, body: dict[str, Any]
) -> None:
    assert reason_of(dialect, status, body) == "context_length"
    assert reason_of(dialect, status, body, {"content_filter", "empty"}) is None


@pytest.mark.parametrize(("dialect", "status", "body"), FILTERED)
def test_a_filter_is_known_by_what_the_provider_says(
    dialect: str, status: int, body: dict[str, Any]
) -> None:
    assert reason_of(dialect, status, body) == "content_filter"


@pytest.mark.parametrize(("dialect", "status", "body"), OTHERS)
def test_any_other_fault_of_the_client_stays_its_own(
    dialect: str, status: int, body: dict[str, Any]
) -> None:
    assert reason_of(dialect, status, body) is None


def answer(*parts: Any, finish: Any = "stop") -> Response:
    return Response(id="r", model="m", choices=(Choice(parts=parts, finish_reason=finish),))


def several(*answers: tuple[Any, ...], finishes: tuple[Any, ...] = ()) -> Response:
    ends = finishes or ("stop",) * len(answers)
    choices = (Choice(parts=p, finish_reason=end) for p, end in zip(answers, ends, strict=True))
    return Response(id="r", model="m", choices=tuple(choices))


CALL = ToolCall(id="1", name="f", arguments="{}")


@pytest.mark.parametrize(
    ("response", "shape", "reason"),
    [
        (answer(Text(content="hi")), None, None),
        (answer(CALL), None, None),
        (answer(Text(content="  \n")), None, "empty"),
        (answer(), None, "empty"),
        (answer(Reasoning(content="hm")), None, "empty"),
        (answer(Refusal(content="")), None, "empty"),
        (Response(id="r", model="m", choices=()), None, "empty"),
        (answer(finish="content_filter"), None, "content_filter"),
        (answer(Text(content="I may not"), finish="content_filter"), None, "content_filter"),
        (answer(Text(content='{"a": 1}')), JSON_SHAPE, None),
        (answer(Text(content='```json {"a": 1}```')), JSON_SHAPE, "invalid"),
        (answer(Text(content='{"a": 1'), finish="length"), JSON_SHAPE, "invalid"),
        (answer(CALL), JSON_SHAPE, None),
        (answer(Text(content="hi")), ResponseFormat(kind="text"), None),
    ],
)
def test_an_answer_is_judged_by_what_it_holds(
    response: Response, shape: ResponseFormat | None, reason: str | None
) -> None:
    wanted = frozenset(ALL)
    assert judged(response, Criteria(wanted, shape=shape)) == reason
    assert judged(response, Criteria(wanted - {reason, "empty"}, shape=shape)) is None


def judged(response: Response, criteria: Criteria) -> str | None:
    try:
        judge_answer(response, criteria)
    except AnswerRefused as refused:
        assert refused.status == 503
        return refused.reason
    return None


NO = Refusal(content="I cannot help with that.")
TEN = Text(content="ten signs.")


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (answer(NO), "refusal"),
        (answer(Text(content="Well: "), NO), "refusal"),
        (several((NO,), (TEN,)), None),
        (answer(Refusal(content=""), TEN), None),
        (answer(Refusal(content="")), "shorter_than"),
        (answer(TEN, finish="length"), "truncated"),
        (answer(Reasoning(content="hm"), finish="length"), "truncated"),
        (answer(CALL, finish="length"), "truncated"),
        (several((TEN,), (TEN,), finishes=("length", "stop")), None),
        (answer(TEN), None),
        (answer(Text(content=" nine sig\n")), "shorter_than"),
        (answer(Reasoning(content="thinking is no answer"), Text(content="No.")), "shorter_than"),
        (answer(Text(content="five "), Text(content="signs")), None),
        (answer(Text(content="\u00e9" * 9)), "shorter_than"),
        (answer(Text(content="No."), CALL), None),
        (several((Text(content="No."),), (TEN,)), None),
        (several(), "shorter_than"),
    ],
)
def test_an_answer_is_judged_by_how_good_it_is(response: Response, reason: str | None) -> None:
    assert judged(response, Criteria(QUALITY, at_least=10)) == reason
    assert judged(response, Criteria(frozenset(ALL) - {"empty"}, at_least=10)) is None


def test_a_limit_that_was_asked_for_is_no_fault_of_the_answer() -> None:
    assert judged(answer(TEN, finish="length"), Criteria(QUALITY, is_limited=True)) is None
