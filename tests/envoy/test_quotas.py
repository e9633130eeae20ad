"""Quotas through the real Envoy, the real store and several workers."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import redis

from dragoman.simulator import Simulator
from tests.envoy.gateway import Gateway, command, descendants, fresh_caller, run_gateway, wait_until
from tests.envoy.test_fail_closed import assert_shape
from tests.envoy.test_routing import body, both_clients

LIMIT = 1000
QUOTAS: list[dict[str, Any]] = [
    {"name": "calls", "unit": "requests", "limit": LIMIT, "window": "month", "models": ["o/*"]},
    {"name": "few", "unit": "requests", "limit": 2, "window": "24h", "models": ["a/*"]},
    {"name": "words", "unit": "tokens", "limit": 100_000, "window": "day", "models": ["g/*"]},
    {"name": "told", "unit": "requests", "limit": 10, "window": "month", "models": ["fall/*"]}
    | {"warn_at": [0.5, 0.8]},
    {"name": "supply", "unit": "requests", "limit": 2, "window": "month", "models": ["back/*"]}
    | {"per": ["caller", "provider"]},
    {"name": "narrow", "unit": "concurrency", "limit": 1, "models": ["same/*"]},
    {"name": "purse", "unit": "usd", "limit": 0.01, "window": "month", "models": ["m/*", "z/*"]},
    {"name": "open", "unit": "requests", "limit": 9, "window": "day", "models": ["b/*"]}
    | {"on_store_failure": "allow", "per": ["caller", "model"]},
]

COST = {"cost": True}
SOUND = {"input": 1, "output": 2, "input_audio": 30, "output_audio": 60}


@pytest.fixture(scope="module")
def limited_gateway(all_providers: Simulator) -> Iterator[Gateway]:
    priced: list[dict[str, Any]] = [
        {"provider": "mistral", "model": "sim/*", "prices": {"input": 40, "output": 100}},
        {"provider": "mistral", "model": "sim/sound", "prices": SOUND},
    ]
    with run_gateway(
        all_providers, workers=2, quotas=QUOTAS, profiles=priced, statistics=COST
    ) as gateway:
        yield gateway


@pytest.fixture
def limited(limited_gateway: Gateway, simulator: Simulator) -> Gateway:
    del simulator
    return limited_gateway


class Asker:
    """A caller of its own, and what the store counts of it."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.name, self.key = fresh_caller()
        self.headers = {"x-api-key": self.key}

    def ask(self, path: str, content: dict[str, Any]) -> httpx.Response:
        url = self.gateway.url + path
        return httpx.post(url, json=content, headers=self.headers, timeout=30)

    def counted(self, quota: str, provider: str = "") -> dict[str, int]:
        """Used and still out on leases, of all providers or one."""
        sums: Counter[str] = Counter()
        url = f"unix://{self.gateway.folder}/run/store.sock"
        with redis.Redis.from_url(url, decode_responses=True) as store:
            for key in store.scan_iter(f"dragoman:quota:{{{quota}|{self.name}*{provider}}}*"):
                for name, value in store.hgetall(key).items():
                    sums[name[:1]] += int(value) if name[0] in "ul" else 0
        return {"used": sums["u"], "out": sums["l"]}


@pytest.fixture
def asker(limited: Gateway) -> Asker:
    return Asker(limited)


CHAT = "/v1/chat/completions"


def test_a_limit_is_exact_for_64_clients_on_one_key(asker: Asker) -> None:
    async def client(session: httpx.AsyncClient, statuses: Counter[int]) -> None:
        content = body("o/bytes-16")
        while statuses[429] < 64:
            answer = await session.post(asker.gateway.url + CHAT, json=content)
            statuses[answer.status_code] += 1

    async def run() -> Counter[int]:
        statuses: Counter[int] = Counter()
        limits = httpx.Limits(max_connections=64)
        async with httpx.AsyncClient(headers=asker.headers, limits=limits, timeout=60) as session:
            await asyncio.gather(*(client(session, statuses) for _ in range(64)))
        return statuses

    statuses = asyncio.run(run())
    assert set(statuses) == {200, 429}
    assert statuses[200] == LIMIT
    settled = {"used": LIMIT, "out": 0}
    wait_until(lambda: asker.counted("calls") == settled, 10, "all settled")


@both_clients
def test_a_refusal_is_in_the_clients_dialect_and_says_when_to_come_back(
    asker: Asker, path: str
) -> None:
    for left in ("1", "0"):
        answer = asker.ask(path, body("a/bytes-16"))
        assert answer.status_code == 200
        assert answer.headers["x-ratelimit-limit-requests"] == "2"
        assert answer.headers["x-ratelimit-remaining-requests"] == left
        assert answer.headers["x-ratelimit-reset-requests"].endswith("s")
    answer = asker.ask(path, body("a/bytes-16"))
    assert answer.status_code == 429
    assert_shape(path, 429, answer.content)
    assert "few" in answer.text
    assert int(answer.headers["retry-after"]) >= 1


def test_tokens_are_settled_to_what_was_used(asker: Asker) -> None:
    used = 0
    for stream in (False, True):
        answer = asker.ask(CHAT, body("g/echo", stream=stream))
        assert answer.status_code == 200
    wait_until(lambda: len(entries(asker)) == 2, 10, "ledger")
    for entry in entries(asker):
        used += entry["gen_ai.usage.input_tokens"] + entry["gen_ai.usage.output_tokens"]
    assert used > 0
    wait_until(lambda: asker.counted("words") == {"used": used, "out": 0}, 10, "settled")


def entries(asker: Asker) -> list[dict[str, Any]]:
    return [e for e in asker.gateway.ledger() if e.get("dragoman.caller") == asker.name]


def test_a_client_that_hangs_up_is_settled(asker: Asker, simulator: Simulator) -> None:
    simulator.control.script({"chunk_pause_ms": 250})
    content = json.dumps(body("g/echo", "a b c d e f g h", stream=True)).encode()
    head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\nx-api-key: {asker.key}\r\n"
    head += f"content-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", asker.gateway.port), timeout=10) as sock:
        sock.sendall(head.encode() + content)
        received = b""
        while b"said" not in received:
            received += sock.recv(65536)

    def settled() -> bool:
        counted = asker.counted("words")
        return counted["used"] > 0 and counted["out"] == 0

    wait_until(settled, 10, "settled")


def test_what_no_provider_answered_costs_no_tokens(asker: Asker, simulator: Simulator) -> None:
    simulator.control.script({"status": 500})
    assert asker.ask(CHAT, body("g/echo")).status_code == 500
    wait_until(lambda: entries(asker), 10, "ledger")
    wait_until(lambda: asker.counted("words") == {"used": 0, "out": 0}, 10, "settled")


def test_a_budget_is_charged_by_the_price_of_what_was_used(asker: Asker) -> None:
    answer = asker.ask(CHAT, body("m/echo", max_tokens=50))
    assert answer.status_code == 200
    assert answer.headers["x-ratelimit-limit-usd"] == "0.01"

    def costs() -> float:
        found = asker.gateway.series("cost_nanodollars")
        return sum(cost for labels, cost in found.items() if ("caller", asker.name) in labels)

    nanodollars = wait_until(costs, 10, "statistics")
    (entry,) = wait_until(lambda: entries(asker), 10, "ledger")
    tokens = entry["gen_ai.usage.input_tokens"] * 40 + entry["gen_ai.usage.output_tokens"] * 100
    assert entry["dragoman.cost_usd"] == tokens / 1e6
    assert nanodollars == tokens * 1000
    settled = {"used": tokens * 1000, "out": 0}
    wait_until(lambda: asker.counted("purse") == settled, 10, "settled")
    refused = asker.ask(CHAT, body("m/echo", max_tokens=5000))
    assert (refused.status_code, "0.01 usd" in refused.text) == (429, True)


def test_a_level_is_told_once_of_each_subject(asker: Asker) -> None:
    """In the log, and by the request after it in Envoy's statistics."""

    def logged() -> list[dict[str, Any]]:
        lines = (line for line in asker.gateway.output().splitlines() if asker.name in line)
        return [json.loads(line) for line in lines if "quota_level_reached" in line]

    def counted() -> list[tuple[str, float]]:
        found = asker.gateway.series("quota_levels_reached")
        return sorted(
            (dict(labels)["percent"], value)
            for labels, value in found.items()
            if dict(labels)["quota"] == "told"
        )

    for _ in range(9):
        assert asker.ask(CHAT, body("fall/bytes-16")).status_code == 200
    wait_until(lambda: len(logged()) == 2, 10, "both levels")
    told = ("quota", "subject", "unit", "percent", "limit")
    first, second = sorted(logged(), key=lambda line: int(line["percent"]))
    assert [first[name] for name in told] == ["told", asker.name, "requests", 50, 10]
    assert (second["percent"], first["used"] >= 5, second["used"] >= 8) == (80, True, True)

    def seen() -> bool:
        asker.ask(CHAT, body("fall/bytes-16"))
        return counted() == [("50", 1.0), ("80", 1.0)]

    wait_until(seen, 10, "both counted")
    assert len(logged()) == 2


def test_a_provider_whose_quota_is_spent_is_left_out(asker: Asker) -> None:
    decisions = []
    for _ in range(4):
        answer = asker.ask("/v1/messages", body("back/bytes-16"))
        assert answer.status_code == 200
        decisions.append(answer.headers["x-dragoman-decision"])
    first, second = "anthropic/sim/bytes-16", "openai/sim/bytes-16"
    usual = f"strategy=weighted; order={first},{second}"
    spent = f"strategy=weighted; order={second}; left_out={first}(quota)"
    assert decisions == [usual, usual, spent, spent]
    refused = asker.ask("/v1/messages", body("back/bytes-16"))
    assert refused.status_code == 429
    assert_shape("/v1/messages", 429, refused.content)
    wait_until(lambda: len(entries(asker)) == 5, 10, "ledger")
    served = [entry.get("gen_ai.provider.name") for entry in entries(asker)]
    assert sorted(served, key=str) == [None, "anthropic", "anthropic", "openai", "openai"]
    wait_until(lambda: asker.counted("supply") == {"used": 4, "out": 0}, 10, "settled")


def test_use_counts_at_the_provider_that_served(asker: Asker, simulator: Simulator) -> None:
    simulator.control.script({"status": 500}, {"listener": "anthropic"})
    assert asker.ask("/v1/messages", body("back/bytes-16")).status_code == 200
    wait_until(lambda: asker.counted("supply") == {"used": 1, "out": 0}, 10, "settled")
    assert asker.counted("supply", "openai") == {"used": 1, "out": 0}
    assert asker.counted("supply", "anthropic") == {"used": 0, "out": 0}


def test_sound_costs_what_sound_does(asker: Asker, simulator: Simulator) -> None:
    usage = {
        "prompt_tokens": 100,
        "completion_tokens": 50,
        "total_tokens": 150,
        "prompt_tokens_details": {"audio_tokens": 80},
        "completion_tokens_details": {"audio_tokens": 40},
    }
    message = {"role": "assistant", "content": "hi"}
    choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
    content = {"id": "x", "object": "chat.completion", "created": 1, "model": "m"}
    content |= {"choices": choices, "usage": usage}
    simulator.control.script({"status": 200, "body": content}, {"listener": "mistral"})
    assert asker.ask(CHAT, body("m/sound", max_tokens=9)).status_code == 200
    (entry,) = wait_until(lambda: entries(asker), 10, "ledger")
    assert entry["dragoman.usage.input_audio_tokens"] == 80
    nanodollars = (20 * 1 + 80 * 30 + 10 * 2 + 40 * 60) * 1000
    assert entry["dragoman.cost_usd"] == nanodollars / 1e9
    found = asker.gateway.series("cost_nanodollars")
    assert [cost for tags, cost in found.items() if ("caller", asker.name) in tags] == [nanodollars]


def test_what_has_no_price_is_not_bought_on_a_budget(asker: Asker) -> None:
    answer = asker.ask(CHAT, body("z/echo"))
    assert answer.status_code == 403
    assert "purse" in answer.text


def test_no_more_run_at_once_than_may(asker: Asker) -> None:
    async def run() -> Counter[int]:
        async with httpx.AsyncClient(headers=asker.headers, timeout=30) as session:
            tasks = [
                session.post(asker.gateway.url + CHAT, json=body("same/slow-1500"))
                for _ in range(5)
            ]
            return Counter(answer.status_code for answer in await asyncio.gather(*tasks))

    assert asyncio.run(run()) == {200: 1, 429: 4}

    def admitted() -> bool:
        return asker.ask(CHAT, body("same/bytes-16")).status_code == 200

    wait_until(admitted, 10, "the place is free again")


def test_without_the_store_each_quota_does_as_it_says(
    limited: Gateway, all_providers: Simulator
) -> None:
    del limited
    with run_gateway(all_providers, quotas=QUOTAS) as gateway:
        asker = Asker(gateway)
        store = next(p for p in descendants(gateway.process.pid) if "valkey" in command(p)[0])
        os.kill(store, signal.SIGSTOP)
        try:
            assert asker.ask(CHAT, body("b/bytes-16")).status_code == 200
            closed = asker.ask(CHAT, body("o/bytes-16"))
            assert closed.status_code == 503
            assert_shape(CHAT, 503, closed.content)
        finally:
            os.kill(store, signal.SIGCONT)
        wait_until(lambda: asker.ask(CHAT, body("o/bytes-16")).status_code == 200, 10, "store back")
        wait_until(lambda: asker.counted("open")["used"] == 1, 10, "what was lent is counted")
