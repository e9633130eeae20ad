"""OpenAI Chat Completions, as its provider speaks it; Azure's and the compatible ones' paths too.

Reasoning is given as compatible providers do: `reasoning_content` for `reasoning_effort`, or
OpenRouter's `reasoning` and `reasoning_details` when the request has a `reasoning` object.

Source: https://platform.openai.com/docs/api-reference/chat, seen 2026-11.
"""

import json
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from dragoman.simulator.answers import Answer, Prompt, Tool, compose_answer
from dragoman.simulator.messages import (
    EVENT_STREAM,
    JsonObject,
    ProviderError,
    ReceivedRequest,
    Reply,
    encode_json,
    is_object,
    json_reply,
    object_in,
)
from dragoman.simulator.providers.openai_chat_rules import check_request
from dragoman.simulator.providers.protocol import Context, Endpoint
from dragoman.simulator.signatures import sign, verify
from dragoman.simulator.tokens import (
    FILE_TOKENS,
    IMAGE_TOKENS,
    TOOL_TOKENS,
    Segment,
    count_tokens,
    prefixes,
    split_evenly,
    split_words,
)

MIN_CACHED_TOKENS = 1024
"""Shorter prompts are not cached."""
BENCH_PROMPT_TOKENS = 10
_USAGE_FIELDS: tuple[JsonObject, JsonObject] = ({}, {"usage": None})
"""Of each chunk, without and with `include_usage`."""
FINGERPRINT = "fp_simulator"
DONE = b"data: [DONE]\n\n"

_FINISH = {
    "stop_sequence": "stop",
    "refusal": "stop",
    "filtered": "content_filter",
}
_ERROR_TYPES = {401: "invalid_request_error", 403: "invalid_request_error", 429: "requests"}
_ERROR_CODES = {401: "invalid_api_key", 429: "rate_limit_exceeded", 404: "model_not_found"}
_MESSAGES = {
    401: "Incorrect API key provided.",
    403: "You are not allowed to do that.",
    404: "The model does not exist or you do not have access to it.",
    429: "Rate limit reached for requests. Please try again in 1s.",
    500: "The server had an error while processing your request. Sorry about that!",
    503: "The engine is currently overloaded, please try again later.",
}


class OpenAIProvider:
    """Access and errors of OpenAI's API."""

    name = "openai"

    def check_access(self, request: ReceivedRequest, *, keyless: bool) -> None:
        """A key in `authorization`, or Azure's `api-key`."""
        authorization = request.header("authorization") or ""
        if keyless or authorization.startswith("Bearer ") or request.header("api-key"):
            return
        message = (
            "You didn't provide an API key. You need to provide your API key in an Authorization "
            "header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY)."
        )
        raise ProviderError(401, message, code=None)

    def render_error(self, error: ProviderError) -> Reply:
        """`{"error": {message, type, param, code}}`."""
        return json_reply(_error_body(error), status=error.status, headers=_headers("error"))

    def render_stream_error(self, error: ProviderError) -> bytes:
        """A data line with the error body."""
        return _event(_error_body(error))


def _error_body(error: ProviderError) -> JsonObject:
    kind = (
        "server_error"
        if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR
        else "invalid_request_error"
    )
    return {
        "error": {
            "message": error.message or _MESSAGES.get(error.status, "Error."),
            "type": _ERROR_TYPES.get(error.status, kind),
            "param": error.param,
            "code": error.code or (None if error.message else _ERROR_CODES.get(error.status)),
        }
    }


def _headers(request_id: str) -> tuple[tuple[str, str], ...]:
    return (
        ("x-request-id", f"req_{request_id}"),
        ("openai-processing-ms", "1"),
        ("x-ratelimit-limit-requests", "10000"),
        ("x-ratelimit-remaining-requests", "9999"),
    )


def answer_chat(request: ReceivedRequest, body: JsonObject, context: Context) -> Reply:
    """`POST …/chat/completions`."""
    body = _with_deployment(request.path, body)
    check_request(body)
    _check_reasoning(body["messages"])
    prompt = read_prompt(body, context)
    answers = [_nth(compose_answer(prompt), index) for index in range(body.get("n") or 1)]
    usage = _usage(body, answers, context)
    head = {
        "id": f"chatcmpl-sim{context.number:08d}",
        "created": context.created,
        "model": body["model"],
        "service_tier": "default",
        "system_fingerprint": FINGERPRINT,
    }
    headers = _headers(f"{context.number:08d}")
    if body.get("stream"):
        stream = _stream_whole if "whole" in context.directives.switches else _stream
        pieces = tuple(stream(head, body, answers, usage))
        return Reply(content_type=EVENT_STREAM, headers=headers, pieces=pieces, streamed=True)
    choices = [_choice(index, answer, body) for index, answer in enumerate(answers)]
    whole = {**head, "object": "chat.completion", "choices": choices, "usage": usage}
    if "nousage" in context.directives.switches:
        del whole["usage"]
    return json_reply(whole, headers=headers)


def _with_deployment(path: str, body: JsonObject) -> JsonObject:
    """Azure's model is in its path."""
    _, found, rest = path.partition("/deployments/")
    return {"model": rest.partition("/")[0], **body} if found else body


def _check_reasoning(messages: list[JsonObject]) -> None:
    """Signatures of reasoning that comes back must be those that were issued."""
    for index, message in enumerate(messages):
        for detail in message.get("reasoning_details") or ():
            text, signature = detail.get("text"), detail.get("signature")
            if signature is not None and not verify(text or "", signature):
                param = f"messages[{index}].reasoning_details"
                raise ProviderError(400, f"Invalid `signature` in `{param}`", param=param)


def read_prompt(body: JsonObject, context: Context) -> Prompt:
    """What the answer depends on."""
    messages = body["messages"]
    users = [message for message in messages if message["role"] == "user"]
    parts = [part for message in messages for part in _parts(message)]
    kinds = [part["type"] for part in parts]
    choice, forced, tools = _read_tools(body)
    stop = body.get("stop") or ()
    return Prompt(
        last_text=_text(users[-1]) if users else "",
        tool_results=_closing_results(messages),
        tools=tools,
        tool_choice=choice,
        forced_tool=forced,
        parallel=body.get("parallel_tool_calls") is not False,
        images=kinds.count("image_url"),
        files=kinds.count("file"),
        audios=kinds.count("input_audio"),
        schema=_read_schema(body.get("response_format") or {}),
        reasoning=_asks_reasoning(body),
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
        max_tokens=body.get("max_completion_tokens") or body.get("max_tokens"),
        switches=context.directives.switches,
    )


def _parts(message: JsonObject) -> list[JsonObject]:
    content = message.get("content")
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return content or []


def _text(message: JsonObject) -> str:
    return "\n".join(part["text"] for part in _parts(message) if part["type"] == "text")


def _closing_results(messages: list[JsonObject]) -> tuple[str, ...]:
    results: list[str] = []
    for message in reversed(messages):
        if message["role"] != "tool":
            break
        results.insert(0, _text(message))
    return tuple(results)


def _asks_reasoning(body: JsonObject) -> bool:
    asked = body.get("reasoning")
    wanted = is_object(asked) and asked.get("enabled") is not False
    return wanted or body.get("reasoning_effort") not in (None, "none")


def _read_tools(body: JsonObject) -> tuple[str, str | None, tuple[Tool, ...]]:
    """Mode, name of a forced tool, and the tools on offer."""
    functions = [tool["function"] for tool in body.get("tools") or () if "function" in tool]
    tools = tuple(Tool(f["name"], f.get("parameters") or {}) for f in functions)
    choice = body.get("tool_choice") or "auto"
    if isinstance(choice, str):
        return choice, None, tools
    if choice["type"] == "allowed_tools":
        allowed = choice["allowed_tools"]
        names = {tool["function"]["name"] for tool in allowed["tools"]}
        return allowed["mode"], None, tuple(tool for tool in tools if tool.name in names)
    return "required", choice.get("function", {}).get("name"), tools


def _read_schema(asked: JsonObject) -> JsonObject | None:
    if asked.get("type") == "json_object":
        return {}
    return asked["json_schema"].get("schema", {}) if asked.get("type") == "json_schema" else None


def _nth(answer: Answer, index: int) -> Answer:
    """Choices beyond the first can be told apart."""
    if not index or not answer.text or answer.finish != "stop" or answer.text.startswith("{"):
        return answer
    return Answer(reasoning=answer.reasoning, text=f"{answer.text} [{index}]")


def _segments(body: JsonObject) -> list[Segment]:
    tools = [Segment(json.dumps(tool), TOOL_TOKENS) for tool in body.get("tools") or ()]
    return tools + [Segment(json.dumps(m), _message_tokens(m)) for m in body["messages"]]


def _message_tokens(message: JsonObject) -> int:
    media = {"image_url": IMAGE_TOKENS, "file": FILE_TOKENS, "input_audio": FILE_TOKENS}
    tokens = sum(
        media.get(part["type"], 0) or count_tokens(part.get("text") or "")
        for part in _parts(message)
    )
    calls = message.get("tool_calls") or ()
    return tokens + sum(1 + count_tokens(call["function"]["arguments"]) for call in calls)


def _usage(body: JsonObject, answers: list[Answer], context: Context) -> JsonObject:
    prompt_tokens = TOOL_TOKENS * len(body.get("tools") or ()) + sum(
        map(_message_tokens, body["messages"])
    )
    cached = 0
    if prompt_tokens >= MIN_CACHED_TOKENS:
        seen = prefixes(f"openai/{body['model']}", _segments(body))
        cached = context.prefix_cache.longest_seen(seen)
        context.prefix_cache.remember([p for p in seen if p.tokens >= MIN_CACHED_TOKENS])
    completion_tokens = sum(answer.output_tokens for answer in answers)
    reasoning = sum(answer.reasoning_tokens for answer in answers)
    return _usage_body(prompt_tokens, completion_tokens, cached, reasoning)


def _usage_body(prompt: int, completion: int, cached: int = 0, reasoning: int = 0) -> JsonObject:
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _choice(index: int, answer: Answer, body: JsonObject) -> JsonObject:
    refused = answer.finish == "refusal"
    message: JsonObject = {
        "role": "assistant",
        "content": None if refused or answer.calls else answer.text,
        "refusal": answer.text if refused else None,
        "annotations": [],
    }
    message |= _reasoning_fields(answer, body)
    if answer.calls:
        message["tool_calls"] = [call for call, _ in _tool_calls(index, answer)]
    logprobs = None
    if body.get("logprobs") and not answer.calls:
        logprobs = _logprobs(split_words(answer.text), body.get("top_logprobs") or 0, answer)
    finish = _FINISH.get(answer.finish, answer.finish)
    return {"index": index, "message": message, "logprobs": logprobs, "finish_reason": finish}


def _reasoning_fields(answer: Answer, body: JsonObject) -> JsonObject:
    if answer.reasoning is None:
        return {}
    if not is_object(body.get("reasoning")):
        return {"reasoning_content": answer.reasoning}
    detail = {
        "type": "reasoning.text",
        "text": answer.reasoning,
        "signature": sign(answer.reasoning),
        "format": "anthropic-claude-v1",
        "index": 0,
    }
    return {"reasoning": answer.reasoning, "reasoning_details": [detail]}


def _tool_calls(choice: int, answer: Answer) -> Iterator[tuple[JsonObject, str]]:
    """Each call whole, with its arguments' text. Ids depend on the position only."""
    for index, call in enumerate(answer.calls):
        arguments = json.dumps(call.arguments, separators=(",", ":"), ensure_ascii=False)
        function = {"name": call.name, "arguments": arguments}
        identity = f"call_sim{choice}{index}{call.name}"[:40]
        yield {"id": identity, "type": "function", "function": function}, arguments


def _logprobs(tokens: list[str], top: int, answer: Answer) -> JsonObject:
    entries = [
        {**_token(token, -0.1), "top_logprobs": [_token(token, -0.1 - i) for i in range(top)]}
        for token in tokens
    ]
    refused = answer.finish == "refusal"
    return {"content": None if refused else entries, "refusal": entries if refused else None}


def _token(token: str, logprob: float) -> JsonObject:
    return {"token": token, "logprob": logprob, "bytes": list(token.encode())}


def _event(body: object) -> bytes:
    return b"data: " + encode_json(body) + b"\n\n"


def _stream(
    head: JsonObject, body: JsonObject, answers: list[Answer], usage: JsonObject
) -> Iterator[bytes]:
    """The events: choices one after the other, usage only if asked for, then `[DONE]`."""
    include_usage = bool(object_in(body, "stream_options").get("include_usage"))
    frame = {**head, "object": "chat.completion.chunk"}
    no_usage = _USAGE_FIELDS[include_usage]
    for index, answer in enumerate(answers):
        for delta, logprobs, finish in _deltas(index, answer, body):
            choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
            yield _event({**frame, "choices": [choice], **no_usage})
    if include_usage:
        yield _event({**frame, "choices": [], "usage": usage})
    yield DONE


def _stream_whole(
    head: JsonObject, body: JsonObject, answers: list[Answer], usage: JsonObject
) -> Iterator[bytes]:
    """As Mistral streams: each call whole, usage always and with the end of the last choice."""
    frame = {**head, "object": "chat.completion.chunk"}
    choices = [
        {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        for index, answer in enumerate(answers)
        for delta, logprobs, finish in _deltas(index, answer, body, whole=True)
    ]
    for choice in choices[:-1]:
        yield _event({**frame, "choices": [choice]})
    yield _event({**frame, "choices": choices[-1:], "usage": usage})
    yield DONE


def _deltas(
    index: int, answer: Answer, body: JsonObject, *, whole: bool = False
) -> Iterator[tuple[JsonObject, JsonObject | None, str | None]]:
    """Each delta with its logprobs and finish reason."""
    first: Any = None if answer.calls else ""
    yield {"role": "assistant", "content": first, "refusal": None}, None, None
    for delta in _reasoning_deltas(answer, body):
        yield delta, None, None
    if answer.calls:
        for delta in _whole_calls(index, answer) if whole else _call_deltas(index, answer):
            yield delta, None, None
    else:
        key = "refusal" if answer.finish == "refusal" else "content"
        for word in split_words(answer.text):
            asked = body.get("logprobs")
            logprobs = _logprobs([word], body.get("top_logprobs") or 0, answer) if asked else None
            yield {key: word}, logprobs, None
    yield {}, None, _FINISH.get(answer.finish, answer.finish)


def _reasoning_deltas(answer: Answer, body: JsonObject) -> Iterator[JsonObject]:
    if answer.reasoning is None:
        return
    detailed = is_object(body.get("reasoning"))
    base = {"type": "reasoning.text", "format": "anthropic-claude-v1", "index": 0}
    for word in split_words(answer.reasoning):
        if detailed:
            yield {"reasoning": word, "reasoning_details": [{**base, "text": word}]}
        else:
            yield {"reasoning_content": word}
    if detailed:
        yield {"reasoning_details": [{**base, "signature": sign(answer.reasoning)}]}


def _call_deltas(choice: int, answer: Answer) -> Iterator[JsonObject]:
    for index, (call, arguments) in enumerate(_tool_calls(choice, answer)):
        opening = {**call, "index": index, "function": {**call["function"], "arguments": ""}}
        yield {"tool_calls": [opening]}
        for piece in split_evenly(arguments):
            yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}


def _whole_calls(choice: int, answer: Answer) -> Iterator[JsonObject]:
    for index, (call, _) in enumerate(_tool_calls(choice, answer)):
        yield {"tool_calls": [{**call, "index": index}]}


def make_bench(model: str, words: int, word_bytes: int) -> tuple[Reply, Reply, Reply]:
    """Precomputed answers of so many equal words: body, stream, stream with usage."""
    word = "x" * (word_bytes - 1) + " " if word_bytes > 1 else "x"
    answer = Answer(text=word * words)
    usage = _usage_body(BENCH_PROMPT_TOKENS, words)
    head = {"id": "chatcmpl-bench", "created": 0, "model": model, "system_fingerprint": FINGERPRINT}
    choices = [_choice(0, answer, {})]
    whole = {**head, "object": "chat.completion", "choices": choices, "usage": usage}
    frame = {**head, "object": "chat.completion.chunk"}
    deltas = [({"role": "assistant", "content": ""}, None), *[({"content": word}, None)] * words]
    chosen = [
        {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        for delta, finish in [*deltas, ({}, "stop")]
    ]
    streams: list[Reply] = []
    for extra in _USAGE_FIELDS:
        events = [_event({**frame, "choices": [choice], **extra}) for choice in chosen]
        closing = [_event({**frame, "choices": [], "usage": usage})] if extra else []
        pieces = (*events, *closing, DONE)
        streams.append(
            Reply(
                content_type=EVENT_STREAM, headers=_headers("bench"), pieces=pieces, streamed=True
            )
        )
    return json_reply(whole, headers=_headers("bench")), streams[0], streams[1]


def list_models(request: ReceivedRequest, body: JsonObject, context: Context) -> Reply:
    """`GET …/models`."""
    del request, body, context
    return json_reply({"object": "list", "data": [_model(name) for name in MODELS]})


def show_model(request: ReceivedRequest, body: JsonObject, context: Context) -> Reply:
    """`GET …/models/ID`."""
    del body, context
    return json_reply(_model(request.path.rpartition("/")[2]))


MODELS = ("gpt-4o", "gpt-4o-mini", "o4-mini")


def _model(name: str) -> JsonObject:
    return {"id": name, "object": "model", "created": 0, "owned_by": "simulator"}


OPENAI = OpenAIProvider()
ENDPOINTS = (
    Endpoint(
        provider=OPENAI,
        method="POST",
        suffix="/chat/completions",
        handle=answer_chat,
        make_bench=make_bench,
    ),
    Endpoint(provider=OPENAI, method="GET", suffix="/models", handle=list_models),
    Endpoint(provider=OPENAI, method="GET", suffix="/models", handle=show_model, in_path=True),
)
