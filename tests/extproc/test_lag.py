"""When a worker that is late turns requests away, under a clock of ours."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from dragoman.config.load import parse
from dragoman.config.resilience import Shedding
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

    def is_late(self) -> bool:
        try:
            self.lag.check()
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


def test_the_policy_says_when() -> None:
    text = TEXT + "\nshedding: {lag_ms: 200}\n"
    assert parse(text, "t.yaml", {"K": "x"}).shedding == Shedding(lag_ms=200, over_seconds=2)
    assert parse(TEXT, "t.yaml", {"K": "x"}).shedding is None
    with pytest.raises(ConfigError, match="lag_ms"):
        parse(TEXT + "\nshedding: {lag_ms: 5}\n", "t.yaml", {"K": "x"})
