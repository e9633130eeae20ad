"""HTTP clients for httpx-based SDKs, answered from memory."""

from __future__ import annotations

import httpx
import httpx2

from tests.sdk import Wire


class Server:
    """Answers every call with `wire`."""

    def __init__(self) -> None:
        self.wire = Wire(b"")
        self.http = httpx2.Client(transport=httpx2.MockTransport(self._answer))

    def _answer(self, _request: httpx2.Request) -> httpx2.Response:
        kind = {"content-type": self.wire.kind}
        return httpx2.Response(self.wire.status, headers=kind, content=self.wire.body)


class PlainServer:
    """The same for the SDKs that are still on the first `httpx`."""

    def __init__(self) -> None:
        self.wire = Wire(b"")
        self.transport = httpx.MockTransport(self._answer)
        self.http = httpx.Client(transport=self.transport)

    def _answer(self, _request: httpx.Request) -> httpx.Response:
        kind = {"content-type": self.wire.kind}
        return httpx.Response(self.wire.status, headers=kind, content=self.wire.body)
