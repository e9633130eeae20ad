"""The stage machines fed with raw messages, as Envoy would write them; no Envoy, no gRPC."""

import json

import pytest

from dragoman.config.load import parse
from dragoman.exchange.decide import Decide
from dragoman.extproc.health import HealthStream
from dragoman.extproc.pb.ext_proc_pb2 import ProcessingRequest, ProcessingResponse
from dragoman.extproc.pb.health_pb2 import HealthCheckResponse
from dragoman.extproc.stages import DecideStream, RespondStream, TranslateStream, UnexpectedMessage

KEY_DIGEST = "f6f53a67068fc28321efe05e4c062947ad3d72121c670e11a0bde6a52d363974"
TEXT = f"""
callers: {{demo: {{keys: [{KEY_DIGEST}]}}}}
providers:
  left: {{kind: openai, url: "http://127.0.0.1:1", key: {{env: K}}}}
  right: {{kind: anthropic, url: "http://127.0.0.1:2", key: {{env: K}}}}
models:
  fast:
    targets: [{{provider: left, model: gpt}}, {{provider: right, model: claude}}]
"""
POLICY = parse(TEXT, "test.yaml", {"K": "x"})
CHAT = json.dumps({"model": "fast", "messages": [{"role": "user", "content": "Hi"}]}).encode()


def message(attributes=None, **fields):
    request = ProcessingRequest()
    for name, value in fields.items():
        part = getattr(request, name)
        part.SetInParent()
        for key, given in value.items():
            if key == "headers":
                for header, text in given.items():
                    part.headers.headers.add(key=header, raw_value=text.encode())
            else:
                setattr(part, key, given)
    for name, value in (attributes or {}).items():
        request.attributes["envoy.filters.http.ext_proc"][name] = value
    return request.SerializeToString()


def replies_of(machine, raw):
    return [ProcessingResponse.FromString(reply) for reply in machine.feed(raw)]


def headers_of(mutation):
    return {h.header.key: h.header.raw_value.decode() for h in mutation.set_headers}


def asked(method="POST", path="/v1/chat/completions", key="dragoman-demo", kind="application/json"):
    return {
        "filter_state['dragoman.head']": f"{method}\n{path}\nx-api-key:\ncontent-type:{kind}",
        "request.headers['authorization']": f"Bearer {key}",
    }


def attempt(cluster, number=1, **metadata):
    facts = {"client_dialect": "openai_chat", "model": "fast", **metadata}
    facts["targets"] = '[["left","gpt"],["right","claude"]]'
    return {
        "xds.cluster_name": cluster,
        "upstream.request_attempt_count": number,
        **{f"metadata.filter_metadata['dragoman']['{k}']": v for k, v in facts.items()},
    }


FORM_HEAD = asked(path="/v1/audio/transcriptions", kind="multipart/form-data; boundary=b")
FORM = (
    b'--b\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\nsound\r\n'
    b'--b\r\ncontent-disposition: form-data; name="model"\r\n\r\nfast\r\n--b--\r\n'
)
IN_PIECES = b"\x5a\x02\x08\x01"
"""`protocol_config`, whose request body mode is STREAMED, as Envoy sends it."""


def piece(body, *, end=False, **fields):
    return message(request_body={"body": body, "end_of_stream": end}, **fields)


def test_a_form_in_pieces_is_decided_on_at_its_end():
    machine = DecideStream(Decide(POLICY))
    first = piece(FORM[:-60], attributes=FORM_HEAD) + IN_PIECES
    passed = b""
    for raw in (first, piece(FORM[-60:-9]), piece(FORM[-9:])):
        [reply] = replies_of(machine, raw)
        assert not machine.finished
        passed += reply.request_body.response.body_mutation.body
    [reply] = replies_of(machine, piece(b"", end=True))
    assert machine.finished
    common = reply.request_body.response
    assert not common.clear_route_cache
    assert reply.dynamic_metadata["dragoman"]["admitted"] == "1"
    assert passed == FORM[: FORM.index(b"--b\r\n", 5)]
    assert common.body_mutation.body == FORM[len(passed) :].replace(b"fast", b"gpt")


def test_a_piece_of_a_file_alone_is_not_sent_back():
    machine = DecideStream(Decide(POLICY))
    head = FORM[: FORM.index(b"sound")]
    replies_of(machine, piece(head, attributes=FORM_HEAD) + IN_PIECES)
    [reply] = replies_of(machine, piece(b"sound" * 99))
    assert not reply.request_body.response.HasField("body_mutation")


@pytest.mark.parametrize(
    ("attributes", "raw", "status"),
    [
        (FORM_HEAD | {"request.headers['authorization']": "Bearer wrong"}, b"", 401),
        (asked(path="/v1/audio/transcriptions"), b"", 415),
        (FORM_HEAD, b"no form" * 99, 400),
    ],
)
def test_a_form_is_refused_before_it_is_all_there(attributes, raw, status):
    machine = DecideStream(Decide(POLICY))
    [reply] = replies_of(machine, piece(raw, attributes=attributes) + IN_PIECES)
    assert machine.finished
    assert reply.immediate_response.status.code == status


@pytest.mark.parametrize(("limit", "status"), [(len(FORM) + 2000, 0), (len(FORM) + 1999, 413)])
def test_a_forms_files_count_against_what_its_caller_may_send(limit, status):
    text = TEXT.replace("{keys", f"{{limits: {{body_bytes: {limit}}}, keys")
    machine = DecideStream(Decide(parse(text, "test.yaml", {"K": "x"})))
    form = FORM.replace(b"sound", b"sound" + bytes(2000))
    replies_of(machine, piece(form[:1500], attributes=FORM_HEAD) + IN_PIECES)
    [reply] = replies_of(machine, piece(form[1500:], end=True))
    assert reply.immediate_response.status.code == status


def test_a_form_that_ends_in_trailers_is_refused():
    machine = DecideStream(Decide(POLICY))
    replies_of(machine, piece(FORM, attributes=FORM_HEAD) + IN_PIECES)
    [reply] = replies_of(machine, b"\x32\x00")
    assert machine.finished
    assert reply.immediate_response.status.code == 400


def test_decide_admits_in_one_message_and_ends():
    machine = DecideStream(Decide(POLICY))
    raw = message(asked(), request_body={"body": CHAT, "end_of_stream": True})
    [reply] = replies_of(machine, raw)
    common = reply.request_body.response
    assert machine.finished
    assert common.clear_route_cache
    assert list(common.header_mutation.remove_headers)  # without it Envoy ignores the former
    facts = reply.dynamic_metadata["dragoman"]
    assert (facts["admitted"], facts["caller"]) == ("1", "demo")
    groups = reply.dynamic_metadata["dragoman.route"]["priority_groups"]
    assert [group["name"] for group in groups] == ["left", "right"]
    assert json.loads(common.body_mutation.body)["model"] == "gpt"


def test_decide_tells_requests_apart_that_differ_in_one_thing():
    """What is told of one is kept for the next like it, and for no other."""
    decide, told = Decide(POLICY), {}
    for body in (
        {},
        {"stream": True},
        {"stream": True, "stream_options": {"include_usage": True}},
        {"n": 2},
        {"model": "gpt"},
    ):
        for path in ("/v1/chat/completions", "/v1/chat/completions?a=b"):
            raw = json.dumps(json.loads(CHAT) | body).encode()
            given = message(asked(path=path), request_body={"body": raw, "end_of_stream": True})
            first, again = (DecideStream(decide).feed(given) for _ in range(2))
            fresh = DecideStream(Decide(POLICY)).feed(given)
            assert first == again == fresh
            told[path, json.dumps(body)] = first[0]
    assert len(set(told.values())) == len(told) - 1  # an unknown model is refused alike


def test_decide_refuses_an_unknown_key_in_the_clients_dialect():
    machine = DecideStream(Decide(POLICY))
    given = asked(path="/v1/messages", key="wrong")
    raw = message(given, request_body={"body": CHAT, "end_of_stream": True})
    [reply] = replies_of(machine, raw)
    immediate = reply.immediate_response
    assert immediate.status.code == 401
    assert immediate.details == "dragoman_invalid_api_key"
    assert json.loads(immediate.body)["type"] == "error"


def test_decide_answers_a_request_without_a_body():
    machine = DecideStream(Decide(POLICY))
    raw = message(asked("GET", "/v1/models"), request_headers={"end_of_stream": True})
    [reply] = replies_of(machine, raw)
    assert reply.immediate_response.status.code == 200
    assert [m["id"] for m in json.loads(reply.immediate_response.body)["data"]] == ["fast"]


def test_decide_that_meets_a_bug_answers_500_without_its_text():
    machine = DecideStream(Decide(POLICY))
    with pytest.raises(UnexpectedMessage):
        machine.feed(message(asked(), response_body={"body": b"x"}))
    [raw] = machine.fail()
    immediate = ProcessingResponse.FromString(raw).immediate_response
    assert immediate.status.code == 500
    assert immediate.details == "dragoman_internal_error"


def feed_attempt(machine, attributes):
    return replies_of(
        machine, message(attributes, request_body={"body": CHAT, "end_of_stream": True})
    )


def body_of(reply):
    return json.loads(reply.request_body.response.body_mutation.body)


def test_translate_answers_the_whole_request_in_one_message():
    machine = TranslateStream(POLICY)
    [reply] = feed_attempt(machine, attempt("right", 2))
    body = body_of(reply)
    assert (body["model"], body["messages"][0]["role"]) == ("claude", "user")
    assert reply.dynamic_metadata["dragoman.models"]["right"] == "claude"
    assert not machine.finished


def test_translate_to_the_own_dialect_lets_the_answer_pass():
    machine = TranslateStream(POLICY)
    [reply] = feed_attempt(machine, attempt("left"))
    assert body_of(reply)["model"] == "gpt"
    assert machine.finished


def test_translate_refuses_a_cluster_the_policy_does_not_know():
    machine = TranslateStream(POLICY)
    [reply] = feed_attempt(machine, attempt("elsewhere"))
    assert reply.immediate_response.status.code == 503


def test_translate_holds_headers_until_the_answer_is_whole():
    machine = TranslateStream(POLICY)
    feed_attempt(machine, attempt("right", 2))
    answer = {
        "id": "m",
        "type": "message",
        "role": "assistant",
        "model": "claude",
        "content": [{"type": "text", "text": "Hello"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 3, "output_tokens": 2, "cache_read_input_tokens": 4},
    }
    head = {"headers": {":status": "200", "content-type": "application/json"}}
    assert machine.feed(message(response_headers=head)) == []
    assert machine.feed(message(response_body={"body": json.dumps(answer).encode()})) == []
    headers, body = replies_of(machine, message(response_body={"body": b"", "end_of_stream": True}))
    piece = body.response_body.response.body_mutation.streamed_response
    set_headers = headers_of(headers.response_headers.response.header_mutation)
    assert set_headers["content-length"] == str(len(piece.body))
    assert piece.end_of_stream
    assert json.loads(piece.body)["choices"][0]["message"]["content"] == "Hello"
    assert body.dynamic_metadata["dragoman.usage"]["input_tokens"] == 7
    assert machine.fail() == []  # too late to tell the client anything else


def test_translate_that_meets_a_bug_before_the_answer_answers_500():
    machine = TranslateStream(POLICY)
    feed_attempt(machine, attempt("right", 2))
    [raw] = machine.fail()
    assert ProcessingResponse.FromString(raw).immediate_response.status.code == 500


def test_respond_strips_the_usage_frame_and_lets_trailers_pass():
    machine = RespondStream(POLICY)
    facts = {"client_dialect": "openai_chat", "include_usage": "0", "stream": "1"}
    given = {f"metadata.filter_metadata['dragoman']['{k}']": v for k, v in facts.items()}
    head = {"headers": {":status": "200", "content-type": "text/event-stream"}}
    [headers] = replies_of(machine, message(given, response_headers=head))
    assert "content-length" in headers.response_headers.response.header_mutation.remove_headers
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    usage = {**chunk, "choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 1}}
    delta = {"role": "assistant", "content": "Hi"}
    text = {**chunk, "choices": [{"index": 0, "delta": delta, "finish_reason": "stop"}]}
    kept = f"data: {json.dumps(text)}\n\n".encode()
    done = b"data: [DONE]\n\n"
    frames = kept + f"data: {json.dumps(usage)}\n\n".encode() + done
    [piece] = replies_of(machine, message(response_body={"body": frames}))
    sent = piece.response_body.response.body_mutation.streamed_response.body
    assert sent == kept + done
    *_, last, trailers = replies_of(machine, message(response_trailers={}))
    assert last.dynamic_metadata["dragoman.usage"]["input_tokens"] == 5
    assert trailers.WhichOneof("response") == "response_trailers"


def test_pieces_that_are_read_together_go_on_as_one():
    machine = TranslateStream(POLICY)
    feed_attempt(machine, attempt("right", 2, stream="1"))
    head = {"headers": {":status": "200", "content-type": "text/event-stream"}}
    assert machine.feed(message(response_headers=head), more=True) == []
    start = {"type": "message_start", "message": {"id": "m", "model": "c", "usage": {}}}
    block = {
        "type": "content_block_start",
        "index": 0,
        "content_block": {"type": "text", "text": ""},
    }
    delta = {
        "type": "content_block_delta",
        "index": 0,
        "delta": {"type": "text_delta", "text": "Hi"},
    }
    events = [start, block, *[delta] * 3]
    raw = [f"event: {e['type']}\ndata: {json.dumps(e)}\n\n".encode() for e in events]
    for piece in raw[:-1]:
        assert machine.feed(message(response_body={"body": piece}), more=True) == []
    headers, chunk = replies_of(machine, message(response_body={"body": raw[-1]}))
    assert headers.WhichOneof("response") == "response_headers"
    piece = chunk.response_body.response.body_mutation.streamed_response
    assert piece.body.count(b'"content":"Hi"') == 3
    assert not piece.end_of_stream


def test_health_is_one_answer():
    machine = HealthStream()
    [raw] = machine.feed(b"")
    assert HealthCheckResponse.FromString(raw).status == HealthCheckResponse.SERVING
    assert machine.finished
