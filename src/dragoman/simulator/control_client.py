"""A client of the control API, for tests; it needs nothing but the standard library."""

import time
from collections.abc import Mapping
from http import HTTPStatus
from http.client import HTTPConnection
from typing import Any

import msgspec

from dragoman.simulator.messages import encode_json
from dragoman.simulator.request_log import LoggedRequest
from dragoman.simulator.script import Match, Rule, Then

__all__ = ["ControlError", "LoggedRequest", "SimulatorControl"]


class ControlError(Exception):
    """The simulator refused a call, with its reason."""


class SimulatorControl:
    """Scripts a simulator and reads what it received, by any one of its ports."""

    def __init__(self, port: int, host: str = "127.0.0.1", *, timeout_seconds: float = 10) -> None:
        """No connection is made yet; each call makes its own."""
        self._address = (host, port)
        self._timeout_seconds = timeout_seconds

    def script(
        self,
        then: Then | Mapping[str, Any],
        match: Match | Mapping[str, Any] | None = None,
        *,
        times: int | None = None,
        skip: int = 0,
    ) -> None:
        """Add a rule: what to do with the requests that match, how often, after how many."""
        rule = {"match": match or {}, "then": then, "times": times, "skip": skip}
        self._call("POST", "script", encode_json(rule))

    def rules(self) -> list[tuple[Rule, int]]:
        """The rules in force, with how many requests each has matched."""
        listed = msgspec.json.decode(self._call("GET", "script"))
        return [(msgspec.convert(line["rule"], Rule), line["matched"]) for line in listed]

    def requests(self, *, since: int = 0, listener: str | None = None) -> list[LoggedRequest]:
        """What was received, oldest first."""
        query = f"?since={since}" + (f"&listener={listener}" if listener else "")
        answer = self._call("GET", f"requests{query}")
        return msgspec.json.decode(answer, type=list[LoggedRequest])

    def wait_for_requests(
        self, count: int, *, settled: bool = False, timeout_seconds: float = 5
    ) -> list[LoggedRequest]:
        """Poll until so many were received (and answered or broken off, if `settled`)."""
        deadline = time.monotonic() + timeout_seconds
        while True:
            found = self.requests()
            pending = settled and any(request.outcome == "pending" for request in found)
            if len(found) >= count and not pending:
                return found
            if time.monotonic() > deadline:
                message = f"{len(found)} of {count} requests in {timeout_seconds} s: {found}"
                raise TimeoutError(message)
            time.sleep(0.01)

    def body(self, number: int) -> bytes:
        """The whole body of one request, however large."""
        return self._call("GET", f"requests/{number}/body")

    def total(self) -> int:
        """Requests received in the life of the process, resets or not."""
        return int(msgspec.json.decode(self._call("GET", "state"))["requests_total"])

    def clear_requests(self) -> None:
        """Forget the requests received so far."""
        self._call("DELETE", "requests")

    def clear_script(self) -> None:
        """Drop all rules."""
        self._call("DELETE", "script")

    def reset(self) -> None:
        """Forget requests, rules and cached prompts."""
        self._call("DELETE", "state")

    def _call(self, method: str, name: str, body: bytes = b"") -> bytes:
        connection = HTTPConnection(*self._address, timeout=self._timeout_seconds)
        try:
            connection.request(method, f"/_sim/{name}", body)
            response = connection.getresponse()
            answer = response.read()
        finally:
            connection.close()
        if response.status != HTTPStatus.OK:
            raise ControlError(answer.decode("utf-8", "replace"))
        return answer
