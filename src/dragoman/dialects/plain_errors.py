"""Errors of APIs that say no more than a sentence, in one field of an object."""

from __future__ import annotations

from dragoman.actions import Respond
from dragoman.dialects.error_words import error_answer, words_of
from dragoman.errors import DragomanError, UpstreamError


class PlainErrors:
    """`{"FIELD": "what went wrong"}`."""

    def __init__(self, field: str) -> None:
        self._field = field

    def decode_error(self, status: int, body: bytes) -> UpstreamError:
        """What a provider, or a proxy before it, said. Never fails."""
        return UpstreamError(words_of(status, body), status=status)

    def encode_error(self, error: DragomanError) -> Respond:
        return error_answer(error, {self._field: error.message})
