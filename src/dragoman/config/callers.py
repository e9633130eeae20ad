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
        if not _is_known(name, entry, file):
            problem = "give one, or spiffe, or issued_keys: true, or identity.jwt"
            raise refuse(f"{path}.keys", problem)
        _check_names(entry, file, path, refuse)
        networks = read_networks(entry.addresses, f"{path}.addresses", refuse)
        caller = by_name[name] = _caller(name, entry, file, providers, networks)
        for i, digest in enumerate(entry.keys):
            if digest in by_digest:
                problem = f"this key already belongs to {by_digest[digest].name}"
                raise refuse(f"{path}.keys[{i}]", problem)
            by_digest[digest] = caller
    return Callers(
        by_digest,
        by_name,
        resolve_issuers(file, by_name, refuse),
        _spiffe(file, by_name, refuse),
        read_networks(
            file.identity.forwarded_client_cert, "$.identity.forwarded_client_cert", refuse
        ),
    )


def _spiffe(file: File, callers: Mapping[str, Caller], refuse: Refuse) -> dict[str, Caller]:
    """Callers by the names in their certificates."""
    tls = file.listener.tls
    shows = file.identity.forwarded_client_cert or (tls is not None and tls.client_ca is not None)
    found: dict[str, Caller] = {}
    for name, entry in file.callers.items():
        for i, spiffe in enumerate(entry.spiffe):
            path = f"$.callers.{name}.spiffe[{i}]"
            if not shows:
                problem = "needs listener.tls.client_ca or identity.forwarded_client_cert"
                raise refuse(path, problem)
            if spiffe in found:
                raise refuse(path, f"this name already belongs to {found[spiffe].name}")
            found[spiffe] = callers[name]
    return found


def _is_known(name: str, entry: CallerEntry, file: File) -> bool:
    """Whether anything is the caller's: its own requests, or copies that are charged to it."""
    if entry.keys or entry.spiffe or file.issued_keys or file.identity.jwt:
        return True
    shadows = (model.shadow for model in file.models.values())
    return any(shadow is not None and shadow.charge_to == name for shadow in shadows)


def _check_names(entry: CallerEntry, file: File, path: str, refuse: Refuse) -> None:
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
        limits=entry.limits,
        redaction=entry.redaction,
        guardrails=entry.guardrails,
        priority=entry.priority,
    )


def read_networks(texts: tuple[str, ...], path: str, refuse: Refuse) -> tuple[Network, ...]:
    """The networks that `texts` at `path` of the file name."""
    found: list[Network] = []
    for i, text in enumerate(texts):
        try:
            found.append(ip_network(text))
        except ValueError as error:
            raise refuse(f"{path}[{i}]", f"is not a network: {error}") from error
    return tuple(found)
