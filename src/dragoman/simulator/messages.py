"""What passes between the HTTP side and the pretended providers, as plain values."""

from typing import Any, TypeGuard

import msgspec

JsonObject = dict[str, Any]

JSON = "application/json"
EVENT_STREAM = "text/event-stream; charset=utf-8"


class ReceivedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One whole HTTP request."""

    method: str
    target: str
    """Path and query, as received."""
    headers: list[tuple[str, str]]
    """In order of arrival, names in lower case."""
    body: bytes
    listener: str
    """Name of the pretended provider whose port it came in by."""
    port: int
    received_at: float
    """Unix seconds."""

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]

    def header(self, name: str) -> str | None:
        """First value of a header, its name given in lower case."""
        for key, value in self.headers:
            if key == name:
                return value
        return None


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """One HTTP answer, before it is played to the client."""

    status: int = 200
    content_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()
    pieces: tuple[bytes, ...] = ()
    """The body; for a stream, one piece an event."""
    streamed: bool = False
    """Sent as HTTP chunks, one a piece, rather than with a content-length."""


class ProviderError(Exception):
    """A request that the pretended provider refuses; each provider gives it its own shape."""

    def __init__(
        self, status: int, message: str, *, param: str | None = None, code: str | None = None
    ) -> None:
        """`param` is the JSON path at fault and `code` the provider's own code, if it has one."""
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code


def is_object(value: object) -> TypeGuard[JsonObject]:
    """Whether a decoded JSON value is an object."""
    return isinstance(value, dict)


def is_list(value: object) -> TypeGuard[list[Any]]:
    """Whether a decoded JSON value is an array."""
    return isinstance(value, list)


def object_in(parent: JsonObject, name: str) -> JsonObject:
    """The object under a name, empty where there is none."""
    value = parent.get(name)
    return value if is_object(value) else {}


def encode_json(value: object) -> bytes:
    """Compact JSON."""
    return msgspec.json.encode(value)


def json_reply(
    value: object, *, status: int = 200, headers: tuple[tuple[str, str], ...] = ()
) -> Reply:
    """An unstreamed JSON answer."""
    return Reply(status=status, headers=headers, pieces=(encode_json(value),))
