"""What a policy file asks of Envoy that an operator may not expect; each finding has its remedy."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address

from dragoman.config.callouts import Own, find_place
from dragoman.config.policy import Model, Policy
from dragoman.config.resilience import MAX_CONCURRENT, CircuitBreaker
from dragoman.envoyconf.inspection import Finding

_MOST_NAMED = 3


def check_policy(policy: Policy) -> list[Finding]:
    """All findings, every one a warning."""
    return [*_issuers(policy), *_services(policy), *_breakers(policy), *_shadows(policy)]


def _issuers(policy: Policy) -> list[Finding]:
    """Issuers whose keys come over a network that may change them."""
    return [
        Finding(
            file=policy.source,
            path=f"$.identity.jwt.{issuer.name}.jwks.uri",
            problem="fetches keys in plain text: whoever stands between can sign tokens",
            remedy="Use https",
            severity="warning",
        )
        for issuer in policy.callers.issuers.values()
        if issuer.address is not None and not issuer.address[2] and not _is_here(issuer.address[0])
    ]


def _services(policy: Policy) -> list[Finding]:
    """The operator's own that are shown texts over a network where others may read them."""
    return [
        Finding(
            file=policy.source,
            path=where,
            problem=f"{name} is reached in plain text, over a network",
            remedy="Use https",
            severity="warning",
        )
        for where, name, service in _shown(policy)
        if (place := find_place(service.url, service.METHOD)).port
        and not place.tls
        and not _is_here(place.host)
    ]


def _shown(policy: Policy) -> Iterator[tuple[str, str, Own]]:
    """Where in the file, by which name, and who."""
    for profile, callout in policy.guardrails.callouts() if policy.guardrails else ():
        if isinstance(callout, Own):
            yield f"$.guardrails.profiles.{profile}.callouts", callout.name, callout
    for own in policy.redaction.profiles.values() if policy.redaction else ():
        if own.recogniser:
            where = f"$.redaction.profiles.{own.name}.recogniser"
            yield where, "the recogniser", own.recogniser
    for name, scorer in policy.scorers.items():
        yield f"$.scorers.{name}", name, scorer
    if policy.events:
        yield "$.events", "whoever is told of events", policy.events.sink


def _is_here(host: str) -> bool:
    """Whether it is the loopback."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _breakers(policy: Policy) -> list[Finding]:
    """Circuit breakers in front of a target that has a next one: Envoy does not ask that. A quota
    that is spent before the breaker opens does."""
    found: list[Finding] = []
    for name, provider in policy.providers.items():
        most = (provider.circuit_breaker or CircuitBreaker()).most_at_once
        models = [m.name for m in policy.models.values() if _has_next_target(m, name)]
        if most >= MAX_CONCURRENT or not models or _quota_below(policy, name, most):
            continue
        shown = ", ".join([*models[:_MOST_NAMED], *(["others"] if models[_MOST_NAMED:] else [])])
        quota = f"unit: concurrency, limit: {most}, per: [provider], providers: [{name}]"
        found.append(
            Finding(
                file=policy.source,
                path=f"$.providers.{name}.circuit_breaker",
                problem=f"answers 503 above {most} requests at once, and asks no next target of "
                + shown,
                remedy=f"With the quota {{name: {name}, {quota}}} what is above goes there",
                severity="warning",
            )
        )
    return found


def _shadows(policy: Policy) -> Iterator[Finding]:
    """Copies that count where requests of clients do, who would be left without a provider."""
    for name, model in policy.models.items():
        use = model.shadow.use if model.shadow else None
        shared = {t.provider for m in policy.models.values() if m != use for t in m.targets}
        for provider in dict.fromkeys(t.provider for t in use.targets) if use else ():
            entry = policy.providers[provider]
            if provider in shared and (entry.circuit_breaker or entry.outlier_detection):
                yield Finding(
                    file=policy.source,
                    path=f"$.models.{name}.shadow.use",
                    problem=f"its copies may open the breaker of {provider}, or leave it out, for "
                    "requests of clients too",
                    remedy=f"Give it a provider of its own, of the same kind and key as {provider}",
                    severity="warning",
                )


def _has_next_target(model: Model, provider: str) -> bool:
    """Whether another provider may be asked for the model after this one."""
    return any(
        first.provider == provider and other.provider != provider
        for first in model.targets
        for other in model.targets
        if other.priority >= first.priority
    )


def _quota_below(policy: Policy, provider: str, most: int) -> bool:
    """Whether the decide stage leaves the provider out before `most` requests are on their way."""
    return any(
        quota.unit == "concurrency"
        and quota.limit <= most
        and quota.by_provider
        and set(quota.per) <= {"provider"}
        and not {provider, "*"}.isdisjoint(quota.providers)
        and "*" in quota.callers
        and "*" in quota.models
        for quota in policy.quotas
    )
