"""Envoy's own statistics, read from its admin interface: how much each provider has to do."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping

import httptools

from dragoman import metadata as names
from dragoman.config.policy import Policy
from dragoman.errors import StatisticsUnavailable
from dragoman.stores.loads import Counted

_ANSWER_SECONDS = 1.0
_MAX_ANSWER_BYTES = 16 << 20
_OK = 200
_FILTER = (
    r"^cluster\..*\.upstream_rq_(pending_)?active$"
    rf"|^dragoman\.(rate_limit_({names.LEFT}|{names.RESETS_AT}|{names.PAUSED_UNTIL})"
    rf"|{names.ATTEMPTS_FAILED})\."
)
_QUERY = f"/stats?usedonly&filter={_FILTER.replace('|', '%7C').replace('^', '%5E')}"
_ACTIVE = re.compile(r"cluster\.(.+)\.upstream_rq_(?:pending_)?active: (\d+)")
_FAILED = re.compile(rf"dragoman\.{names.ATTEMPTS_FAILED}\.provider\.(.+): (\d+)")
_LIMIT = re.compile(r"dragoman\.rate_limit_(\w+)\.provider\.(.+): (\d+)")


class EnvoyStatistics:
    """A `stores.loads.Statistics`: one request and one connection a look."""

    def __init__(self, policy: Callable[[], Policy]) -> None:
        """`policy` is the one in force, which says where Envoy's admin interface is."""
        self._policy = policy

    async def read(self) -> Mapping[str, Counted]:
        """By cluster."""
        admin = self._policy().admin
        where = f"{admin.address}:{admin.port}"
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                answer = await _get(admin.address, admin.port, _QUERY)
        except (OSError, httptools.HttpParserError) as error:  # a timeout is one of them
            problem = f"Envoy's admin at {where} does not answer: {type(error).__name__}"
            raise StatisticsUnavailable(problem) from error
        if answer.status != _OK:
            problem = f"Envoy's admin at {where} answers {answer.status} for its statistics"
            raise StatisticsUnavailable(problem)
        return read_gauges(b"".join(answer.pieces).decode("utf-8", "replace"))

    async def close(self) -> None:
        """Nothing is kept open."""


class _Answer:
    """What the parser finds."""

    def __init__(self) -> None:
        self.status = 0
        self.pieces: list[bytes] = []
        self.is_whole = False

    def on_body(self, body: bytes) -> None:
        self.pieces.append(body)

    def on_message_complete(self) -> None:
        self.is_whole = True


async def _get(host: str, port: int, path: str) -> _Answer:
    """Raises `OSError` where the connection fails or ends too soon."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n".encode())
        answer, received = _Answer(), 0
        parser = httptools.HttpResponseParser(answer)
        while not answer.is_whole:
            data = await reader.read(1 << 16)
            received += len(data)
            if not data or received > _MAX_ANSWER_BYTES:
                raise ConnectionResetError
            parser.feed_data(data)
        answer.status = parser.get_status_code()
        return answer
    finally:
        writer.close()


def _limited(counted: Counted, what: str, number: int) -> Counted:
    if what == names.LEFT:
        return counted._replace(left=min(1.0, number / 1000))
    if what == names.RESETS_AT:
        return counted._replace(resets_at=float(number))
    return counted._replace(paused_until=float(number))


def read_gauges(text: str) -> Mapping[str, Counted]:
    """What Envoy's `/stats` says, line by line; lines of other names are passed over."""
    found: dict[str, Counted] = {}
    for line in text.splitlines():
        if match := _ACTIVE.fullmatch(line):
            counted = found.get(match[1], Counted())
            more = counted._replace(in_flight=counted.in_flight + int(match[2]))
            found[match[1]] = more
        elif match := _LIMIT.fullmatch(line):
            found[match[2]] = _limited(found.get(match[2], Counted()), match[1], int(match[3]))
        elif match := _FAILED.fullmatch(line):
            counted = found.get(match[1], Counted())
            found[match[1]] = counted._replace(failed=int(match[2]))
    return found
