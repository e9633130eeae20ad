"""Issuers of tokens, with every name of the policy file resolved."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from dragoman.config.addresses import is_host
from dragoman.config.policy import SUBJECTS, Caller, Issuer
from dragoman.config.schema import File, Jwks, JwtEntry, RoleEntry
from dragoman.errors import ConfigError

Refuse = Callable[[str, str], ConfigError]
"""The error about a path of the file, and what is wrong there."""


class _KeySet(msgspec.Struct):
    """RFC 7517, as much as tells a key set from something else."""

    keys: list[dict[str, Any]]


def resolve_issuers(file: File, callers: Mapping[str, Caller], refuse: Refuse) -> dict[str, Issuer]:
    """The issuers of `file`, by name. Raises what `refuse` makes."""
    issuers: dict[str, Issuer] = {}
    for name, entry in file.identity.jwt.items():
        path = f"$.identity.jwt.{name}"
        if any(entry.issuer == other.issuer for other in issuers.values()):
            raise refuse(f"{path}.issuer", "another entry is of the same issuer")
        if entry.claims.caller is None and entry.default_caller is None:
            raise refuse(path, "give claims.caller or default_caller, or no token has a caller")
        _check_tables(entry, path, refuse)
        issuers[name] = Issuer(
            name=name,
            issuer=entry.issuer,
            audiences=entry.audiences,
            jwks=entry.jwks,
            address=_find_keys(entry.jwks, f"{path}.jwks", refuse),
            caller_claim=entry.claims.caller,
            callers=_callers(entry, callers, path, refuse),
            default_caller=_default(entry, callers, path, refuse),
            subjects=_subjects(entry),
            roles_claim=entry.claims.roles,
            roles=_roles(entry, file.roles, path, refuse),
        )
    return issuers


def _check_tables(entry: JwtEntry, path: str, refuse: Refuse) -> None:
    for name, claim in (("callers", entry.claims.caller), ("roles", entry.claims.roles)):
        if getattr(entry, name) and claim is None:
            raise refuse(f"{path}.{name}", f"has no effect without claims.{name.rstrip('s')}")


def _callers(
    entry: JwtEntry, callers: Mapping[str, Caller], path: str, refuse: Refuse
) -> Mapping[str, Caller]:
    for value, name in entry.callers.items():
        if name not in callers:
            raise refuse(f"{path}.callers.{value}", f"no caller {name} in this file")
    return {value: callers[name] for value, name in entry.callers.items()} or callers


def _default(
    entry: JwtEntry, callers: Mapping[str, Caller], path: str, refuse: Refuse
) -> Caller | None:
    name = entry.default_caller
    if name is not None and name not in callers:
        raise refuse(f"{path}.default_caller", f"no caller {name} in this file")
    return callers[name] if name is not None else None


def _subjects(entry: JwtEntry) -> dict[str, str]:
    said = {subject: getattr(entry.claims, subject) for subject in SUBJECTS}
    return {subject: claim for subject, claim in said.items() if claim is not None}


def _roles(
    entry: JwtEntry, roles: Mapping[str, RoleEntry], path: str, refuse: Refuse
) -> dict[str, tuple[str, RoleEntry]]:
    for value, name in entry.roles.items():
        if name not in roles:
            raise refuse(f"{path}.roles.{value}", f"no role {name} in this file")
    table = entry.roles or {name: name for name in roles}
    return {value: (name, roles[name]) for value, name in table.items()}


def _find_keys(jwks: Jwks, path: str, refuse: Refuse) -> tuple[str, int, bool] | None:
    """Where the keys are fetched from; None where they are local, and then they are looked at."""
    if sum(source is not None for source in (jwks.uri, jwks.file, jwks.inline)) != 1:
        raise refuse(path, "give one of uri, file and inline")
    if jwks.uri is not None:
        return _address(jwks.uri, f"{path}.uri", refuse)
    try:
        text = jwks.inline or Path(jwks.file or "").read_text(encoding="utf-8")
        keys = msgspec.json.decode(text, type=_KeySet).keys
    except (OSError, UnicodeDecodeError, msgspec.DecodeError) as error:
        raise refuse(path, f"is no JSON Web Key Set: {error}") from error
    if not keys:
        raise refuse(path, "has no key, so that no token would be taken")
    return None


def _address(uri: str, path: str, refuse: Refuse) -> tuple[str, int, bool]:
    try:
        parts = urlsplit(uri)
        port = parts.port
    except ValueError as error:
        raise refuse(path, f"is not a URL: {error}") from error
    known = parts.scheme in ("http", "https") and is_host(parts.hostname) and port != 0
    if not known or "@" in parts.netloc:
        raise refuse(path, "expected http(s)://host[:port]/path")
    tls = parts.scheme == "https"
    return parts.hostname or "", port or (443 if tls else 80), tls
