"""Vectors as a client wants them: kept as they came, or between JSON and base64, exactly.

Base64 holds little-endian numbers: floats of 32 bits, integers of 8. A float that 32 bits hold
comes out as the same number; one of more digits, which no model computes, is rounded to 32 bits.
"""

from __future__ import annotations

import base64
import binascii
import math
import sys
from array import array
from typing import Any

import msgspec

from dragoman.errors import InvalidRequest, UpstreamProtocolError
from dragoman.ir.embeddings import Dtype, Embedding, EmbeddingResponse, Format, Vector
from dragoman.ir.losses import Losses
from dragoman.wire.fields import Fields

_CODES: dict[Dtype, str] = {"float": "f", "int8": "b", "uint8": "B", "binary": "b", "ubinary": "B"}
_NOT_NUMBERS = "the upstream sent a vector that is not one"
_read_floats = msgspec.json.Decoder(list[float]).decode
_read_integers = msgspec.json.Decoder(list[int]).decode


def take_vector(fields: Fields, name: str, dtype: Dtype | None = None) -> Vector:
    """The vector in the field `name`."""
    return as_vector(fields.take(name, object), fields.at(name), dtype)


def as_vector(found: Any, path: str, dtype: Dtype | None = None) -> Vector:
    """A vector as `decode_around_vectors` gives it."""
    if not isinstance(found, msgspec.Raw | str):
        raise InvalidRequest(path, "an array of numbers, or base64")
    return Vector(dtype=dtype, data=found)


def write_vector(embedding: Embedding, wanted: Format | None) -> msgspec.Raw | str:
    """The vector in the format wanted; None: the first, as it came.

    Raises `UpstreamProtocolError` where there is none of that type, or its numbers are none.
    """
    if wanted is None:
        return embedding.vectors[0].data
    alike = [vector for vector in embedding.vectors if vector.dtype in (None, wanted.dtype)]
    if not alike:
        raise UpstreamProtocolError(f"the upstream sent no {wanted.dtype} vectors")
    same = next((vector for vector in alike if vector.is_base64 is wanted.base64), None)
    if same is not None:
        return same.data
    data, code = alike[0].data, _CODES[wanted.dtype]
    return _to_array(data, code) if isinstance(data, str) else _to_base64(data, code)


def only_format(formats: tuple[Format, ...]) -> Format | None:
    """The one format that a dialect with one vector an input writes."""
    return formats[0] if formats else None


def only_embedding(response: EmbeddingResponse, losses: Losses) -> Embedding:
    """The only embedding, for a dialect that answers with one."""
    if len(response.embeddings) != 1:
        losses.omit("inputs", "$.embeddings", "it answers with one embedding")
    return response.embeddings[0]


def _to_array(data: str, code: str) -> msgspec.Raw:
    numbers = _empty(code)
    try:
        numbers.frombytes(base64.b64decode(data, validate=True))
    except (binascii.Error, ValueError) as error:
        raise UpstreamProtocolError(_NOT_NUMBERS) from error
    _check(numbers)
    return msgspec.Raw(msgspec.json.encode(_little_endian(numbers).tolist()))


def _to_base64(data: msgspec.Raw, code: str) -> str:
    read = _read_floats if code == "f" else _read_integers
    try:
        numbers = _empty(code)
        numbers.fromlist(read(data))
    except (msgspec.DecodeError, OverflowError) as error:
        raise UpstreamProtocolError(_NOT_NUMBERS) from error
    _check(numbers)
    return base64.b64encode(_little_endian(numbers).tobytes()).decode()


def _empty(code: str) -> array[Any]:
    return array(code)


def _check(numbers: array[Any]) -> None:
    """One that is infinite, or no number, makes the sum so."""
    if not math.isfinite(math.fsum(numbers) if numbers.typecode == "f" else 0):
        raise UpstreamProtocolError(_NOT_NUMBERS)


def _little_endian(numbers: array[Any]) -> array[Any]:
    if sys.byteorder == "big":  # pragma: no cover - no such machine runs the tests
        numbers.byteswap()
    return numbers
