"""Events on their way to an operator's service: each arrives, signed, and nothing waits for it."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from dragoman.config.load import parse
from dragoman.config.policy import Events
from dragoman.errors import ConfigError
from dragoman.extproc.events import EventSender
from dragoman.policies.questions import Fault, Question
from dragoman.telemetry.cloud_events import CloudEvent, encode_event
from tests.config.test_redaction import BASE

NOW = "2026-11-25T00:00:00Z"
SECRET = b"0123456789abcdef"


def section(**events: Any) -> Events | None:
    document = {**BASE, "events": {"url": "http://127.0.0.1:9/events", **events}}
    found = {"KEY": "1", "RAW": SECRET.decode(), "ODD": "whsec_" + "*" * 20}
    found["ENCODED"] = "whsec_" + b64encode(SECRET).decode()
    return parse(json.dumps(document), "p.yaml", found).events


class Service:
    """Answers each with the next of `answers`, then well; notes what the log is told."""

    def __init__(self, *answers: bytes | Fault) -> None:
        self.answers = list(answers)
        self.got: list[Question] = []
        self.log: list[tuple[str, dict[str, object]]] = []
        self.events = section(secret={"env": "RAW"})
        self._made = 0

    async def ask(self, questions: Sequence[Question]) -> list[bytes | Fault]:
        self.got += questions
        return [self.answers.pop(0) if self.answers else b""]

    def make(self, event: str, data: Mapping[str, object], at: str) -> CloudEvent:
        self._made += 1
        return encode_event(f"id-{self._made}", "/here", event, at or NOW, data)

    def warning(self, event: str, **fields: object) -> None:
        self.log.append((event, fields))

    def sender(self) -> EventSender:
        return EventSender(lambda: self.events, self.make, self.ask, lambda: 1700000000.9, self)

    def ids(self) -> list[str]:
        return [json.loads(question.body or b"")["id"] for question in self.got]


def test_what_is_sent_and_how_it_is_signed() -> None:
    service = Service()
    sender = service.sender()
    sender.put("quota.level_reached", {"quota": "calls", "percent": 80})
    asyncio.run(sender.refresh())
    (question,) = service.got
    assert (question.route, question.callout.CONTENT_TYPE) == (
        "/events",
        "application/cloudevents+json",
    )
    assert json.loads(question.body or b"") == {
        "specversion": "1.0",
        "id": "id-1",
        "source": "/here",
        "type": "dev.dragoman.quota.level_reached",
        "time": NOW,
        "datacontenttype": "application/json",
        "data": {"quota": "calls", "percent": 80},
    }
    headers = dict(question.headers)
    signed = b"id-1.1700000000." + (question.body or b"")
    version, _, signature = headers.pop("webhook-signature").partition(",")
    assert version == "v1"
    assert b64decode(signature) == hmac.new(SECRET, signed, hashlib.sha256).digest()
    assert headers == {"webhook-id": "id-1", "webhook-timestamp": "1700000000"}


def test_sent_again_in_order_until_it_is_taken() -> None:
    service = Service("status", "timeout", b"", "unreachable")
    sender = service.sender()
    for _ in range(3):
        sender.put("target.drifted", {})
    pauses = []
    for _ in range(4):
        pauses.append(sender.pause_seconds)
        asyncio.run(sender.refresh())
    assert service.ids() == ["id-1", "id-1", "id-1", "id-2", "id-2", "id-3"]
    assert pauses == [0.25, 0.5, 1.0, 0.5]
    assert service.log == []


def test_what_is_rejected_again_and_again_is_given_up_and_the_others_come_through() -> None:
    service = Service(*["rejected"] * 5, "timeout", *["rejected"] * 8)
    sender = service.sender()
    for event in ("key.issued", "target.drifted", "target.recovered"):
        sender.put(event, {})
    pauses = []
    while not service.log:
        pauses.append(sender.pause_seconds)
        asyncio.run(sender.refresh())
    assert service.ids() == ["id-1"] * 14 + ["id-2", "id-3"]
    assert pauses[6:] == [16.0, 32.0] + [60.0] * 6
    told = {"id": "id-1", "happened": "key.issued", "events": 1}
    assert service.log == [("event_given_up", told)]
    assert sender.pause_seconds == 0.25


def test_so_many_wait_and_the_rest_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dragoman.extproc.events._MOST_WAITING", 2)
    service = Service()
    sender = service.sender()
    for _ in range(5):
        sender.put("target.drifted", {})
    asyncio.run(sender.close())
    assert service.ids() == ["id-1", "id-2"]
    assert service.log == [("events_lost", {"events": 3})]
    service.answers = ["timeout"] * 30
    sender.put("target.drifted", {})
    for _ in range(20):
        asyncio.run(sender.refresh())
    assert sender.pause_seconds == 60.0
    asyncio.run(sender.close())
    assert service.log[-1] == ("events_lost", {"events": 1})


def test_nobody_is_told_where_the_policy_names_nobody() -> None:
    service = Service("status")
    sender = service.sender()
    sender.put("target.drifted", {})
    asyncio.run(sender.refresh())
    service.events = None
    sender.put("target.drifted", {})
    asyncio.run(sender.refresh())
    asyncio.run(sender.close())
    assert service.ids() == ["id-1"]
    assert service.log == []


def test_secrets() -> None:
    for name in ("RAW", "ENCODED"):
        found = section(secret={"env": name})
        assert found
        assert found.secret == SECRET
    unsigned = section()
    assert unsigned
    service = Service()
    service.events = unsigned
    sender = service.sender()
    sender.put("canary.step", {})
    asyncio.run(sender.refresh())
    assert [name for name, _ in service.got[0].headers] == ["webhook-id", "webhook-timestamp"]
    for wrong, said in (
        ({"secret": {"env": "ODD"}}, "$.events.secret: is no base64"),
        ({"secret": {"env": "KEY"}}, "$.events.secret: needs at least 16 bytes"),
        ({"url": "events"}, "$.events.url: expected http"),
        ({"key": {"env": "NONE"}}, "$.events.key: variable NONE is not set"),
    ):
        with pytest.raises(ConfigError) as refused:
            section(**wrong)
        assert said in str(refused.value)
