"""Errors of the dialect: a message, and sometimes the request's id."""

from __future__ import annotations

from dragoman.dialects.plain_errors import PlainErrors

_PLAIN = PlainErrors("message")

decode_error = _PLAIN.decode_error
encode_error = _PLAIN.encode_error
