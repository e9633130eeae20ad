"""Providers as data: rows of `providers.toml`, each a known dialect at an address."""

from __future__ import annotations

import functools
import tomllib
from pathlib import Path
from typing import Literal

import msgspec

from dragoman.ir import Json


class EndpointRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One dialect as one provider serves it."""

    path: str
    stream_path: str | None = None
    models: str | None = None
    quirks: Json = {}


class ProviderRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One provider as the catalogue knows it; the comments of `providers.toml` explain each."""

    serves: dict[str, EndpointRow]
    url: str | None = None
    params: dict[str, str] = {}
    key_env: str | None = None
    key_header: str = "authorization"
    key_prefix: str = "Bearer "
    headers: dict[str, str] = {}
    signer: Literal["aws"] | None = None
    models_of: str | None = None
    health: str | None = None


@functools.cache
def provider_rows() -> dict[str, ProviderRow]:
    """All rows by name. Raises `msgspec.ValidationError` on a row that is not one."""
    text = Path(__file__).with_name("providers.toml").read_text(encoding="utf-8")
    return msgspec.convert(tomllib.loads(text), dict[str, ProviderRow])
