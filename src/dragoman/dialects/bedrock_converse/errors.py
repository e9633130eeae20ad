"""Errors of the dialect: a message, and the exception's name in a header."""

from __future__ import annotations

import msgspec

from dragoman.actions import Respond
from dragoman.dialects.error_words import error_answer, words_of
from dragoman.errors import DragomanError, UpstreamError
from dragoman.wire.eventstream import encode_eventstream

_NAMES: dict[int, str] = {
    400: "ValidationException",
    401: "UnrecognizedClientException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    408: "ModelTimeoutException",
    424: "ModelErrorException",
    429: "ThrottlingException",
    500: "InternalServerException",
    503: "ServiceUnavailableException",
}
_STATUSES = {
    **{name.lower(): status for status, name in reversed(_NAMES.items())},
    "modelstreamerrorexception": 424,
}
_SERVER = 500


def decode_error(status: int, body: bytes) -> UpstreamError:
    """What a provider said went wrong; never fails, whatever the body is."""
    return UpstreamError(words_of(status, body), status=status)


def stream_error(name: str, payload: bytes) -> UpstreamError:
    """An exception in a stream, with the status it would have had before the first byte."""
    found = decode_error(_STATUSES.get(name.lower(), 502), payload)
    return UpstreamError(found.message, status=found.status, kind=name)


def name_of(error: DragomanError) -> str:
    """The exception's name."""
    default = "InternalServerException" if error.status >= _SERVER else "ValidationException"
    return _NAMES.get(error.status, default)


def encode_error(error: DragomanError) -> Respond:
    """The answer to a request that failed before its first byte."""
    return error_answer(error, {"message": error.message}, {"x-amzn-errortype": name_of(error)})


def error_frame(error: DragomanError) -> bytes:
    """The frame that ends a stream which had begun."""
    name = name_of(error)
    if error.status in (424, 502, 504):
        name = "ModelStreamErrorException"
    headers = {
        ":exception-type": name[0].lower() + name[1:],
        ":content-type": "application/json",
        ":message-type": "exception",
    }
    return encode_eventstream(headers, msgspec.json.encode({"message": error.message}))
