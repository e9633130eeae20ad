"""The three stages without Envoy: what each is told, and what it asks Envoy to do."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from dragoman.actions import Action, Chunk, Mutate, Respond
from dragoman.config.load import parse
from dragoman.config.policy import Policy
from dragoman.exchange.decide import Decide
from dragoman.exchange.heads import AttemptHead, RequestHead
from dragoman.exchange.respond import RespondStage
from dragoman.exchange.translate import DROPPED_HEADER, Translate

CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
POLICY_TEXT = """
callers:
  demo: {keys: [f6f53a67068fc28321efe05e4c062947ad3d72121c670e11a0bde6a52d363974]}
  filer:
    keys: ["76d685141fcb11a2356ee387d26aa6f267c94018492736a150eead3e0a85b1dd"]
    providers: [oa2, oa, an]
  narrow:
    keys: ["0000000000000000000000000000000000000000000000000000000000000000"]
    models: [none]
providers:
  oa: {kind: openai}
  oa2: {kind: openai, url: "https://two.test"}
  mi: {kind: mistral}
  an: {kind: anthropic}
models:
  same: {targets: [{provider: oa, model: same}, {provider: oa2, model: same}]}
  cross: {targets: [{provider: oa, model: gpt}, {provider: an, model: claude}]}
  claude: {targets: [{provider: an, model: claude-x}]}
  clamped: {clamp: true, targets: [{provider: an, model: claude-x}]}
  quirky: {targets: [{provider: oa, model: gpt}, {provider: mi, model: mistral-small}]}
  routed: {route: envoy}
  heard: {targets: [{provider: oa, model: whisper-1}]}
pass_through: [{prefix: /v1/realtime, provider: oa}]
"""
FILER = {"authorization": "Bearer filer"}
KEYS = {"OPENAI_API_KEY": "1", "MISTRAL_API_KEY": "2", "ANTHROPIC_API_KEY": "3"}
POLICY = parse(POLICY_TEXT, "test.yaml", KEYS)
HEADERS = {"authorization": "Bearer dragoman-demo", "content-type": "application/json"}


def chat(model: str, **fields: Any) -> bytes:
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}], **fields}
    return json.dumps(body).encode()


def decide(body: bytes | None, path: str = CHAT, **head: Any) -> Mutate | Respond:
    request = RequestHead(**({"method": "POST", "path": path, "headers": HEADERS} | head))
    return Decide(POLICY, lambda: 0.0).on_request(request, body)


def admitted(body: bytes, path: str = CHAT) -> tuple[Mutate, dict[str, Any]]:
    action = decide(body, path)
    assert isinstance(action, Mutate), action
    return action, dict(action.metadata["dragoman"])


def refused(action: Mutate | Respond) -> tuple[int, dict[str, Any]]:
    assert isinstance(action, Respond), action
    assert action.details.startswith("dragoman_")
    return action.status, json.loads(action.body)


def test_a_body_that_fits_is_not_touched_and_keeps_translation_off() -> None:
    action, facts = admitted(chat("same"))
    assert action.body is None
    assert action.clear_route_cache
    assert facts["keep:oa"] == facts["keep:oa2"] == "1"
    assert facts["targets"] == '[["oa","same"],["oa2","same"]]'
    assert facts["caller"] == "demo"
    groups = action.metadata["dragoman.route"]["priority_groups"]
    assert groups == [{"name": "oa"}, {"name": "oa2"}]


def test_another_model_name_changes_that_field_and_no_other_byte() -> None:
    raw = b'{"new":{"x": 1e2, "u":"\\u00e9"} ,"model":"cross","messages":[{"role":"user","content":"a"}]}'
    action, facts = admitted(raw)
    assert action.body is not None
    assert b'{"x": 1e2, "u":"\\u00e9"}' in action.body
    assert json.loads(action.body) == {**json.loads(raw), "model": "gpt"}
    assert "keep:oa" in facts
    assert "keep:an" not in facts
    assert action.metadata["dragoman.models"] == {"oa": "gpt", "an": "claude"}


def test_a_stream_is_metered_without_being_asked_and_its_usage_taken_out() -> None:
    action, facts = admitted(chat("same", stream=True))
    assert json.loads(action.body or b"")["stream_options"] == {"include_usage": True}
    assert (facts["stream"], facts["include_usage"], facts["strip_usage"]) == ("1", "0", "1")
    asked, facts = admitted(chat("same", stream=True, stream_options={"include_usage": True}))
    assert asked.body is None
    assert (facts["include_usage"], "strip_usage" in facts) == ("1", False)


def test_a_provider_with_other_quirks_gets_its_own_edit() -> None:
    _, facts = admitted(chat("quirky", stream=True))
    assert "keep:oa" in facts
    assert "keep:mi" not in facts


def test_a_model_routed_by_envoy_keeps_by_dialect() -> None:
    action, facts = admitted(chat("routed"))
    assert facts["keep_dialect"] == "openai_chat"
    assert "dragoman.route" not in action.metadata
    assert "retries" not in facts


def test_each_target_has_its_path_and_its_own_client_keeps_the_query() -> None:
    action, _ = admitted(chat("cross"), CHAT + "?beta=true&key=secret")
    assert action.metadata["dragoman.paths"] == {"oa": CHAT + "?beta=true", "an": MESSAGES}


def test_where_envoy_routes_every_provider_has_its_path() -> None:
    action, _ = admitted(chat("routed"))
    assert action.metadata["dragoman.paths"] == {
        "oa": CHAT,
        "oa2": CHAT,
        "mi": CHAT,
        "an": MESSAGES,
    }


@pytest.mark.parametrize(
    ("path", "more", "expected"),
    [
        ("/v1/files/file-1/content?a=1&key=k", {}, {"oa2": "/v1/files/file-1/content?a=1"}),
        ("/v1/files", {"dragoman-provider": "oa"}, {"oa": "/v1/files"}),
        ("/v1/files", {"anthropic-version": "2023-06-01"}, {"an": "/v1/files"}),
        ("/v1/responses/resp_1/cancel", {}, {"oa2": "/v1/responses/resp_1/cancel"}),
        ("/v1/realtime/calls", {}, {"oa": "/v1/realtime/calls"}),
    ],
)
def test_what_names_no_model_goes_to_a_provider_of_the_caller(
    path: str, more: dict[str, str], expected: dict[str, str]
) -> None:
    action = decide(None, path, headers=FILER | more)
    assert isinstance(action, Mutate), action
    assert action.metadata["dragoman.paths"] == expected
    facts = action.metadata["dragoman"]
    assert (facts["admitted"], facts["unread"]) == ("1", "1")
    assert action.metadata["dragoman.route"]["priority_groups"] == [{"name": next(iter(expected))}]


def test_nobody_reaches_a_provider_by_name_without_the_grant() -> None:
    assert refused(decide(None, "/v1/files"))[0] == 403
    assert refused(decide(None, "/v1/files", headers=FILER | {"dragoman-provider": "mi"}))[0] == 403
    assert refused(decide(None, "/v1/realtime/calls"))[0] == 404
    assert refused(decide(None, "/v1/realtimes", headers=FILER))[0] == 404


def form(**fields: str) -> bytes:
    parts = [
        f'--B\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    ]
    return ("".join(parts) + "--B--\r\n").encode()


def test_a_form_is_read_for_its_model_and_keeps_every_other_byte() -> None:
    headers = HEADERS | {"content-type": "multipart/form-data; boundary=B"}
    action = decide(form(file="RIFF", model="heard"), "/v1/audio/transcriptions", headers=headers)
    assert isinstance(action, Mutate), action
    assert action.body == form(file="RIFF", model="whisper-1")
    assert action.metadata["dragoman"]["keep:oa"] == "1"
    status, body = refused(decide(form(file="x"), "/v1/audio/transcriptions", headers=headers))
    assert (status, "$.model" in body["error"]["message"]) == (400, True)
    assert refused(decide(b"--B\r\n", "/v1/audio/transcriptions", headers=headers))[0] == 400
    assert refused(decide(b"{}", "/v1/audio/transcriptions"))[0] == 415


def test_a_provider_without_the_operation_is_refused_by_name() -> None:
    status, body = refused(decide(b'{"model":"claude","input":"x"}', "/v1/moderations"))
    assert (status, "an offers no moderations" in body["error"]["message"]) == (400, True)


def test_a_target_that_cannot_say_the_request_is_left_out() -> None:
    _, facts = admitted(chat("cross", n=2))
    assert facts["targets"] == '[["oa","gpt"]]'


def test_what_no_target_can_say_is_refused_by_its_path() -> None:
    status, body = refused(decide(chat("claude", n=2)))
    assert status == 400
    assert "$.n" in body["error"]["message"]


def test_a_value_out_of_range_is_refused_or_clamped_and_reported() -> None:
    status, body = refused(decide(chat("claude", temperature=1.5)))
    assert (status, "$.temperature" in body["error"]["message"]) == (400, True)
    _, facts = admitted(chat("clamped", temperature=1.5))
    assert facts["clamp"] == "1"


@pytest.mark.parametrize(
    ("body", "path", "words"),
    [
        (b"{", None, "JSON"),
        (b"", None, "JSON"),
        (b"[1]", "$", "object"),
        (b'{"model": 1}', "$.model", "model"),
        (b'{"model": "same"}', "$.messages", "array"),
        (b'{"model": "same", "messages": []}', "$.messages", "array"),
        (chat("same", stream="yes"), "$.stream", "boolean"),
        (b'{"model":"same","messages":[{"role":"user","content":"\\ud800"}]}', None, "JSON"),
        (b'{"model":"same","messages":' + b"[" * 5000 + b"]" * 5000 + b"}", None, "deep"),
        (b'{"model":"same","x":1e400,"messages":[{}]}', None, "JSON"),
    ],
)
def test_a_body_that_cannot_be_used_is_400(body: bytes, path: str | None, words: str) -> None:
    status, answer = refused(decide(body))
    assert status == 400
    assert words.lower() in answer["error"]["message"].lower()
    if path:
        assert path in answer["error"]["message"]


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
def test_errors_speak_the_clients_dialect(path: str) -> None:
    status, body = refused(decide(chat("same"), path, headers={}))
    assert status == 401
    assert (body.get("type") == "error") == (path == MESSAGES)


def test_path_method_and_media_are_checked() -> None:
    assert refused(decide(None, "/v1/nothing", method="GET"))[0] == 404
    assert refused(decide(b"{}", "/v1/messages/unknown"))[0] == 404
    assert refused(decide(None, CHAT, method="GET"))[0] == 405
    assert refused(decide(None, "/v1/models", method="DELETE"))[0] == 405
    gzipped = HEADERS | {"content-encoding": "gzip"}
    assert refused(decide(chat("same"), headers=gzipped))[0] == 415
    form = HEADERS | {"content-type": "text/plain"}
    assert refused(decide(chat("same"), headers=form))[0] == 415
    assert refused(decide(chat("absent")))[0] == 404


def test_models_are_listed_in_both_shapes() -> None:
    status, body = refused(decide(None, "/v1/models?x=1", method="GET"))
    assert status == 200
    assert {"same", "cross"} <= {item["id"] for item in body["data"]}
    anthropic = HEADERS | {"anthropic-version": "2023-06-01"}
    _, body = refused(decide(None, "/v1/models", method="GET", headers=anthropic))
    assert body["data"][0]["type"] == "model"
    _, body = refused(decide(None, "/v1/models/same", method="GET"))
    assert (body["id"], body["object"]) == ("same", "model")
    assert refused(decide(None, "/v1/models/absent", method="GET"))[0] == 404
    _, body = refused(decide(None, "/v1beta/models/cross", method="GET"))
    assert body["name"] == "models/cross"
    _, body = refused(decide(None, "/foundation-models/cross", method="GET"))
    assert body["modelDetails"]["modelId"] == "cross"
    status, body = refused(decide(None, "/v1/models?limit=x", method="GET", headers=anthropic))
    assert (status, "limit" in body["error"]["message"]) == (400, True)


ANSWER = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-x",
    "content": [{"type": "text", "text": "hello"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 3, "output_tokens": 2, "cache_read_input_tokens": 4},
}
STREAM = b"".join(
    f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()
    for event in (
        {"type": "message_start", "message": {**ANSWER, "content": [], "stop_reason": None}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hé"}},
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": 2},
        },
        {"type": "message_stop"},
    )
)


def attempt(body: bytes, number: int = 1, cluster: str = "an", **metadata: str) -> Translate:
    """A translate stage whose request has been answered."""
    _, facts = admitted(body)
    strings = {name: value for name, value in facts.items() if isinstance(value, str)}
    head = AttemptHead(cluster=cluster, attempt=number, metadata=strings | metadata)
    stage = Translate(POLICY, head)
    action = stage.on_request(body)
    assert isinstance(action, Mutate), action
    stage.sent = action  # type: ignore[attr-defined]
    return stage


def answer(stage: Any, status: int, body: bytes, **headers: str) -> list[Action]:
    base = {":status": str(status), "content-type": "application/json"}
    actions: list[Action] = stage.on_headers(base | headers, end_of_stream=False)
    return actions + stage.on_body(body, end_of_stream=True)


def parts(actions: list[Action]) -> tuple[dict[str, str], bytes, dict[str, Any]]:
    """Headers set, whole body, and the usage metadata; checks the order of the replies."""
    assert isinstance(actions[0], Mutate)
    chunks = [action for action in actions[1:] if isinstance(action, Chunk)]
    assert len(chunks) == len(actions) - 1
    usage: dict[str, Any] = {}
    for chunk in chunks:
        usage |= chunk.metadata.get("dragoman.usage", {})
    return dict(actions[0].set_headers), b"".join(c.body for c in chunks), usage


def test_an_attempt_is_written_in_the_providers_dialect() -> None:
    stage = attempt(chat("cross", seed=7), number=2)
    sent = json.loads(stage.sent.body)  # type: ignore[attr-defined]
    assert (sent["model"], "seed" in sent, sent["max_tokens"] > 0) == ("claude", False, True)
    headers, body, usage = parts(answer(stage, 200, json.dumps(ANSWER).encode()))
    reply = json.loads(body)
    assert reply["choices"][0]["message"]["content"] == "hello"
    assert headers["content-length"] == str(len(body))
    assert headers[DROPPED_HEADER] == "$.seed"
    assert (usage["input_tokens"], usage["cache_read_input_tokens"], usage["exact"]) == (7, 4, "1")


def test_the_same_dialect_is_edited_and_its_answer_left_alone() -> None:
    stage = attempt(chat("quirky", max_completion_tokens=5), number=2, cluster="mi")
    assert stage.passes_response
    sent = json.loads(stage.sent.body)  # type: ignore[attr-defined]
    assert (sent["model"], sent["max_tokens"]) == ("mistral-small", 5)
    assert "max_completion_tokens" not in sent


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_a_stream_is_translated_however_it_is_cut(size: int) -> None:
    stage = attempt(chat("claude", stream=True))
    actions = stage.on_headers(
        {":status": "200", "content-type": "text/event-stream"}, end_of_stream=False
    )
    assert actions == []
    for i in range(0, len(STREAM), size):
        actions += stage.on_body(STREAM[i : i + size], end_of_stream=i + size >= len(STREAM))
    headers, body, usage = parts(actions)
    assert headers["content-type"] == "text/event-stream"
    assert "hé" in body.decode() or "h\\u00e9" in body.decode()
    assert body.endswith(b"data: [DONE]\n\n")
    assert (usage["input_tokens"], usage["output_tokens"]) == (7, 2)
    last = actions[-1]
    assert isinstance(last, Chunk)
    assert last.end_of_stream


def test_trailers_end_a_stream_without_ending_the_body_twice() -> None:
    stage = attempt(chat("claude", stream=True))
    stage.on_headers({":status": "200", "content-type": "text/event-stream"}, end_of_stream=False)
    first = stage.on_body(STREAM, end_of_stream=False)
    last = stage.on_trailers()
    _, body, _ = parts(first + last)
    assert body.endswith(b"[DONE]\n\n")
    assert not any(isinstance(a, Chunk) and a.end_of_stream for a in first + last)


def test_an_answer_cut_before_its_first_byte_becomes_a_status_to_retry() -> None:
    stage = attempt(chat("claude", stream=True))
    headers, body, _ = parts(answer(stage, 200, b"", **{"content-type": "text/event-stream"}))
    assert headers[":status"] == "502"
    assert json.loads(body)["error"]


def test_an_answer_cut_later_ends_in_an_error_of_the_clients_dialect() -> None:
    stage = attempt(chat("claude", stream=True))
    cut = STREAM[: STREAM.index(b"event: message_delta")]
    stage.on_headers({":status": "200", "content-type": "text/event-stream"}, end_of_stream=False)
    actions = stage.on_body(cut, end_of_stream=False) + stage.on_body(b"", end_of_stream=True)
    headers, body, _ = parts(actions)
    assert ":status" not in headers
    assert b'"error"' in body


def test_a_providers_error_keeps_its_status_and_words() -> None:
    stage = attempt(chat("claude"))
    wire = {"type": "error", "error": {"type": "rate_limit_error", "message": "slow down"}}
    headers, body, usage = parts(answer(stage, 429, json.dumps(wire).encode()))
    assert headers[":status"] == "429"
    assert json.loads(body)["error"]["message"] == "slow down"
    assert usage == {}


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"id": 1}'])
def test_a_broken_answer_is_502(body: bytes) -> None:
    headers, _, _ = parts(answer(attempt(chat("claude")), 200, body))
    assert headers[":status"] == "502"


def test_a_compressed_answer_is_read() -> None:
    packed = gzip.compress(json.dumps(ANSWER).encode())
    actions = answer(attempt(chat("claude")), 200, packed, **{"content-encoding": "gzip"})
    _, body, _ = parts(actions)
    assert b"hello" in body
    assert isinstance(actions[0], Mutate)
    assert "content-encoding" in actions[0].remove_headers


def test_an_answer_over_the_limit_is_502() -> None:
    text = POLICY_TEXT + "limits: {response_body_bytes: 2048}\n"
    stage = Translate(
        parse(text, "t", KEYS),
        AttemptHead(cluster="an", metadata={"client_dialect": "openai_chat", "model": "m"}),
    )
    stage.on_request(chat("m"))
    headers, _, _ = parts(answer(stage, 200, b" " * 4096))
    assert headers[":status"] == "502"


def test_a_cluster_the_policy_does_not_know_is_503() -> None:
    stage = Translate(POLICY, AttemptHead(cluster="stranger"))
    action = stage.on_request(chat("m"))
    assert isinstance(action, Respond)
    assert (action.status, stage.passes_response) == (503, True)


def test_an_operators_cluster_may_name_provider_and_model() -> None:
    metadata = {"client_dialect": "openai_chat", "model": "routed"}
    head = AttemptHead(cluster="mine", provider="an", model="claude-z", metadata=metadata)
    action = Translate(POLICY, head).on_request(chat("routed"))
    assert isinstance(action, Mutate)
    assert json.loads(action.body or b"")["model"] == "claude-z"


USAGE = b'data: {"id":"c","model":"m","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":1}}\n\n'
TEXT = (
    b'data: {"id":"c","model":"m","choices":[{"index":0,"delta":{"content":"a"},'
    b'"finish_reason":"stop"}]}\n\n'
)


def respond(policy: Policy = POLICY, **metadata: str) -> RespondStage:
    return RespondStage(policy, {"client_dialect": "openai_chat", "stream": "1", **metadata})


@pytest.mark.parametrize("size", [1, 5, 1000])
def test_the_unasked_usage_frame_is_taken_out_and_counted(size: int) -> None:
    wire = TEXT + USAGE + b"data: [DONE]\n\n"
    stage = respond(include_usage="0")
    headers = {":status": "200", "content-type": "text/event-stream"}
    actions = stage.on_headers(headers, end_of_stream=False)
    for i in range(0, len(wire), size):
        actions += stage.on_body(wire[i : i + size], end_of_stream=i + size >= len(wire))
    _, body, usage = parts(actions)
    assert body == TEXT + b"data: [DONE]\n\n"
    assert (usage["input_tokens"], usage["output_tokens"]) == (3, 1)


def test_what_was_asked_for_goes_on_unchanged() -> None:
    stage = respond(include_usage="1")
    actions = answer(stage, 200, TEXT + USAGE, **{"content-type": "text/event-stream"})
    assert parts(actions)[1] == TEXT + USAGE


def test_a_body_in_one_piece_is_counted_and_passed() -> None:
    body = {
        "id": "c",
        "model": "m",
        "choices": [{"index": 0, "message": {"content": "a"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 1},
    }
    raw = json.dumps(body).encode()
    _, out, usage = parts(answer(respond(stream="0"), 200, raw))
    assert (out, usage["input_tokens"]) == (raw, 3)


def test_an_answer_that_cannot_be_read_still_reaches_the_client() -> None:
    _, out, usage = parts(answer(respond(stream="0"), 200, b"<html>"))
    assert (out, usage) == (b"<html>", {})
