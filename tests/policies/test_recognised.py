"""What a recogniser answers, and what becomes of it beside what the patterns find."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dragoman import metadata as names
from dragoman.actions import Mutate, Respond
from dragoman.exchange.decide import Decide
from dragoman.exchange.guard import Consulting
from dragoman.exchange.heads import RequestHead
from dragoman.extproc.pb.callouts_pb2 import Entity, Findings, RecogniseRequest, RecogniseResponse
from dragoman.policies.guard.guard import Guards
from dragoman.policies.redact.profiles import Redactors
from dragoman.policies.redact.redactor import PLACEHOLDER
from tests.exchange.test_redaction import (
    KEY,
    MAIL,
    SECRET,
    answer,
    ask,
    chat,
    decider,
    facts_of,
    policy,
)

ENTITIES = {"person": "replace", "place": "mask", "illness": "block", "pet": "report"}
RECOGNISER = {"url": "unix:/s", "entities": ENTITIES, "min_score": 0.5}


def profile(**more: Any) -> dict[str, Any]:
    return {"entities": {"email": "replace", "jwt": "block"}, "recogniser": RECOGNISER | more}


POLICY = policy(profile())
DECIDE = decider(POLICY)


def found(*texts: list[tuple[str, int, int]]) -> bytes:
    findings = [
        Findings(entities=[Entity(type=t, start=a, end=b) for t, a, b in text]) for text in texts
    ]
    return RecogniseResponse(findings=findings).SerializeToString()


def asked(waits: Any) -> RecogniseRequest:
    assert isinstance(waits, Consulting)
    return RecogniseRequest.FromString(waits.questions[0].body or b"")


def said(action: Any) -> str:
    assert isinstance(action, Mutate), action
    return str(json.loads(action.body or b"")["messages"][0]["content"])


def test_all_texts_are_asked_about_at_once() -> None:
    body = chat("Hi") | {"user": "u-7", "model": "m"}
    body["messages"].insert(0, {"role": "system", "content": "Bé brief"})
    waits = ask(body, DECIDE)
    request = asked(waits)
    texts = [(text.path, text.speaker, text.text) for text in request.texts]
    assert texts == [
        ("$.messages[0].content", "system", "Bé brief"),
        ("$.messages[1].content", "user", "Hi"),
        ("$.user", "user", "u-7"),
    ]
    assert (request.context.caller, request.context.model) == ("team", "m")
    assert (waits.questions[0].route, waits.questions[0].callout.METHOD) == (
        "/all/recogniser",
        "/dragoman.callouts.v1.Recogniser/Recognise",
    )


def test_found_by_characters_and_given_back_in_the_answer() -> None:
    text = f"Ünal 😀 Öz of Zürich writes to {MAIL} and to Ünal 😀 Öz"
    second = text.rindex("Ü")
    entities = [("PERSON", second, len(text)), ("person", 0, 9), ("Place", 13, 19)]
    action = ask(chat(text), DECIDE).resume([found(entities)])
    hidden = said(action)
    person, mail, again = PLACEHOLDER.findall(hidden)
    assert hidden == f"{person} of [PLACE] writes to {mail} and to {person}"
    assert person == again
    assert person.startswith("[PERSON_")
    assert said(ask(chat(text), DECIDE).resume([found(entities)])) == hidden
    counts = action.metadata[names.REDACTION_NAMESPACE]
    assert counts == {"person": 2.0, "place": 1.0, "email": 1.0}
    told = {"choices": [{"message": {"role": "assistant", "content": f"Dear {person}"}}]}
    _, body, _ = answer(facts_of(action), [json.dumps(told).encode()], "application/json", POLICY)
    assert json.loads(body)["choices"][0]["message"]["content"] == "Dear Ünal 😀 Öz"


@pytest.mark.parametrize(
    ("entity", "kept"),
    [
        (("person", 3, 8), "to [EMAIL]"),  # inside: it goes
        (("person", 3, 20), "to [EMAIL]"),  # the same: the pattern names it
        (("person", 0, 20), "[PERSON]"),  # around: the pattern's goes
        (("person", 0, 8), "[EMAIL]"),  # across: they join
    ],
)
def test_overlaps(entity: tuple[str, int, int], kept: str) -> None:
    text = f"to {MAIL}"
    assert len(text) == 20
    hidden = said(ask(chat(text), DECIDE).resume([found([entity])]))
    assert PLACEHOLDER.sub(lambda m: m[0].partition("_")[0] + "]", hidden) == kept


def test_each_action() -> None:
    refused = ask(chat("has gout"), DECIDE).resume([found([("illness", 4, 8)])])
    assert isinstance(refused, Respond)
    assert (refused.status, refused.details) == (400, "dragoman_content_blocked")
    assert b"gout" not in refused.body
    action = ask(chat("a cat"), DECIDE).resume([found([("pet", 2, 5)])])
    assert (action.body, action.metadata[names.REDACTION_NAMESPACE]) == (None, {"pet": 1.0})
    for entity in (("robot", 0, 1), ("jwt", 9, 9)):  # nobody wants it; it is none
        resumed = ask(chat("a robot"), DECIDE).resume([found([entity])])
        assert resumed.body is None if entity[0] == "robot" else resumed.status == 503
    unsure = Findings(entities=[Entity(type="person", start=0, end=1, score=0.4)])
    quiet = RecogniseResponse(findings=[unsure]).SerializeToString()
    assert ask(chat("a"), DECIDE).resume([quiet]).body is None


def test_what_patterns_block_nobody_is_asked_about() -> None:
    token = (
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0T"
    )
    assert isinstance(ask(chat(token), DECIDE), Respond)
    assert isinstance(ask(chat(" "), DECIDE), Mutate)


def test_what_its_caller_may_not_ask_nobody_is_asked_about() -> None:
    caller = {"keys": [hashlib.sha256(KEY.encode()).hexdigest()], "roles": ["plain"]}
    limits = {"input_tokens": 20, "output_tokens": 9}
    roles = {"plain": {"allow": {}, "deny": {"features": ["tools"]}, "limits": limits}}
    decide = decider(policy(profile(), callers={"team": caller}, roles=roles))
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    for body, status in (
        (chat("Hi", tools=[tool]), 403),
        (chat("Hi " * 99), 400),
        (chat("Hi", max_tokens=10), 400),
    ):
        refused = ask(body, decide)
        assert isinstance(refused, Respond)
        assert refused.status == status
    action = ask(chat("Hi Anna"), decide).resume([found([("person", 3, 7)])])
    assert json.loads(action.body)["max_completion_tokens"] == 9
    assert said(action).startswith("Hi [PERSON_")


def test_the_limit_of_an_answer_is_written_beside_what_was_hidden() -> None:
    caller = {"keys": [hashlib.sha256(KEY.encode()).hexdigest()], "limits": {"output_tokens": 9}}
    decide = decider(policy(profile(), callers={"team": caller}))
    body = {
        "contents": [{"role": "user", "parts": [{"text": "Hi"}]}],
        "generationConfig": {"stopSequences": [f"to {MAIL}"]},
    }
    waits = ask(body, decide, "/v1beta/models/m:generateContent")
    action = waits.resume([found(*([] for _ in asked(waits).texts))])
    config = json.loads(action.body)["generationConfig"]
    assert config["maxOutputTokens"] == 9
    assert MAIL not in str(config)


BAD = (
    st.binary(max_size=30).filter(lambda raw: b"\n" not in raw)  # no findings for the one text
    | st.sampled_from([b"", found(), found([], []), found([("person", 2, 9)]), found([("", 0, 1)])])
    | st.sampled_from(["timeout", "unreachable", "status", "too_long"])
    | st.sampled_from([b"\x08\x01", b"\x0a\x02\x08\x01", b"\x0a\x05\x0a\x03\x08\x01\x10"])
)


@given(BAD)
@example(found([("person", 2, 1)]))
@example(b"\x09" + bytes(8))
@example(b"\x0a\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01")
def test_what_is_no_answer_follows_on_failure(reply: Any) -> None:
    refused = ask(chat(MAIL[:4]), DECIDE).resume([reply])
    assert (refused.status, refused.details) == (503, "dragoman_redaction_failed")
    lenient = decider(policy(profile(on_failure="allow")))
    action = ask(chat(f"to {MAIL}"), lenient).resume(["timeout"])
    assert action.metadata[names.REDACTION_NAMESPACE] == {"email": 1.0, "recogniser:failed": 1.0}


def test_then_guardrails_are_asked_about_what_goes_on() -> None:
    judge = {"name": "house", "kind": "grpc", "url": "http://127.0.0.1:9"}
    guarded = {"default": "g", "profiles": {"g": {"callouts": [judge]}}}
    both = policy(profile(), guardrails=guarded)
    assert both.guardrails
    assert both.redaction
    decide = Decide(
        both, redactors=Redactors(both.redaction, SECRET), guards=Guards(both.guardrails)
    )
    waits = ask(chat("in Rome"), decide).resume([found([("place", 3, 7)])])
    assert [text.text for text in asked(waits).texts] == ["in [PLACE]"]
    assert isinstance(waits.resume([b"\x08\x01"]), Mutate)
    assert waits.resume([b"\x08\x02\x12\x04rude"]).status == 400


def test_the_fields_of_a_form() -> None:
    raw = (
        b'--b\r\ncontent-disposition: form-data; name="model"\r\n\r\nm\r\n'
        b'--b\r\ncontent-disposition: form-data; name="prompt"\r\n\r\nof Anna\r\n--b--\r\n'
    )
    headers = {"authorization": "Bearer k", "content-type": "multipart/form-data; boundary=b"}
    path = "/v1/audio/transcriptions"
    waits = DECIDE.on_request(RequestHead(method="POST", path=path, headers=headers), raw)
    assert [text.path for text in asked(waits).texts] == ["$.model", "$.prompt"]
    assert isinstance(waits, Consulting)
    action = waits.resume([found([], [("place", 3, 7)])])
    assert isinstance(action, Mutate)
    assert action.body == raw.replace(b"Anna", b"[PLACE]")
