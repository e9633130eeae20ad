"""What a worker serves by: the policy in force, and what is made from it once."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

import msgspec

from dragoman.config.callouts import SOCKET
from dragoman.config.policy import Policy
from dragoman.dialects.registry import client_dialect
from dragoman.exchange.decide import Decide
from dragoman.extproc.background import Beside
from dragoman.policies.identify import Issued
from dragoman.policies.quotas import QuotaLevels
from dragoman.policies.route.canary import NOBODY
from dragoman.stores.latencies import Latencies
from dragoman.stores.loads import Loads
from dragoman.stores.shared_key import shared_key

if TYPE_CHECKING:
    from dragoman.extproc.callouts import Callouts
    from dragoman.policies.guard.guard import Guards
    from dragoman.policies.redact.profiles import Redactors

_REMEMBERED = 1024


class InForce:
    """Streams take what they need when they begin, and keep it: a new policy is for new ones."""

    policy: Policy
    """With what only the policy before it had of providers, profiles and quotas: of requests that
    were decided under that one, attempts and answers are still to come."""
    decide: Decide
    redactors: Redactors | None
    guards: Guards | None
    secret: bytes
    """Under which answers are sketched; empty where none are."""
    levels: QuotaLevels
    find_dialect: Callable[[str, str, str], str | None]
    """Which dialect a provider is asked a model in, for a client's; None where it is not known."""

    def __init__(
        self,
        policy: Policy,
        beside: Beside | None = None,
        issued: Issued | None = None,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`beside` begins what a policy asks for beside streams; `issued` knows the keys of the
        store."""
        self.beside = beside or Beside()
        self.latencies = Latencies(clock)
        self.loads = Loads(clock, policy.workers)
        self._issued = issued
        self.callouts: Callouts | None = None
        self._adopt(policy, policy)

    def replace(self, policy: Policy) -> None:
        """Serve by `policy` from now on. Raises, and changes nothing, where it cannot be used."""
        self._adopt(policy, _with_former(policy, self._own))

    def _adopt(self, policy: Policy, wider: Policy) -> None:
        redactors = make_redactors(wider)
        guards = make_guards(wider)
        callouts = self.callouts or make_callouts(policy)
        beside = self.beside
        beside.begin(self, policy)
        decide = Decide(
            policy,
            quotas=beside.keeper if policy.quotas else None,
            issued=self._issued,
            redactors=redactors if policy.redaction is not None else None,
            guards=guards if policy.guardrails is not None else None,
            standings=beside.abuse if policy.abuse else None,
            latencies=self.latencies,
            loads=self.loads,
            shares=beside.canaries or NOBODY,
            incidents=beside.healing if policy.healing else None,
            lag=beside.lag,
            hear=beside.hear,
        )
        self._own, self.policy, self.decide = policy, wider, decide
        self.redactors, self.guards, self.callouts = redactors, guards, callouts
        self.secret = shared_key(policy.run_dir) if policy.has_shadows else b""
        self.levels = QuotaLevels(wider.quotas)
        self.find_dialect = lru_cache(_REMEMBERED)(self._find_dialect)

    def _find_dialect(self, provider: str, client: str, model: str) -> str | None:
        found = self.policy.providers.get(provider)
        endpoint = found and found.endpoint_for(client_dialect(client), model)
        return endpoint.dialect.name if endpoint else None


def _with_former(policy: Policy, former: Policy) -> Policy:
    """`policy`, with what only `former` had and its requests may still need."""
    redaction = policy.redaction or former.redaction
    if redaction is not None and former.redaction is not None:
        profiles = {**former.redaction.profiles, **redaction.profiles}
        redaction = msgspec.structs.replace(redaction, profiles=profiles)
    guardrails = policy.guardrails or former.guardrails
    if guardrails is not None and former.guardrails is not None:
        guarded = {**former.guardrails.profiles, **guardrails.profiles}
        guardrails = msgspec.structs.replace(guardrails, profiles=guarded)
    providers = {**former.providers, **policy.providers}
    quotas = {quota.name: quota for quota in (*former.quotas, *policy.quotas)}
    return msgspec.structs.replace(
        policy,
        providers=providers,
        redaction=redaction,
        guardrails=guardrails,
        quotas=tuple(quotas.values()),
        scorers={**former.scorers, **policy.scorers},
    )


def make_redactors(policy: Policy) -> Redactors | None:
    """The policy's redaction profiles, compiled; None where it has none, at no cost."""
    section = policy.redaction
    if section is None:
        return None
    from dragoman.policies.redact.profiles import Redactors  # noqa: PLC0415 - loads an engine

    return Redactors(section, section.key or shared_key(policy.run_dir))


def make_guards(policy: Policy) -> Guards | None:
    """The policy's guardrails, compiled; None where it has none, at no cost."""
    if policy.guardrails is None:
        return None
    from dragoman.policies.guard.guard import Guards  # noqa: PLC0415 - loads an engine

    return Guards(policy.guardrails)


def make_callouts(policy: Policy) -> Callouts | None:
    """Who carries the callouts of the policy; None where it has none, at no cost."""
    if not policy.callees:
        return None
    from dragoman.extproc.callouts import Callouts  # noqa: PLC0415 - loads a parser

    return Callouts(f"{policy.run_dir}/{SOCKET}")
