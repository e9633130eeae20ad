"""Anthropic Messages, as its provider speaks it.

Source: https://platform.claude.com/docs/en/api/messages, seen 2026-11.
"""

import json
from collections.abc import Iterator
from http import HTTPStatus

from dragoman.simulator.answers import Answer, Prompt, Tool, compose_answer
from dragoman.simulator.messages import (
    EVENT_STREAM,
    JsonObject,
    ProviderError,
    ReceivedRequest,
    Reply,
    encode_json,
    json_reply,
    object_in,
)
from dragoman.simulator.providers.anthropic_messages_rules import (
    blocks_of,
    check_request,
    output_format,
)
from dragoman.simulator.providers.protocol import Context, Endpoint
from dragoman.simulator.signatures import seal, sign
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

BENCH_PROMPT_TOKENS = 10
REDACT_TRIGGER = "TRIGGER_REDACTED_THINKING"
"""In the last user text: the thinking is withheld."""

_STOP_REASONS = {
    "stop": "end_turn",
    "stop_sequence": "stop_sequence",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "refusal": "refusal",
    "filtered": "refusal",
}
_ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_MESSAGES = {
    401: "invalid x-api-key",
    429: "This request would exceed your organization's rate limit.",
    500: "Internal server error",
    529: "Overloaded",
}


class AnthropicProvider:
    """Access and errors of Anthropic's API."""

    name = "anthropic"

    def check_access(self, request: ReceivedRequest, *, keyless: bool) -> None:
        """A key in `x-api-key` (or a bearer token), and `anthropic-version`."""
        has_key = request.header("x-api-key") or request.header("authorization")
        if not keyless and not has_key:
            raise ProviderError(401, "x-api-key header is required")
        if request.header("anthropic-version") is None:
            raise ProviderError(400, "anthropic-version: header is required")

    def render_error(self, error: ProviderError) -> Reply:
        """`{"type": "error", "error": {type, message}, "request_id"}`."""
        return json_reply(_error_body(error), status=error.status, headers=_headers("error"))

    def render_stream_error(self, error: ProviderError) -> bytes:
        """An `error` event."""
        return _event("error", _error_body(error))


def _error_body(error: ProviderError) -> JsonObject:
    fallback = (
        "api_error" if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR else "invalid_request_error"
    )
    kind = _ERROR_TYPES.get(error.status, fallback)
    message = error.message or _MESSAGES.get(error.status, "Error.")
    return {
        "type": "error",
        "error": {"type": kind, "message": message},
        "request_id": "req_error",
    }


def _headers(request_id: str) -> tuple[tuple[str, str], ...]:
    return (
        ("request-id", f"req_{request_id}"),
        ("anthropic-ratelimit-requests-limit", "4000"),
        ("anthropic-ratelimit-requests-remaining", "3999"),
    )


def answer_message(request: ReceivedRequest, body: JsonObject, context: Context) -> Reply:
    """`POST …/v1/messages`."""
    del request
    check_request(body)
    prompt = read_prompt(body, context)
    answer = compose_answer(prompt)
    blocks = list(_blocks(answer, withheld=REDACT_TRIGGER in prompt.last_text))
    message = {
        "id": f"msg_sim{context.number:08d}",
        "type": "message",
        "role": "assistant",
        "model": body["model"],
        "content": blocks,
        "stop_reason": _STOP_REASONS[answer.finish],
        "stop_sequence": answer.stop_sequence,
        "usage": _usage(body, answer, context),
    }
    headers = _headers(f"{context.number:08d}")
    if body.get("stream"):
        pieces = tuple(_stream(message))
        return Reply(content_type=EVENT_STREAM, headers=headers, pieces=pieces, streamed=True)
    return json_reply(message, headers=headers)


def count_request(request: ReceivedRequest, body: JsonObject, context: Context) -> Reply:
    """`POST …/v1/messages/count_tokens`."""
    del request, context
    check_request({"max_tokens": 2**31, **body})
    return json_reply({"input_tokens": sum(segment.tokens for segment in _segments(body))})


def read_prompt(body: JsonObject, context: Context) -> Prompt:
    """What the answer depends on."""
    last = body["messages"][-1]
    users = [message for message in body["messages"] if message["role"] == "user"]
    kinds = [block["type"] for block in _all_blocks(body)]
    choice = object_in(body, "tool_choice")
    wanted = output_format(body)
    modes = {"any": "required", "tool": "required", "none": "none"}
    return Prompt(
        last_text=_text(blocks_of(users[-1]["content"])),
        tool_results=tuple(_result_texts(last)),
        tools=tuple(
            Tool(t["name"], t["input_schema"]) for t in body.get("tools", ()) if "input_schema" in t
        ),
        tool_choice=modes.get(choice.get("type", ""), "auto"),
        forced_tool=choice.get("name"),
        parallel=not choice.get("disable_parallel_tool_use"),
        images=kinds.count("image"),
        files=kinds.count("document"),
        schema=None if wanted is None else wanted.get("schema"),
        reasoning=object_in(body, "thinking").get("type") in ("enabled", "adaptive"),
        stop=tuple(body.get("stop_sequences") or ()),
        max_tokens=body["max_tokens"],
        prefill=_text(blocks_of(last["content"])) if last["role"] == "assistant" else "",
        switches=context.directives.switches,
    )


def _all_blocks(body: JsonObject) -> Iterator[JsonObject]:
    """Blocks of all messages, those inside tool results too."""
    for message in body["messages"]:
        for block in blocks_of(message["content"]):
            yield block
            if block["type"] == "tool_result":
                yield from blocks_of(block.get("content"))


def _text(blocks: list[JsonObject]) -> str:
    return "\n".join(block["text"] for block in blocks if block["type"] == "text")


def _result_texts(message: JsonObject) -> Iterator[str]:
    for block in blocks_of(message["content"]):
        if block["type"] == "tool_result":
            yield _text(blocks_of(block.get("content")))


def _blocks(answer: Answer, *, withheld: bool) -> Iterator[JsonObject]:
    """The answer's content."""
    thought = answer.reasoning
    if thought is not None and withheld:
        yield {"type": "redacted_thinking", "data": seal(thought)}
    elif thought is not None:
        yield {"type": "thinking", "thinking": thought, "signature": sign(thought)}
    if answer.text:
        yield {"type": "text", "text": answer.text}
    for index, call in enumerate(answer.calls):
        identity = f"toolu_sim{index}{call.name}"[:40]
        yield {"type": "tool_use", "id": identity, "name": call.name, "input": call.arguments}


def _segments(body: JsonObject) -> list[Segment]:
    """The prompt in the order in which it is cached: tools, system, messages."""
    tools = [_segment(tool, TOOL_TOKENS) for tool in body.get("tools", ())]
    system = [_segment(b, count_tokens(b["text"])) for b in blocks_of(body.get("system"))]
    said = [_segment(block, _block_tokens(block)) for block in _top_blocks(body)]
    segments = tools + system + said
    if body.get("cache_control") and segments:
        last = segments[-1]
        segments[-1] = Segment(last.text, last.tokens, marked=True)
    return segments


def _top_blocks(body: JsonObject) -> Iterator[JsonObject]:
    for message in body["messages"]:
        yield from blocks_of(message["content"])


def _segment(item: JsonObject, tokens: int) -> Segment:
    marked = bool(item.get("cache_control"))
    text = json.dumps({key: value for key, value in item.items() if key != "cache_control"})
    return Segment(text, tokens, marked)


def _block_tokens(block: JsonObject) -> int:
    if block["type"] == "tool_result":
        return sum(map(_block_tokens, blocks_of(block.get("content"))))
    if block["type"] == "tool_use":
        return 1 + count_tokens(json.dumps(block["input"]))
    media = {"image": IMAGE_TOKENS, "document": FILE_TOKENS}
    return media.get(block["type"], 0) or count_tokens(block.get("text", ""))


def _usage(body: JsonObject, answer: Answer, context: Context) -> JsonObject:
    """Cached tokens and those written to the cache are apart from `input_tokens`."""
    segments = _segments(body)
    read = written = 0
    if any(segment.marked for segment in segments):
        found = prefixes(f"anthropic/{body['model']}", segments)
        marks = [prefix for prefix, segment in zip(found, segments, strict=True) if segment.marked]
        read = context.prefix_cache.longest_seen(marks)
        written = marks[-1].tokens - read
        context.prefix_cache.remember(marks)
    total = sum(segment.tokens for segment in segments)
    usage = _usage_body(total - read - written, answer.output_tokens, read, written)
    if answer.reasoning is not None:
        usage["output_tokens_details"] = {"thinking_tokens": answer.reasoning_tokens}
    return usage


def _usage_body(fresh: int, output: int, read: int = 0, written: int = 0) -> JsonObject:
    return {
        "input_tokens": fresh,
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": written,
            "ephemeral_1h_input_tokens": 0,
        },
        "output_tokens": output,
        "service_tier": "standard",
    }


def _event(name: str, body: JsonObject) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), encode_json(body))


def _stream(message: JsonObject) -> Iterator[bytes]:
    """The events of a message."""
    usage = message["usage"]
    ending = {key: message[key] for key in ("stop_reason", "stop_sequence")}
    opening: JsonObject = {**message, "content": [], **dict.fromkeys(ending)}
    opening["usage"] = {k: v for k, v in usage.items() if k != "output_tokens_details"}
    opening["usage"]["output_tokens"] = 1
    yield _event("message_start", {"type": "message_start", "message": opening})
    for index, block in enumerate(message["content"]):
        yield from _block_events(index, block)
    closing = {k: v for k, v in usage.items() if k not in ("cache_creation", "service_tier")}
    yield _event("message_delta", {"type": "message_delta", "delta": ending, "usage": closing})
    yield _event("message_stop", {"type": "message_stop"})


def _block_events(index: int, block: JsonObject) -> Iterator[bytes]:
    empty: dict[str, JsonObject] = {
        "text": {"text": ""},
        "thinking": {"thinking": "", "signature": ""},
        "tool_use": {"input": {}},
    }
    started = {**block, **empty.get(block["type"], {})}
    frame = {"type": "content_block_start", "index": index, "content_block": started}
    yield _event("content_block_start", frame)
    if not index:
        yield _event("ping", {"type": "ping"})
    for delta in _deltas(block):
        body = {"type": "content_block_delta", "index": index, "delta": delta}
        yield _event("content_block_delta", body)
    yield _event("content_block_stop", {"type": "content_block_stop", "index": index})


def _deltas(block: JsonObject) -> Iterator[JsonObject]:
    kind = block["type"]
    if kind == "text":
        for word in split_words(block["text"]):
            yield {"type": "text_delta", "text": word}
    elif kind == "thinking":
        for word in split_words(block["thinking"]):
            yield {"type": "thinking_delta", "thinking": word}
        yield {"type": "signature_delta", "signature": block["signature"]}
    elif kind == "tool_use":
        text = json.dumps(block["input"], separators=(",", ":"), ensure_ascii=False)
        for piece in ["", *split_evenly(text if block["input"] else "")]:
            yield {"type": "input_json_delta", "partial_json": piece}


def make_bench(model: str, words: int, word_bytes: int) -> tuple[Reply, Reply, Reply]:
    """Precomputed answers of so many equal words: body, stream, and the stream again."""
    word = "x" * (word_bytes - 1) + " " if word_bytes > 1 else "x"
    message: JsonObject = {
        "id": "msg_bench",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": _usage_body(BENCH_PROMPT_TOKENS, words),
    }
    start, *ending = _stream(message)
    opening, ping, closing = _block_events(0, {"type": "text", "text": ""})
    delta = {"type": "text_delta", "text": word}
    event = _event(
        "content_block_delta", {"type": "content_block_delta", "index": 0, "delta": delta}
    )
    pieces = (start, opening, ping, *[event] * words, closing, *ending)
    headers = _headers("bench")
    stream = Reply(content_type=EVENT_STREAM, headers=headers, pieces=pieces, streamed=True)
    message["content"] = [{"type": "text", "text": word * words}]
    return json_reply(message, headers=headers), stream, stream


def list_models(request: ReceivedRequest, body: JsonObject, context: Context) -> Reply:
    """`GET …/models`."""
    del request, body, context
    page = {"data": [_model(name) for name in MODELS], "has_more": False}
    return json_reply({**page, "first_id": MODELS[0], "last_id": MODELS[-1]})


def show_model(request: ReceivedRequest, body: JsonObject, context: Context) -> Reply:
    """`GET …/models/ID`."""
    del body, context
    return json_reply(_model(request.path.rpartition("/")[2]))


MODELS = ("claude-sonnet-4-6", "claude-haiku-4-5")


def _model(name: str) -> JsonObject:
    created = "2026-01-01T00:00:00Z"
    return {"type": "model", "id": name, "display_name": name, "created_at": created}


ANTHROPIC = AnthropicProvider()
ENDPOINTS = (
    Endpoint(
        provider=ANTHROPIC,
        method="POST",
        suffix="/v1/messages",
        handle=answer_message,
        make_bench=make_bench,
    ),
    Endpoint(
        provider=ANTHROPIC,
        method="POST",
        suffix="/v1/messages/count_tokens",
        handle=count_request,
    ),
    Endpoint(provider=ANTHROPIC, method="GET", suffix="/models", handle=list_models),
    Endpoint(provider=ANTHROPIC, method="GET", suffix="/models", handle=show_model, in_path=True),
)
