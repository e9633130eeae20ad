"""When a worker that is late turns requests away, under a clock of ours."""

from __future__ import annotations

import asyncio
import hashlib
import json
from typing import Any

import pytest

from dragoman.config.load import parse
from dragoman.config.resilience import Priority, Shedding
from dragoman.errors import ConfigError, WorkerOverloaded
from dragoman.exchange.decide import Decide
from dragoman.extproc.lag import Lag
from dragoman.extproc.stages import DecideStream
from tests.extproc.test_streams import (
    FORM,
    FORM_HEAD,
    IN_PIECES,
    POLICY,
    TEXT,
    asked,
    headers_of,
    message,
    piece,
    replies_of,
)


class Loop:
    """An event loop whose time is ours."""

    def __init__(self, rule: Shedding | None = Shedding(lag_ms=500, over_seconds=2)) -> None:
        self.now = 1000.0
        self.rule = rule
        self.lag = Lag(lambda: self.now, lambda: self.rule)

    def run(self, ticks: int, late: float = 0.0) -> None:
        """So many ticks, each `late` by so many seconds."""
        for _ in range(ticks):
            self.now += 0.1 + late
            self.lag.tick()

    def is_late(self, priority: Priority = "normal") -> bool:
        try:
            self.lag.check(priority)
        except WorkerOverloaded:
            return True
        return False


def test_one_late_tick_is_none_and_many_are() -> None:
    loop = Loop()
    loop.run(100)
    assert not loop.is_late()
    loop.run(1, late=0.8)
    assert not loop.is_late()
    loop.run(5, late=0.8)
    assert loop.is_late()


def test_it_takes_requests_again_once_it_is_in_time() -> None:
    loop = Loop()
    loop.run(20, late=1.0)
    loop.run(10)
    assert loop.is_late()
    loop.run(20)
    assert not loop.is_late()


def test_what_waited_with_an_overdue_tick_is_judged_by_it() -> None:
    loop = Loop()
    loop.run(10)
    loop.now += 3.0
    assert loop.is_late()
    assert loop.is_late(), "to look changes nothing"
    loop.lag.tick()
    assert loop.is_late()


def test_without_a_rule_nobody_is_turned_away() -> None:
    loop = Loop()
    loop.run(20, late=5.0)
    assert loop.is_late()
    loop.rule = None
    assert not loop.is_late()


def test_it_ticks_by_itself_until_it_is_closed() -> None:
    loop = Loop(Shedding(lag_ms=500, over_seconds=0.1))

    async def serve() -> None:
        loop.lag.start()
        loop.now += 60.0
        while loop.is_late():
            await asyncio.sleep(0.01)
            loop.now += 0.01
        await loop.lag.close()

    asyncio.run(serve())
    loop.now += 60.0
    assert loop.is_late()


CLIENTS: list[tuple[str, dict[str, Any]]] = [
    ("/v1/chat/completions", {"type": "server_error", "code": "worker_overloaded"}),
    ("/v1/messages", {"type": "overloaded_error"}),
]


@pytest.mark.parametrize(("path", "said"), CLIENTS)
def test_the_refusal_is_the_dialects_own_and_says_when_to_come_again(
    path: str, said: dict[str, Any]
) -> None:
    loop = Loop()
    loop.now += 10
    machine = DecideStream(Decide(POLICY), lag=loop.lag)
    raw = message(request_body={"body": b"{", "end_of_stream": True}, attributes=asked(path=path))
    [reply] = replies_of(machine, raw)
    answer = reply.immediate_response
    assert (machine.finished, answer.status.code) == (True, 503)
    assert answer.details == "dragoman_worker_overloaded"
    assert headers_of(answer.headers)["retry-after"] == "1"
    error = json.loads(answer.body)["error"]
    assert said.items() <= error.items()


def test_a_form_that_has_begun_is_not_turned_away() -> None:
    loop = Loop()
    machine = DecideStream(Decide(POLICY), lag=loop.lag)
    replies_of(machine, piece(FORM[:60], attributes=FORM_HEAD) + IN_PIECES)
    loop.now += 10
    replies_of(machine, piece(FORM[60:]))
    [reply] = replies_of(machine, piece(b"", end=True))
    assert reply.dynamic_metadata["dragoman"]["admitted"] == "1"


def test_who_is_less_urgent_is_turned_away_sooner() -> None:
    """By default at half as late, and at four times as late."""
    loop = Loop(Shedding(lag_ms=400, over_seconds=2))
    order: tuple[Priority, ...] = ("low", "normal", "high")
    found: dict[Priority, int] = {}
    for tick in range(200):
        for priority in order:
            if loop.is_late(priority):
                found.setdefault(priority, tick)
        loop.run(1, late=0.05 * tick)
    assert found["low"] < found["normal"] < found["high"]
    custom = Shedding(lag_ms=400, low_lag_ms=50, high_lag_ms=500)
    assert [custom.lag_of(priority) for priority in order] == [50, 400, 500]


KEYED = {
    name: hashlib.sha256(name.encode()).hexdigest() for name in ("batch", "app", "chat", "any")
}
PRIORITIES = (
    TEXT.partition("callers:")[0]
    + f"""
callers:
  batch: {{keys: [{KEYED["batch"]}], priority: low}}
  app: {{keys: [{KEYED["app"]}], roles: [slow, quick]}}
  chat: {{keys: [{KEYED["chat"]}], priority: high, roles: [slow]}}
  any: {{keys: [{KEYED["any"]}]}}
roles: {{slow: {{priority: low}}, quick: {{priority: normal}}}}
shedding: {{lag_ms: 400}}
providers: {{left: {{kind: openai, url: "http://127.0.0.1:1", key: {{env: K}}}}}}
models:
  plain: {{targets: [{{provider: left, model: gpt}}]}}
  night: {{targets: [{{provider: left, model: gpt}}], priority: low}}
  vital: {{targets: [{{provider: left, model: gpt}}], priority: high}}
"""
)


@pytest.mark.parametrize(
    ("caller", "model", "priority"),
    [
        ("batch", "vital", "low"),
        ("app", "night", "normal"),
        ("app", "vital", "normal"),
        ("chat", "night", "high"),
        ("any", "plain", "normal"),
        ("any", "night", "low"),
        ("any", "vital", "high"),
        ("any", None, "normal"),
        ("chat", None, "high"),
    ],
)
def test_the_callers_priority_wins_over_its_roles_and_theirs_over_the_models(
    caller: str, model: str | None, priority: str
) -> None:
    """Each is served while the worker is less late than its priority bears: 0.2, 0.4 or 1.6 s."""
    policy = parse(PRIORITIES, "t.yaml", {"K": "x"})
    turn = {"role": "user", "content": "x"}
    sent = json.dumps({"model": model, "messages": [turn]}).encode()
    served: list[float] = []
    for late in (0.1, 0.3, 0.8, 3.0):
        loop = Loop(policy.shedding)
        loop.run(60, late)
        machine = DecideStream(Decide(policy, lag=loop.lag), lag=loop.lag)
        if model:
            body = {"body": sent, "end_of_stream": True}
            raw = message(request_body=body, attributes=asked(key=caller))
        else:
            head = asked("GET", "/v1/models", caller)
            raw = message(request_headers={"end_of_stream": True}, attributes=head)
        [reply] = replies_of(machine, raw)
        if reply.immediate_response.details != "dragoman_worker_overloaded":
            served.append(late)
    assert served == {"low": [0.1], "normal": [0.1, 0.3], "high": [0.1, 0.3, 0.8]}[priority]


@pytest.mark.parametrize(("key", "is_late"), [("any", True), ("batch", True), ("chat", False)])
def test_a_form_is_judged_by_its_caller_when_it_begins(key: str, is_late: bool) -> None:  # noqa: FBT001
    policy = parse(PRIORITIES, "t.yaml", {"K": "x"})
    loop = Loop(policy.shedding)
    loop.run(60, 0.8)
    machine = DecideStream(Decide(policy, lag=loop.lag), lag=loop.lag)
    head = FORM_HEAD | {"request.headers['authorization']": f"Bearer {key}"}
    [reply] = replies_of(machine, piece(FORM[:60], attributes=head) + IN_PIECES)
    assert (reply.immediate_response.details == "dragoman_worker_overloaded") is is_late


def test_the_policy_says_when() -> None:
    text = TEXT + "\nshedding: {lag_ms: 200}\n"
    assert parse(text, "t.yaml", {"K": "x"}).shedding == Shedding(lag_ms=200, over_seconds=2)
    assert parse(TEXT, "t.yaml", {"K": "x"}).shedding is None
    for wrong in ("{lag_ms: 5}", "{lag_ms: 100, low_lag_ms: 200}", "{high_lag_ms: 500}"):
        with pytest.raises(ConfigError, match="lag_ms"):
            parse(TEXT + f"\nshedding: {wrong}\n", "t.yaml", {"K": "x"})
    idle = PRIORITIES.replace("shedding: {lag_ms: 400}", "")
    with pytest.raises(ConfigError, match="batch.priority: has no effect without shedding"):
        parse(idle, "t.yaml", {"K": "x"})
