"""Errors of the dialect: a message, and sometimes the request's id."""

from __future__ import annotations

import msgspec

from dragoman.actions import Respond
from dragoman.dialects.error_words import words_of
from dragoman.errors import DragomanError, UpstreamError


def decode_error(status: int, body: bytes) -> UpstreamError:
    """What a provider said went wrong; never fails, whatever the body is."""
    return UpstreamError(words_of(status, body), status=status)


def encode_error(error: DragomanError) -> Respond:
    """The answer to a request that failed before its first byte."""
    headers = {"content-type": "application/json"}
    if allow := getattr(error, "allow", None):
        headers["allow"] = allow
    body = msgspec.json.encode({"message": error.message})
    return Respond(status=error.status, headers=headers, body=body)
