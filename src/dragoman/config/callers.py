"""Who may call, with every name of the policy file resolved."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_network

from dragoman.config.issuers import Refuse, resolve_issuers
from dragoman.config.policy import SUBJECTS, Caller, Callers, Network, is_within
from dragoman.config.schema import CallerEntry, File


def resolve_callers(file: File, providers: Mapping[str, object], refuse: Refuse) -> Callers:
    """The callers of `file`. Raises what `refuse` makes."""
    by_digest: dict[str, Caller] = {}
    by_name: dict[str, Caller] = {}
    for name, entry in file.callers.items():
        path = f"$.callers.{name}"
        _check_names(entry, file, path, refuse)
        networks = _networks(entry, path, refuse)
        caller = by_name[name] = _caller(name, entry, file, providers, networks)
        for i, digest in enumerate(entry.keys):
            if digest in by_digest:
                problem = f"this key already belongs to {by_digest[digest].name}"
                raise refuse(f"{path}.keys[{i}]", problem)
            by_digest[digest] = caller
    return Callers(by_digest, by_name, resolve_issuers(file, by_name, refuse))


def _check_names(entry: CallerEntry, file: File, path: str, refuse: Refuse) -> None:
    if not entry.keys and not file.issued_keys and not file.identity.jwt:
        raise refuse(f"{path}.keys", "give one, or issued_keys: true, or identity.jwt")
    for i, provider in enumerate(entry.providers):
        if provider not in file.providers:
            raise refuse(f"{path}.providers[{i}]", f"no provider {provider} in this file")
    for i, role in enumerate(entry.roles):
        if role not in file.roles:
            raise refuse(f"{path}.roles[{i}]", f"no role {role} in this file")
    for i, allowed in enumerate(entry.residency):
        if not any(is_within(region, allowed) for region in _regions(file)):
            raise refuse(f"{path}.residency[{i}]", "no provider or target of this file is there")


def _regions(file: File) -> set[str]:
    """All that the file names."""
    targets = [target for model in file.models.values() for target in model.targets]
    said = {target.region for target in targets} | {p.region for p in file.providers.values()}
    return {region for region in said if region is not None}


def _caller(
    name: str,
    entry: CallerEntry,
    file: File,
    providers: Mapping[str, object],
    networks: tuple[Network, ...],
) -> Caller:
    said = {subject: getattr(entry, subject) for subject in SUBJECTS}
    return Caller(
        name=name,
        models=entry.models,
        providers=tuple(provider for provider in entry.providers if provider in providers),
        belongs={subject: value for subject, value in said.items() if value is not None},
        roles={role: file.roles[role] for role in entry.roles},
        addresses=networks,
        residency=entry.residency,
        redaction=entry.redaction,
    )


def _networks(entry: CallerEntry, path: str, refuse: Refuse) -> tuple[Network, ...]:
    found: list[Network] = []
    for i, text in enumerate(entry.addresses):
        try:
            found.append(ip_network(text))
        except ValueError as error:
            raise refuse(f"{path}.addresses[{i}]", f"is not a network: {error}") from error
    return tuple(found)
