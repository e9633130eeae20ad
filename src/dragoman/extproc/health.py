"""The gRPC health service: a worker that answers is healthy."""

from __future__ import annotations

from dragoman.extproc.pb.health_pb2 import HealthCheckResponse
from dragoman.extproc.transports import Message

METHOD = "/grpc.health.v1.Health/Check"
_SERVING = HealthCheckResponse(status=HealthCheckResponse.SERVING).SerializeToString()


class HealthStream:
    """One check: the socket is served, so the answer is yes."""

    def __init__(self) -> None:
        self.finished = False

    def feed(self, message: Message, *, more: bool = False) -> list[bytes]:
        del message, more
        self.finished = True
        return [_SERVING]

    def close(self) -> list[bytes]:
        return []

    def fail(self) -> list[bytes]:
        return []
