"""What the ledger, the simulator and the store have of it all."""

from __future__ import annotations

import re
import time
from collections import Counter, defaultdict
from datetime import datetime
from typing import Any, NamedTuple

import redis

from dragoman.simulator.request_log import LoggedRequest
from tests.chaos.setting import DIALECTS
from tests.envoy.gateway import Gateway, provider_key

_ID = re.compile(r"r\d{6}q")


class Entry(NamedTuple):
    """One line of the ledger."""

    at: float
    id: str
    slot: str
    caller: str
    provider: str
    dialect: str
    """The client's."""
    stream: bool
    status: int
    tokens: tuple[int, int]
    metering: str
    cost: float


class Received(NamedTuple):
    """One request at the simulator."""

    listener: str
    path: str
    outcome: str
    status: int | None
    text: str
    own_key: bool


class Served:
    """Everything that the simulator received, read as it comes."""

    def __init__(self, gateway: Gateway) -> None:
        self._control = gateway.simulator.control
        self._found: dict[int, Received] = {}
        self._since = 0

    def read(self) -> None:
        """What has come since the oldest that was still under way the last time."""
        listed = self._control.requests(since=self._since)
        self._found |= {request.number: _received(request) for request in listed}
        pending = [n for n, received in self._found.items() if received.outcome == "pending"]
        self._since = min([*pending, max(self._found, default=0) + 1]) - 1

    def by_id(self) -> dict[str, list[Received]]:
        """In the order in which they came, by `Asked.id`."""
        found: dict[str, list[Received]] = defaultdict(list)
        for _, received in sorted(self._found.items()):
            found[_id_in(received.text)].append(received)
        return found


def _received(request: LoggedRequest) -> Received:
    headers = "\n".join(value for _, value in request.headers)
    keys = [name for name in DIALECTS if provider_key(name) in headers]
    return Received(
        request.listener,
        request.path,
        request.outcome,
        request.status,
        request.body_text or "",
        keys == [request.listener],
    )


def _id_in(text: str) -> str:
    found = _ID.search(text)
    return found[0] if found else ""


def read_ledger(gateway: Gateway) -> list[Entry]:
    """In the order of the file."""
    return [_entry(line) for line in gateway.ledger() if line.get("event") == "request"]


def _entry(line: dict[str, Any]) -> Entry:
    def text(name: str) -> str:
        return str(line.get(name) or "")

    return Entry(
        datetime.fromisoformat(line["timestamp"]).timestamp(),
        text("dragoman.request_id"),
        text("gen_ai.request.model"),
        text("dragoman.caller"),
        text("gen_ai.provider.name"),
        text("dragoman.client.dialect"),
        line["dragoman.stream"] is True,
        int(line["http.response.status_code"]),
        (line["gen_ai.usage.input_tokens"], line["gen_ai.usage.output_tokens"]),
        text("dragoman.metering"),
        float(line.get("dragoman.cost_usd") or 0),
    )


class Count(NamedTuple):
    """What the store has of one quota and caller, over all its counters."""

    used: int
    out: int
    """On leases that it has not given up."""


def read_counts(gateway: Gateway) -> dict[tuple[str, str], Count]:
    """By quota and caller."""
    sums: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    url = f"unix://{gateway.folder}/run/store.sock"
    with redis.Redis.from_url(url, decode_responses=True) as store:
        for key in store.scan_iter("dragoman:quota:*"):
            name, _, subject = key.partition("{")[2].partition("}")[0].partition("|")
            sums[name, subject.partition("|")[0]] += _sums(store.hgetall(key))
    return {name: Count(found["u"], found["l"]) for name, found in sums.items()}


def _sums(fields: dict[str, str]) -> Counter[str]:
    """Of one counter, as `stores/quotas.lua` writes it."""
    sums: Counter[str] = Counter()
    for field, value in fields.items():
        kind, _, lease = field.partition(":")
        ends_ms = int(fields.get(f"x:{lease}", "0").split()[0])
        if kind == "u" or (kind == "l" and ends_ms > 1000 * time.time()):
            sums[kind] += int(value)
    return sums
