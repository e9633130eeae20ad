"""Providers as data: rows of `providers.toml`, each a known dialect at an address."""

from __future__ import annotations

import functools
import tomllib
from importlib import resources

import msgspec

from dragoman.ir import Json


class ProviderRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One provider as the catalogue knows it; the comments of `providers.toml` explain each."""

    dialect: str
    path: str
    url: str | None = None
    key_env: str | None = None
    key_header: str = "authorization"
    key_prefix: str = "Bearer "
    headers: dict[str, str] = {}
    quirks: Json = {}


@functools.cache
def provider_rows() -> dict[str, ProviderRow]:
    """All rows by name. Raises `msgspec.ValidationError` on a row that is not one."""
    text = resources.files(__name__).joinpath("providers.toml").read_text(encoding="utf-8")
    return msgspec.convert(tomllib.loads(text), dict[str, ProviderRow])
