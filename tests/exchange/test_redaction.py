"""Redaction from request to answer, without Envoy: nothing leaves, and everything comes back."""

from __future__ import annotations

import base64
import hashlib
import json
import string
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dragoman import metadata as names
from dragoman.actions import Chunk, Mutate, Respond
from dragoman.config.load import parse
from dragoman.config.policy import Policy
from dragoman.dialects import StreamOptions
from dragoman.dialects.registry import CHAT_NAMES, client_dialect
from dragoman.dialects.texts import text_slots
from dragoman.exchange.decide import Decide
from dragoman.exchange.heads import RequestHead
from dragoman.exchange.respond import RespondStage
from dragoman.exchange.stream_edit import MAX_HELD_BYTES
from dragoman.ir.events import ChoiceEnd, Delta, Event, Finish, PartEnd, PartStart, Start, fold
from dragoman.ir.losses import Losses
from dragoman.policies.redact.keys import Keys
from dragoman.policies.redact.profiles import Redactors
from dragoman.policies.redact.redactor import PLACEHOLDER, mask
from dragoman.policies.redact.scanner import Scanner
from tests.leaves import leaves, replaced
from tests.properties.cases import GOLDENS, decode_stream
from tests.redaction.quality import labelled
from tests.sdk import says_only_text

SECRET = b"0123456789abcdef"
KEY = "k"
MAIL, CARD, TOKEN = "alice@example.com", "4111 1111 1111 1111", "AKIAIOSFODNN7EXAMPLE"
by_dialect = pytest.mark.parametrize("name", CHAT_NAMES)


def policy(profile: dict[str, Any], **more: Any) -> Policy:
    document = {
        "callers": {"team": {"keys": [hashlib.sha256(KEY.encode()).hexdigest()]}},
        "providers": {"one": {"kind": "openai", "key": {"env": "KEY"}}},
        "models": {"m": {"targets": [{"provider": "one", "model": "m"}]}},
        "redaction": {"default": "all", "profiles": {"all": profile}},
    }
    return parse(json.dumps(document | more), "p", {"KEY": "1"})


REPLACES = policy({"entities": {"personal": "replace", "secret": "replace"}})
REDACTORS = Redactors(REPLACES.redaction, SECRET) if REPLACES.redaction else None
assert REDACTORS
REDACTOR = REDACTORS.named("all")
assert REDACTOR
DECIDE = Decide(REPLACES, redactors=REDACTORS)


def decider(found: Policy) -> Decide:
    assert found.redaction
    return Decide(found, redactors=Redactors(found.redaction, SECRET))


def ask(body: Any, decide: Decide = DECIDE, path: str = "/v1/chat/completions") -> Any:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = RequestHead(method="POST", path=path, headers={"authorization": f"Bearer {KEY}"})
    return decide.on_request(head, raw)


def chat(text: str, **more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": text}], **more}


def facts_of(action: Any) -> dict[str, str]:
    return {k: v for k, v in action.metadata[names.NAMESPACE].items() if isinstance(v, str)}


def answer(facts: dict[str, str], pieces: list[bytes], kind: str, found: Policy = REPLACES) -> Any:
    """What the client gets: status (None: as it was) and body."""
    assert found.redaction
    stage = RespondStage(
        found, facts, "", Redactors(found.redaction, SECRET) if found is not REPLACES else REDACTORS
    )
    actions = list(stage.on_headers({":status": "200", "content-type": kind}, end_of_stream=False))
    for piece in pieces:
        actions += stage.on_body(piece, end_of_stream=False)
    actions += stage.on_body(b"", end_of_stream=True)
    status = next(
        (
            a.set_headers[":status"]
            for a in actions
            if isinstance(a, Mutate) and ":status" in a.set_headers
        ),
        None,
    )
    return status, b"".join(a.body for a in actions if isinstance(a, Chunk)), stage


# --- requests ---------------------------------------------------------------------------------


def test_no_redaction_leaves_the_body_alone() -> None:
    assert ask(chat("nothing to hide", stream=False)).body is None


def test_what_is_hidden_is_gone_and_the_rest_keeps_its_bytes() -> None:
    raw = (
        '{ "model":"m",\n "temperature": 0.70, "messages" : [{"role":"user","content":"h\\u00e9 '
        + MAIL
        + '"}] }'
    )
    body = ask(raw.encode()).body.decode()
    placeholder = PLACEHOLDER.search(body)
    assert placeholder
    assert body == raw.replace("h\\u00e9 " + MAIL, "hé " + placeholder[0])


def test_the_same_text_gets_the_same_placeholder_in_every_turn() -> None:
    first = ask(chat(f"I am {MAIL}.")).body
    second = ask(chat(f"Once more: {CARD} and {MAIL}.")).body
    assert PLACEHOLDER.search(first.decode())[0] in second.decode()  # type: ignore[index]


BODIES = {key: value for key, value in GOLDENS.items() if key}


@pytest.mark.parametrize(("dialect", "name", "body"), BODIES.values(), ids=BODIES)
def test_every_string_of_every_dialect_is_searched(dialect: str, name: str, body: Any) -> None:
    """Whatever string holds an address, wherever: it does not stay."""
    del name
    for keys, leaf in list(leaves(body)):
        if not isinstance(leaf, str) or keys == ("model",):
            continue
        raw = json.dumps(replaced(body, keys, f"so {MAIL} says")).encode()
        redacted = REDACTOR.redact(raw, "team").body
        assert redacted is not None, keys
        assert MAIL.encode() not in redacted, keys


@pytest.mark.parametrize("ascii_only", [True, False])
@pytest.mark.parametrize("wrap", [0, 1, 2])
def test_no_escape_hides_anything(wrap: int, ascii_only: bool) -> None:
    """What the walk over the texts finds, the look at the whole body may not call clean."""
    for text, spans in labelled():
        if not spans:
            continue
        said: Any = text
        for _ in range(wrap):
            said = json.dumps({"said": said}, ensure_ascii=ascii_only)
        raw = json.dumps(chat(said), ensure_ascii=ascii_only).encode()
        found = REDACTOR.redact(raw, "team").counts
        assert found, text


def test_odd_escapes() -> None:
    for spelt in ("alice\\u0040example.com", "\\u0061lice@example.com", "alice@example\\u002ecom"):
        raw = b'{"model":"m","messages":[{"role":"user","content":"' + spelt.encode() + b'"}]}'
        assert "example.com" not in ask(raw).body.decode().replace("\\u002e", ".")
    nested = json.dumps(json.dumps({"to": "x"})).replace("x", "alice\\\\u0040example.com")
    raw = b'{"model":"m","messages":[{"role":"user","content":' + nested.encode() + b"}]}"
    assert PLACEHOLDER.search(ask(raw).body.decode())


def test_names_numbers_and_hints_inside_arguments() -> None:
    arguments = json.dumps({MAIL: 4111111111111111, "ssn": "536904399", "n": 3})
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}}
    body = {"model": "m", "messages": [{"role": "assistant", "tool_calls": [call]}]}
    out = json.loads(ask(body).body)["messages"][0]["tool_calls"][0]["function"]["arguments"]
    assert MAIL not in out
    assert "4111111111111111" not in out
    assert "536904399" not in out
    assert json.loads(out)["n"] == 3


def test_identifiers_and_files_are_left_alone() -> None:
    content = [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "QUtJ" * 40}},
        {"type": "text", "text": MAIL},
    ]
    turn = {"role": "tool", "tool_call_id": "call_4111111111111111", "content": content}
    out = json.loads(ask({"model": "m", "messages": [turn]}).body)["messages"][0]
    assert out["tool_call_id"] == "call_4111111111111111"
    assert out["content"][0] == content[0]


def _file_of(kind: str, coded: str) -> tuple[str, Any]:
    """A path, and a body with a file, as a client of each dialect sends one."""
    url = f"data:text/csv;base64,{coded}"
    match kind:
        case "chat":
            part: Any = {"type": "file", "file": {"filename": "a.csv", "file_data": url}}
        case "responses":
            part = {"type": "input_file", "filename": "a.csv", "file_data": url}
            body = {"model": "m", "input": [{"role": "user", "content": [part]}]}
            return "/v1/responses", body
        case "gemini":
            part = {"inlineData": {"mimeType": "text/csv", "data": coded}}
            body = {"contents": [{"role": "user", "parts": [part]}]}
            return "/v1beta/models/m:generateContent", body
        case "bedrock":
            part = {"document": {"format": "csv", "name": "a", "source": {"bytes": coded}}}
            body = {"messages": [{"role": "user", "content": [part]}]}
            return "/model/m/converse", body
        case _:
            source = {"type": "base64", "media_type": "text/plain", "data": coded}
            body = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": []}]}
            body["messages"] = [
                {"role": "user", "content": [{"type": "document", "source": source}]}
            ]
            return "/v1/messages", body
    return "/v1/chat/completions", {"model": "m", "messages": [{"role": "user", "content": [part]}]}


@pytest.mark.parametrize("kind", ["chat", "responses", "gemini", "bedrock", "messages"])
@pytest.mark.parametrize("beside", ["", "näme;Straße\r\n", "x" * 20_000, "\ufeff"])
@pytest.mark.parametrize("alphabet", ["standard", "url", "lines"])
def test_a_file_that_is_text_is_searched(kind: str, beside: str, alphabet: str) -> None:
    text = f"{beside}mail;a\n{MAIL};???>>>\n"
    coded = base64.b64encode(text.encode()).decode()
    if alphabet == "url":
        coded = coded.translate(str.maketrans("+/", "-_")).rstrip("=")
    if alphabet == "lines":
        coded = "\r\n".join(coded[i : i + 76] for i in range(0, len(coded), 76))
    path, body = _file_of(kind, coded)
    out = ask(body, path=path).body
    assert coded.encode() not in out
    found = [slot for slot in text_slots(out) if "mail;a" in slot.text]
    assert len(found) == 1
    said = PLACEHOLDER.sub(MAIL, found[0].text)
    assert (said, MAIL in found[0].text) == (text, False)


@pytest.mark.parametrize("kind", ["chat", "gemini"])
@pytest.mark.parametrize("name", ["pdf", "zip", "utf16", "latin1", "cut"])
def test_a_file_that_is_none_is_left_alone(kind: str, name: str) -> None:
    held = {
        "pdf": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n" + MAIL.encode() * 9,
        "zip": b"PK\x03\x04" + MAIL.encode() * 9,
        "utf16": (MAIL * 9).encode("utf-16-le"),
        "latin1": f"Stra\xdfe {MAIL}".encode("latin-1") * 9,
        "cut": MAIL.encode() * 200 + b"\xe2\x82",
    }
    path, body = _file_of(kind, base64.b64encode(held[name]).decode())
    assert ask(body, path=path).body is None


def test_blocked_in_a_file_by_the_path_of_the_file() -> None:
    path, body = _file_of("chat", base64.b64encode(f"key,{TOKEN}\n".encode()).decode())
    refused = ask(body, decider(policy({"entities": {"secret": "block"}})), path)
    assert isinstance(refused, Respond)
    said = json.loads(refused.body)["error"]["message"]
    assert said.startswith("$.messages[0].content[0].file.file_data")


def test_blocked_in_the_clients_dialect_and_never_quoted() -> None:
    blocks = decider(policy({"entities": {"secret": "block"}}))
    refused = ask(chat(f"my key is {TOKEN}"), blocks)
    assert isinstance(refused, Respond)
    assert refused.status == 400
    error = json.loads(refused.body)["error"]
    assert "$.messages[0].content" in error["message"]
    assert "api_key" in error["message"]
    assert TOKEN not in refused.body.decode()
    assert refused.metadata[names.REDACTION_NAMESPACE] == {"api_key": 1.0}
    assert TOKEN not in str(refused.metadata)


def test_a_path_never_quotes_names_of_the_clients_own() -> None:
    blocks = decider(policy({"entities": {"secret": "block", "email": "replace"}}))
    call = {"function": {"name": "f", "arguments": json.dumps({MAIL: TOKEN})}}
    refused = ask({"model": "m", "messages": [{"role": "assistant", "tool_calls": [call]}]}, blocks)
    assert refused.status == 400
    assert MAIL not in refused.body.decode()


def test_the_other_actions() -> None:
    found = policy(
        {
            "entities": {"card": "mask", "email": "hash", "url": "report"},
            "mask": {"keep_last": 4},
            "patterns": [{"name": "ticket", "pattern": "^TCK-[0-9]+", "action": "mask"}],
            "words": [{"name": "codename", "words": ["Bluebird", "Проект"], "action": "mask"}],
        }
    )
    action = ask(
        chat(f"TCK-17 {CARD} {MAIL} https://a.example.com/x bluebird Проект"), decider(found)
    )
    said = json.loads(action.body)["messages"][0]["content"]
    keys = Keys(SECRET)
    assert said == (
        f"[TICKET] **** **** **** 1111 [EMAIL#{keys.digest('email', MAIL)}]"
        " https://a.example.com/x [CODENAME] [CODENAME]"
    )
    assert action.metadata[names.REDACTION_NAMESPACE] == {
        "ticket": 1.0, "card": 1.0, "email": 1.0, "url": 1.0, "codename": 2.0,
    }  # fmt: skip
    assert names.SEALED not in facts_of(action)
    assert names.RESPOND not in facts_of(action)


def test_what_is_only_counted_hides_nothing() -> None:
    found = policy({"entities": {"url": "report", "email": "replace", "ip": "block"}})
    body = ask(chat(f"https://x.example.com/?who={MAIL}"), decider(found)).body
    assert MAIL.encode() not in body
    assert ask(chat("http://10.0.0.1/x"), decider(found)).status == 400


def test_mask_shows_no_more_than_a_third() -> None:
    assert mask("card", CARD, 4) == "**** **** **** 1111"
    assert mask("ssn", "123-45-6789", 4) == "[SSN]"
    assert mask("card", CARD, 0) == "[CARD]"


def test_more_than_the_map_may_hold_is_refused() -> None:
    redaction = {"default": "all", "max_map_bytes": 1024}
    redaction["profiles"] = {"all": {"entities": {"email": "replace"}}}  # type: ignore[assignment]
    found = policy({}, redaction=redaction)
    text = " ".join(f"person{i}@example.com" for i in range(100))
    refused = ask(chat(text), decider(found))
    assert refused.status == 400
    assert json.loads(refused.body)["error"]["code"] == "too_much_to_redact"


def test_a_failing_engine_lets_nothing_through(monkeypatch: pytest.MonkeyPatch) -> None:
    decide = decider(REPLACES)

    def give_up(*_: Any) -> None:
        raise RuntimeError(f"gave up on {MAIL}")

    monkeypatch.setattr("dragoman.policies.redact.scanner.Scanner.hits", give_up)
    refused = ask(chat(f"I am {MAIL}"), decide)
    assert refused.status == 503
    assert refused.details == "dragoman_redaction_failed"
    assert MAIL not in refused.body.decode()


def test_what_stands_beside_an_image_is_searched_and_the_image_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The letters of a file cost the engine a thousand times what as much text does."""
    searched: list[bytes] = []
    match = Scanner.hits
    monkeypatch.setattr(Scanner, "hits", lambda of, raw: searched.append(raw) or match(of, raw))
    url = {"url": "data:image/png;base64," + "QUJD" * 10_000}
    parts = [{"type": "text", "text": f"I am {MAIL}"}, {"type": "image_url", "image_url": url}]
    admitted = ask({"model": "m", "messages": [{"role": "user", "content": parts}]})
    assert MAIL not in admitted.body.decode()
    assert searched
    assert not any(b"QUJDQUJD" in raw for raw in searched)


def test_a_policy_with_redaction_needs_its_redactors() -> None:
    with pytest.raises(ValueError, match="redactors"):
        Decide(REPLACES)


def test_which_profile_applies() -> None:
    found = policy(
        {"entities": {"email": "mask"}},
        models={
            "m": {"targets": [{"provider": "one", "model": "m"}]},
            "open": {"redaction": "off", "targets": [{"provider": "one", "model": "open"}]},
        },
    )
    decide = decider(found)
    assert b"[EMAIL]" in ask(chat(MAIL), decide).body
    assert ask(chat(MAIL) | {"model": "open"}, decide).body is None


def test_what_nobody_reads_is_refused_unless_the_profile_says_otherwise() -> None:
    def upload(profile: dict[str, Any], method: str = "POST") -> Any:
        caller = {"keys": [hashlib.sha256(KEY.encode()).hexdigest()], "providers": ["one"]}
        decide = decider(policy(profile, callers={"team": caller}))
        head = RequestHead(method=method, path="/v1/files", headers={"authorization": "Bearer k"})
        return decide.on_request(head, None)

    personal = {"entities": {"email": "mask"}}
    assert upload(personal).status == 403
    assert isinstance(upload(personal, "GET"), Mutate)
    assert isinstance(upload(personal | {"unread": "pass"}), Mutate)


def test_the_fields_of_a_form() -> None:
    raw = (
        b'--b\r\ncontent-disposition: form-data; name="model"\r\n\r\nm\r\n'
        b'--b\r\ncontent-disposition: form-data; name="prompt"\r\n\r\nfor alice@example.com\r\n'
        b'--b\r\ncontent-disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
        b"\xff alice@example.com\r\n--b--\r\n"
    )
    head = RequestHead(
        method="POST",
        path="/v1/audio/transcriptions",
        headers={"authorization": "Bearer k", "content-type": "multipart/form-data; boundary=b"},
    )
    action = DECIDE.on_request(head, raw)
    assert isinstance(action, Mutate)
    assert action.body is not None
    assert b"for [EMAIL_" in action.body
    assert b"\xff alice@example.com" in action.body


# --- the map ----------------------------------------------------------------------------------


def test_the_map_is_sealed_for_this_caller_and_key() -> None:
    action = ask(chat(f"I am {MAIL}"))
    assert MAIL not in json.dumps(dict(action.metadata))
    sealed = facts_of(action)[names.SEALED]
    assert list(Keys(SECRET).open(sealed, "team").values()) == [MAIL]
    for keys, caller in ((Keys(SECRET), "other"), (Keys(b"f" * 16), "team")):
        with pytest.raises(Exception, match="cannot be put back"):
            keys.open(sealed, caller)


def test_an_answer_whose_map_cannot_be_opened_is_an_error() -> None:
    facts = facts_of(ask(chat(MAIL))) | {names.CALLER: "another"}
    stage = RespondStage(REPLACES, facts, "", REDACTORS)
    (refused,) = stage.on_headers({":status": "200"}, end_of_stream=False)
    assert isinstance(refused, Respond)
    assert refused.status == 503


# --- answers ----------------------------------------------------------------------------------


def stream_of(name: str, pieces: list[str], kind: str = "text") -> bytes:
    """A stream of the dialect `name` with one part in `pieces`."""
    encoder = client_dialect(name).stream_encoder(StreamOptions(include_usage=True))
    opened = (
        PartStart(kind="tool_call", id="call_1", name="f")
        if kind == "tool_call"
        else PartStart(kind=kind)
    )  # type: ignore[arg-type]
    reason = "tool_call" if kind == "tool_call" else "stop"
    events: list[Event] = [Start(id="x", model="m"), opened]
    events += [Delta(content=piece) for piece in pieces]
    events += [PartEnd(), ChoiceEnd(reason=reason), Finish()]  # type: ignore[arg-type]
    return b"".join(map(encoder.feed, events)) + encoder.close()


def read(name: str, raw: bytes) -> Any:
    return fold(decode_stream(client_dialect(name), [raw])).choices[0].parts[0]


def cut(text: Any, places: list[int]) -> list[Any]:
    edges = [0, *sorted({p % (len(text) + 1) for p in places}), len(text)]
    return [text[a:b] for a, b in zip(edges, edges[1:], strict=False) if a < b]


words = st.text(string.ascii_letters + ' .,[]{}_\n"\\é漢', max_size=30)
values = st.sampled_from([MAIL, CARD, "536-90-4399", "DE89370400440532013000", TOKEN])
texts = st.lists(st.tuples(words, values), min_size=1, max_size=4).map(
    lambda pairs: "".join(f"{word} {value} " for word, value in pairs)
)
places = st.lists(st.integers(0, 10_000), max_size=30)


@by_dialect
@settings(max_examples=25, deadline=None)
@given(text=texts, inside=places, outside=places)
def test_round_trip_of_a_stream(
    name: str, text: str, inside: list[int], outside: list[int]
) -> None:
    """However the model cuts its text, and the network its bytes: the caller gets its own back."""
    action = ask(chat(text))
    body = chat(text) if action.body is None else json.loads(action.body)  # "model 536-90-4399"
    sent = body["messages"][0]["content"]
    facts = facts_of(action) | {
        names.CLIENT_DIALECT: name,
        names.STREAM: "1",
        names.INCLUDE_USAGE: "1",
    }
    raw = stream_of(name, cut(sent, inside) or [sent])
    kind = client_dialect(name).stream_type(StreamOptions())
    whole = answer(facts, [raw], kind)[1]
    assert read(name, whole).content == text
    pieces = answer(facts, cut(raw, outside), kind)[1]
    assert read(name, pieces).content == text


@pytest.mark.parametrize("name", [n for n in CHAT_NAMES if not says_only_text(n)])
@settings(max_examples=15, deadline=None)
@given(inside=places)
def test_round_trip_of_tool_arguments(name: str, inside: list[int]) -> None:
    """What is put back into JSON is escaped as JSON wants it."""
    block = "-----BEGIN PRIVATE KEY-----\nMIIBVgIBADANBgkqhkiG9w0B\n-----END PRIVATE KEY-----"
    wanted = {"to": MAIL, "key": block}
    call = {"id": "c", "function": {"name": "f", "arguments": json.dumps(wanted)}}
    action = ask({"model": "m", "messages": [{"role": "assistant", "tool_calls": [call]}]})
    sent = json.loads(action.body)["messages"][0]["tool_calls"][0]["function"]["arguments"]
    assert MAIL not in sent
    assert "MIIB" not in sent
    facts = facts_of(action) | {
        names.CLIENT_DIALECT: name,
        names.STREAM: "1",
        names.INCLUDE_USAGE: "1",
    }
    raw = stream_of(name, cut(sent, inside) or [sent], "tool_call")
    out = answer(facts, [raw], client_dialect(name).stream_type(StreamOptions()))[1]
    given_back = read(name, out).arguments
    assert (json.loads(given_back) if isinstance(given_back, str) else given_back) == wanted


@by_dialect
def test_round_trip_of_a_body(name: str) -> None:
    action = ask(chat(f'{{"a": "{MAIL}"}}', response_format={"type": "json_object"}))
    sent = json.loads(action.body)["messages"][0]["content"]
    response = fold(
        [
            Start(id="x", model="m"),
            PartStart(kind="text"),
            Delta(content=sent),
            PartEnd(),
            ChoiceEnd(reason="stop"),
            Finish(),
        ]
    )
    dialect = client_dialect(name)
    raw = msgspec.json.encode(dialect.encode_response(response, Losses(name)))
    facts = facts_of(action) | {names.CLIENT_DIALECT: name}
    status, out, _ = answer(facts, cut(raw, [5, 50]), "application/json")
    assert status is None
    assert (
        dialect.decode_response(json.loads(out)).choices[0].parts[0].content == f'{{"a": "{MAIL}"}}'
    )


@pytest.mark.parametrize("around", [b"[%b]", b"%b"])
def test_round_trip_of_an_unstreamed_answer_to_a_stream_of_gemini(around: bytes) -> None:
    action = ask(chat(MAIL))
    sent = json.loads(action.body)["messages"][0]["content"]
    candidate = {"content": {"parts": [{"text": sent}], "role": "model"}, "finishReason": "STOP"}
    raw = around % json.dumps({"candidates": [candidate]}).encode()
    facts = facts_of(action) | {
        names.CLIENT_DIALECT: "gemini_generate",
        names.STREAM: "1",
        names.INCLUDE_USAGE: "1",
    }
    out = answer(facts, cut(raw, [5, 50]), "application/json")[1]
    wanted = around % json.dumps({"candidates": [candidate]}).replace(sent, MAIL).encode()
    assert json.loads(out) == json.loads(wanted)


def test_two_answers_side_by_side() -> None:
    """Each choice's placeholder is put together from its own pieces."""
    facts = facts_of(ask(chat(f"{MAIL} {CARD}"))) | {names.STREAM: "1", names.INCLUDE_USAGE: "1"}
    placeholders = PLACEHOLDER.findall(
        json.loads(ask(chat(f"{MAIL} {CARD}")).body)["messages"][0]["content"]
    )
    frames = b""
    for letters in zip(*(p.ljust(20, ".") for p in placeholders), strict=True):
        for i, letter in enumerate(letters):
            frames += (
                b"data: "
                + json.dumps({"choices": [{"index": i, "delta": {"content": letter}}]}).encode()
                + b"\n\n"
            )
    out = answer(facts, [frames], "text/event-stream")[1]
    said = ["", ""]
    for line in out.decode().splitlines():
        if line.startswith("data: {"):
            choice = json.loads(line[6:])["choices"][0]
            said[choice["index"]] += choice["delta"]["content"]
    assert [text.rstrip(".") for text in said] == [MAIL, CARD]


def test_frames_that_need_no_edit_keep_their_bytes() -> None:
    facts = facts_of(ask(chat(MAIL))) | {names.STREAM: "1", names.INCLUDE_USAGE: "1"}
    raw = b': keep-alive\n\nid: 7\nevent: x\ndata: {"choices": [ {"index":0,"delta":{"content":"a"}}]}\n\ndata: [DONE]\n\n'
    assert answer(facts, [raw[:9], raw[9:30], raw[30:]], "text/event-stream")[1] == raw


def test_what_waits_is_bounded() -> None:
    facts = facts_of(ask(chat(MAIL))) | {names.STREAM: "1", names.INCLUDE_USAGE: "1"}
    stage = RespondStage(REPLACES, facts, "", REDACTORS)
    stage.on_headers({":status": "200", "content-type": "text/event-stream"}, end_of_stream=False)
    first = b'data: {"choices":[{"index":0,"delta":{"content":"[EMA"}}]}\n\n'
    assert stage.on_body(first, end_of_stream=False) == []
    other = b'data: {"choices":[{"index":1,"delta":{"content":"%b"}}]}\n\n' % (b"x" * 1000)
    sent = 0
    for _ in range(MAX_HELD_BYTES // 1000 + 2):
        sent += sum(
            len(a.body) for a in stage.on_body(other, end_of_stream=False) if isinstance(a, Chunk)
        )
    assert sent > MAX_HELD_BYTES // 2


# --- what the model writes --------------------------------------------------------------------

GUARDED = policy({"entities": {"email": "mask", "secret": "block"}, "answers": True})


@settings(max_examples=30, deadline=None)
@given(before=st.integers(0, 700), after=st.integers(0, 700), inside=places)
def test_the_models_own_words_are_redacted_in_a_stream(
    before: int, after: int, inside: list[int]
) -> None:
    facts = facts_of(ask(chat("hello"), decider(GUARDED))) | {
        names.STREAM: "1",
        names.INCLUDE_USAGE: "1",
    }
    text = "lorem " * (before // 6) + f"write to {MAIL} now " + "ipsum " * (after // 6)
    raw = stream_of("openai_chat", cut(text, inside) or [text])
    _, out, stage = answer(facts, [raw], "text/event-stream", GUARDED)
    assert read("openai_chat", out).content == text.replace(MAIL, "[EMAIL]")
    assert stage._metadata()[names.REDACTION_ANSWER_NAMESPACE] == {"email": 1.0}


def test_the_models_own_words_are_redacted_in_a_body() -> None:
    facts = facts_of(ask(chat("hello"), decider(GUARDED)))
    raw = json.dumps(
        {"choices": [{"message": {"role": "assistant", "content": f"to {MAIL}"}}]}
    ).encode()
    assert b"to [EMAIL]" in answer(facts, [raw], "application/json", GUARDED)[1]


@pytest.mark.parametrize("streams", ["0", "1"])
def test_a_blocked_answer_is_an_error(streams: str) -> None:
    facts = facts_of(ask(chat("hello"), decider(GUARDED))) | {
        names.STREAM: streams,
        names.INCLUDE_USAGE: "1",
    }
    if streams == "1":
        raw, kind = stream_of("openai_chat", ["my key is ", TOKEN, " ok"]), "text/event-stream"
    else:
        raw, kind = (
            json.dumps({"choices": [{"message": {"content": TOKEN}}]}).encode(),
            "application/json",
        )
    status, out, _ = answer(facts, [raw], kind, GUARDED)
    assert TOKEN.encode() not in out
    assert b"content_blocked" in out
    assert status == (None if streams == "1" else "400")


def test_slots_say_where_they_are() -> None:
    raw = json.dumps(
        {"model": "m", "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]}
    )
    assert [(s.path, s.text) for s in text_slots(raw.encode())] == [
        ("$.messages[0].content[0].text", "hi")
    ]
